/* Connections whose handshake waits for the peer. libmicrohttpd 0.9.75 with epoll tries such a handshake
 * again and again without pause (it forgets to note that nothing was there to read): a client that says hello
 * and then nothing would cost a whole core, and under load half the time goes there. So the connection is
 * suspended at that point, its socket watched here, and resumed when there is something to read. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_PARKING_H
#define CLAVIGER_KMS_SERVER_HTTP_PARKING_H

#include "common/base/err.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdbool.h>

typedef struct parking parking_t;

/* A connection's place, in memory of the connection: it must outlive the TLS session. */
typedef struct park {
	parking_t *parking;
	struct MHD_Connection *mhd;
	int fd;
	bool shaking;             /* the handshake is not over; of the connection's thread */
	struct park *prev, *next; /* parked: neighbours in the list */
} park_t;

/* Starts the watching thread. */
KMS_MUST parking_new(parking_t **out, diag_t *why);
/* When the connection begins, on its thread, before the handshake. */
void parking_attach(parking_t *p, struct MHD_Connection *mhd, gnutls_session_t session, int fd,
		    park_t *place);
/* Resumes all and parks nobody any more: before libmicrohttpd is stopped, which allows no suspended
 * connection. */
void parking_stop(parking_t *p);
/* After libmicrohttpd has ended. */
void parking_freep(parking_t **p);

#endif
