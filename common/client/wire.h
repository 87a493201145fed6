/* A stream of bytes to HOST:PORT, in plain TCP or TLS (1.2 or 1.3, verified against the CA certificates given
 * and no others), by libcurl's CURLOPT_CONNECT_ONLY. For protocols that only send, as syslog does. One
 * wire_t a thread. Every wait has an end: a time limit, or `stop`. After a failure the stream is of no more
 * use. */
#ifndef CLAVIGER_COMMON_CLIENT_WIRE_H
#define CLAVIGER_COMMON_CLIENT_WIRE_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <stdatomic.h>

typedef struct wire wire_t;

typedef struct wire_options {
	const char *address; /* "HOST:PORT", "[::1]:6514" */
	bool tls;
	const char *ca_file;     /* PEM; with tls only. Read at the connect */
	unsigned connect_s;      /* for lookup, TCP and handshake together */
	const atomic_bool *stop; /* once it is true, waits end with UNAVAILABLE (a connect: within about a
				    second); or NULL */
} wire_options_t;

/* INVALID: not an address of that form. */
KMS_MUST wire_check_address(const char *address, diag_t *why);
/* UNAVAILABLE: no connection; INTEGRITY: the server's certificate; NOTFOUND, INVALID: the CA file. */
KMS_MUST wire_connect(const wire_options_t *o, wire_t **out, diag_t *why);
void wire_freep(wire_t **s);

/* Whether the peer is still there, as far as it has told: UNAVAILABLE when it has closed or reset. What it
 * sent is read and thrown away. */
KMS_MUST wire_alive(wire_t *s, diag_t *why);
/* All of the bytes, and then waits until the peer's TCP has acknowledged them: a network that swallows
 * packets is an error and no success. That the peer's program has read them, nobody can tell. UNAVAILABLE:
 * closed, or not within timeout_ms. */
KMS_MUST wire_send(wire_t *s, span_t bytes, unsigned timeout_ms, diag_t *why);

#endif
