#include "kms-server/http/acceptor.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/log.h"
#include "kms-server/http/listen.h"
#include "kms-server/http/proxy_wait.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#define TICK_MS    500 /* how late a deadline may be noticed */
#define FULL_MS    20  /* how soon to look again when there was no room */
#define BACKOFF_MS 100 /* after accept() failed for want of descriptors or memory */
#define BATCH      64  /* connections taken from one socket before the others have their turn */
#define SHED       16

struct acceptor {
	acceptor_options_t o;
	proxy_wait_t *headers; /* NULL: nobody speaks for others */
	pthread_t thread;
	bool running;
	int wake;
	int fd[ACCEPTOR_MAX];
	uint16_t port[ACCEPTOR_MAX];
	size_t n;
	int64_t last_reap_ms, last_warn_ms;
	int64_t resume_ms; /* not accepting before this time */
};

static void warn_seldom(acceptor_t *a, const char *what)
{
	int64_t now = steady_ms();
	if (a->last_warn_ms != 0 && now - a->last_warn_ms < 60000)
		return;
	a->last_warn_ms = now;
	log_warn("connections: %s (said at most once a minute)", what);
}

/* client: whom a bastion speaks for; NULL: the TCP peer itself. */
static void hand_over(acceptor_t *a, const proxy_peer_t *p, const endpoint_t *client)
{
	kms_err_t e = conns_admit(a->o.conns, p->fd, client != NULL ? client : &p->at,
				  client != NULL ? &p->at : NULL);
	if (e != KMS_OK) {
		(void)close(p->fd);
		warn_seldom(a, e == KMS_E_FULL ? "one source or bastion is over its limit"
					       : "no memory for another one");
		return;
	}
	int on = 1;
	/* answers are one small record: they must not wait for the peer's acknowledgement */
	(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (a->o.add(a->o.ctx, p->fd, &p->from, p->len) != KMS_OK) {
		conns_forget(a->o.conns, p->fd);
		warn_seldom(a, "the TLS library took no more");
	}
}

static void header_whole(void *ctx, const proxy_peer_t *p, const proxy_v2_t *said)
{
	hand_over(ctx, p, said->local ? NULL : &said->source);
}

static void header_refused(void *ctx, const proxy_peer_t *p, const char *why)
{
	acceptor_t *a = ctx;
	char addr[NETWORK_ADDR_CAP], text[256];
	metrics_count(a->o.metrics, METRICS_PROXY_REFUSED);
	network_addr_format(p->at.addr, addr);
	(void)snprintf(text, sizeof text, "one of %s, which proxy-from lists, was closed: %s", addr, why);
	warn_seldom(a, text);
}

static void accepted(acceptor_t *a, proxy_peer_t *p)
{
	if (endpoint_of(&p->from, &p->at) != KMS_OK)
		(void)close(p->fd); /* no listener of ours is of another family */
	else if (networks_contain(&a->o.proxy_from, p->at.addr))
		proxy_wait_take(a->headers, p);
	else
		hand_over(a, p, NULL);
}

/* Errors of the connection that was to be accepted are that connection's end, not ours. */
static void accept_failed(acceptor_t *a, int error)
{
	if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
		a->resume_ms = steady_ms() + BACKOFF_MS;
		warn_seldom(a, strerror(error));
	}
}

static bool has_room(const acceptor_t *a)
{
	return conns_room(a->o.conns, proxy_wait_count(a->headers));
}

