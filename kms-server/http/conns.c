#include "kms-server/http/conns.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <pthread.h>
#include <stdlib.h>

#define SOURCES 1024U /* buckets; a power of two */

typedef struct source {
	struct source *next;
	uint8_t net[NETWORK_ADDR_LEN]; /* IPv4 mapped into IPv6, or the /64 */
	bool bastion;                  /* counts those that it speaks for; its own are another source's */
	uint32_t count;
} source_t;

typedef struct slot {
	conn_t conn; /* first: a conn_t of ours is a slot */
	int fd;
	uint64_t cookie; /* the kernel's number of the socket: a file descriptor may be another one by now */
	bool adopted;    /* somebody will call conns_close */
	bool shut;
	conn_phase_t phase;
	int64_t since_ms, deadline_ms; /* CLOCK_MONOTONIC */
	source_t *source;
	source_t *bastion; /* NULL: nobody spoke for the caller */
} slot_t;

struct conns {
	pthread_mutex_t lock;
	conns_limits_t limits;
	slot_t **by_fd;
	size_t fds;
	size_t open;
	source_t *sources[SOURCES];
};

kms_err_t conns_new(const conns_limits_t *limits, conns_t **out)
{
	conns_t *c = calloc(1, sizeof *c);
	if (c == NULL)
		return KMS_E_NOMEM;
	if (pthread_mutex_init(&c->lock, NULL) != 0) {
		free(c);
		return KMS_E_NOMEM;
	}
	c->limits = *limits;
	*out = c;
	return KMS_OK;
}

void conns_freep(conns_t **c)
{
	if (*c == NULL)
		return;
	for (size_t i = 0; i < (*c)->fds; i++)
		free((*c)->by_fd[i]);
	for (size_t i = 0; i < SOURCES; i++)
		while ((*c)->sources[i] != NULL) {
			source_t *s = (*c)->sources[i];
			(*c)->sources[i] = s->next;
			free(s);
		}
	free((*c)->by_fd);
	(void)pthread_mutex_destroy(&(*c)->lock);
	free(*c);
	*c = NULL;
}

/* --- sources --- */

/* Whoever has one address of a /64 usually has them all. */
static void net_of(const endpoint_t *e, uint8_t out[NETWORK_ADDR_LEN])
{
	memcpy(out, e->addr, NETWORK_ADDR_LEN);
	if (!network_is_v4(e->addr))
		memset(out + 8, 0, 8);
}

static source_t **source_bucket(conns_t *c, const uint8_t net[16])
{
	uint32_t h = 2166136261U; /* FNV-1a: a flood from many sources only makes a list longer, bounded by
				     `all` */
	for (size_t i = 0; i < 16; i++)
		h = (h ^ net[i]) * 16777619U;
	return &c->sources[h & (SOURCES - 1)];
}

static kms_err_t source_take(conns_t *c, const endpoint_t *from, bool bastion, uint32_t most, source_t **out)
{
	uint8_t net[NETWORK_ADDR_LEN];
	net_of(from, net);
	source_t **bucket = source_bucket(c, net);
	source_t *s = *bucket;
	while (s != NULL && (s->bastion != bastion || memcmp(s->net, net, sizeof net) != 0))
		s = s->next;
	if (s == NULL) {
		s = calloc(1, sizeof *s);
		if (s == NULL)
			return KMS_E_NOMEM;
		memcpy(s->net, net, sizeof net);
		s->bastion = bastion;
		s->next = *bucket;
		*bucket = s;
	}
	if (s->count >= most)
		return KMS_E_FULL;
	s->count++;
	*out = s;
	return KMS_OK;
}

static void source_give(conns_t *c, source_t *s)
{
	if (--s->count > 0)
		return;
	source_t **at = source_bucket(c, s->net);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s);
}

/* --- slots (all with the lock held) --- */

static slot_t *slot_at(conns_t *c, int fd)
{
	return fd >= 0 && (size_t)fd < c->fds ? c->by_fd[fd] : NULL;
}

