#include "kms-server/http/parking.h"

#include "common/base/scope.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define BATCH 64

struct parking {
	pthread_mutex_t lock;
	pthread_t thread;
	bool running, stopping;
	int epoll, wake;
	park_t *first;
};

/* --- the list, with the lock held --- */

static void link_in(parking_t *p, park_t *place)
{
	place->prev = NULL;
	place->next = p->first;
	if (p->first != NULL)
		p->first->prev = place;
	p->first = place;
}

static void unlink_from(parking_t *p, park_t *place)
{
	if (place->prev != NULL)
		place->prev->next = place->next;
	else
		p->first = place->next;
	if (place->next != NULL)
		place->next->prev = place->prev;
	place->prev = place->next = NULL;
}

/* --- parking, on the connection's thread --- */

/* Suspended before it is watched: a resumption of what is not suspended yet would be lost. */
static void park(park_t *place)
{
	parking_t *p = place->parking;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = place};
	(void)pthread_mutex_lock(&p->lock);
	if (!p->stopping) {
		MHD_suspend_connection(place->mhd);
		link_in(p, place);
		if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, place->fd, &ev) != 0) {
			unlink_from(p, place);
			MHD_resume_connection(place->mhd);
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
}

static ssize_t on_pull(gnutls_transport_ptr_t ptr, void *data, size_t n)
{
	park_t *place = ptr;
	ssize_t got = recv(place->fd, data, n, 0);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && place->shaking) {
		park(place);
		errno = EAGAIN;
	}
	return got;
}

/* After the client's Finished nothing of the handshake is waited for, and libmicrohttpd's own waiting is
 * right. */
static int on_finished(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
		       const gnutls_datum_t *msg)
{
	(void)type;
	(void)when;
	(void)msg;
	park_t *place = gnutls_transport_get_ptr(session);
	if (incoming != 0)
		place->shaking = false;
	return 0;
}

void parking_attach(parking_t *p, struct MHD_Connection *mhd, gnutls_session_t session, int fd, park_t *place)
{
	*place = (park_t){.parking = p, .mhd = mhd, .fd = fd, .shaking = true};
	gnutls_transport_set_ptr2(session, place, (gnutls_transport_ptr_t)(intptr_t)fd);
	gnutls_transport_set_pull_function(session, on_pull);
	gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, on_finished);
}

/* --- watching --- */

/* After the resumption the place may be gone. */
static void unpark(parking_t *p, park_t *place)
{
	struct MHD_Connection *mhd = place->mhd;
	(void)pthread_mutex_lock(&p->lock);
	unlink_from(p, place);
	(void)pthread_mutex_unlock(&p->lock);
	(void)epoll_ctl(p->epoll, EPOLL_CTL_DEL, place->fd, NULL);
	MHD_resume_connection(mhd);
}

static void *watch(void *arg)
{
	parking_t *p = arg;
	for (;;) {
		struct epoll_event ev[BATCH];
		int n = epoll_wait(p->epoll, ev, BATCH, -1);
		bool end = false;
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr == NULL)
				end = true;
			else
				unpark(p, ev[i].data.ptr);
		}
		if (end)
			return NULL;
	}
}

static kms_err_t start(parking_t *p)
{
	pthread_attr_t attr;
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	if (p->epoll < 0 || p->wake < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->wake, &ev) != 0)
		return KMS_E_IO;
	if (pthread_attr_init(&attr) != 0)
		return KMS_E_NOMEM;
	int e = pthread_attr_setstacksize(&attr, 128U * 1024U);
	if (e == 0)
		e = pthread_create(&p->thread, &attr, watch, p);
	(void)pthread_attr_destroy(&attr);
	p->running = e == 0;
	return e == 0 ? KMS_OK : KMS_E_IO;
}

kms_err_t parking_new(parking_t **out, diag_t *why)
{
	SCOPED(parking_freep) parking_t *p = calloc(1, sizeof *p);
	if (p == NULL)
		return KMS_E_NOMEM;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pthread_mutex_init(&p->lock, NULL) != 0)
		return KMS_E_NOMEM;
	if (start(p) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "the thread that watches handshakes: %s", strerror(errno));
	*out = TAKE(p);
	return KMS_OK;
}

void parking_stop(parking_t *p)
{
	uint64_t one = 1;
	(void)pthread_mutex_lock(&p->lock);
	p->stopping = true;
	(void)pthread_mutex_unlock(&p->lock);
	/* the watcher ends first: it may hold a place that is resumed below */
	if (p->running && write(p->wake, &one, sizeof one) == (ssize_t)sizeof one)
		(void)pthread_join(p->thread, NULL);
	p->running = false;
	while (p->first != NULL)
		unpark(p, p->first);
}

void parking_freep(parking_t **p)
{
	if (*p == NULL)
		return;
	parking_stop(*p);
	closep(&(*p)->epoll);
	closep(&(*p)->wake);
	(void)pthread_mutex_destroy(&(*p)->lock);
	free(*p);
	*p = NULL;
}
