#include "kms-server/core/internal.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/io/log.h"

#include <stdarg.h>
#include <time.h>

#define BATCH_MAX       512U /* requests in one transaction: bounds how long the first one waits */
#define TICK_MS         500  /* deadlines of polls, gathered refusals, the mark, a full disk's retry */
#define OUTCOME_WAIT_MS 50   /* how long an outcome waits for a commit to ride along with */
#define MARK_EVERY_MS   200
#define SWEEP_EVERY_MS  (INT64_C(600) * 1000)
#define BUDGET_RATE     300U
#define BUDGET_BURST    1000U
#define DEFAULT_WAITING 65536U
#define DEFAULT_POLLS   20000U

static void list_init(job_list_t *l)
{
	*l = (job_list_t){.first = NULL, .end = NULL, .n = 0};
	l->end = &l->first;
}

static void list_add(job_list_t *l, core_job_t *job)
{
	job->next = NULL;
	*l->end = job;
	l->end = &job->next;
	l->n++;
}

static core_job_t *list_take(job_list_t *l)
{
	core_job_t *job = l->first;
	if (job == NULL)
		return NULL;
	l->first = job->next;
	if (l->first == NULL)
		l->end = &l->first;
	l->n--;
	return job;
}

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

/* --- the committer
 * ------------------------------------------------------------------------------------------ */

static void publish(core_t *c)
{
	atomic_store(&c->log_size, c->log.head.size);
	atomic_store(&c->sealed, keyring_sealed(c->keys));
}

/* The mark outside the store trails the commit: a mark of what is not durable would refuse a good database.
 */
static void write_mark(core_t *c, int64_t now, bool force)
{
	diag_t why;
	if (c->marked.size == c->log.head.size || (!force && now - c->marked_ms < MARK_EVERY_MS))
		return;
	c->marked_ms = now;
	if (core_log_mark_write(c->dir, &c->log.head, &why) == KMS_OK)
		c->marked = c->log.head;
}

static kms_err_t commit(core_t *c, store_txn_t **t)
{
	failpoint("commit.before");
	kms_err_t e = store_commit(TAKE(*t));
	if (e == KMS_OK) {
		log_sync(&c->log);
		failpoint("commit.after");
	} else {
		log_rollback(&c->log);
	}
	return e;
}

static void set_full(core_t *c, bool full)
{
	bool was = !atomic_exchange(&c->log_writable, !full);
	if (full && !was)
		log_error("the store has no space left: every request is refused until there is some");
	else if (!full && was)
		log_notice("the store has space again");
}

/* The outcome on disk is not known: a second commit over the same log position could contradict the first. */
static void set_failed(core_t *c)
{
	log_error("a commit failed in a way that leaves its outcome unknown: the server ends; a restart "
		  "checks the store");
	atomic_store(&c->failed, true);
}

static void answer_full(core_t *c, core_job_t *job)
{
	c->refused_full++;
	job_problem(job, 503, "log-not-writable", 5,
		    "The server cannot write its log (no space left), so it refuses everything.");
}

static void give_back(core_t *c, core_job_t *job)
{
	if (job->kind == JOB_OUTCOME) {
		job_free(job);
		return;
	}
	if (job->parked) {
		list_add(&c->polls, job);
		return;
	}
	if (job->rq.op == OP_NODE_TASKS && job->deadline_ms != 0)
		atomic_fetch_sub(&c->n_polls, 1);
	job->done(job->ctx);
}

/* After an abort: what was found out in the transaction is void. */
static void forget_result(core_job_t *job)
{
	if (job->kind == JOB_REQUEST)
		job_forget(job);
}

static kms_err_t process_one(core_t *c, store_txn_t *t, core_job_t *job, int64_t now, bool *wake)
{
	return job->kind == JOB_OUTCOME ? process_outcome(c, t, job, now) : process_job(c, t, job, now, wake);
}

