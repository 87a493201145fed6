/* Maintenance events and the tasks that they make for nodes. Three kinds of key in STORE_TASKS:
 *   m/ID/customer/service/volume            the task's record
 *   n/customer/service/node/ID/volume       empty: what a node still has to do
 *   o/customer/ID                           empty: an event of the customer's is open */
#include "kms-server/core/maintenance.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#define EVENT_VOLUMES_MAX 20000U
#define DEFAULT_WINDOW_S  (24 * 3600)
#define MAX_WINDOW_S      (30 * 24 * 3600)
/* after a finding: nodes that are down for some days are still told */
#define COMPROMISED_WINDOW_S (7 * 24 * 3600)

void maint_task_key(const char *id, const path3_t *volume, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "m/%.39s/%s/%s/%.63s", id, volume->customer, volume->service,
		       volume->name);
}

static void node_key(const char *id, const path3_t *volume, const char *node, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "n/%s/%s/%s/%.39s/%.63s", volume->customer, volume->service, node, id,
		       volume->name);
}

void maint_open_prefix(const char *customer, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "o/%s/", customer);
}

static kms_err_t del_if_there(store_txn_t *t, const char *key)
{
	kms_err_t e = store_del(t, STORE_TASKS, span_str(key));
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* The record, and whether it is among the open ones: a policy looks there at every decision. */
static kms_err_t save(store_txn_t *t, const secret_t *mac, const char *id, const maint_rec_t *m)
{
	char key[KEY_CAP];
	maint_open_prefix(m->customer, key);
	size_t n = strlen(key);
	(void)snprintf(key + n, sizeof key - n, "%s", id);
	KMS_TRY(m->state == MAINT_OPEN ? store_put(t, STORE_TASKS, span_str(key), span_str(""))
				       : del_if_there(t, key));
	return record_put_maint(t, mac, id, m);
}

bool maint_is_open(const maint_rec_t *m, int64_t now_ms)
{
	return m->state == MAINT_OPEN && now_ms < m->until_ms;
}

/* --- as JSON --- */

static json_t *maint_json(const char *id, const maint_rec_t *m, int64_t now_ms)
{
	bool ended = m->state == MAINT_OPEN && now_ms >= m->until_ms;
	return json_pack(
		"{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}}", "id",
		id, "customer", m->customer, "service",
		m->service[0] != '\0' ? json_string(m->service) : json_null(), "action",
		m->reencrypt ? "reencrypt" : "rotate", "state", ended ? "closed" : maint_state_name(m->state),
		"opened_by", m->opened_by, "ticket", m->ticket, "created_ms", (json_int_t)m->created_ms,
		"opened_ms", (json_int_t)m->opened_ms, "until_ms", (json_int_t)m->until_ms, "wave",
		(json_int_t)m->wave, "max_failures", (json_int_t)m->max_failures, "counts", "todo",
		(json_int_t)m->todo, "running", (json_int_t)m->running, "done", (json_int_t)m->done, "failed",
		(json_int_t)m->failed);
}

/* --- making one --- */

typedef struct found_volume {
	path3_t path;
	char node[NAME_CAP];
	volume_state_t state;
} found_volume_t;

typedef struct found_list {
	found_volume_t *at;
	size_t n, cap;
} found_list_t;

static void found_free(found_list_t *l)
{
	free(l->at);
	*l = (found_list_t){0};
}

static kms_err_t found_add(found_list_t *l, const found_volume_t *f)
{
	if (l->n == l->cap) {
		size_t cap = l->cap > 0 ? 2 * l->cap : 64;
		found_volume_t *at = realloc(l->at, cap * sizeof *at);
		if (at == NULL)
			return KMS_E_NOMEM;
		l->at = at;
		l->cap = cap;
	}
	l->at[l->n++] = *f;
	return KMS_OK;
}

/* Read in full before the first write, which would end the cursor. */
static kms_err_t find_volumes(op_t *op, const char *prefix, found_list_t *l)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	size_t np = strlen(prefix);
	kms_err_t e;
	KMS_TRY(store_seek(op->txn, STORE_VOLUMES, span_str(prefix), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK && key.n > np && memcmp(key.p, prefix, np) == 0) {
		volume_rec_t v;
		found_volume_t f = {0};
		KMS_TRY(record_decode_volume(op->mac, key, value, &v));
		if (v.state != VOLUME_ACTIVE && v.state != VOLUME_SUSPENDED)
			continue;
		if (path3_parse("volume", key, &f.path, NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		f.state = v.state;
		memcpy(f.node, v.node, NAME_CAP);
		KMS_TRY(found_add(l, &f));
		if (l->n > EVENT_VOLUMES_MAX)
			return op_conflict(op, "More than %u volumes: make one maintenance event a service.",
					   EVENT_VOLUMES_MAX);
	}
	return e == KMS_OK || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t add_task(op_t *op, const char *id, const found_volume_t *f, maint_rec_t *m)
{
	char key[KEY_CAP];
	task_rec_t task = {.state = TASK_TODO, .changed_ms = op->now_ms};
	memcpy(task.node, f->node, NAME_CAP);
	if (f->state == VOLUME_SUSPENDED) {
		task.state = TASK_FAILED;
		(void)snprintf(task.detail, sizeof task.detail, "the volume is suspended");
		m->failed++;
	} else {
		m->todo++;
		node_key(id, &f->path, f->node, key);
		KMS_TRY(store_put(op->txn, STORE_TASKS, span_str(key), span_str("")));
	}
	maint_task_key(id, &f->path, key);
	return record_put_task(op->txn, op->mac, key, &task);
}

typedef struct create_body {
	char customer[NAME_CAP], service[NAME_CAP];
	char action[16];
	char ticket[128];
	int64_t window_s, wave, max_failures;
} create_body_t;

static kms_err_t read_create(op_t *op, create_body_t *b)
{
	static const json_field_t fields[] = {
		{"customer", JF_NAME, offsetof(create_body_t, customer), 0, false},
		{"service", JF_NAME, offsetof(create_body_t, service), 0, true},
		{"action", JF_STRING, offsetof(create_body_t, action), sizeof((create_body_t *)0)->action,
		 true},
		{"ticket", JF_STRING, offsetof(create_body_t, ticket), sizeof((create_body_t *)0)->ticket,
		 true},
		{"window_s", JF_I64, offsetof(create_body_t, window_s), 0, true},
		{"wave", JF_I64, offsetof(create_body_t, wave), 0, true},
		{"max_failures", JF_I64, offsetof(create_body_t, max_failures), 0, true}};
	*b = (create_body_t){.action = "rotate", .window_s = DEFAULT_WINDOW_S};
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, b));
	if (strcmp(b->action, "rotate") != 0 && strcmp(b->action, "reencrypt") != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "action must be rotate or reencrypt.");
	if (b->window_s < 60 || b->window_s > MAX_WINDOW_S)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "window_s must be 60 to %d seconds.",
				 MAX_WINDOW_S);
	if (b->wave < 0 || b->wave > 100000 || b->max_failures < 0 || b->max_failures > 100000)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "wave and max_failures must be 0 to 100000.");
	return KMS_OK;
}

