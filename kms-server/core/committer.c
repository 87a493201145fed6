#include "kms-server/core/committer.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/log.h"

#define BATCH_MAX       512U  /* requests in one transaction: bounds how long the first one waits */
#define TICK_MS         500   /* deadlines of polls, gathered refusals, the mark, a full disk's retry */
#define OUTCOME_WAIT_MS 50    /* how long an outcome waits for a commit to ride along with */
#define MARK_EVERY_MS   500   /* it costs two flushes */
#define FORGET_MAX      1024U /* events that leave the store for the archive in one transaction */
#define SWEEP_EVERY_MS  (INT64_C(600) * 1000)

void committer_publish(core_t *c)
{
	atomic_store(&c->sealed, keyring_sealed(c->keys));
}

/* The mark outside the store trails the commit: a mark of what is not durable would refuse a good database.
 */
void committer_mark(core_t *c, int64_t now, bool force)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	diag_t why;
	uint64_t size = 0;
	if (c->marked == audit_size(c->audit) || (!force && now - c->marked_ms < MARK_EVERY_MS))
		return;
	c->marked_ms = now;
	if (audit_checkpoint(c->audit, &size, &note) == KMS_OK &&
	    core_log_mark_write(c->dir, buf_span(&note), &why) == KMS_OK)
		c->marked = size;
}

kms_err_t committer_commit(core_t *c, store_txn_t **t, size_t requests)
{
	kms_err_t e = audit_seal(c->audit, *t);
	/* a tick that found nothing to do flushes nothing */
	bool wrote = audit_next(c->audit) > audit_size(c->audit);
	uint64_t began = metrics_now_us();
	failpoint("commit.before");
	if (e == KMS_OK)
		e = store_commit(TAKE(*t));
	if (e == KMS_OK && wrote)
		metrics_commit(c->metrics, METRICS_COMMITTED, requests, metrics_now_us() - began);
	if (e == KMS_OK) {
		reviews_committed(c); /* exporters that the new head wakes know that it is urgent */
		audit_committed(c->audit);
		failpoint("commit.after");
	} else {
		audit_rolled_back(c->audit);
	}
	return e;
}

static void set_full(core_t *c, bool full)
{
	bool was = !atomic_exchange(&c->log_writable, !full);
	if (full)
		metrics_commit(c->metrics, METRICS_FULL, 0, 0);
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
	metrics_commit(c->metrics, METRICS_COMMIT_FAILED, 0, 0);
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
	if (job->parked && polls_room(c, job)) {
		joblist_add(&c->polls, job);
		return;
	}
	if (job->parked && job->rq.op == OP_LOG_CHECKPOINT) { /* it need not wait: there is a bare one */
		job->patience_ms = 0;
		job->parked = false;
		(void)pthread_mutex_lock(&c->lock);
		joblist_add(&c->queue, job);
		(void)pthread_mutex_unlock(&c->lock);
		return;
	}
	if (job->parked) /* several of one identity in one batch */
		job_problem(job, 429, "too-many-requests", 2, "Too many polls wait already.");
	if (job->deadline_ms != 0)
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
	reviews_begin(c);
	kms_err_t e = store_begin_write(c->store, audit_size(c->audit), &t);
	if (e != KMS_OK) {
		*why = e;
		return e == KMS_E_FULL ? BATCH_FULL : e == KMS_E_NOMEM ? BATCH_BROKEN : BATCH_FAILED;
	}
	for (size_t i = 0; i < n; i++) {
		e = process_one(c, t, job[i], now, wake);
		if (e != KMS_OK) {
			*why = e;
			audit_rolled_back(c->audit);
			return e == KMS_E_FULL ? BATCH_FULL : BATCH_BROKEN;
		}
	}
	e = committer_commit(c, &t, n);
	*why = e;
	return e == KMS_OK        ? BATCH_DONE
	       : e == KMS_E_FULL  ? BATCH_FULL
	       : e == KMS_E_NOMEM ? BATCH_BROKEN
				  : BATCH_FAILED;
}

static void keep_outcome(core_t *c, core_job_t *job)
{
	(void)pthread_mutex_lock(&c->lock);
	joblist_add(&c->outcomes, job);
	(void)pthread_mutex_unlock(&c->lock);
}

/* wrote: the batch added to the log, so that there is proof of space; one that wrote nothing proves nothing.
 */
static void settle(core_t *c, core_job_t *const *job, size_t n, batch_result_t result, bool wrote)
{
	if (result == BATCH_FULL || (result == BATCH_DONE && wrote))
		set_full(c, result == BATCH_FULL);
	if (result == BATCH_FAILED)
		set_failed(c);
	committer_publish(c);
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
	limits_watch_space(c);
	int64_t now = clock_now(&c->clock);
	uint64_t before = audit_size(c->audit);
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
	reviews_publish(c, now);
	settle(c, job, n, r, audit_size(c->audit) > before);
	*wake |= woke && r == BATCH_DONE;
	committer_mark(c, now, false);
}

/* --- what time does --- */

static kms_err_t tick_writes(core_t *c, store_txn_t *t, int64_t now)
{
	gather_row_t row;
	if (!atomic_load(&c->log_writable)) {
		char text[80];
		(void)snprintf(text, sizeof text, "%u requests were refused for want of space",
			       c->refused_full);
		KMS_TRY(log_system(c->audit, t, "log.recovered", 6, "done", text, now));
	}
	/* what strangers were refused waits: it must not use the reserve */
	while (atomic_load(&c->space) == LOG_SPACE_OK && gather_take(c->gather, now, false, &row))
		KMS_TRY(process_gathered(c, t, &row, now));
	return KMS_OK;
}