/* What cannot be carried out is still recorded: as a request that is refused before it does anything. */
static bool refuse_broken(core_job_t *job, kms_err_t e)
{
	if (job->kind != JOB_REQUEST || job->rq.refused != KMS_OK)
		return false;
	log_error("request %s: dropped by an error after its first write (%s)", job->rq.request_id,
		  kms_err_name(e));
	job->rq.refused = e;
	job->rq.refused_status = 500;
	(void)diag_fail(&job->rq.why, e, "The server could not do this (%s); nothing was changed.",
			kms_err_name(e));
	return true;
}

typedef enum batch_result { BATCH_DONE, BATCH_FULL, BATCH_BROKEN, BATCH_FAILED } batch_result_t;

/* One transaction over the batch. Nothing is answered unless it is DONE. */
static batch_result_t try_batch(core_t *c, core_job_t *const *job, size_t n, int64_t now, bool *wake,
				kms_err_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	kms_err_t e = store_begin_write(c->store, c->log.head.size, &t);
	if (e != KMS_OK) {
		*why = e;
		return e == KMS_E_FULL ? BATCH_FULL : BATCH_FAILED;
	}
	for (size_t i = 0; i < n; i++) {
		e = process_one(c, t, job[i], now, wake);
		if (e != KMS_OK) {
			*why = e;
			log_rollback(&c->log);
			return e == KMS_E_FULL ? BATCH_FULL : BATCH_BROKEN;
		}
	}
	e = commit(c, &t);
	*why = e;
	return e == KMS_OK ? BATCH_DONE : e == KMS_E_FULL ? BATCH_FULL : BATCH_FAILED;
}

static void keep_outcome(core_t *c, core_job_t *job)
{
	(void)pthread_mutex_lock(&c->lock);
	list_add(&c->outcomes, job);
	(void)pthread_mutex_unlock(&c->lock);
}

static void settle(core_t *c, core_job_t *const *job, size_t n, batch_result_t result)
{
	set_full(c, result == BATCH_FULL);
	if (result == BATCH_FAILED)
		set_failed(c);
	publish(c);
	for (size_t i = 0; i < n; i++) {
		if (result != BATCH_DONE)
			forget_result(job[i]);
		if (job[i]->kind == JOB_OUTCOME && result == BATCH_FULL) {
			keep_outcome(c, job[i]);
			continue;
		}
		if (job[i]->kind == JOB_REQUEST && result == BATCH_FULL)
			answer_full(c, job[i]);
		else if (job[i]->kind == JOB_REQUEST && result == BATCH_BROKEN)
			job_problem(job[i], 500, "internal", 0,
				    "The server could not do this; nothing was changed.");
		else if (job[i]->kind == JOB_REQUEST && result == BATCH_FAILED)
			job_problem(job[i], 503, "stopping", 5,
				    "The server's store failed and the server ends.");
		give_back(c, job[i]);
	}
}

/* One request that cannot be carried out must not take the others with it: they are done again one by one. */
static void run_batch(core_t *c, core_job_t *const *job, size_t n, bool *wake)
{
	kms_err_t why = KMS_OK;
	bool woke = false;
	int64_t now = clock_now(&c->clock);
	batch_result_t r = try_batch(c, job, n, now, &woke, &why);
	if (r == BATCH_BROKEN && n > 1) {
		for (size_t i = 0; i < n; i++)
			forget_result(job[i]);
		for (size_t i = 0; i < n; i++)
			run_batch(c, job + i, 1, wake);
		return;
	}
	if (r == BATCH_BROKEN && refuse_broken(job[0], why)) {
		forget_result(job[0]);
		run_batch(c, job, 1, wake);
		return;
	}
	settle(c, job, n, r);
	*wake |= woke && r == BATCH_DONE;
	write_mark(c, now, false);
}

/* --- what time does
 * ----------------------------------------------------------------------------------------- */

