/* One HTTP request, from its first line to the end of its answer, as libmicrohttpd calls for it step by step
 * on one thread; between submission and answer the connection is suspended and core's committer has the word.
 */
#ifndef CLAVIGER_KMS_SERVER_HTTP_REQUEST_H
#define CLAVIGER_KMS_SERVER_HTTP_REQUEST_H

#include "kms-server/core/core.h"
#include "kms-server/http/conns.h"
#include "kms-server/http/late.h"

#include <microhttpd.h>
#include <stdatomic.h>

/* What all requests share. */
typedef struct edge {
	core_t *core;
	kms_clock_t clock;
	const x509_ca_t *ca;
	conns_t *conns;
	metrics_t *metrics;
	late_t *late;          /* refusals of strangers, when these are many */
	atomic_size_t waiting; /* suspended in the core or held back: the daemon must not be stopped */
	atomic_size_t active;  /* begun and not ended */
	atomic_size_t large;   /* of these, with a body that may be longer than others' */
} edge_t;

typedef struct request request_t;

/* At the request line. uri: the raw request target. NULL: no memory. */
request_t *request_begin(edge_t *edge, conn_t *conn, const char *uri);

/* libmicrohttpd's access handler: once for the headers, for each piece of the body, once at the end of the
 * body, and again after the resumption. url is the raw path (nothing unescapes it). */
enum MHD_Result request_step(request_t *r, struct MHD_Connection *mhd, const char *url, const char *method,
			     const char *version, const char *data, size_t *size);

/* The request is over, answered or not. */
void request_end(request_t *r);

#endif
