#include "kms-server/http/proxy_wait.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <errno.h>

typedef struct waiting {
	proxy_peer_t peer;
	int64_t since_ms; /* of steady_ms */
	size_t have;
	uint8_t bytes[PROXY_V2_MAX];
} waiting_t;

struct proxy_wait {
	proxy_wait_events_t events;
	size_t n;
	waiting_t list[PROXY_WAIT_MAX];
};

kms_err_t proxy_wait_new(const proxy_wait_events_t *events, proxy_wait_t **out)
{
	proxy_wait_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return KMS_E_NOMEM;
	w->events = *events;
	*out = w;
	return KMS_OK;
}

void proxy_wait_freep(proxy_wait_t **w)
{
	if (*w == NULL)
		return;
	for (size_t i = 0; i < (*w)->n; i++)
		(void)close((*w)->list[i].peer.fd);
	free(*w);
	*w = NULL;
}

size_t proxy_wait_count(const proxy_wait_t *w)
{
	return w != NULL ? w->n : 0;
}

/* The last one takes its place: those in front stay where poll() saw them. */
static void leave(proxy_wait_t *w, size_t i)
{
	w->n--;
	if (i != w->n)
		w->list[i] = w->list[w->n];
}

static void refuse(proxy_wait_t *w, size_t i, const char *why)
{
	proxy_peer_t p = w->list[i].peer;
	if (w->list[i].have > 0 || why != NULL)
		w->events.refused(w->events.ctx, &p, why != NULL ? why : "it closed within its header");
	(void)close(p.fd);
	leave(w, i);
}

static void whole(proxy_wait_t *w, size_t i, const proxy_v2_t *said)
{
	proxy_peer_t p = w->list[i].peer;
	leave(w, i);
	w->events.whole(w->events.ctx, &p, said);
}

/* Never more than the header is sure to have: the byte behind it is TLS's. */
static void read_some(proxy_wait_t *w, size_t i)
{
	waiting_t *at = &w->list[i];
	proxy_v2_t said;
	while (proxy_v2_parse(span_of(at->bytes, at->have), &said) == PROXY_V2_MORE) {
		ssize_t got = recv(at->peer.fd, at->bytes + at->have, said.length - at->have, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			refuse(w, i, NULL);
			return;
		}
		at->have += (size_t)got;
	}
	if (said.why != NULL)
		refuse(w, i, said.why);
	else
		whole(w, i, &said);
}

static size_t oldest(const proxy_wait_t *w)
{
	size_t o = 0;
	for (size_t i = 1; i < w->n; i++)
		if (w->list[i].since_ms < w->list[o].since_ms)
			o = i;
	return o;
}

void proxy_wait_take(proxy_wait_t *w, const proxy_peer_t *p)
{
	if (w->n == PROXY_WAIT_MAX)
		refuse(w, oldest(w), "too many connections wait for their PROXY header");
	size_t i = w->n++;
	w->list[i].peer = *p;
	w->list[i].since_ms = steady_ms();
	w->list[i].have = 0;
	read_some(w, i);
}

size_t proxy_wait_poll(const proxy_wait_t *w, struct pollfd out[PROXY_WAIT_MAX])
{
	for (size_t i = 0; i < proxy_wait_count(w); i++)
		out[i] = (struct pollfd){.fd = w->list[i].peer.fd, .events = POLLIN};
	return proxy_wait_count(w);
}

void proxy_wait_ready(proxy_wait_t *w, const struct pollfd *p, size_t n)
{
	for (size_t i = n; i-- > 0;)
		if (p[i].revents != 0)
			read_some(w, i);
}

void proxy_wait_expire(proxy_wait_t *w, int64_t ms)
{
	int64_t since = steady_ms() - ms;
	for (size_t i = proxy_wait_count(w); i-- > 0;)
		if (w->list[i].since_ms <= since)
			refuse(w, i, "its PROXY header did not come in time");
}