static kms_err_t tick_writes(core_t *c, store_txn_t *t, int64_t now)
{
	gather_row_t row;
	if (!atomic_load(&c->log_writable)) {
		char text[80];
		(void)snprintf(text, sizeof text, "%u requests were refused for want of space",
			       c->refused_full);
		KMS_TRY(process_system(c, t, "log.recovered", 6, "done", text, now));
	}
	while (gather_take(c->gather, now, false, &row))
		KMS_TRY(process_gathered(c, t, &row, now));
	if (now - c->swept_ms >= SWEEP_EVERY_MS && !keyring_sealed(c->keys)) {
		KMS_TRY(sweep(c, t, now));
		c->swept_ms = now;
	}
	return KMS_OK;
}

static void tick(core_t *c, int64_t now)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	kms_err_t e = store_begin_write(c->store, c->log.head.size, &t);
	if (e == KMS_OK)
		e = tick_writes(c, t, now);
	if (e == KMS_OK)
		e = commit(c, &t);
	else
		log_rollback(&c->log);
	if (e == KMS_OK && !atomic_load(&c->log_writable))
		c->refused_full = 0;
	if (e == KMS_E_FULL || e == KMS_OK)
		set_full(c, e == KMS_E_FULL);
	else if (e == KMS_E_IO)
		set_failed(c);
	else
		log_error("housekeeping failed: %s", kms_err_name(e));
	publish(c);
	write_mark(c, now, false);
}

/* Polls that are due, or all of them when there are new tasks, go back to the queue's front. */
static void requeue_polls(core_t *c, bool all, int64_t now)
{
	job_list_t keep, again;
	core_job_t *job;
	list_init(&keep);
	list_init(&again);
	while ((job = list_take(&c->polls)) != NULL)
		list_add(all || now >= job->deadline_ms ? &again : &keep, job);
	list_init(&c->polls);
	while ((job = list_take(&keep)) != NULL)
		list_add(&c->polls, job);
	(void)pthread_mutex_lock(&c->lock);
	while ((job = list_take(&again)) != NULL)
		list_add(&c->queue, job);
	(void)pthread_mutex_unlock(&c->lock);
}

static void in_ms(struct timespec *ts, long ms)
{
	(void)clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_nsec += ms * 1000000L;
	ts->tv_sec += ts->tv_nsec / 1000000000L;
	ts->tv_nsec %= 1000000000L;
}

/* Waits for work; fills the batch, outcomes last. False: stopping and nothing is left to answer. */
static bool gather_batch(core_t *c, core_job_t **batch, size_t *n)
{
	struct timespec until;
	(void)pthread_mutex_lock(&c->lock);
	in_ms(&until, c->outcomes.n > 0 ? OUTCOME_WAIT_MS : TICK_MS);
	while (c->queue.n == 0 && !c->stopping)
		if (pthread_cond_timedwait(&c->more, &c->lock, &until) != 0)
			break;
	size_t most = c->commit_each ? 1 : BATCH_MAX, got = 0;
	while (got < most && c->queue.n > 0)
		batch[got++] = list_take(&c->queue);
	size_t outcomes = atomic_load(&c->log_writable) ? BATCH_MAX : 0;
	for (; outcomes > 0 && c->outcomes.n > 0; outcomes--)
		batch[got++] = list_take(&c->outcomes);
	bool go_on = !c->stopping || got > 0;
	(void)pthread_mutex_unlock(&c->lock);
	*n = got;
	return go_on;
}

static void answer_stopping(core_t *c)
{
	core_job_t *job;
	requeue_polls(c, true, 0);
	(void)pthread_mutex_lock(&c->lock);
	job_list_t rest = c->queue;
	if (rest.n == 0)
		list_init(&rest);
	list_init(&c->queue);
	(void)pthread_mutex_unlock(&c->lock);
	while ((job = list_take(&rest)) != NULL) {
		job->parked = false;
		job_problem(job, 503, "stopping", 5, "The server is stopping.");
		give_back(c, job);
	}
}

