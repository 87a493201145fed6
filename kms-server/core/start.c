/* The start and the end of a run. */
#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/log.h"
#include "kms-server/core/committer.h"
#include "kms-server/core/core.h"
#include "kms-server/core/policy_store.h"

#define DEFAULT_WAITING 65536U
#define DEFAULT_POLLS   20000U

#define DEFAULT_RECERTIFY  90U /* days */
#define DEFAULT_PROOF_DAYS 3

static const core_review_days_t default_days = {.break_glass = 3, .release = 7, .denied = 14};

static kms_err_t refuse_older(const core_t *c, const log_head_t *mark, const char *name, const char *origin,
			      uint64_t size, diag_t *why)
{
	return diag_fail(
		why, KMS_E_INTEGRITY,
		"the database is older than what this server has acknowledged: its log has %llu events "
		"(%s), the checkpoint %s/%s knows %llu (%s). Put the newest database back, or restore a "
		"backup with kms-server restore --accept-rollback.",
		(unsigned long long)size, origin, c->dir, name, (unsigned long long)mark->size, mark->origin);
}

/* A checkpoint of this very log that was kept outside the database: the tree must still contain it. */
static kms_err_t check_same(core_t *c, const log_head_t *mark, const char *name, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t root[MERKLE_HASH_LEN];
	KMS_TRY(store_begin_read(c->store, &t));
	kms_err_t e = audit_root(t, mark->size, root);
	if (e == KMS_E_NOTFOUND)
		return refuse_older(c, mark, name, audit_vkey(c->audit)->name, audit_size(c->audit), why);
	KMS_TRY(e);
	if (memcmp(root, mark->root, sizeof root) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the log's first %llu events are not those that this server acknowledged "
				 "(%s/%s): the database is another one, or was changed",
				 (unsigned long long)mark->size, c->dir, name);
	return KMS_OK;
}

/* A restore over a log that had gone on begins a new epoch, and may have been killed before it replaced the
 * mark. */
