/* The nodes' side of maintenance events: what to do, and that it did not work. */
#include "kms-server/core/maintenance.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

#define TASKS_A_POLL 64U
#define POLLS_A_NODE 2U
/* how exactly it is noted that a node was told again of what it has begun */
#define GIVEN_EVERY_MS (INT64_C(30) * 1000)

typedef struct report_body {
	char maintenance[MAINT_ID_CAP];
	path3_t volume;
	bool ok;
	char detail[TEXT_CAP];
} report_body_t;

kms_err_t op_node_report(op_t *op)
{
	static const json_field_t fields[] = {
		{"maintenance", JF_STRING, offsetof(report_body_t, maintenance), MAINT_ID_CAP, false},
		{"volume", JF_PATH3, offsetof(report_body_t, volume), 0, false},
		{"ok", JF_BOOL, offsetof(report_body_t, ok), 0, false},
		{"detail", JF_STRING, offsetof(report_body_t, detail), TEXT_CAP, true}};
	report_body_t b = {0};
	task_rec_t task;
	char key[KEY_CAP];
	const path3_t *me = &op->rq->caller.id.node;
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, &b));
	if (b.ok)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "Only failures are reported; success shows in :retire.");
	if (strcmp(b.volume.customer, me->customer) != 0 || strcmp(b.volume.service, me->service) != 0 ||
	    !name_valid(span_str(b.maintenance)))
		return op_not_found(op);
	maint_task_key(b.maintenance, &b.volume, key);
	KMS_TRY(record_get_task(op->txn, op->mac, key, &task));
	if (strcmp(task.node, me->name) != 0)
		return op_not_found(op);
	memcpy(op->correlation, b.maintenance, sizeof op->correlation);
	op->code = "task-failed";
	KMS_TRY(maint_end_task(op, b.maintenance, &b.volume, TASK_FAILED, b.detail));
	return op_answer(op, 200, json_object());
}

typedef struct node_task {
	char id[MAINT_ID_CAP];
	char volume[NAME_CAP];
} node_task_t;

static kms_err_t node_tasks(op_t *op, node_task_t *list, size_t *n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e;
	const path3_t *me = &op->rq->caller.id.node;
	(void)snprintf(prefix, sizeof prefix, "n/%s/%s/%s/", me->customer, me->service, me->name);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_TASKS, span_str(prefix), STORE_UP, &c));
	while (*n < TASKS_A_POLL && (e = store_next(c, &key, &value)) == KMS_OK) {
		if (key.n <= np || memcmp(key.p, prefix, np) != 0)
			return KMS_OK;
		const uint8_t *slash = memchr(key.p + np, '/', key.n - np);
		size_t id_len = slash != NULL ? (size_t)(slash - key.p) - np : MAINT_ID_CAP;
		if (id_len >= MAINT_ID_CAP || key.n - np - id_len - 1 >= NAME_CAP)
			return KMS_E_INTEGRITY;
		node_task_t *t = &list[(*n)++];
		*t = (node_task_t){0};
		memcpy(t->id, key.p + np, id_len);
		memcpy(t->volume, slash + 1, key.n - np - id_len - 1);
	}
	return *n == TASKS_A_POLL || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* What its node is to do about a task now; NULL: nothing. What has begun is finished though the event may be
 * paused or over: two secrets would open the volume for good. */
static kms_err_t to_do(op_t *op, const maint_rec_t *m, const task_rec_t *task, const path3_t *volume,
		       const char **out)
{
	const char *action = m->reencrypt ? "reencrypt" : "rotate";
	task_begun_t begun;
	int64_t shown;
	*out = NULL;
	if (maint_is_open(m, op->now_ms)) {
		*out = task->wave <= m->current_wave ? action : NULL;
		return KMS_OK;
	}
	if (task->state != TASK_RUNNING)
		return KMS_OK;
	KMS_TRY(maint_task_begun(op->txn, op->mac, volume, &begun, &shown));
	*out = begun == BEGUN_REENCRYPTION ? "reencrypt" : begun == BEGUN_ROTATION ? "rotate" : NULL;
	return KMS_OK;
}

