/* HTTPS to the KMS for agent and kmsctl, by libcurl: TLS 1.3, the deployment's CA only, a client certificate,
 * HTTP/1.1 with kept-alive connections, no redirects, no cookies, no netrc. Several base URLs are ways to one
 * service: they are tried in order, the next one on a connection failure, never after an answer. Limits: connect
 * 5 s an address, answer as asked, body 16 MiB. One client_t a thread. Buffers that held answers are wiped. */
#ifndef CLAVIGER_COMMON_CLIENT_CLIENT_H
#define CLAVIGER_COMMON_CLIENT_CLIENT_H

#include "common/base/buf.h"

typedef struct client client_t;

typedef struct client_options {
	const char *urls;       /* "https://a:8443,https://b:8443"; a path, query or user in them is INVALID */
	const char *ca_file;    /* PEM, or NULL when ca_pem is given */
	span_t ca_pem;
	const char *cert_file;  /* NULL: none (enrol, health) */
	const char *key_file;
	const char *proxy;      /* HTTP CONNECT proxy URL or NULL; the environment's proxies are not used */
	const char *user_agent; /* "kmsctl/0.1.0" */
} client_options_t;

typedef struct client_reply {
	int status;           /* HTTP status */
	uint32_t retry_after; /* seconds, 0 when the server said none */
	buf_t body;           /* the caller clears with client_reply_free */
} client_reply_t;

KMS_MUST client_new(const client_options_t *o, client_t **out, diag_t *why);
void client_freep(client_t **c);

/* method: "GET", "PUT", "POST", "DELETE". body: JSON or empty. idempotency_key: NULL for none. timeout_s: for the
 * whole answer. OK means that a server answered (whatever its status); UNAVAILABLE that none did, with all reasons in
 * `why`; INTEGRITY that the server's certificate is not the deployment's. */
KMS_MUST client_call(client_t *c, const char *method, const char *path, span_t body, const char *idempotency_key,
                     unsigned timeout_s, client_reply_t *out, diag_t *why);
void client_reply_free(client_reply_t *r);

/* Turns a problem+json answer into an error: 401, 403 DENIED · 404 NOTFOUND · 409, 412, 422 CONFLICT · 400, 413
 * INVALID · 429, 507 FULL · 503, 502, 504 UNAVAILABLE · 202 PENDING · 2xx OK, with title, detail and request id in
 * `why`. */
KMS_MUST client_status(const client_reply_t *r, diag_t *why);

/* TLS handshakes made so far (for tests of "at most one"). */
unsigned client_handshakes(const client_t *c);

#endif