static kms_err_t check_mark(core_t *c, const char *name, diag_t *why)
{
	log_head_t mark;
	const note_vkey_t *key = audit_vkey(c->audit);
	kms_err_t e = core_log_mark_read(c->dir, name, key, &mark, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	if (strcmp(mark.origin, key->name) == 0)
		return check_same(c, &mark, name, why);
	if (!log_same_lineage(mark.origin, key->name))
		return diag_fail(why, KMS_E_INTEGRITY, "%s/%s is of another log (%s) than the database (%s)",
				 c->dir, name, mark.origin, key->name);
	if (log_epoch(mark.origin) > log_epoch(key->name))
		return refuse_older(c, &mark, name, key->name, audit_size(c->audit), why);
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
		bool stage = strcmp(o.operation, core_op_info(OP_ROTATION_STAGE)->action) == 0;
		const core_op_info_t *info = core_op_info(stage ? OP_ROTATION_STAGE : OP_VOLUME_RELEASE);
		event_t ev = log_outcome(&o, info, uid, now);
		ev.status_code = "unknown";
		ev.status_detail = "the server ended before the outcome was recorded";
		KMS_TRY(log_append(c->audit, t, &ev, &index));
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t first_commit(core_t *c)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	int64_t now = clock_now(&c->clock);
	KMS_TRY(store_begin_write(c->store, audit_size(c->audit), &t));
	kms_err_t e = complete_open(c, t, now);
	if (e == KMS_OK)
		e = log_system(c->audit, t, "server.start", 3,
			       keyring_sealed(c->keys) ? "sealed" : "unsealed", "", now);
	if (e != KMS_OK) {
		audit_rolled_back(c->audit);
		return e;
	}
	return committer_commit(c, &t, 0);
}

static void init_locks(core_t *c)
{
	(void)pthread_mutex_init(&c->lock, NULL);
	steady_cond_init(&c->more);
}

static kms_err_t start_thread(core_t *c)
{
	pthread_attr_t small;
	(void)pthread_attr_init(&small);
	(void)pthread_attr_setstacksize(&small, 512U * 1024U);
	int rc = pthread_create(&c->thread, &small, committer_main, c);
	(void)pthread_attr_destroy(&small);
	c->running = rc == 0;
	return rc == 0 ? KMS_OK : KMS_E_NOMEM;
}

static core_review_days_t days_or_default(core_review_days_t d)
{
	d.break_glass = d.break_glass > 0 ? d.break_glass : default_days.break_glass;
	d.release = d.release > 0 ? d.release : default_days.release;
	d.denied = d.denied > 0 ? d.denied : default_days.denied;
	return d;
}

static kms_err_t build(const core_options_t *o, core_t *c, diag_t *why)
{
	c->store = o->store;
	c->audit = o->audit;
	c->seal = o->seal;
	c->clock = o->clock;
	c->max_waiting = o->max_waiting > 0 ? o->max_waiting : DEFAULT_WAITING;
	c->max_polls = o->max_polls > 0 ? o->max_polls : DEFAULT_POLLS;
	c->commit_each = o->commit_each;
	c->reserve = o->reserve;
	c->witness_stop = o->witness_stop;
	c->witness_alert = o->witness_alert;
	c->operator_networks = o->operator_networks;
	c->copies.required = o->copies;
	c->metrics = o->metrics;
	c->review_days = days_or_default(o->review_days);
	c->recertify_ms = INT64_C(86400000) * (o->recertify_days > 0 ? o->recertify_days : DEFAULT_RECERTIFY);
	c->proof_ms = INT64_C(86400000) * (o->proof_days > 0 ? o->proof_days : DEFAULT_PROOF_DAYS);
	c->rotate_ms = INT64_C(86400000) * o->rotate_days;
	c->has_rotate_hours = o->has_rotate_hours;
	c->rotate_hours = o->rotate_hours;
	c->reviews.changed = true;
	joblist_init(&c->polls);
	joblist_init(&c->queue);
	joblist_init(&c->outcomes);
	atomic_store(&c->log_writable, true);
	c->dir = strdup(o->dir);
	if (c->dir == NULL)
		return KMS_E_NOMEM;
	buf_bytes(&c->ca_pem, o->ca_pem);
	KMS_TRY(c->ca_pem.err);
	KMS_TRY(x509_ca_load(o->ca_pem, &c->ca, why));
	KMS_TRY(keyring_new(&c->keys));
	KMS_TRY(gather_new(&c->gather));
	return budget_new(CORE_BUDGET_RATE, CORE_BUDGET_BURST, &c->budget);
}

/* What is in force must be readable before anybody asks. */
static kms_err_t load_policy(core_t *c, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	diag_t inner = {""};
	KMS_TRY(store_begin_read(c->store, &t));
	kms_err_t e = policy_store_follow(c, t, keyring_mac(c->keys), &inner);
	return e == KMS_OK ? e : diag_fail(why, e, "the policy cannot be read: %s", inner.text);
}

static kms_err_t start(const core_options_t *o, core_t *c, diag_t *why)
{
	KMS_TRY(build(o, c, why));
	KMS_TRY(check_mark(c, LOG_MARK, why));
	KMS_TRY(check_mark(c, LOG_COSIGNED, why));
	kms_err_t e = unseal_try(c, why);
	if (e != KMS_OK && e != KMS_E_UNAVAILABLE)
		return e;
	KMS_TRY(load_policy(c, why));
	limits_watch_space(c);
	e = first_commit(c);
	if (e == KMS_E_FULL)
		atomic_store(&c->log_writable,
			     false); /* it starts, says so in health, and goes on when there is space */
	else if (e != KMS_OK)
		return diag_fail(why, e, "the store in %s cannot be written (%s)", o->dir, kms_err_name(e));
	committer_publish(c);
	reviews_publish(c, clock_now(&c->clock));
	committer_mark(c, clock_now(&c->clock), true);
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
	KMS_TRY(store_begin_write(c->store, audit_size(c->audit), &t));
	for (core_job_t *job = c->outcomes.first; job != NULL; job = job->next)
		KMS_TRY(process_outcome(c, t, job, now));
	while (gather_take(c->gather, now, true, &row))
		KMS_TRY(process_gathered(c, t, &row, now));
	KMS_TRY(log_system(c->audit, t, "server.stop", 4, "done", "", now));
	return committer_commit(c, &t, 0);
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
		committer_mark(c, clock_now(&c->clock), true);
	}
	while (c->outcomes.end != NULL && (job = joblist_take(&c->outcomes)) != NULL)
		job_free(job);
	(void)pthread_cond_destroy(&c->more);
	(void)pthread_mutex_destroy(&c->lock);
	policy_freep(&c->policy);
	keyring_freep(&c->keys);
	gather_freep(&c->gather);
	budget_freep(&c->budget);
	x509_ca_freep(&c->ca);
	buf_free(&c->ca_pem);
	free(c->dir);
	free(c);
	*cp = NULL;
}
