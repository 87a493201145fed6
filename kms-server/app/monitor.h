/* What the metrics page shows beyond what is counted: looked up in core, in the edge and on disk when
 * Prometheus asks. */
#ifndef CLAVIGER_KMS_SERVER_APP_MONITOR_H
#define CLAVIGER_KMS_SERVER_APP_MONITOR_H

#include "kms-server/core/core.h"
#include "kms-server/http/http_server.h"

typedef struct monitor_options {
	const char *listen;   /* borrowed, like all of these */
	const char *dir;      /* the server's folder */
	uint64_t log_reserve; /* bytes */
	span_t ca_pem, cert_pem;
	const metrics_t *metrics;
	core_t *core;
	const http_server_t *http;
} monitor_options_t;

typedef struct monitor monitor_t;

/* Counters for the routes of the edge. */
KMS_MUST monitor_counters(metrics_t **out);

/* INVALID when listen is set and not a loopback address. */
KMS_MUST monitor_check(const char *listen, diag_t *why);
KMS_MUST monitor_start(const monitor_options_t *o, monitor_t **out, diag_t *why);
/* Says where it listens. */
void monitor_tell(const monitor_t *m);
/* To be ended before core and edge. */
void monitor_freep(monitor_t **m);

#endif