static void accept_batch(acceptor_t *a, int listener)
{
	for (int i = 0; i < BATCH && has_room(a); i++) {
		proxy_peer_t p = {.from = {.ss_family = AF_UNSPEC}, .len = sizeof p.from};
		p.fd = accept4(listener, (struct sockaddr *)&p.from, &p.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (p.fd < 0) {
			if (errno != EAGAIN)
				accept_failed(a, errno);
			return;
		}
		accepted(a, &p);
	}
}

/* Full: those that only keep a connection warm make room, or do not get on with their handshake; otherwise
 * newcomers wait in the kernel's queue. */
static void make_room(acceptor_t *a)
{
	warn_seldom(a, "as many as allowed are open");
	proxy_wait_expire(a->headers, CONNS_HANDSHAKE_MS);
	for (int i = 0; i < SHED && conns_shed(a->o.conns); i++) {
	}
}

static int wait_ms(size_t open, bool accepting)
{
	if (!accepting)
		return FULL_MS;
	return open > 0 ? TICK_MS : -1;
}

static bool accepting(acceptor_t *a)
{
	if (!has_room(a)) {
		make_room(a);
		return false;
	}
	return steady_ms() >= a->resume_ms;
}

static void look_after(acceptor_t *a, size_t *open)
{
	if (*open > 0 && steady_ms() - a->last_reap_ms < TICK_MS)
		return;
	proxy_wait_expire(a->headers, PROXY_WAIT_MS);
	*open = conns_reap(a->o.conns) + proxy_wait_count(a->headers);
	a->last_reap_ms = steady_ms();
}

static void *accept_loop(void *arg)
{
	acceptor_t *a = arg;
	size_t open = 0;
	for (;;) {
		bool take = accepting(a);
		struct pollfd p[1 + ACCEPTOR_MAX + PROXY_WAIT_MAX] = {{.fd = a->wake, .events = POLLIN}};
		for (size_t i = 0; i < a->n; i++)
			p[i + 1] = (struct pollfd){.fd = take ? a->fd[i] : -1, .events = POLLIN};
		size_t headers = proxy_wait_poll(a->headers, p + 1 + a->n);
		int n = poll(p, (nfds_t)(1 + a->n + headers), wait_ms(open, take));
		if (n < 0 && errno != EINTR)
			log_error("connections: poll: %s", strerror(errno));
		if (n > 0 && p[0].revents != 0)
			return NULL;
		if (n > 0)
			proxy_wait_ready(a->headers, p + 1 + a->n, headers);
		for (size_t i = 0; n > 0 && i < a->n; i++)
			if (p[i + 1].revents != 0)
				accept_batch(a, a->fd[i]);
		look_after(a, &open);
	}
}

static kms_err_t open_all(acceptor_t *a, const char *listen, diag_t *why)
{
	for (const char *at = listen; at != NULL;) {
		const char *comma = strchr(at, ',');
		size_t n = comma != NULL ? (size_t)(comma - at) : strlen(at);
		char one[LISTEN_TEXT_CAP];
		if (n >= sizeof one || a->n == ACCEPTOR_MAX)
			return diag_fail(why, KMS_E_INVALID,
					 "listen: an address is too long, or more than %u", ACCEPTOR_MAX);
		memcpy(one, at, n);
		one[n] = '\0';
		KMS_TRY(listen_open(one, &a->fd[a->n], &a->port[a->n], why));
		a->n++;
		at = comma != NULL ? comma + 1 : NULL;
	}
	return KMS_OK;
}

static kms_err_t thread_start(acceptor_t *a)
{
	pthread_attr_t attr;
	if (pthread_attr_init(&attr) != 0)
		return KMS_E_NOMEM;
	/* gnutls_init runs on this thread */
	int e = pthread_attr_setstacksize(&attr, 256U * 1024U);
	if (e == 0)
		e = pthread_create(&a->thread, &attr, accept_loop, a);
	(void)pthread_attr_destroy(&attr);
	a->running = e == 0;
	return e == 0 ? KMS_OK : KMS_E_IO;
}

kms_err_t acceptor_start(const acceptor_options_t *o, acceptor_t **out, diag_t *why)
{
	SCOPED(acceptor_stop) acceptor_t *a = calloc(1, sizeof *a);
	if (a == NULL)
		return KMS_E_NOMEM;
	a->o = *o;
	a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->wake < 0)
		return diag_fail(why, KMS_E_IO, "eventfd: %s", strerror(errno));
	const proxy_wait_events_t events = {.whole = header_whole, .refused = header_refused, .ctx = a};
	if (o->proxy_from.n > 0)
		KMS_TRY(proxy_wait_new(&events, &a->headers));
	KMS_TRY(open_all(a, o->listen, why));
	KMS_TRY(thread_start(a));
	*out = TAKE(a);
	return KMS_OK;
}

uint16_t acceptor_port(const acceptor_t *a)
{
	return a->port[0];
}

void acceptor_stop(acceptor_t **a)
{
	if (*a == NULL)
		return;
	if ((*a)->running) {
		uint64_t one = 1;
		/* cannot fail: the counter is at zero */
		if (write((*a)->wake, &one, sizeof one) == (ssize_t)sizeof one)
			(void)pthread_join((*a)->thread, NULL);
	}
	for (size_t i = 0; i < (*a)->n; i++)
		(void)close((*a)->fd[i]);
	proxy_wait_freep(&(*a)->headers);
	if ((*a)->wake >= 0)
		(void)close((*a)->wake);
	free(*a);
	*a = NULL;
}
