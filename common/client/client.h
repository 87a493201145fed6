/* HTTPS to the KMS for agent and kmsctl, by libcurl: TLS 1.3, the deployment's CA only, a client certificate,
 * HTTP/1.1 with kept-alive connections, no redirects, no cookies, no netrc. Several base URLs are ways to one
 * service: they are tried in order, beginning with the one that answered last, the next one when no
 * connection came about, never after a request was sent. Limits: connect 5 s a URL, answer as asked, body 16
 * MiB. One client_t a thread. Buffers that held answers are wiped, libcurl's own too. */
#ifndef CLAVIGER_COMMON_CLIENT_CLIENT_H
#define CLAVIGER_COMMON_CLIENT_CLIENT_H

#include "common/base/buf.h"

#include <stdatomic.h>

typedef struct client client_t;

typedef struct client_options {
	const char *urls;    /* "https://a:8443,https://b:8443"; a path, query or user in them is INVALID */
	const char *ca_file; /* PEM, or NULL when ca_pem is given */
	span_t ca_pem;
	const char *cert_file; /* NULL: none (enrol, health) */
	/* PEM, only its owner may read it (file_read_secret), or "pkcs11:…" (RFC 7512): a key on a token, by
	 * OpenSSL's engine. The token is asked at the first handshake */
	const char *key_file;
	const char *proxy; /* HTTP CONNECT proxy "http://HOST:PORT" or NULL; the environment's are not used */
	const char *user_agent; /* "kmsctl/0.1.0" */
	/* for services that are not the KMS: witnesses, webhooks */
	bool tls12;              /* TLS 1.2 is enough */
	bool plain_loopback;     /* http:// too, where the host is a loopback literal (127.0.0.0/8, [::1]);
				    then no CA is needed */
	const char *token_file;  /* a bearer token for every request (file_read_secret), or NULL */
	const atomic_bool *stop; /* once it is true, calls end with UNAVAILABLE within about a second; or
				    NULL. A name's lookup that hangs may then outlive the client */
} client_options_t;

typedef struct client_request {
	const char *method; /* "GET", "PUT", "POST", "DELETE" */
	const char *path;
	span_t body;                 /* or empty */
	const char *content_type;    /* of the body; NULL: application/json */
	const char *idempotency_key; /* NULL: none */
	const char *header;          /* one more, "Name: value", or NULL */
	unsigned timeout_s;          /* for the whole answer */
} client_request_t;

typedef struct client_reply {
	int status;           /* HTTP status */
	uint32_t retry_after; /* seconds, 0 when the server said none */
	buf_t body;           /* the caller clears with client_reply_free */
} client_reply_t;

/* The files are read here and not again: a renewed certificate wants a new client. NOTFOUND, DENIED and
 * INVALID name the file. */
KMS_MUST client_new(const client_options_t *o, client_t **out, diag_t *why);
void client_freep(client_t **c);

/* OK means that a server answered (whatever its status); UNAVAILABLE that none did, with
 * all reasons in `why`; INTEGRITY that a server's certificate is not the deployment's (the other URLs are not
 * tried: whoever stands in the way is told of, not walked around); DENIED that the server broke off because
 * of our certificate; INVALID that our own certificate, key, CA or the call itself is unusable; FULL that the
 * answer is over its limit. */
KMS_MUST client_send(client_t *c, const client_request_t *rq, client_reply_t *out, diag_t *why);
/* The same with a body of JSON or none. */
KMS_MUST client_call(client_t *c, const char *method, const char *path, span_t body,
		     const char *idempotency_key, unsigned timeout_s, client_reply_t *out, diag_t *why);
void client_reply_free(client_reply_t *r);

/* Turns a problem+json answer into an error: 401, 403 DENIED · 404 NOTFOUND · 409, 412, 422 CONFLICT · 400,
 * 413 INVALID · 429, 507 FULL · 501, 502, 503, 504 UNAVAILABLE · 202 PENDING · other 2xx OK · other 4xx
 * INVALID, all else IO, with title, detail and request id in `why`. */
KMS_MUST client_status(const client_reply_t *r, diag_t *why);

/* "https://HOST:PORT/PATH?QUERY" in two: what client_options_t.urls takes, and what is left as a request's
 * path
 * ("/" when there is nothing). The caller frees both. INVALID: no such URL, or one with a user or fragment.
 */
KMS_MUST client_split_url(const char *url, char **base, char **path, diag_t *why);

/* TLS handshakes begun so far, failed ones included (for tests of "at most one"). */
unsigned client_handshakes(const client_t *c);

#endif
