/* The connections of listed bastions from accept() until their PROXY header is whole. Nothing here blocks:
 * the acceptor's poll() says what is ready, and a header has PROXY_WAIT_MS. Only the header's bytes are read.
 *
 * Threads: the acceptor's. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_PROXY_WAIT_H
#define CLAVIGER_KMS_SERVER_HTTP_PROXY_WAIT_H

#include "kms-server/http/proxy_v2.h"

#include <poll.h>

#define PROXY_WAIT_MAX 256U /* at once; one more takes the place of the one that has waited longest */
#define PROXY_WAIT_MS  5000

typedef struct proxy_wait proxy_wait_t;

typedef struct proxy_peer {
	int fd;
	struct sockaddr_storage from; /* the bastion */
	socklen_t len;
	endpoint_t at; /* the same */
} proxy_peer_t;

/* Both are called within the functions below, once a connection, and not at all for one that ends without a
 * byte (a load balancer's look whether the port is open). */
typedef struct proxy_wait_events {
	void (*whole)(void *ctx, const proxy_peer_t *p, const proxy_v2_t *said); /* takes over p->fd */
	void (*refused)(void *ctx, const proxy_peer_t *p, const char *why); /* p->fd is closed afterwards */
	void *ctx;
} proxy_wait_events_t;

KMS_MUST proxy_wait_new(const proxy_wait_events_t *events, proxy_wait_t **out);
/* Closes what still waits, without a word. */
void proxy_wait_freep(proxy_wait_t **w);

/* Takes over a non-blocking socket, and reads what has come already. */
void proxy_wait_take(proxy_wait_t *w, const proxy_peer_t *p);
size_t proxy_wait_count(const proxy_wait_t *w);
/* What poll() is to look at, and what it has found: nothing may be taken in between. */
size_t proxy_wait_poll(const proxy_wait_t *w, struct pollfd out[PROXY_WAIT_MAX]);
void proxy_wait_ready(proxy_wait_t *w, const struct pollfd *p, size_t n);
/* Refuses those that have waited for `ms`. */
void proxy_wait_expire(proxy_wait_t *w, int64_t ms);

#endif
