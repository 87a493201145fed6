#include "kms-server/core/core.h"

#include "common/base/scope.h"
#include "common/io/log.h"
#include "kms-server/core/internal.h"

#include <stdarg.h>

void core_reply_free(core_reply_t *r)
{
	buf_free(&r->body);
	*r = (core_reply_t){0};
}

void job_free(core_job_t *job)
{
	if (job == NULL)
		return;
	job_forget(job);
	free(job);
}

static bool over_budget(core_t *c, core_job_t *job)
{
	const caller_t *who = &job->rq.caller;
	if (who->kind != CALLER_VERIFIED || budget_take(c->budget, who->id.spki, clock_now(&c->clock)))
		return false;
	job->rq.refused = KMS_E_FULL;
	job->rq.refused_status = 429;
	(void)diag_fail(&job->rq.why, KMS_E_FULL, "More than %u requests a second of one identity.",
			CORE_BUDGET_RATE);
	return true;
}

kms_err_t core_submit(core_t *c, const core_request_t *r, core_done_t done, void *ctx, core_job_t **out)
{
	core_job_t *job = calloc(1, sizeof *job);
	kms_err_t e = KMS_OK;
	if (job == NULL)
		return KMS_E_NOMEM;
	job->kind = JOB_REQUEST;
	job->rq = *r;
	job->done = done;
	job->ctx = ctx;
	(void)over_budget(c, job);
	(void)pthread_mutex_lock(&c->lock);
	if (c->stopping) {
		e = KMS_E_UNAVAILABLE;
	} else if (c->queue.n >= c->max_waiting) {
		e = KMS_E_FULL;
	} else {
		*out = job; /* before the committer can see it: done may be called at once */
		joblist_add(&c->queue, job);
		(void)pthread_cond_signal(&c->more);
	}
	(void)pthread_mutex_unlock(&c->lock);
	if (e != KMS_OK)
		free(job);
	return e;
}

static void count_releases(const core_t *c, const release_set_t *set, bool opened)
{
	for (size_t i = 0; i < set->n; i++) {
		const release_t *r = &set->item[i];
		switch (r->status) {
		case RELEASE_DENIED:
			metrics_release(c->metrics, r->damaged ? METRICS_DAMAGED : METRICS_DENIED);
			break;
		case RELEASE_SUSPENDED:
			metrics_release(c->metrics, METRICS_SUSPENDED);
			break;
		case RELEASE_PENDING:
			metrics_release(c->metrics, METRICS_PENDING);
			break;
		case RELEASE_RELEASED:
			metrics_release(c->metrics, opened ? METRICS_RELEASED : METRICS_FAILED);
			break;
		}
	}
}

static void finish_release(core_t *c, core_job_t *job, core_reply_t *out)
{
	core_reply_t r = {.status = 200, .content_type = "application/json"};
	kms_err_t e = release_write(job->releases, &r.body);
	r.retry_after = release_again_s(job->releases);
	if (r.retry_after > 0)
		r.status = 202;
	if (e != KMS_OK) {
		core_reply_free(&r);
		core_problem(&r, 500, "integrity", job->rq.request_id,
			     "A wrapped secret did not open: nothing was released.");
		log_error("request %s: a wrapped secret did not open (%s)", job->rq.request_id,
			  kms_err_name(e));
	}
	*out = r;
	count_releases(c, job->releases, e == KMS_OK);
	/* the outcome rides along with the next commit */
	job->kind = JOB_OUTCOME;
	job->opened = e == KMS_OK;
	secret_freep(&job->releases->service_key);
	(void)pthread_mutex_lock(&c->lock);
	joblist_add(&c->outcomes, job);
	(void)pthread_mutex_unlock(&c->lock);
}

static void finish_query(core_t *c, core_job_t *job)
{
	job->reply = (core_reply_t){.status = 200, .content_type = "application/json"};
	kms_err_t e = audit_query_run(c, job->query, &job->reply.body);
	if (e != KMS_OK) {
		log_error("request %s: reading the log failed (%s)", job->rq.request_id, kms_err_name(e));
		job_problem(job, 500, "internal", 0, "The log could not be read.");
	}
}

