/* The thread that accepts connections and watches over their deadlines. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_ACCEPTOR_H
#define CLAVIGER_KMS_SERVER_HTTP_ACCEPTOR_H

#include "kms-server/http/conns.h"

#include <sys/socket.h>

typedef struct acceptor acceptor_t;

/* Takes over a connected socket, non-blocking and close-on-exec. It is the callee's in every case, failure
 * too. */
typedef kms_err_t (*acceptor_add_t)(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len);

#define ACCEPTOR_MAX 8U

typedef struct acceptor_options {
	const char *listen;    /* up to ACCEPTOR_MAX addresses of listen.h with ',' between */
	networks_t proxy_from; /* TCP peers that must send a PROXY header, and are believed; nobody else is */
	conns_t *conns;        /* borrowed */
	metrics_t *metrics;    /* borrowed; NULL: nothing is counted */
	acceptor_add_t add;
	void *ctx;
} acceptor_options_t;

KMS_MUST acceptor_start(const acceptor_options_t *o, acceptor_t **out, diag_t *why);
/* The port of the first address. */
uint16_t acceptor_port(const acceptor_t *a);
/* Stops accepting. The thread goes on watching deadlines only until here: what is still open is closed by its
 * owner. */
void acceptor_stop(acceptor_t **a);

#endif
