/* A TLS client that does as it is told, wrong things too: raw bytes in, answers out. */
#ifndef CLAVIGER_TESTS_SUPPORT_TLS_CLIENT_H
#define CLAVIGER_TESTS_SUPPORT_TLS_CLIENT_H

#include "common/base/buf.h"
#include "common/base/secret.h"

#include <gnutls/gnutls.h>

typedef struct tls_client {
	int fd;
	gnutls_session_t session;
	gnutls_certificate_credentials_t cred;
} tls_client_t;

typedef struct tls_answer {
	int status; /* 0: the connection ended without an answer */
	char head[2048];
	char body[1024];
} tls_answer_t;

/* TCP only, on loopback; -1 when it does not come about. */
int tcp_open(uint16_t port);
int tcp_listen(uint16_t port);

/* cert and key: PEM, or NULL for none; priority NULL: GnuTLS's own. False: no handshake. */
bool tls_open(uint16_t port, const buf_t *cert, const secret_t *key, const char *priority, tls_client_t *out);
/* The same from an address of loopback: "127.0.0.2". */
bool tls_open_from(const char *from, uint16_t port, const buf_t *cert, const secret_t *key,
		   tls_client_t *out);
/* Says hello and stops there; tls_finish goes on to the end of the handshake. */
bool tls_hello(uint16_t port, const buf_t *cert, const secret_t *key, tls_client_t *out);
bool tls_finish(tls_client_t *c);
/* The other end, for who stands between a client and its server: fd was accepted, and is closed in any case.
 */
bool tls_accept(int fd, const buf_t *cert, const secret_t *key, tls_client_t *out);
void tls_close(tls_client_t *c);

/* False when the peer is gone. */
bool tls_send(tls_client_t *c, const void *p, size_t n);
bool tls_send_text(tls_client_t *c, const char *text);
/* One answer with its Content-Length; of its body what fits. */
void tls_read(tls_client_t *c, tls_answer_t *out);
/* The same with all of its body; out->body is not set. */
void tls_read_all(tls_client_t *c, tls_answer_t *out, buf_t *body);
/* One request, byte for byte, with what its Content-Length says. False: none came whole, or it is longer than
 * the buffer's limit. */
bool tls_read_request(tls_client_t *c, buf_t *out);
/* Waits (at most 5 s) for the end of the stream; false when there was none. */
bool tls_ended(tls_client_t *c);

#endif