static void *committer(void *arg)
{
	core_t *c = arg;
	core_job_t *batch[2 * BATCH_MAX];
	size_t n = 0;
	while (!atomic_load(&c->failed) && gather_batch(c, batch, &n)) {
		bool wake = false;
		if (n > 0)
			run_batch(c, batch, n, &wake);
		int64_t now = clock_now(&c->clock);
		if (wake)
			requeue_polls(c, true, now);
		if (now - c->ticked_ms >= TICK_MS || now < c->ticked_ms) {
			c->ticked_ms = now;
			requeue_polls(c, false, now);
			tick(c, now);
		}
	}
	(void)pthread_mutex_lock(&c->lock);
	c->stopping = true; /* after a failure too: nothing more is taken in */
	(void)pthread_mutex_unlock(&c->lock);
	answer_stopping(c);
	atomic_store(&c->ended, true);
	return NULL;
}

/* --- the edge's side
 * ---------------------------------------------------------------------------------------- */

static bool over_budget(core_t *c, core_job_t *job)
{
	const caller_t *who = &job->rq.caller;
	if (who->kind != CALLER_VERIFIED || budget_take(c->budget, who->id.spki, clock_now(&c->clock)))
		return false;
	job->rq.refused = KMS_E_FULL;
	job->rq.refused_status = 429;
	(void)diag_fail(&job->rq.why, KMS_E_FULL, "More than %u requests a second of one identity.",
			BUDGET_RATE);
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
		list_add(&c->queue, job);
		(void)pthread_cond_signal(&c->more);
	}
	(void)pthread_mutex_unlock(&c->lock);
	if (e != KMS_OK)
		free(job);
	return e;
}

static void finish_release(core_t *c, core_job_t *job, core_reply_t *out)
{
	core_reply_t r = {.status = 200, .content_type = "application/json"};
	kms_err_t e = release_write(job->releases, &r.body);
	if (e != KMS_OK) {
		core_reply_free(&r);
		core_problem(&r, 500, "integrity", job->rq.request_id,
			     "A wrapped secret did not open: nothing was released.");
		log_error("request %s: a wrapped secret did not open (%s)", job->rq.request_id,
			  kms_err_name(e));
	}
	*out = r;
	/* the outcome rides along with the next commit */
	job->kind = JOB_OUTCOME;
	job->opened = e == KMS_OK;
	secret_freep(&job->releases->service_key);
	(void)pthread_mutex_lock(&c->lock);
	list_add(&c->outcomes, job);
	(void)pthread_mutex_unlock(&c->lock);
}

static void finish_query(core_t *c, core_job_t *job)
{
	job->reply = (core_reply_t){.status = 200, .content_type = "application/json"};
	kms_err_t e = audit_query_run(c->store, job->query, &job->reply.body);
	if (e != KMS_OK) {
		log_error("request %s: reading the log failed (%s)", job->rq.request_id, kms_err_name(e));
		job_problem(job, 500, "internal", 0, "The log could not be read.");
	}
}

void core_finish(core_t *c, core_job_t *job, core_reply_t *out)
{
	if (job->releases != NULL) {
		finish_release(c, job, out);
		return;
	}
	if (job->query != NULL)
		finish_query(c, job);
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
	*out = (core_reply_t){.status = status, .content_type = "application/problem+json"};
	char type[64];
	(void)snprintf(type, sizeof type, "urn:claviger:problem:%s", slug);
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", type, "title", slug, "status", status,
			      "detail", text.text, "request_id", request_id);
	if (j == NULL || json_write(j, &out->body) != KMS_OK)
		buf_free(&out->body); /* the status alone must do */
}

void core_health(core_t *c, core_reply_t *out)
{
	bool sealed = atomic_load(&c->sealed), writable = atomic_load(&c->log_writable);
	bool stopping = atomic_load(&c->failed) || atomic_load(&c->ended);
	const char *status = stopping    ? "stopping"
			     : !writable ? "log-not-writable"
			     : sealed    ? "sealed"
					 : "ok";
	*out = (core_reply_t){.status = stopping || !writable || sealed ? 503 : 200,
			      .content_type = "application/json"};
	out->retry_after = out->status == 503 ? 5 : 0;
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s, s:b, s:b, s:b, s:I, s:[s], s:[s], s:s, s:I, s:i}", "status", status,
			      "initialised", 1, "sealed", sealed, "log_writable", writable, "log_size",
			      (json_int_t)atomic_load(&c->log_size), "api", "v1", "features", "maintenance",
			      "version", CLAVIGER_VERSION, "time_ms", (json_int_t)clock_now(&c->clock),
			      "durable_copies_required", 0);
	if (j == NULL || json_write(j, &out->body) != KMS_OK)
		buf_free(&out->body);
}