static kms_err_t find_scope(op_t *op, const create_body_t *b, found_list_t *l)
{
	tenant_rec_t tenant;
	char prefix[2 * NAME_CAP + 1];
	KMS_TRY(record_get_customer(op->txn, op->mac, b->customer, &tenant));
	(void)snprintf(prefix, sizeof prefix, "%s/%s", b->customer, b->service);
	if (b->service[0] != '\0') {
		KMS_TRY(record_get_service(op->txn, op->mac, prefix, &tenant));
		(void)snprintf(prefix, sizeof prefix, "%s/%s/", b->customer, b->service);
	}
	return find_volumes(op, prefix, l);
}

static kms_err_t new_id(char out[MAINT_ID_CAP])
{
	uint8_t r[8];
	KMS_TRY(crypto_random(r, sizeof r));
	out[0] = 'm';
	out[1] = '-';
	hex_encode(span_of(r, sizeof r), out + 2);
	return KMS_OK;
}

/* Opens the event at once; the rest of m is the caller's. */
static kms_err_t put_event(op_t *op, const char *id, const found_list_t *found, maint_rec_t *m)
{
	m->state = MAINT_OPEN;
	m->created_ms = m->opened_ms = op->now_ms;
	m->until_ms = op->now_ms + (int64_t)m->window_s * 1000;
	memcpy(m->opened_by, op->rq->caller.id.operator_name, sizeof m->opened_by);
	op->wrote = true;
	for (size_t i = 0; i < found->n; i++)
		KMS_TRY(add_task(op, id, &found->at[i], m));
	if (m->todo == 0)
		m->state = MAINT_CLOSED;
	op->wake |= m->todo > 0;
	return save(op->txn, op->mac, id, m);
}