static void slot_drop(conns_t *c, slot_t *s)
{
	c->by_fd[s->fd] = NULL;
	c->open--;
	source_give(c, s->source);
	if (s->bastion != NULL)
		source_give(c, s->bastion);
	free(s);
}

static kms_err_t table_grow(conns_t *c, int fd)
{
	if ((size_t)fd < c->fds)
		return KMS_OK;
	size_t n = ((size_t)fd + 1) * 2;
	slot_t **p = realloc(c->by_fd, n * sizeof(slot_t *));
	if (p == NULL)
		return KMS_E_NOMEM;
	memset(p + c->fds, 0, (n - c->fds) * sizeof(slot_t *));
	c->by_fd = p;
	c->fds = n;
	return KMS_OK;
}

static uint64_t socket_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t n = sizeof cookie;
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &n) != 0)
		return 0;
	return cookie;
}

/* Only ever the socket that was admitted: libmicrohttpd may have closed it in a path that does not tell us,
 * and its number may be a database file or another client's socket now. */
static void slot_shut(conns_t *c, slot_t *s)
{
	s->shut = true;
	if (s->cookie != 0 && socket_cookie(s->fd) == s->cookie)
		(void)shutdown(s->fd, SHUT_RDWR);
	else if (!s->adopted)
		slot_drop(c, s);
}

static void slot_phase(conns_t *c, slot_t *s, conn_phase_t phase)
{
	s->phase = phase;
	s->since_ms = steady_ms();
	switch (phase) {
	case CONN_HANDSHAKE:
	case CONN_REQUEST:
	case CONN_ANSWER:
		s->deadline_ms = s->since_ms + c->limits.request_ms;
		break;
	case CONN_IDLE:
		s->deadline_ms = s->since_ms + c->limits.idle_ms;
		break;
	case CONN_WAITING:
		s->deadline_ms = INT64_MAX;
		break;
	}
}

/* Our own loopback may have all; a bastion's word for loopback is not that. */
static kms_err_t slot_sources(conns_t *c, slot_t *s, const endpoint_t *client, const endpoint_t *bastion)
{
	const conns_limits_t *l = &c->limits;
	if (bastion == NULL)
		return source_take(c, client, false, endpoint_is_loopback(client) ? l->all : l->per_source,
				   &s->source);
	KMS_TRY(source_take(c, client, false, l->per_source, &s->source));
	kms_err_t e = source_take(c, bastion, true, l->all - l->all / 4, &s->bastion);
	if (e != KMS_OK)
		source_give(c, s->source);
	return e;
}

static void caller_of(const endpoint_t *client, const endpoint_t *bastion, caller_t *who)
{
	network_addr_format(client->addr, who->ip);
	who->port = client->port;
	if (bastion != NULL)
		network_addr_format(bastion->addr, who->via);
}

static kms_err_t slot_new(conns_t *c, int fd, const endpoint_t *client, const endpoint_t *bastion)
{
	SCOPED(freep) slot_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	caller_of(client, bastion, &s->conn.caller);
	KMS_TRY(table_grow(c, fd));
	/* the same number again without a close in between: that socket was given up without a word */
	if (c->by_fd[fd] != NULL)
		slot_drop(c, c->by_fd[fd]);
	KMS_TRY(slot_sources(c, s, client, bastion));
	s->fd = fd;
	s->cookie = socket_cookie(fd);
	slot_phase(c, s, CONN_HANDSHAKE);
	c->open++;
	c->by_fd[fd] = TAKE(s);
	return KMS_OK;
}

/* --- public --- */

bool conns_room(conns_t *c, size_t besides)
{
	(void)pthread_mutex_lock(&c->lock);
	bool room = c->open + besides < c->limits.all;
	(void)pthread_mutex_unlock(&c->lock);
	return room;
}

/* The one that is longest in its phase, of those that have been so since `since`. */
static slot_t *oldest_in(const conns_t *c, conn_phase_t phase, int64_t since)
{
	slot_t *oldest = NULL;
	for (size_t i = 0; i < c->fds; i++) {
		slot_t *s = c->by_fd[i];
		if (s != NULL && s->phase == phase && !s->shut && s->since_ms <= since &&
		    (oldest == NULL || s->since_ms < oldest->since_ms))
			oldest = s;
	}
	return oldest;
}