bool core_failed(const core_t *c)
{
	return atomic_load(&((core_t *)(uintptr_t)c)->failed);
}

/* --- start and stop
 * ----------------------------------------------------------------------------------------- */

static kms_err_t check_mark(core_t *c, diag_t *why)
{
	log_head_t mark;
	kms_err_t e = core_log_mark_read(c->dir, &mark, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	const log_head_t *head = &c->log.head;
	bool older = head->epoch < mark.epoch || (head->epoch == mark.epoch && head->size < mark.size);
	if (older)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the database is older than what this server has acknowledged: its log has "
				 "%llu events of "
				 "epoch %u, the mark %s/log.head knows %llu of epoch %u. Put the newest "
				 "database back, or restore "
				 "a backup with kms-server restore --accept-rollback.",
				 (unsigned long long)head->size, head->epoch, c->dir,
				 (unsigned long long)mark.size, mark.epoch);
	if (head->epoch == mark.epoch && mark.size > 0)
		return log_check_at(c->store, &mark, why);
	return KMS_OK;
}

/* Releases that a crash left without an outcome. */
static kms_err_t complete_open(core_t *c, store_txn_t *t, int64_t now)
{
	uint64_t at;
	kms_err_t e;
	while ((e = log_open_first(t, &at)) == KMS_OK) {
		open_release_t o;
		char uid[PATH3_CAP];
		uint64_t index;
		KMS_TRY(log_open_take(t, at, &o));
		(void)snprintf(uid, sizeof uid, "%s/%s/%s", o.customer, o.service, o.volume);
		const core_op_info_t *info = core_op_info(OP_VOLUME_RELEASE);
		event_t ev = {.time_ms = now,
			      .operation = info->action,
			      .class_uid = info->class_uid,
			      .activity_id = info->activity_id,
			      .status_code = "unknown",
			      .status_detail = "the server ended before the outcome was recorded",
			      .actor_name = o.actor,
			      .actor_type = "node",
			      .decision = "allow",
			      .statement = "outcome",
			      .request_id = o.request_id,
			      .customer = o.customer,
			      .resource_uid = uid,
			      .resource_type = "volume",
			      .correlation_uid = o.uid};
		KMS_TRY(log_append(&c->log, t, &ev, &index));
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t first_commit(core_t *c)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	int64_t now = clock_now(&c->clock);
	KMS_TRY(store_begin_write(c->store, c->log.head.size, &t));
	kms_err_t e = complete_open(c, t, now);
	if (e == KMS_OK)
		e = process_system(c, t, "server.start", 3, keyring_sealed(c->keys) ? "sealed" : "unsealed",
				   "", now);
	if (e != KMS_OK) {
		log_rollback(&c->log);
		return e;
	}
	return commit(c, &t);
}

static kms_err_t load(core_t *c)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(c->store, &t));
	return log_load(&c->log, t);
}

static void init_locks(core_t *c)
{
	pthread_condattr_t attr;
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->more, &attr);
	(void)pthread_condattr_destroy(&attr);
}

static kms_err_t start_thread(core_t *c)
{
	pthread_attr_t small;
	(void)pthread_attr_init(&small);
	(void)pthread_attr_setstacksize(&small, 512U * 1024U);
	int rc = pthread_create(&c->thread, &small, committer, c);
	(void)pthread_attr_destroy(&small);
	c->running = rc == 0;
	return rc == 0 ? KMS_OK : KMS_E_NOMEM;
}