static void finish_later(core_t *c, core_job_t *job)
{
	core_reply_t r = {.status = 200};
	kms_err_t e = job->later->run(c, job->later, &r);
	if (e == KMS_OK) {
		job->reply = r;
		return;
	}
	core_reply_free(&r);
	log_error("request %s: reading the log failed (%s)", job->rq.request_id, kms_err_name(e));
	if (e == KMS_E_INTEGRITY)
		job_problem(job, 500, "integrity", 0, "What was asked for failed its integrity check.");
	else
		job_problem(job, 500, "internal", 0, "The log could not be read.");
}

void core_finish(core_t *c, core_job_t *job, core_reply_t *out)
{
	if (job->releases != NULL) {
		finish_release(c, job, out);
		return;
	}
	if (job->query != NULL)
		finish_query(c, job);
	if (job->later != NULL)
		finish_later(c, job);
	*out = job->reply;
	job->reply = (core_reply_t){0};
	job_free(job);
}

void core_problem(core_reply_t *out, int status, const char *slug, const char *request_id, const char *fmt,
		  ...)
{
	diag_t text = {""};
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text.text, sizeof text.text, fmt, ap);
	va_end(ap);
	for (char *p = text.text; *p != '\0'; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	*out = (core_reply_t){.status = status, .content_type = "application/problem+json", .problem = slug};
	char type[64];
	(void)snprintf(type, sizeof type, "urn:claviger:problem:%s", slug);
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", slug, "status", status,
			      "detail", text.text, "request_id", request_id);
	if (j == NULL || json_write(j, &out->body) != KMS_OK)
		buf_free(&out->body); /* the status alone must do */
}

/* Room for the log on disk. */
static log_space_t space_of(const core_t *c)
{
	return atomic_load(&c->log_writable) ? atomic_load(&c->space) : LOG_SPACE_FULL;
}

static uint64_t checkpoint_size(const core_t *c)
{
	uint64_t size = 0;
	return audit_checkpoint(c->audit, &size, NULL) == KMS_OK ? size : 0;
}

/* Whoever asks may be nobody: names, addresses and what a party said are for metrics and logs. */
static json_t *party_json(const audit_party_t *p, uint64_t size)
{
	json_int_t lag = (json_int_t)(size > p->size ? size - p->size : 0);
	if (p->kind == AUDIT_SINK)
		return json_pack("{s:b, s:I}", "ok", p->ok, "lag", lag);
	return json_pack("{s:b, s:b, s:I}", "ok", p->ok, "conflict", p->conflict, "lag", lag);
}

static json_t *parties_json(const audit_party_t *p, size_t n, audit_party_kind_t kind, uint64_t size)
{
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		if (p[i].kind == kind && json_array_append_new(list, party_json(&p[i], size)) != 0)
			return json_decref(list), NULL; /* no memory: no health rather than half of it */
	return list;
}

static bool degraded(const audit_party_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!p[i].ok || p[i].conflict)
			return true;
	return false;
}

static json_t *health_json(core_t *c, const char *status)
{
	audit_party_t p[AUDIT_PARTIES_MAX];
	size_t n = audit_parties(c->audit, p);
	uint64_t size = audit_size(c->audit);
	log_space_t space = space_of(c);
	bool behind = limits_witness_behind(c);
	return json_pack(
		"{s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:s, s:s, s:I, s:I, s:o, s:o, s:[s], s:[s, s], "
		"s:s, s:I, "
		"s:i}",
		"status", status, "initialised", 1, "bootstrap", atomic_load(&c->bootstrap), "sealed",
		atomic_load(&c->sealed), "log_writable", atomic_load(&c->log_writable), "degraded",
		space != LOG_SPACE_OK || behind || degraded(p, n), "witness_behind", behind, "log_space",
		log_space_name(space), "operator_networks",
		c->operator_networks.n > 0 ? "listed" : "anywhere", "log_size", (json_int_t)size,
		"checkpoint_size", (json_int_t)checkpoint_size(c), "witnesses",
		parties_json(p, n, AUDIT_WITNESS, size), "sinks", parties_json(p, n, AUDIT_SINK, size), "api",
		"v1", "features", "maintenance", "audit-log", "version", CLAVIGER_VERSION, "time_ms",
		(json_int_t)clock_now(&c->clock), "durable_copies_required", (int)c->copies.required);
}