kms_err_t op_maint_create(op_t *op)
{
	create_body_t b;
	char id[MAINT_ID_CAP] = "";
	SCOPED(found_free) found_list_t found = {0};
	KMS_TRY(read_create(op, &b));
	memcpy(op->tenant, b.customer, NAME_CAP);
	kms_err_t e = find_scope(op, &b, &found);
	if (e == KMS_E_NOTFOUND)
		op->tenant[0] = '\0';
	KMS_TRY(e);
	KMS_TRY(new_id(id));
	maint_rec_t m = {.reencrypt = strcmp(b.action, "reencrypt") == 0,
			 .window_s = (uint32_t)b.window_s,
			 .wave = (uint32_t)b.wave,
			 .max_failures = (uint32_t)b.max_failures};
	memcpy(m.customer, b.customer, NAME_CAP);
	memcpy(m.service, b.service, NAME_CAP);
	(void)snprintf(m.ticket, sizeof m.ticket, "%s", b.ticket);
	KMS_TRY(put_event(op, id, &found, &m));
	memcpy(op->correlation, id, sizeof op->correlation);
	(void)snprintf(op->ticket, sizeof op->ticket, "%s", b.ticket);
	return op_answer(op, 201, maint_json(id, &m, op->now_ms));
}

/* Those that have a secret of their own to rotate. */
static kms_err_t find_listed(op_t *op, const path3_t *volume, size_t n, found_list_t *l)
{
	for (size_t i = 0; i < n; i++) {
		volume_rec_t v;
		char key[PATH3_CAP];
		found_volume_t f = {.path = volume[i]};
		path3_format(&volume[i], key);
		kms_err_t e = record_get_volume(op->txn, op->mac, key, &v);
		if (e == KMS_E_NOTFOUND)
			continue;
		KMS_TRY(e);
		if (v.state != VOLUME_ACTIVE && v.state != VOLUME_SUSPENDED)
			continue;
		f.state = v.state;
		memcpy(f.node, v.node, NAME_CAP);
		KMS_TRY(found_add(l, &f));
	}
	return KMS_OK;
}

kms_err_t maint_rotate(op_t *op, const char *customer, const char *ticket, const path3_t *volume, size_t n,
		       char id[MAINT_ID_CAP])
{
	SCOPED(found_free) found_list_t found = {0};
	maint_rec_t m = {.window_s = COMPROMISED_WINDOW_S};
	(void)snprintf(m.customer, sizeof m.customer, "%s", customer);
	(void)snprintf(m.ticket, sizeof m.ticket, "%s", ticket);
	KMS_TRY(find_listed(op, volume, n, &found));
	if (found.n == 0)
		return op_conflict(op, "There is no volume to rotate here.");
	KMS_TRY(new_id(id));
	return put_event(op, id, &found, &m);
}

/* --- reading --- */

static kms_err_t load(op_t *op, const char *id, maint_rec_t *m)
{
	if (strlen(id) >= MAINT_ID_CAP)
		return KMS_E_NOTFOUND;
	KMS_TRY(record_get_maint(op->txn, op->mac, id, m));
	memcpy(op->tenant, m->customer, NAME_CAP);
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", id);
	return KMS_OK;
}

static kms_err_t add_volumes(op_t *op, const char *id, json_t *list)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e;
	(void)snprintf(prefix, sizeof prefix, "m/%s/", id);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_TASKS, span_str(prefix), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK && key.n > np && memcmp(key.p, prefix, np) == 0) {
		task_rec_t task;
		KMS_TRY(record_decode_task(op->mac, key, value, &task));
		json_t *item = json_pack("{s:s%, s:s, s:s, s:s, s:I}", "volume", (const char *)key.p + np,
					 key.n - np, "node", task.node, "state", task_state_name(task.state),
					 "detail", task.detail, "changed_ms", (json_int_t)task.changed_ms);
		if (json_array_append_new(list, item) != 0)
			return KMS_E_NOMEM;
	}
	return e == KMS_OK || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t op_maint_get(op_t *op)
{
	maint_rec_t m;
	KMS_TRY(load(op, op->rq->name, &m));
	json_t *list = json_array();
	kms_err_t e = add_volumes(op, op->rq->name, list);
	json_t *answer = maint_json(op->rq->name, &m, op->now_ms);
	if (json_object_set_new(answer, "volumes", list) != 0 && e == KMS_OK)
		e = KMS_E_NOMEM;
	if (e != KMS_OK) {
		json_decref(answer);
		return e;
	}
	return op_answer(op, 200, answer);
}

