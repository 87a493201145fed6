#include "tests/unit/kms-server/http/fake_core.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct core_job {
	core_job_t *next;
	core_done_t done;
	void *ctx;
	int refused_status;
	bool tile;
	char why[64];
	char request_id[33];
};

struct core {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	core_job_t *waiting;
	bool hold, stop;
	kms_err_t submit_returns;
	fake_seen_t seen;
};

static void *committer(void *arg)
{
	core_t *c = arg;
	(void)pthread_mutex_lock(&c->lock);
	while (!c->stop || c->waiting != NULL) {
		core_job_t *j = c->hold && !c->stop ? NULL : c->waiting;
		if (j == NULL) {
			(void)pthread_cond_wait(&c->changed, &c->lock);
			continue;
		}
		c->waiting = j->next;
		(void)pthread_mutex_unlock(&c->lock);
		j->done(j->ctx);
		(void)pthread_mutex_lock(&c->lock);
	}
	(void)pthread_mutex_unlock(&c->lock);
	return NULL;
}

core_t *fake_core_new(void)
{
	core_t *c = calloc(1, sizeof *c);
	if (c == NULL || pthread_mutex_init(&c->lock, NULL) != 0 ||
	    pthread_cond_init(&c->changed, NULL) != 0 || pthread_create(&c->thread, NULL, committer, c) != 0)
		abort();
	return c;
}

static void change_begin(core_t *c)
{
	(void)pthread_mutex_lock(&c->lock);
}

static void change_end(core_t *c)
{
	(void)pthread_cond_broadcast(&c->changed);
	(void)pthread_mutex_unlock(&c->lock);
}

void core_stop(core_t *c)
{
	change_begin(c);
	bool again = c->stop;
	c->stop = true;
	c->submit_returns = KMS_E_UNAVAILABLE;
	change_end(c);
	if (!again)
		(void)pthread_join(c->thread, NULL);
}

void fake_core_free(core_t *c)
{
	core_stop(c);
	(void)pthread_mutex_destroy(&c->lock);
	(void)pthread_cond_destroy(&c->changed);
	free(c);
}

void fake_core_hold(core_t *c, bool on)
{
	change_begin(c);
	c->hold = on;
	change_end(c);
}

void fake_core_submit_returns(core_t *c, kms_err_t e)
{
	change_begin(c);
	c->submit_returns = e;
	change_end(c);
}

void fake_core_seen(core_t *c, fake_seen_t *out)
{
	change_begin(c);
	*out = c->seen;
	change_end(c);
}

bool fake_core_wait_submitted(core_t *c, size_t n)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	(void)pthread_mutex_lock(&c->lock);
	int e = 0;
	while (e == 0 && c->seen.submitted < n)
		e = pthread_cond_timedwait(&c->changed, &c->lock, &until);
	bool ok = c->seen.submitted >= n;
	(void)pthread_mutex_unlock(&c->lock);
	return ok;
}

static void take_note(core_t *c, const core_request_t *r)
{
	size_t n = r->body.n < sizeof c->seen.body ? r->body.n : sizeof c->seen.body;
	c->seen.submitted++;
	c->seen.last = *r;
	c->seen.last.body = span_of(NULL, 0);
	c->seen.body_len = r->body.n;
	memset(c->seen.body, 0, sizeof c->seen.body);
	if (n > 0)
		memcpy(c->seen.body, r->body.p, n);
}

kms_err_t core_submit(core_t *c, const core_request_t *r, core_done_t done, void *ctx, core_job_t **out)
{
	change_begin(c);
	kms_err_t e = c->submit_returns;
	if (e == KMS_OK) {
		core_job_t *j = calloc(1, sizeof *j);
		if (j == NULL)
			abort();
		j->done = done;
		j->ctx = ctx;
		j->refused_status = r->refused != KMS_OK ? r->refused_status : 0;
		(void)snprintf(j->why, sizeof j->why, "%.63s", r->why.text);
		j->tile = r->tile.width > 0;
		memcpy(j->request_id, r->request_id, sizeof j->request_id);
		take_note(c, r);
		core_job_t **at = &c->waiting;
		while (*at != NULL)
			at = &(*at)->next;
		*at = j;
		*out = j;
	}
	change_end(c);
	return e;
}

void core_finish(core_t *c, core_job_t *job, core_reply_t *out)
{
	change_begin(c);
	c->seen.finished++;
	change_end(c);
	if (job->refused_status != 0) {
		*out = (core_reply_t){.status = job->refused_status,
				      .content_type = "application/problem+json"};
		buf_printf(&out->body, "refused %s %s", job->request_id, job->why);
	} else {
		*out = (core_reply_t){.status = 200,
				      .content_type = "application/json",
				      .cache = job->tile ? FAKE_TILE_CACHE : NULL};
		buf_str(&out->body, "{\"ok\":true}");
	}
	free(job);
}

void core_reply_free(core_reply_t *r)
{
	buf_free(&r->body);
}

void core_health(core_t *c, core_reply_t *out)
{
	(void)c;
	*out = (core_reply_t){.status = 503, .retry_after = 7, .content_type = "application/json"};
	buf_str(&out->body, "{\"status\":\"sealed\"}");
}

void core_problem(core_reply_t *out, int status, const char *slug, const char *request_id, const char *fmt,
		  ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	*out = (core_reply_t){.status = status, .content_type = "application/problem+json"};
	buf_printf(&out->body, "%s %s %s", slug, request_id, text);
}
