/* A TLS server for tests: a deployment's CA, a server certificate, one thread that answers what it is told
 * to. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_CLIENT_TLS_SERVER_H
#define CLAVIGER_TESTS_UNIT_COMMON_CLIENT_TLS_SERVER_H

#include "common/base/buf.h"

#include <stdint.h>

typedef struct pki {
	char dir[64];
	char ca[96], cert[96], key[96]; /* files: the CA, an operator's certificate and its key (0600) */
	buf_t ca_pem, server_pem, server_key_pem;
} pki_t;

typedef struct pki_options {
	const char *server_name; /* NULL: 127.0.0.1 */
	int64_t shift_ms;        /* moves the server certificate's dates */
} pki_options_t;
void pki_make(pki_t *p, const pki_options_t *o);
void pki_free(pki_t *p);

typedef enum server_manner {
	SERVER_ANSWERS,
	SERVER_TLS12,       /* offers TLS 1.2 only */
	SERVER_WANTS_CERT,  /* refuses clients without one of the CA's */
	SERVER_SILENT,      /* reads the request and never answers */
	SERVER_HANGS_UP,    /* closes after the request */
	SERVER_PLAIN,       /* answers without TLS */
	SERVER_READS,       /* takes bytes, whatever they are, and never answers */
	SERVER_READS_PLAIN, /* the same without TLS */
	SERVER_CLOSES_EACH, /* answers, then closes the connection without saying so */
} server_manner_t;

typedef struct tls_server tls_server_t;
/* answer: the bytes of every answer, header and all. */
tls_server_t *tls_server_start(const pki_t *p, server_manner_t manner, span_t answer);
void tls_server_stop(tls_server_t *s);
unsigned tls_server_port(const tls_server_t *s);
unsigned tls_server_handshakes(tls_server_t *s);
/* Ends the connections that are open; the server goes on. */
void tls_server_hang_up(tls_server_t *s);
/* The requests so far, one after the other. The caller frees. */
char *tls_server_requests(tls_server_t *s);

/* A TCP port of 127.0.0.1 on which nobody listens. */
unsigned closed_port(void);

#endif