static kms_err_t maint_item(op_t *op, json_t *items, span_t key, span_t value)
{
	maint_rec_t m;
	char id[MAINT_ID_CAP];
	KMS_TRY(record_decode_maint(op->mac, key, value, &m));
	(void)snprintf(id, sizeof id, "%.*s", (int)key.n, (const char *)key.p);
	return json_array_append_new(items, maint_json(id, &m, op->now_ms)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_maint_list(op_t *op)
{
	return op_page(op, STORE_MAINTENANCE, "", maint_item);
}

/* --- changing --- */

/* The nodes' keys of an event that has ended would only make their polls longer. */
static kms_err_t drop_node_keys(core_t *c, store_txn_t *t, const char *id)
{
	char prefix[KEY_CAP], after[KEY_CAP];
	(void)snprintf(prefix, sizeof prefix, "m/%s/", id);
	memcpy(after, prefix, sizeof after);
	size_t np = strlen(prefix);
	for (;;) { /* a write ends the cursor: seek again behind the last key */
		SCOPED(store_cursor_freep) store_cursor_t *cur = NULL;
		span_t key = {0}, value = {0};
		path3_t path;
		task_rec_t task;
		char gone[KEY_CAP];
		KMS_TRY(store_seek(t, STORE_TASKS, span_str(after), STORE_UP, &cur));
		kms_err_t e = store_next(cur, &key, &value);
		if (e == KMS_OK && span_eq(key, span_str(after)))
			e = store_next(cur, &key, &value);
		if (e == KMS_E_NOTFOUND || (e == KMS_OK && (key.n <= np || memcmp(key.p, prefix, np) != 0)))
			return KMS_OK;
		KMS_TRY(e);
		KMS_TRY(record_decode_task(keyring_mac(c->keys), key, value, &task));
		if (key.n >= sizeof after ||
		    path3_parse("volume", span_of(key.p + np, key.n - np), &path, NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		memcpy(after, key.p, key.n);
		after[key.n] = '\0';
		node_key(id, &path, task.node, gone);
		store_cursor_freep(&cur);
		KMS_TRY(del_if_there(t, gone));
	}
}

kms_err_t maint_close(core_t *c, store_txn_t *t, const char *id, maint_rec_t *m, maint_state_t to)
{
	m->state = to;
	if (to == MAINT_CLOSED)
		KMS_TRY(drop_node_keys(c, t, id));
	return save(t, keyring_mac(c->keys), id, m);
}

kms_err_t op_maint_state(op_t *op)
{
	maint_rec_t m;
	const char *id = op->rq->name;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(load(op, id, &m));
	maint_state_t to = op->rq->op == OP_MAINT_OPEN    ? MAINT_OPEN
			   : op->rq->op == OP_MAINT_CLOSE ? MAINT_CLOSED
							  : MAINT_HALTED;
	if (m.state != to) {
		if (m.state == MAINT_CLOSED)
			return op_conflict(op, "The maintenance event is closed: make a new one.");
		op->wrote = true;
		KMS_TRY(maint_close(op->core, op->txn, id, &m, to));
		op->wake = to == MAINT_OPEN;
	}
	return op_answer(op, 200, maint_json(id, &m, op->now_ms));
}

static void count_out(maint_rec_t *m, task_state_t s)
{
	uint32_t *n = s == TASK_TODO      ? &m->todo
		      : s == TASK_RUNNING ? &m->running
		      : s == TASK_DONE    ? &m->done
					  : &m->failed;
	if (*n > 0)
		(*n)--;
}

/* A task has ended one way or the other. */
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
	count_out(&m, task.state);
	*(to == TASK_DONE ? &m.done : &m.failed) += 1;
	task.state = to;
	task.changed_ms = op->now_ms;
	(void)snprintf(task.detail, sizeof task.detail, "%s", detail);
	node_key(id, volume, task.node, gone);
	op->wrote = true;
	KMS_TRY(del_if_there(op->txn, gone));
	KMS_TRY(record_put_task(op->txn, op->mac, key, &task));
	bool too_many = to == TASK_FAILED && m.max_failures > 0 && m.failed >= m.max_failures;
	if (m.state == MAINT_OPEN && too_many) /* a success halts nothing: it may have been opened again */
		m.state = MAINT_HALTED;
	else if (m.state == MAINT_OPEN && m.todo + m.running == 0)
		m.state = MAINT_CLOSED;
	op->wake |= m.wave > 0 && m.todo > 0;
	return save(op->txn, op->mac, id, &m);
}

kms_err_t maint_task_done(op_t *op, const char *id, const path3_t *volume)
{
	return maint_end_task(op, id, volume, TASK_DONE, "");
}
