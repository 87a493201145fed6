#include "kms-server/http/late.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <errno.h>
#include <pthread.h>

#define TICK_MS 20

struct late {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	bool running, stopping;
	uint32_t rate;
	int64_t longest_ms;
	int64_t millitokens, filled_ms;
	late_place_t *first, *last;
};

/* --- with the lock held --- */

static void fill(late_t *l, int64_t now)
{
	int64_t most = (int64_t)l->rate * 1000;
	int64_t idle = now - l->filled_ms < 1000 ? now - l->filled_ms : 1000;
	l->millitokens += idle * l->rate;
	if (l->millitokens > most)
		l->millitokens = most;
	l->filled_ms = now;
}

static bool take_token(late_t *l)
{
	if (l->millitokens < 1000)
		return false;
	l->millitokens -= 1000;
	return true;
}

/* The ones whose turn it is, as a list of their own. */
static late_place_t *take_due(late_t *l, int64_t now)
{
	late_place_t *due = l->first, *end = NULL;
	fill(l, now);
	while (l->first != NULL &&
	       (l->stopping || now - l->first->since_ms >= l->longest_ms || take_token(l))) {
		end = l->first;
		l->first = end->next;
	}
	if (l->first == NULL)
		l->last = NULL;
	if (end == NULL)
		return NULL;
	end->next = NULL;
	return due;
}

static void tick(late_t *l)
{
	if (l->first == NULL)
		(void)pthread_cond_wait(&l->changed, &l->lock);
	else
		(void)steady_wait(&l->changed, &l->lock, steady_ms() + TICK_MS);
}

/* --- the thread --- */

/* After go() the place is gone. */
static void let_go(late_place_t *due)
{
	while (due != NULL) {
		late_place_t *next = due->next;
		due->go(due->ctx);
		due = next;
	}
}

static void *run(void *arg)
{
	late_t *l = arg;
	(void)pthread_mutex_lock(&l->lock);
	while (!l->stopping || l->first != NULL) {
		late_place_t *due = take_due(l, steady_ms());
		if (due == NULL && !l->stopping) {
			tick(l);
			continue;
		}
		(void)pthread_mutex_unlock(&l->lock);
		let_go(due);
		(void)pthread_mutex_lock(&l->lock);
	}
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}

static kms_err_t start(late_t *l)
{
	pthread_attr_t attr;
	if (pthread_attr_init(&attr) != 0)
		return KMS_E_NOMEM;
	int e = pthread_attr_setstacksize(&attr, 128U * 1024U);
	if (e == 0)
		e = pthread_create(&l->thread, &attr, run, l);
	(void)pthread_attr_destroy(&attr);
	l->running = e == 0;
	return e == 0 ? KMS_OK : KMS_E_IO;
}

/* --- public --- */

kms_err_t late_new(uint32_t rate, uint32_t longest_ms, late_t **out, diag_t *why)
{
	SCOPED(freep) late_t *l = calloc(1, sizeof *l);
	if (l == NULL)
		return KMS_E_NOMEM;
	l->rate = rate;
	l->longest_ms = longest_ms;
	l->millitokens = (int64_t)rate * 1000;
	l->filled_ms = steady_ms();
	(void)pthread_mutex_init(&l->lock, NULL);
	steady_cond_init(&l->changed);
	if (start(l) != KMS_OK) {
		(void)pthread_cond_destroy(&l->changed);
		(void)pthread_mutex_destroy(&l->lock);
		return diag_fail(why, KMS_E_IO, "the thread of late answers could not be started");
	}
	*out = TAKE(l);
	return KMS_OK;
}

bool late_pass(late_t *l)
{
	(void)pthread_mutex_lock(&l->lock);
	fill(l, steady_ms());
	/* nobody overtakes those who wait */
	bool pass = l->stopping || (l->first == NULL && take_token(l));
	(void)pthread_mutex_unlock(&l->lock);
	return pass;
}

void late_wait(late_t *l, late_place_t *place)
{
	(void)pthread_mutex_lock(&l->lock);
	bool stopping = l->stopping;
	place->since_ms = steady_ms();
	place->next = NULL;
	if (!stopping) {
		if (l->last != NULL)
			l->last->next = place;
		else
			l->first = place;
		l->last = place;
		(void)pthread_cond_signal(&l->changed);
	}
	(void)pthread_mutex_unlock(&l->lock);
	if (stopping)
		place->go(place->ctx);
}

void late_stop(late_t *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->stopping = true;
	(void)pthread_cond_signal(&l->changed);
	(void)pthread_mutex_unlock(&l->lock);
	if (l->running)
		(void)pthread_join(l->thread, NULL);
	l->running = false;
}

void late_freep(late_t **l)
{
	if (*l == NULL)
		return;
	late_stop(*l);
	(void)pthread_cond_destroy(&(*l)->changed);
	(void)pthread_mutex_destroy(&(*l)->lock);
	free(*l);
	*l = NULL;
}
