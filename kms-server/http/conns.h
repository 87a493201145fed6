/* The connections that are open, from accept() to close: how many in all and from each source, and until when
 * each may take for what it is doing. libmicrohttpd's own limit is one of inactivity, which a client that
 * sends a byte now and then never reaches; here a deadline counts from the start of handshake and request
 * together.
 *
 * Threads: every function may be called from any thread. A conn_t's `caller` and `known` belong to the one
 * libmicrohttpd thread that serves the connection. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_CONNS_H
#define CLAVIGER_KMS_SERVER_HTTP_CONNS_H

#include "kms-server/core/core.h"
#include "kms-server/http/endpoint.h"
#include "kms-server/http/parking.h"

typedef struct conns conns_t;

typedef enum conn_phase {
	CONN_HANDSHAKE, /* from accept(): the request's deadline, and those that take long make room for
			   others */
	CONN_REQUEST,   /* headers, body: the request's deadline */
	CONN_WAITING,   /* suspended in the core: no deadline of ours, core has its own for long polls */
	CONN_ANSWER,    /* the answer is on its way: the request's deadline anew, for those who do not read */
	CONN_IDLE       /* kept alive between two requests */
} conn_phase_t;

typedef struct conn {
	caller_t caller; /* ip, port and via from the start; the rest once the handshake is over */
	bool known;      /* the caller's certificate has been looked at */
	park_t park;
} conn_t;

typedef struct conns_limits {
	uint32_t all;
	uint32_t per_source; /* an IPv4 address or an IPv6 /64; loopback may have all, unless a bastion says
				that it speaks for it */
	uint32_t request_ms;
	uint32_t idle_ms;
	metrics_t *metrics; /* borrowed; NULL: nothing is counted */
} conns_limits_t;

KMS_MUST conns_new(const conns_limits_t *limits, conns_t **out);
/* Every connection must be closed already. */
void conns_freep(conns_t **c);

/* True when no more than the limit are open, with those `besides` that are not admitted yet: then conns_admit
 * may be called. */
bool conns_room(conns_t *c, size_t besides);
/* Shuts down one connection, so that a new one finds room: the one that has been idle longest, or else one
 * that does not get on, with its handshake first, then with its request or with reading its answer. False:
 * there is none. */
#define CONNS_HANDSHAKE_MS 1000
#define CONNS_SLOW_MS      3000
bool conns_shed(conns_t *c);

/* Takes note of a connection just accepted: whose it is, and the bastion that said so (NULL: it is the TCP
 * peer's). FULL: too many from this source, or three quarters of all are this bastion's already: whoever
 * comes to the server itself still finds room. */
KMS_MUST conns_admit(conns_t *c, int fd, const endpoint_t *client, const endpoint_t *bastion);
/* Undoes it, when the socket was given back before it was ever served. */
void conns_forget(conns_t *c, int fd);
/* The note made for this socket, now served; NULL when there is none. Valid until conns_close. */
conn_t *conns_adopt(conns_t *c, int fd);
/* The connection ends. To be called before its socket is closed. */
void conns_close(conns_t *c, conn_t *conn);

void conns_phase(conns_t *c, conn_t *conn, conn_phase_t phase);
/* How many are open. */
size_t conns_open(conns_t *c);
/* Shuts down those past their deadline, and when more than three quarters of all are open also those that do
 * not get on (as above); libmicrohttpd then sees the end of the stream. Returns how many are open. */
size_t conns_reap(conns_t *c);

#endif
