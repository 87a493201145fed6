/* The HTTPS edge: accepts connections itself, lets libmicrohttpd and GnuTLS serve them (TLS 1.3 only, client
 * certificates asked for and verified by us), turns each request into a core_request_t and the core_reply_t
 * into an answer. It reaches the rest of the server through kms-server/core/core.h only. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_HTTP_SERVER_H
#define CLAVIGER_KMS_SERVER_HTTP_HTTP_SERVER_H

#include "common/base/secret.h"
#include "kms-server/core/core.h"

typedef struct http_options {
	core_t *core; /* borrowed */
	kms_clock_t clock;
	const x509_ca_t *ca;      /* borrowed; what client certificates are verified against */
	span_t ca_pem;            /* what clients are told to have a certificate of */
	span_t cert_pem;          /* the server's certificate (chain) */
	const secret_t *key_pem;  /* needed during http_server_start only */
	networks_t proxy_from;    /* bastions: their connections begin with a PROXY header, version 2 */
	const char *listen;       /* "127.0.0.1:8443", "[::1]:8443"; several with ',' between */
	uint32_t max_connections; /* 0: 4096 */
	uint32_t max_per_source;  /* 0: 256; loopback may have max_connections */
	uint32_t request_ms;      /* handshake and whole request; 0: 30,000 */
	uint32_t idle_ms;         /* between two requests; 0: 75,000 */
	uint32_t threads;         /* 0: one a core; at least 2 */
	uint32_t strangers_rate; /* refusals a second, of callers without an accepted certificate, that do not
				    wait; 0: 100 */
	metrics_t *metrics;      /* borrowed; NULL: nothing is counted */
} http_options_t;

typedef struct http_server http_server_t;

/* INVALID: addresses, key or certificate. IO: address in use, no threads. */
KMS_MUST http_server_start(const http_options_t *o, http_server_t **out, diag_t *why);
/* The port of the first address. */
uint16_t http_server_port(const http_server_t *s);
/* Open connections. */
size_t http_server_connections(const http_server_t *s);

/* Ending is three steps: http_server_quiesce (no new connections), core_stop (which completes every job),
 * then http_server_stop (waits for answers that are on their way, at most 2 s, and ends everything). While a
 * job is with the core, http_server_stop waits. */
void http_server_quiesce(http_server_t *s);
void http_server_stop(http_server_t **s);

#endif