/* A transaction of its own: a damaged record must not keep refusals out of the log. */
static kms_err_t sweep_writes(core_t *c, store_txn_t *t, int64_t now)
{
	c->swept_ms = now;
	return sweep(c, t, now);
}

/* A bounded number at a time: nobody waits long for it. */
static kms_err_t forget_writes(core_t *c, store_txn_t *t, int64_t now)
{
	uint64_t from = 0, to = 0;
	char text[96];
	KMS_TRY(audit_forget(c->audit, t, atomic_load(&c->archived), FORGET_MAX, &from, &to));
	c->forgotten = to;
	if (from == to)
		return KMS_OK;
	(void)snprintf(text, sizeof text, "events %llu to %llu moved to the archive",
		       (unsigned long long)from, (unsigned long long)to - 1);
	return log_system(c->audit, t, "log.archive", 3, "done", text, now);
}

typedef kms_err_t (*tick_fn)(core_t *c, store_txn_t *t, int64_t now);

static void tick_with(core_t *c, tick_fn writes, int64_t now)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	bool recovering = !atomic_load(&c->log_writable);
	reviews_begin(c);
	kms_err_t e = store_begin_write(c->store, audit_size(c->audit), &t);
	if (e == KMS_OK)
		e = writes(c, t, now);
	if (e == KMS_OK)
		e = committer_commit(c, &t, 0);
	else
		audit_rolled_back(c->audit);
	if (e == KMS_OK && recovering)
		c->refused_full = 0;
	if (e == KMS_E_FULL || (e == KMS_OK && recovering))
		set_full(c, e == KMS_E_FULL);
	else if (e == KMS_E_IO)
		set_failed(c);
	else if (e != KMS_OK)
		log_error("housekeeping failed: %s", kms_err_name(e));
	committer_publish(c);
	committer_mark(c, now, false);
}

static bool may_keep_house(core_t *c)
{
	return !keyring_sealed(c->keys) && atomic_load(&c->log_writable) && !atomic_load(&c->failed);
}

static void tick(core_t *c, int64_t now)
{
	limits_watch_space(c);
	limits_watch_witnesses(c);
	reviews_publish(c, now);
	tick_with(c, tick_writes, now);
	if (atomic_load(&c->archived) > c->forgotten && !atomic_load(&c->failed))
		tick_with(c, forget_writes, now);
	if (may_keep_house(c))
		tick_with(c, maint_tick, now);
	bool due = now - c->swept_ms >= SWEEP_EVERY_MS || now < c->swept_ms;
	if (due && may_keep_house(c))
		tick_with(c, sweep_writes, now);
}

static bool poll_is_due(const core_t *c, const core_job_t *job, int64_t now)
{
	return now >= job->deadline_ms || (job->tails && audit_size(c->audit) > job->seen);
}

/* Polls that are due, or all of them when there are new tasks, go back to the queue. */
static void requeue_polls(core_t *c, bool all, int64_t now)
{
	job_list_t keep, again;
	core_job_t *job;
	joblist_init(&keep);
	joblist_init(&again);
	while ((job = joblist_take(&c->polls)) != NULL)
		joblist_add(all || poll_is_due(c, job, now) ? &again : &keep, job);
	joblist_init(&c->polls);
	while ((job = joblist_take(&keep)) != NULL)
		joblist_add(&c->polls, job);
	(void)pthread_mutex_lock(&c->lock);
	while ((job = joblist_take(&again)) != NULL)
		joblist_add(&c->queue, job);
	(void)pthread_mutex_unlock(&c->lock);
}

/* Waits for work; fills the batch, outcomes last. False: stopping and nothing is left to answer. */
static bool gather_batch(core_t *c, core_job_t **batch, size_t *n)
{
	(void)pthread_mutex_lock(&c->lock);
	int64_t until = steady_ms() + (c->outcomes.n > 0 ? OUTCOME_WAIT_MS : TICK_MS);
	while (c->queue.n == 0 && !c->stopping)
		if (!steady_wait(&c->more, &c->lock, until))
			break;
	size_t most = c->commit_each ? 1 : BATCH_MAX, got = 0;
	while (got < most && c->queue.n > 0)
		batch[got++] = joblist_take(&c->queue);
	size_t outcomes = atomic_load(&c->log_writable) ? BATCH_MAX : 0;
	for (; outcomes > 0 && c->outcomes.n > 0; outcomes--)
		batch[got++] = joblist_take(&c->outcomes);
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
		joblist_init(&rest);
	joblist_init(&c->queue);
	(void)pthread_mutex_unlock(&c->lock);
	while ((job = joblist_take(&rest)) != NULL) {
		job->parked = false;
		job_problem(job, 503, "stopping", 5, "The server is stopping.");
		give_back(c, job);
	}
}

void *committer_main(void *arg)
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
			copies_look(c, now);
			tick(c, now);
			requeue_polls(c, c->woken, now);
			c->woken = false;
		}
	}
	(void)pthread_mutex_lock(&c->lock);
	c->stopping = true; /* after a failure too: nothing more is taken in */
	(void)pthread_mutex_unlock(&c->lock);
	answer_stopping(c);
	atomic_store(&c->ended, true);
	return NULL;
}
