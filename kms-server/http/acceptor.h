/* The thread that accepts connections and watches over their deadlines. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_ACCEPTOR_H
#define CLAVIGER_KMS_SERVER_HTTP_ACCEPTOR_H

#include "kms-server/http/conns.h"

typedef struct acceptor acceptor_t;

/* Takes over a connected socket, non-blocking and close-on-exec. It is the callee's in every case, failure
 * too. */
typedef kms_err_t (*acceptor_add_t)(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len);

/* listen: up to ACCEPTOR_MAX addresses of listen.h with ',' between. conns is borrowed. */
#define ACCEPTOR_MAX 8U
KMS_MUST acceptor_start(const char *listen, conns_t *conns, acceptor_add_t add, void *ctx, acceptor_t **out,
			diag_t *why);
/* The port of the first address. */
uint16_t acceptor_port(const acceptor_t *a);
/* Stops accepting. The thread goes on watching deadlines only until here: what is still open is closed by its
 * owner. */
void acceptor_stop(acceptor_t **a);

#endif
