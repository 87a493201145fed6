/* HTTPS to the KMS for agent and kmsctl, by libcurl: TLS 1.3, the deployment's CA only, a client certificate,
 * HTTP/1.1 with kept-alive connections, no redirects, no cookies, no netrc. Several base URLs are ways to one
 * service: they are tried in order, beginning with the one that answered last, the next one when no
 * connection came about, never after a request was sent. Limits: connect 5 s a URL, answer as asked, body 16
 * MiB. One client_t a thread. Buffers that held answers are wiped, libcurl's own too. */
#ifndef CLAVIGER_COMMON_CLIENT_CLIENT_H
#define CLAVIGER_COMMON_CLIENT_CLIENT_H

#include "common/base/buf.h"

typedef struct client client_t;

typedef struct client_options {
	const char *urls;    /* "https://a:8443,https://b:8443"; a path, query or user in them is INVALID */
	const char *ca_file; /* PEM, or NULL when ca_pem is given */
	span_t ca_pem;
	const char *cert_file; /* NULL: none (enrol, health) */
	const char *key_file;  /* PEM, only its owner may read it (file_read_secret) */
	const char *proxy; /* HTTP CONNECT proxy "http://HOST:PORT" or NULL; the environment's are not used */
	const char *user_agent; /* "kmsctl/0.1.0" */
} client_options_t;

typedef struct client_reply {
	int status;           /* HTTP status */
	uint32_t retry_after; /* seconds, 0 when the server said none */
	buf_t body;           /* the caller clears with client_reply_free */
} client_reply_t;

/* The files are read here and not again: a renewed certificate wants a new client. NOTFOUND, DENIED and
 * INVALID name the file. */
KMS_MUST client_new(const client_options_t *o, client_t **out, diag_t *why);
void client_freep(client_t **c);

/* method: "GET", "PUT", "POST", "DELETE". body: JSON or empty. idempotency_key: NULL for none. timeout_s: for
 * the whole answer. OK means that a server answered (whatever its status); UNAVAILABLE that none did, with
 * all reasons in `why`; INTEGRITY that a server's certificate is not the deployment's (the other URLs are not
 * tried: whoever stands in the way is told of, not walked around); DENIED that the server broke off because
 * of our certificate; INVALID that our own certificate, key, CA or the call itself is unusable; FULL that the
 * answer is over its limit. */
KMS_MUST client_call(client_t *c, const char *method, const char *path, span_t body,
		     const char *idempotency_key, unsigned timeout_s, client_reply_t *out, diag_t *why);
void client_reply_free(client_reply_t *r);

/* Turns a problem+json answer into an error: 401, 403 DENIED · 404 NOTFOUND · 409, 412, 422 CONFLICT · 400,
 * 413 INVALID · 429, 507 FULL · 501, 502, 503, 504 UNAVAILABLE · 202 PENDING · other 2xx OK · other 4xx
 * INVALID, all else IO, with title, detail and request id in `why`. */
KMS_MUST client_status(const client_reply_t *r, diag_t *why);

/* TLS handshakes begun so far, failed ones included (for tests of "at most one"). */
unsigned client_handshakes(const client_t *c);

#endif