/* Who makes room for others, the first of these first, and after how long. */
static const struct {
	conn_phase_t phase;
	int64_t ms;
} shed_order[] = {{CONN_IDLE, 0},
		  {CONN_HANDSHAKE, CONNS_HANDSHAKE_MS},
		  {CONN_REQUEST, CONNS_SLOW_MS},
		  {CONN_ANSWER, CONNS_SLOW_MS}};

bool conns_shed(conns_t *c)
{
	slot_t *s = NULL;
	(void)pthread_mutex_lock(&c->lock);
	int64_t now = steady_ms();
	for (size_t i = 0; s == NULL && i < sizeof shed_order / sizeof shed_order[0]; i++)
		s = oldest_in(c, shed_order[i].phase, now - shed_order[i].ms);
	if (s != NULL)
		slot_shut(c, s);
	(void)pthread_mutex_unlock(&c->lock);
	return s != NULL;
}

kms_err_t conns_admit(conns_t *c, int fd, const endpoint_t *client, const endpoint_t *bastion)
{
	(void)pthread_mutex_lock(&c->lock);
	kms_err_t e = slot_new(c, fd, client, bastion);
	(void)pthread_mutex_unlock(&c->lock);
	metrics_count(c->limits.metrics, e == KMS_OK ? METRICS_CONNECTIONS : METRICS_CONNECTIONS_REFUSED);
	return e;
}

void conns_forget(conns_t *c, int fd)
{
	(void)pthread_mutex_lock(&c->lock);
	slot_t *s = slot_at(c, fd);
	if (s != NULL)
		slot_drop(c, s);
	(void)pthread_mutex_unlock(&c->lock);
}

conn_t *conns_adopt(conns_t *c, int fd)
{
	(void)pthread_mutex_lock(&c->lock);
	slot_t *s = slot_at(c, fd);
	if (s != NULL)
		s->adopted = true;
	(void)pthread_mutex_unlock(&c->lock);
	return s != NULL ? &s->conn : NULL;
}

void conns_close(conns_t *c, conn_t *conn)
{
	if (conn->park.shaking)
		metrics_count(c->limits.metrics, METRICS_HANDSHAKES_FAILED);
	(void)pthread_mutex_lock(&c->lock);
	slot_drop(c, (slot_t *)conn);
	(void)pthread_mutex_unlock(&c->lock);
}

void conns_phase(conns_t *c, conn_t *conn, conn_phase_t phase)
{
	(void)pthread_mutex_lock(&c->lock);
	slot_phase(c, (slot_t *)conn, phase);
	(void)pthread_mutex_unlock(&c->lock);
}

size_t conns_open(conns_t *c)
{
	(void)pthread_mutex_lock(&c->lock);
	size_t open = c->open;
	(void)pthread_mutex_unlock(&c->lock);
	return open;
}

/* While there is little room left, those that do not get on have less time. */
static bool is_stuck(const slot_t *s, int64_t now)
{
	bool handshake = s->phase == CONN_HANDSHAKE && now - s->since_ms >= CONNS_HANDSHAKE_MS;
	bool slow =
		(s->phase == CONN_REQUEST || s->phase == CONN_ANSWER) && now - s->since_ms >= CONNS_SLOW_MS;
	return handshake || slow;
}

size_t conns_reap(conns_t *c)
{
	(void)pthread_mutex_lock(&c->lock);
	int64_t now = steady_ms();
	bool crowded = c->open > c->limits.all / 4 * 3;
	for (size_t i = 0; i < c->fds; i++) {
		slot_t *s = c->by_fd[i];
		if (s != NULL && !s->shut && (s->deadline_ms <= now || (crowded && is_stuck(s, now))))
			slot_shut(c, s);
	}
	size_t open = c->open;
	(void)pthread_mutex_unlock(&c->lock);
	return open;
}
