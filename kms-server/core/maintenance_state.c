/* What becomes of a maintenance event. Keys of STORE_TASKS:
 *   m/ID/customer/service/volume            the task's record
 *   n/customer/service/node/ID/volume       empty: what a node still has to do
 *   o/customer/ID                           empty: an event of the customer's is open or scheduled */
#include "kms-server/core/maintenance.h"

#include "common/base/scope.h"
#include "common/io/log.h"

#define OPEN_PREFIX "o/"
/* how often tasks are looked through for nodes that are away */
#define LOOK_EVERY_MS (INT64_C(10) * 1000)

void maint_task_key(const char *id, const path3_t *volume, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "m/%.39s/%s/%s/%.63s", id, volume->customer, volume->service,
		       volume->name);
}

void maint_node_key(const char *id, const path3_t *volume, const char *node, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "n/%s/%s/%s/%.39s/%.63s", volume->customer, volume->service, node, id,
		       volume->name);
}

void maint_open_prefix(const char *customer, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, OPEN_PREFIX "%s/", customer);
}

static kms_err_t del_if_there(store_txn_t *t, const char *key)
{
	kms_err_t e = store_del(t, STORE_TASKS, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t maint_save(store_txn_t *t, const secret_t *mac, const char *id, const maint_rec_t *m)
{
	char key[KEY_CAP];
	bool listed = m->state == MAINT_OPEN || m->state == MAINT_SCHEDULED;
	maint_open_prefix(m->customer, key);
	size_t n = strlen(key);
	(void)snprintf(key + n, sizeof key - n, "%s", id);
	KMS_TRY(listed ? store_put(t, STORE_TASKS, span_str(key), span_str("")) : del_if_there(t, key));
	return record_put_maint(t, mac, id, m);
}

/* --- its tasks --- */

static kms_err_t task_at(const secret_t *mac, size_t np, span_t key, span_t value, maint_task_at_t *at)
{
	KMS_TRY(record_decode_task(mac, key, value, &at->task));
	if (key.n >= KEY_CAP ||
	    path3_parse("volume", span_of(key.p + np, key.n - np), &at->volume, NULL) != KMS_OK)
		return KMS_E_INTEGRITY;
	memcpy(at->key, key.p, key.n);
	at->key[key.n] = '\0';
	return KMS_OK;
}

/* From at->key on, that one not; until one writes or none is left (NOTFOUND). */
static kms_err_t some_tasks(store_txn_t *t, const secret_t *mac, size_t np, maint_task_fn each, void *ctx,
			    maint_task_at_t *at)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	char prefix[KEY_CAP];
	kms_err_t e;
	bool wrote = false;
	memcpy(prefix, at->key, np);
	KMS_TRY(store_seek(t, STORE_TASKS, span_str(at->key), STORE_UP, &c));
	while (!wrote && (e = store_next(c, &key, &value)) == KMS_OK) {
		if (span_eq(key, span_str(at->key)))
			continue;
		if (key.n <= np || memcmp(key.p, prefix, np) != 0)
			return KMS_E_NOTFOUND;
		KMS_TRY(task_at(mac, np, key, value, at));
		KMS_TRY(each(ctx, at, &wrote));
	}
	return wrote ? KMS_OK : e;
}

kms_err_t maint_each_task(store_txn_t *t, const secret_t *mac, const char *id, maint_task_fn each, void *ctx)
{
	maint_task_at_t at;
	kms_err_t e = KMS_OK;
	(void)snprintf(at.key, sizeof at.key, "m/%.39s/", id);
	size_t np = strlen(at.key);
	while (e == KMS_OK)
		e = some_tasks(t, mac, np, each, ctx, &at);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t maint_task_begun(store_txn_t *t, const secret_t *mac, const path3_t *volume, task_begun_t *out,
			   int64_t *shown_ms)
{
	volume_rec_t v;
	char key[PATH3_CAP];
	path3_format(volume, key);
	*out = BEGUN_NOTHING;
	*shown_ms = 0;
	kms_err_t e = record_get_volume(t, mac, key, &v);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	if (v.reencryption.state == REENC_RUNNING)
		*out = BEGUN_REENCRYPTION;
	else if (v.rotation_version != 0)
		*out = BEGUN_ROTATION;
	*shown_ms = *out == BEGUN_REENCRYPTION ? v.reencryption.updated_ms : v.rotation_started_ms;
	return KMS_OK;
}

/* --- waves --- */

typedef struct wave_scan {
	store_txn_t *txn;
	const secret_t *mac;
	const maint_rec_t *m;
	int64_t now_ms;
	uint32_t left;           /* of the current wave: to do or running */
	uint32_t away, away_all; /* of the current wave; of all that may have begun */
} wave_scan_t;

static kms_err_t scan_task(void *ctx, maint_task_at_t *at, bool *wrote)
{
	wave_scan_t *s = ctx;
	const task_rec_t *task = &at->task;
	task_begun_t begun;
	int64_t shown = 0;
	(void)wrote;
	bool current = task->wave == s->m->current_wave;
	bool left = task->state == TASK_TODO || task->state == TASK_RUNNING;
	s->left += current && left ? 1 : 0;
	if (!left)
		return KMS_OK;
	if (task->state == TASK_RUNNING && s->now_ms - task->given_ms >= WAVE_LOST_MS)
		KMS_TRY(maint_task_begun(s->txn, s->mac, &at->volume, &begun, &shown));
	bool away = waves_task_away(s->m, task, shown, s->now_ms);
	s->away_all += away ? 1 : 0;
	s->away += away && current ? 1 : 0;
	return KMS_OK;
}

kms_err_t maint_begin_wave(store_txn_t *t, const secret_t *mac, const char *id, maint_rec_t *m,
			   int64_t now_ms)
{
	wave_scan_t s = {.txn = t, .mac = mac, .m = m, .now_ms = now_ms};
	m->wave_began_ms = now_ms;
	m->wave_ended_ms = 0;
	m->wave_failed = 0;
	KMS_TRY(maint_each_task(t, mac, id, scan_task, &s));
	m->wave_left = s.left;
	return KMS_OK;
}

/* Goes as far as there is to go. *woke: nodes have something to do. */
static kms_err_t advance(store_txn_t *t, const secret_t *mac, const char *id, maint_rec_t *m, uint32_t away,
			 int64_t now_ms, bool *woke)
{
	for (;;) {
		switch (waves_step(m, away, now_ms)) {
		case WAVE_STAYS:
			return KMS_OK;
		case WAVE_ENDS:
			m->wave_ended_ms = now_ms;
			break;
		case WAVE_HALTS:
			m->state = MAINT_HALTED;
			return KMS_OK;
		case WAVE_NEXT:
			m->current_wave++;
			away = 0;
			*woke = true;
			KMS_TRY(maint_begin_wave(t, mac, id, m, now_ms));
			break;
		}
	}
}

/* --- ends --- */

typedef struct ending {
	store_txn_t *txn;
	const secret_t *mac;
	const char *id, *what; /* "the window ended" */
	maint_rec_t *m;
	int64_t now_ms;
} ending_t;

/* What has begun at a volume is finished by its node, or two secrets would open it for good. */
static kms_err_t skip_task(void *ctx, maint_task_at_t *at, bool *wrote)
{
	const ending_t *x = ctx;
	task_rec_t *task = &at->task;
	task_begun_t begun = BEGUN_NOTHING;
	int64_t shown;
	char node_key[KEY_CAP];
	if (task->state != TASK_TODO && task->state != TASK_RUNNING)
		return KMS_OK;
	if (task->state == TASK_RUNNING)
		KMS_TRY(maint_task_begun(x->txn, x->mac, &at->volume, &begun, &shown));
	if (begun != BEGUN_NOTHING)
		return KMS_OK;
	uint32_t *n = task->state == TASK_TODO ? &x->m->todo : &x->m->running;
	if (*n > 0)
		(*n)--;
	x->m->skipped++;
	*wrote = true;
	task->state = TASK_SKIPPED;
	task->changed_ms = x->now_ms;
	(void)snprintf(task->detail, sizeof task->detail, "%s before its %s", x->what,
		       task->wave <= x->m->current_wave ? "node had begun" : "turn");
	maint_node_key(x->id, &at->volume, task->node, node_key);
	KMS_TRY(del_if_there(x->txn, node_key));
	return record_put_task(x->txn, x->mac, at->key, task);
}

static kms_err_t end_event(store_txn_t *t, const secret_t *mac, const char *id, maint_rec_t *m,
			   maint_state_t to, const char *what, int64_t now_ms)
{
	ending_t x = {t, mac, id, what, m, now_ms};
	m->state = to;
	m->away = 0;
	return maint_each_task(t, mac, id, skip_task, &x);
}

kms_err_t maint_window_over(core_t *c, store_txn_t *t, const char *id, maint_rec_t *m, int64_t now_ms)
{
	const secret_t *mac = keyring_mac(c->keys);
	KMS_TRY(end_event(t, mac, id, m, MAINT_CLOSED, "the window ended", now_ms));
	return maint_save(t, mac, id, m);
}

/* --- people's acts --- */

static maint_state_t wanted(core_op_t op)
{
	return op == OP_MAINT_OPEN    ? MAINT_OPEN
	       : op == OP_MAINT_CLOSE ? MAINT_CLOSED
	       : op == OP_MAINT_ABORT ? MAINT_ABORTED
	       : op == OP_MAINT_PAUSE ? MAINT_PAUSED
				      : MAINT_HALTED;
}

/* A person says that it may go on, whatever the last wave came to. */
static kms_err_t open_event(op_t *op, const char *id, maint_rec_t *m)
{
	if (m->opened_ms == 0) { /* before its time: the window begins now */
		m->opened_ms = op->now_ms;
		m->until_ms = op->now_ms + (int64_t)m->window_s * 1000;
	}
	m->state = MAINT_OPEN;
	op->wake = true;
	if (m->wave_ended_ms == 0)
		return maint_begin_wave(op->txn, op->mac, id, m, op->now_ms);
	m->wave_failed = 0;
	return advance(op->txn, op->mac, id, m, m->wave_left, op->now_ms, &op->wake);
}

static kms_err_t change(op_t *op, const char *id, maint_rec_t *m, maint_state_t to)
{
	op->wrote = true;
	if (to == MAINT_OPEN)
		KMS_TRY(open_event(op, id, m));
	else if (to == MAINT_CLOSED)
		KMS_TRY(end_event(op->txn, op->mac, id, m, to, "the event was closed", op->now_ms));
	else if (to == MAINT_ABORTED)
		KMS_TRY(end_event(op->txn, op->mac, id, m, to, "the event was aborted", op->now_ms));
	else
		m->state = to;
	return maint_save(op->txn, op->mac, id, m);
}

kms_err_t op_maint_state(op_t *op)
{
	maint_rec_t m;
	const char *id = op->rq->name;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(maint_load(op, id, &m));
	maint_state_t to = wanted(op->rq->op);
	if (m.state != to) {
		if (maint_has_ended(&m))
			return op_conflict(op, "The maintenance event is %s: make a new one.",
					   maint_state_name(m.state));
		KMS_TRY(change(op, id, &m, to));
	}
	return op_answer(op, 200, maint_json(id, &m, op->now_ms));
}

/* --- tasks that end --- */

static void count_out(maint_rec_t *m, task_state_t s)
{
	uint32_t *n = s == TASK_TODO      ? &m->todo
		      : s == TASK_RUNNING ? &m->running
		      : s == TASK_DONE    ? &m->done
		      : s == TASK_SKIPPED ? &m->skipped
					  : &m->failed;
	if (*n > 0)
		(*n)--;
}

static void count(maint_rec_t *m, const task_rec_t *was, task_state_t to)
{
	bool left = was->state == TASK_TODO || was->state == TASK_RUNNING;
	bool current = was->wave == m->current_wave;
	count_out(m, was->state);
	*(to == TASK_DONE ? &m->done : &m->failed) += 1;
	if (current && left && m->wave_left > 0)
		m->wave_left--;
	if (current && to == TASK_FAILED)
		m->wave_failed++;
}

static kms_err_t settle(op_t *op, const char *id, maint_rec_t *m, task_state_t to)
{
	bool too_many = to == TASK_FAILED && m->max_failures > 0 && m->failed >= m->max_failures;
	if (m->state == MAINT_OPEN && too_many) /* a success halts nothing: it may have been opened again */
		m->state = MAINT_HALTED;
	else if (m->state == MAINT_OPEN && m->todo + m->running == 0)
		m->state = MAINT_CLOSED;
	return advance(op->txn, op->mac, id, m, 0, op->now_ms, &op->wake);
}

kms_err_t maint_end_task(op_t *op, const char *id, const path3_t *volume, task_state_t to, const char *detail)
{
	maint_rec_t m;
	task_rec_t task;
	char key[KEY_CAP], gone[KEY_CAP];
	maint_task_key(id, volume, key);
	KMS_TRY(record_get_maint(op->txn, op->mac, id, &m));
	KMS_TRY(record_get_task(op->txn, op->mac, key, &task));
	if (task.state == TASK_DONE || task.state == to)
		return KMS_OK;
	count(&m, &task, to);
	task.state = to;
	task.changed_ms = op->now_ms;
	(void)snprintf(task.detail, sizeof task.detail, "%s", detail);
	maint_node_key(id, volume, task.node, gone);
	op->wrote = true;
	KMS_TRY(del_if_there(op->txn, gone));
	KMS_TRY(record_put_task(op->txn, op->mac, key, &task));
	KMS_TRY(settle(op, id, &m, to));
	return maint_save(op->txn, op->mac, id, &m);
}

kms_err_t maint_task_done(op_t *op, const char *id, const path3_t *volume)
{
	return maint_end_task(op, id, volume, TASK_DONE, "");
}

kms_err_t maint_compromised(op_t *op, const char *id, bool *out)
{
	maint_rec_t m;
	*out = false;
	kms_err_t e = id[0] != '\0' ? record_get_maint(op->txn, op->mac, id, &m) : KMS_E_NOTFOUND;
	if (e == KMS_OK)
		*out = m.compromised && strcmp(m.customer, op->path.customer) == 0;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* --- time --- */

typedef struct moment {
	core_t *c;
	store_txn_t *txn;
	const secret_t *mac;
	int64_t now_ms, before_ms;
	bool look; /* through the tasks, for nodes that are away */
} moment_t;

static kms_err_t begin_scheduled(const moment_t *at, const char *id, maint_rec_t *m)
{
	char text[MAINT_ID_CAP + 40];
	m->state = MAINT_OPEN;
	m->opened_ms = at->now_ms;
	(void)snprintf(text, sizeof text, "%s begins as planned", id);
	KMS_TRY(maint_begin_wave(at->txn, at->mac, id, m, at->now_ms));
	at->c->woken = true;
	KMS_TRY(log_system(at->c->audit, at->txn, "maintenance.open", 3, "done", text, at->now_ms));
	return maint_save(at->txn, at->mac, id, m);
}

static kms_err_t look_at_open(const moment_t *at, const char *id, maint_rec_t *m)
{
	maint_rec_t was = *m;
	wave_scan_t s = {.txn = at->txn, .mac = at->mac, .m = m, .now_ms = at->now_ms};
	bool may = maint_is_open(m, at->now_ms);
	if (at->look && may && at->now_ms - m->wave_began_ms >= WAVE_AWAY_MS) {
		KMS_TRY(maint_each_task(at->txn, at->mac, id, scan_task, &s));
		m->away = s.away_all;
	}
	KMS_TRY(advance(at->txn, at->mac, id, m, s.away, at->now_ms, &at->c->woken));
	if (m->has_hours && may && !hours_contain(&m->hours, at->before_ms))
		at->c->woken = true;
	if (m->state == was.state && m->away == was.away && m->current_wave == was.current_wave &&
	    m->wave_ended_ms == was.wave_ended_ms)
		return KMS_OK;
	return maint_save(at->txn, at->mac, id, m);
}

static kms_err_t look_at_event(const moment_t *at, const char *id)
{
	maint_rec_t m;
	KMS_TRY(record_get_maint(at->txn, at->mac, id, &m));
	if (at->now_ms >= m.until_ms)
		return maint_window_over(at->c, at->txn, id, &m, at->now_ms);
	if (m.state == MAINT_SCHEDULED)
		return at->now_ms >= m.start_ms ? begin_scheduled(at, id, &m) : KMS_OK;
	return m.state == MAINT_OPEN ? look_at_open(at, id, &m) : KMS_OK;
}

/* The first listed event behind the key in `at`, which becomes its key. */
static kms_err_t next_listed(store_txn_t *t, char at[KEY_CAP], char id[MAINT_ID_CAP])
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	KMS_TRY(store_seek(t, STORE_TASKS, span_str(at), STORE_UP, &c));
	KMS_TRY(store_next(c, &key, &value));
	if (span_eq(key, span_str(at)))
		KMS_TRY(store_next(c, &key, &value));
	if (key.n <= strlen(OPEN_PREFIX) || memcmp(key.p, OPEN_PREFIX, strlen(OPEN_PREFIX)) != 0)
		return KMS_E_NOTFOUND;
	const uint8_t *slash = memrchr(key.p, '/', key.n);
	if (key.n >= KEY_CAP || slash == NULL || (size_t)(key.p + key.n - slash) > MAINT_ID_CAP)
		return KMS_E_INTEGRITY;
	memcpy(at, key.p, key.n);
	at[key.n] = '\0';
	(void)snprintf(id, MAINT_ID_CAP, "%s", at + (slash + 1 - key.p));
	return KMS_OK;
}

kms_err_t maint_tick(core_t *c, store_txn_t *t, int64_t now_ms)
{
	moment_t at = {.c = c,
		       .txn = t,
		       .mac = keyring_mac(c->keys),
		       .now_ms = now_ms,
		       .before_ms = c->maint_ms,
		       .look = now_ms - c->maint_looked_ms >= LOOK_EVERY_MS || now_ms < c->maint_looked_ms};
	char key[KEY_CAP] = OPEN_PREFIX, id[MAINT_ID_CAP];
	kms_err_t e = KMS_OK;
	while ((e = next_listed(t, key, id)) == KMS_OK) {
		e = look_at_event(&at, id);
		if (e == KMS_E_INTEGRITY || e == KMS_E_NOTFOUND)
			log_error("housekeeping: the maintenance event %s: %s", id, kms_err_name(e));
		else
			KMS_TRY(e);
	}
	c->maint_ms = now_ms;
	if (at.look)
		c->maint_looked_ms = now_ms;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}