static kms_err_t build(const core_options_t *o, core_t *c, diag_t *why)
{
	c->store = o->store;
	c->seal = o->seal;
	c->clock = o->clock;
	c->max_waiting = o->max_waiting > 0 ? o->max_waiting : DEFAULT_WAITING;
	c->max_polls = o->max_polls > 0 ? o->max_polls : DEFAULT_POLLS;
	c->commit_each = o->commit_each;
	c->policy = policy_builtin();
	list_init(&c->polls);
	list_init(&c->queue);
	list_init(&c->outcomes);
	atomic_store(&c->log_writable, true);
	c->dir = strdup(o->dir);
	if (c->dir == NULL)
		return KMS_E_NOMEM;
	buf_bytes(&c->ca_pem, o->ca_pem);
	KMS_TRY(c->ca_pem.err);
	KMS_TRY(x509_ca_load(o->ca_pem, &c->ca, why));
	KMS_TRY(keyring_new(&c->keys));
	KMS_TRY(gather_new(&c->gather));
	return budget_new(BUDGET_RATE, BUDGET_BURST, &c->budget);
}

static kms_err_t start(const core_options_t *o, core_t *c, diag_t *why)
{
	KMS_TRY(build(o, c, why));
	kms_err_t e = load(c);
	if (e != KMS_OK)
		return diag_fail(why, e, "the audit log in %s cannot be read (%s)", o->dir, kms_err_name(e));
	KMS_TRY(check_mark(c, why));
	e = unseal_try(c, why);
	if (e != KMS_OK && e != KMS_E_UNAVAILABLE)
		return e;
	e = first_commit(c);
	if (e == KMS_E_FULL)
		atomic_store(&c->log_writable,
			     false); /* it starts, says so in health, and goes on when there is space */
	else if (e != KMS_OK)
		return diag_fail(why, e, "the store in %s cannot be written (%s)", o->dir, kms_err_name(e));
	publish(c);
	write_mark(c, clock_now(&c->clock), true);
	return start_thread(c);
}

kms_err_t core_start(const core_options_t *o, core_t **out, diag_t *why)
{
	SCOPED(core_freep) core_t *c = calloc(1, sizeof *c);
	if (c == NULL)
		return KMS_E_NOMEM;
	init_locks(c);
	(void)diag_fail(why, KMS_OK, "not enough memory, or memory that may be locked (ulimit -l)");
	KMS_TRY(start(o, c, why));
	*out = TAKE(c);
	return KMS_OK;
}

void core_stop(core_t *c)
{
	if (!c->running)
		return;
	(void)pthread_mutex_lock(&c->lock);
	c->stopping = true;
	(void)pthread_cond_signal(&c->more);
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_join(c->thread, NULL);
	c->running = false;
}

static kms_err_t last_commit(core_t *c)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	gather_row_t row;
	int64_t now = clock_now(&c->clock);
	KMS_TRY(store_begin_write(c->store, c->log.head.size, &t));
	for (core_job_t *job = c->outcomes.first; job != NULL; job = job->next)
		KMS_TRY(process_outcome(c, t, job, now));
	while (gather_take(c->gather, now, true, &row))
		KMS_TRY(process_gathered(c, t, &row, now));
	KMS_TRY(process_system(c, t, "server.stop", 4, "done", "", now));
	return commit(c, &t);
}

void core_freep(core_t **cp)
{
	core_t *c = *cp;
	core_job_t *job;
	if (c == NULL)
		return;
	bool was_started = atomic_load(&c->ended);
	core_stop(c);
	if ((was_started || atomic_load(&c->ended)) && !atomic_load(&c->failed)) {
		if (last_commit(c) != KMS_OK)
			log_error("the end of this run could not be recorded");
		write_mark(c, clock_now(&c->clock), true);
	}
	while (c->outcomes.end != NULL && (job = list_take(&c->outcomes)) != NULL)
		job_free(job);
	(void)pthread_cond_destroy(&c->more);
	(void)pthread_mutex_destroy(&c->lock);
	keyring_freep(&c->keys);
	gather_freep(&c->gather);
	budget_freep(&c->budget);
	x509_ca_freep(&c->ca);
	buf_free(&c->ca_pem);
	free(c->dir);
	free(c);
	*cp = NULL;
}