static kms_err_t note_given(op_t *op, const char *id, const char *key, maint_rec_t *m, task_rec_t *task)
{
	bool fresh = task->state == TASK_TODO;
	if (!fresh && op->now_ms - task->given_ms < GIVEN_EVERY_MS)
		return KMS_OK;
	task->given_ms = op->now_ms;
	op->wrote = true;
	if (fresh) {
		task->state = TASK_RUNNING;
		task->changed_ms = op->now_ms;
		m->todo -= m->todo > 0 ? 1 : 0;
		m->running++;
		KMS_TRY(record_put_maint(op->txn, op->mac, id, m));
	}
	return record_put_task(op->txn, op->mac, key, task);
}

/* A wave's nodes are told in the same instant, and begin a little apart. */
static kms_err_t jitter_ms(const maint_rec_t *m, uint32_t *out)
{
	uint8_t r[4];
	*out = 0;
	if (m->wave_size <= WAVE_JITTER_FROM)
		return KMS_OK;
	KMS_TRY(crypto_random(r, sizeof r));
	*out = ((uint32_t)r[0] | (uint32_t)r[1] << 8 | (uint32_t)r[2] << 16) % (WAVE_JITTER_MS + 1);
	return KMS_OK;
}

static kms_err_t hand_out(op_t *op, const node_task_t *t, json_t *tasks)
{
	maint_rec_t m;
	task_rec_t task;
	char key[KEY_CAP], text[PATH3_CAP];
	const char *type = NULL;
	uint32_t delay = 0;
	path3_t volume = op->rq->caller.id.node;
	memcpy(volume.name, t->volume, NAME_CAP);
	maint_task_key(t->id, &volume, key);
	KMS_TRY(record_get_maint(op->txn, op->mac, t->id, &m));
	KMS_TRY(record_get_task(op->txn, op->mac, key, &task));
	KMS_TRY(to_do(op, &m, &task, &volume, &type));
	if (type == NULL)
		return KMS_OK;
	KMS_TRY(note_given(op, t->id, key, &m, &task));
	KMS_TRY(jitter_ms(&m, &delay));
	path3_format(&volume, text);
	memcpy(op->correlation, t->id, sizeof op->correlation);
	json_t *item = json_pack("{s:s, s:s, s:s, s:I}", "type", type, "volume", text, "maintenance", t->id,
				 "delay_ms", (json_int_t)delay);
	return json_array_append_new(tasks, item) == 0 ? KMS_OK : KMS_E_NOMEM;
}

bool polls_room(const core_t *c, const core_job_t *job)
{
	size_t mine = 0;
	for (const core_job_t *p = c->polls.first; p != NULL; p = p->next)
		mine += ct_equal(p->rq.caller.id.spki, job->rq.caller.id.spki, SPKI_HASH_LEN) ? 1U : 0U;
	return mine < POLLS_A_NODE;
}

bool polls_park(op_t *op, int64_t again_ms)
{
	core_t *c = op->core;
	core_job_t *job = op->job;
	if (job->deadline_ms == 0) {
		if (!polls_room(c, job) || atomic_load(&c->n_polls) >= c->max_polls)
			return false;
		atomic_fetch_add(&c->n_polls, 1);
	}
	job->deadline_ms = again_ms;
	job->parked = true;
	return true;
}

kms_err_t op_park(op_t *op, int64_t wait_ms)
{
	int64_t until = op->job->deadline_ms != 0 ? op->job->deadline_ms : op->now_ms + wait_ms;
	if (!polls_park(op, until))
		return op_refuse(op, KMS_E_FULL, 429, "too-many-requests", "Too many polls wait already.");
	return KMS_OK;
}

kms_err_t op_node_tasks(op_t *op)
{
	static const char *const known[] = {"wait"};
	node_task_t list[TASKS_A_POLL];
	size_t n = 0;
	int64_t wait_s;
	KMS_TRY(op_queries_known(op, known, 1));
	KMS_TRY(op_query_number(op, "wait", 0, 60, 0, &wait_s));
	KMS_TRY(node_tasks(op, list, &n));
	SCOPED(json_freep) json_t *tasks = json_array();
	for (size_t i = 0; i < n; i++)
		KMS_TRY(hand_out(op, &list[i], tasks));
	if (json_array_size(tasks) == 0) {
		bool waited = op->job->deadline_ms != 0 && op->now_ms >= op->job->deadline_ms;
		if (wait_s > 0 && !waited)
			return op_park(op, wait_s * 1000);
		op->quiet = true; /* a poll that finds nothing is no access: it would drown the log */
	}
	return op_answer(op, 200, json_pack("{s:O}", "tasks", tasks));
}
