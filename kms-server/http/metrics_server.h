/* GET /metrics in plain HTTP for a Prometheus on this machine: loopback addresses only, one thread, few
 * connections, each of at most METRICS_SERVER_MS from accept to end and of one request. Nothing else is
 * served, and nothing is recorded. It shares nothing with the HTTPS edge: the one does not wait for the
 * other. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_METRICS_SERVER_H
#define CLAVIGER_KMS_SERVER_HTTP_METRICS_SERVER_H

#include "common/base/buf.h"

#include <stdint.h>

#define METRICS_SERVER_CONNECTIONS 8U
#define METRICS_SERVER_MS          5000U

typedef struct metrics_server metrics_server_t;

/* Appends the page; on the server's thread, one call at a time. */
typedef kms_err_t (*metrics_page_t)(void *ctx, buf_t *out);

/* listen: one address of listen.h. INVALID: not a loopback address. IO: address in use, no thread. */
KMS_MUST metrics_server_start(const char *listen, metrics_page_t page, void *ctx, metrics_server_t **out,
			      diag_t *why);
uint16_t metrics_server_port(const metrics_server_t *s);
void metrics_server_stop(metrics_server_t **s);

#endif