static bool add_reviews(core_t *c, json_t *to)
{
	return json_object_set_new(to, "reviews",
				   json_pack("{s:I, s:I}", "open", (json_int_t)atomic_load(&c->reviews.open),
					     "overdue", (json_int_t)atomic_load(&c->reviews.overdue))) == 0;
}

static bool add_escrow(core_t *c, json_t *to)
{
	return json_object_set_new(to, "escrow",
				   json_pack("{s:I, s:I, s:I}", "overdue",
					     (json_int_t)atomic_load(&c->escrow.overdue), "failed",
					     (json_int_t)atomic_load(&c->escrow.failed), "without_header",
					     (json_int_t)atomic_load(&c->escrow.bare))) == 0;
}

/* null until a copy was confirmed */
static bool add_copies(core_t *c, json_t *to)
{
	int64_t newest = atomic_load(&c->copies.newest_ms), age = clock_now(&c->clock) - newest;
	json_t *seconds = newest != 0 ? json_integer((json_int_t)(age > 0 ? age / 1000 : 0)) : json_null();
	return json_object_set_new(to, "newest_copy_age_s", seconds) == 0;
}

void core_health(core_t *c, core_reply_t *out)
{
	bool sealed = atomic_load(&c->sealed), writable = atomic_load(&c->log_writable);
	bool stopping = atomic_load(&c->failed) || atomic_load(&c->ended);
	bool low = atomic_load(&c->space) != LOG_SPACE_OK;
	const char *status = stopping    ? "stopping"
			     : !writable ? "log-not-writable"
			     : sealed    ? "sealed"
			     : low       ? "log-space-low"
					 : "ok";
	*out = (core_reply_t){.status = stopping || !writable || sealed || low ? 503 : 200,
			      .content_type = "application/json"};
	out->retry_after = out->status == 503 ? 5 : 0;
	SCOPED(json_freep) json_t *j = health_json(c, status);
	if (j == NULL || !add_reviews(c, j) || !add_escrow(c, j) || !add_copies(c, j) ||
	    json_write(j, &out->body) != KMS_OK)
		buf_free(&out->body);
}

void core_view(core_t *c, metrics_view_t *out)
{
	out->sealed = atomic_load(&c->sealed);
	out->log_writable = atomic_load(&c->log_writable);
	out->space = space_of(c);
	out->log_size = audit_size(c->audit);
	out->checkpoint_size = checkpoint_size(c);
	out->polls = atomic_load(&c->n_polls);
	out->reviews_open = atomic_load(&c->reviews.open);
	out->reviews_overdue = atomic_load(&c->reviews.overdue);
	out->escrow_overdue = atomic_load(&c->escrow.overdue);
	out->escrow_failed = atomic_load(&c->escrow.failed);
	out->escrow_bare = atomic_load(&c->escrow.bare);
	out->copies_required = c->copies.required;
	out->copies_newest_ms = atomic_load(&c->copies.newest_ms);
	(void)pthread_mutex_lock(&c->lock);
	out->waiting = c->queue.n;
	(void)pthread_mutex_unlock(&c->lock);
	out->n_parties = audit_parties(c->audit, out->party);
}

void core_archived(core_t *c, uint64_t upto)
{
	atomic_store(&c->archived, upto);
}

bool core_failed(const core_t *c)
{
	return atomic_load(&((core_t *)(uintptr_t)c)->failed);
}
