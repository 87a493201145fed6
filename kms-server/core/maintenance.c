/* Making a maintenance event: which volumes it has, and in which wave. */
#include "kms-server/core/maintenance.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#define EVENT_VOLUMES_MAX 20000U
/* after a finding: nodes that are down for some days are still told */
#define COMPROMISED_WINDOW_S (7 * 24 * 3600)

#define SUSPENDED    "the volume is suspended"
#define NODE_REVOKED "its node is revoked: assign the volume to another node"

/* --- the volumes --- */

typedef struct found_volume {
	path3_t path;
	char node[NAME_CAP];
	const char *reason; /* why nothing will be done; static text, or NULL */
	task_state_t state; /* with a reason */
	uint32_t wave;      /* without one */
} found_volume_t;

typedef struct found_list {
	found_volume_t *at;
	size_t n, cap;
	uint32_t doable;
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
	l->doable += f->reason == NULL ? 1 : 0;
	return KMS_OK;
}

/* Whether anything can be done to the volume, and if not, why. */
static kms_err_t look_at(op_t *op, const volume_rec_t *v, found_volume_t *f)
{
	node_rec_t node;
	path3_t path = f->path;
	char key[PATH3_CAP];
	memcpy(f->node, v->node, NAME_CAP);
	memcpy(path.name, v->node, NAME_CAP);
	path3_format(&path, key);
	if (v->state == VOLUME_SUSPENDED) {
		f->reason = SUSPENDED;
		f->state = TASK_FAILED; /* somebody has to look at it */
		return KMS_OK;
	}
	kms_err_t e = record_get_node(op->txn, op->mac, key, &node);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && node.state == IDENTITY_REVOKED)) {
		f->reason = NODE_REVOKED;
		f->state = TASK_SKIPPED;
		return KMS_OK;
	}
	return e;
}

static kms_err_t find_one(op_t *op, const maint_rec_t *m, const volume_rec_t *v, found_volume_t *f,
			  found_list_t *l)
{
	if ((v->state != VOLUME_ACTIVE && v->state != VOLUME_SUSPENDED) || !maint_names_node(m, v->node))
		return KMS_OK;
	if (m->seen_by[0] != '\0' && !volume_seen_by(v, m->seen_by))
		return KMS_OK;
	KMS_TRY(look_at(op, v, f));
	return found_add(l, f);
}

/* Read in full before the first write, which would end the cursor. */
static kms_err_t find_volumes(op_t *op, const maint_rec_t *m, const char *prefix, found_list_t *l)
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
		if (path3_parse("volume", key, &f.path, NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		KMS_TRY(find_one(op, m, &v, &f, l));
		if (l->n > EVENT_VOLUMES_MAX)
			return op_conflict(op, "More than %u volumes: make one maintenance event a service.",
					   EVENT_VOLUMES_MAX);
	}
	return e == KMS_OK || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* A name that is none would select nothing, and look as if all were done. */
static kms_err_t check_seen_by(op_t *op, const maint_rec_t *m)
{
	node_rec_t node;
	char key[PATH3_CAP];
	(void)snprintf(key, sizeof key, "%s/%s/%s", m->customer, m->service, m->seen_by);
	kms_err_t e = record_get_node(op->txn, op->mac, key, &node);
	return e == KMS_E_NOTFOUND ? op_conflict(op, "seen_by: there is no node %s.", key) : e;
}

static kms_err_t find_scope(op_t *op, const maint_rec_t *m, found_list_t *l)
{
	tenant_rec_t tenant;
	char prefix[2 * NAME_CAP + 2];
	KMS_TRY(record_get_customer(op->txn, op->mac, m->customer, &tenant));
	(void)snprintf(prefix, sizeof prefix, "%s/%s", m->customer, m->service);
	if (m->service[0] != '\0') {
		KMS_TRY(record_get_service(op->txn, op->mac, prefix, &tenant));
		(void)snprintf(prefix, sizeof prefix, "%s/%s/", m->customer, m->service);
	}
	if (m->seen_by[0] != '\0')
		KMS_TRY(check_seen_by(op, m));
	return find_volumes(op, m, prefix, l);
}

static void plan_waves(found_list_t *l, maint_rec_t *m)
{
	uint32_t i = 0;
	m->wave_size = waves_size(l->doable, m->wave, m->wave_percent);
	m->waves = waves_count(l->doable, m->wave_size);
	for (size_t k = 0; k < l->n; k++)
		if (l->at[k].reason == NULL)
			l->at[k].wave = i++ / m->wave_size + 1;
}

/* What the request asks for, and what that comes to. */
static kms_err_t plan(op_t *op, maint_rec_t *m, found_list_t *l)
{
	KMS_TRY(maint_read_body(op, m));
	memcpy(op->tenant, m->customer, NAME_CAP);
	kms_err_t e = find_scope(op, m, l);
	if (e == KMS_E_NOTFOUND)
		op->tenant[0] = '\0';
	KMS_TRY(e);
	plan_waves(l, m);
	return KMS_OK;
}

/* --- making it --- */

static kms_err_t add_task(op_t *op, const char *id, const found_volume_t *f, maint_rec_t *m)
{
	char key[KEY_CAP];
	task_rec_t task = {
		.state = f->reason != NULL ? f->state : TASK_TODO, .changed_ms = op->now_ms, .wave = f->wave};
	memcpy(task.node, f->node, NAME_CAP);
	(void)snprintf(task.detail, sizeof task.detail, "%s", f->reason != NULL ? f->reason : "");
	m->todo += task.state == TASK_TODO ? 1 : 0;
	m->failed += task.state == TASK_FAILED ? 1 : 0;
	m->skipped += task.state == TASK_SKIPPED ? 1 : 0;
	if (task.state == TASK_TODO) {
		maint_node_key(id, &f->path, f->node, key);
		KMS_TRY(store_put(op->txn, STORE_TASKS, span_str(key), span_str("")));
	}
	maint_task_key(id, &f->path, key);
	return record_put_task(op->txn, op->mac, key, &task);
}

#define ID_BYTES 8U

static void write_id(const uint8_t bytes[ID_BYTES], char out[MAINT_ID_CAP])
{
	out[0] = 'm';
	out[1] = '-';
	hex_encode(span_of(bytes, ID_BYTES), out + 2);
}

static kms_err_t new_id(char out[MAINT_ID_CAP])
{
	uint8_t r[ID_BYTES];
	KMS_TRY(crypto_random(r, sizeof r));
	write_id(r, out);
	return KMS_OK;
}

static kms_err_t put_event(op_t *op, const char *id, const found_list_t *found, maint_rec_t *m)
{
	bool later = m->start_ms > op->now_ms;
	if (!later)
		m->start_ms = op->now_ms;
	m->state = later ? MAINT_SCHEDULED : MAINT_OPEN;
	m->created_ms = op->now_ms;
	m->opened_ms = later ? 0 : op->now_ms;
	m->until_ms = m->start_ms + (int64_t)m->window_s * 1000;
	memcpy(m->opened_by, op->rq->caller.id.operator_name, sizeof m->opened_by);
	op->wrote = true;
	for (size_t i = 0; i < found->n; i++)
		KMS_TRY(add_task(op, id, &found->at[i], m));
	m->current_wave = 1;
	if (m->todo == 0)
		m->state = MAINT_CLOSED;
	else if (!later)
		KMS_TRY(maint_begin_wave(op->txn, op->mac, id, m, op->now_ms));
	op->wake |= m->state == MAINT_OPEN;
	return maint_save(op->txn, op->mac, id, m);
}

kms_err_t op_maint_create(op_t *op)
{
	maint_rec_t m;
	char id[MAINT_ID_CAP] = "";
	SCOPED(found_free) found_list_t found = {0};
	KMS_TRY(plan(op, &m, &found));
	KMS_TRY(new_id(id));
	KMS_TRY(put_event(op, id, &found, &m));
	memcpy(op->correlation, id, sizeof op->correlation);
	memcpy(op->ticket, m.ticket, sizeof op->ticket);
	return op_answer(op, 201, maint_json(id, &m, op->now_ms));
}

kms_err_t op_maint_plan(op_t *op)
{
	maint_rec_t m;
	SCOPED(found_free) found_list_t found = {0};
	SCOPED(json_freep) json_t *list = json_array();
	KMS_TRY(plan(op, &m, &found));
	for (size_t i = 0; i < found.n; i++) {
		const found_volume_t *f = &found.at[i];
		char volume[PATH3_CAP];
		path3_format(&f->path, volume);
		const char *will = f->reason != NULL ? "skip" : m.reencrypt ? "reencrypt" : "rotate";
		json_t *item = json_pack("{s:s, s:s, s:s, s:I, s:s}", "volume", volume, "node", f->node,
					 "will", will, "wave", (json_int_t)f->wave, "reason",
					 f->reason != NULL ? f->reason : "");
		if (json_array_append_new(list, item) != 0)
			return KMS_E_NOMEM;
	}
	return op_answer(op, 200,
			 json_pack("{s:O, s:I}", "volumes", list, "waves",
				   (json_int_t)(found.doable > 0 ? m.waves : 0)));
}

/* --- after a review's finding --- */

/* Those that have a secret of their own to rotate. */
static kms_err_t find_listed(op_t *op, const maint_rec_t *m, const path3_t *volume, size_t n, found_list_t *l)
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
		KMS_TRY(find_one(op, m, &v, &f, l));
	}
	return KMS_OK;
}

kms_err_t maint_rotate(op_t *op, const char *customer, const char *ticket, const path3_t *volume, size_t n,
		       char id[MAINT_ID_CAP])
{
	SCOPED(found_free) found_list_t found = {0};
	maint_rec_t m = {
		.window_s = COMPROMISED_WINDOW_S, .compromised = true, .gate_failures = MAINT_NO_GATE};
	(void)snprintf(m.customer, sizeof m.customer, "%s", customer);
	(void)snprintf(m.ticket, sizeof m.ticket, "%s", ticket);
	KMS_TRY(find_listed(op, &m, volume, n, &found));
	if (found.n == 0)
		return op_conflict(op, "There is no volume to rotate here.");
	plan_waves(&found, &m);
	KMS_TRY(new_id(id));
	return put_event(op, id, &found, &m);
}

/* --- by the clock --- */

#define SCHEDULE_WINDOW_S     (24 * 3600)
#define SCHEDULE_WAVE_PERCENT 10U
#define SCHEDULE_GATE_S       300U
#define SCHEDULE_MAX_FAILURES 3U

/* Whose secret is older than the setting allows; what cannot be rotated now is not begun with. */
static kms_err_t find_due(op_t *op, found_list_t *l)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e;
	KMS_TRY(store_seek(op->txn, STORE_VOLUMES, span_str(""), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK && l->n < EVENT_VOLUMES_MAX) {
		volume_rec_t v;
		found_volume_t f = {.reason = NULL};
		if (record_decode_volume(op->mac, key, value, &v) != KMS_OK || v.state != VOLUME_ACTIVE ||
		    v.rotation_version != 0 || volume_reencrypts(&v) ||
		    op->now_ms - v.rotated_ms < op->core->rotate_ms)
			continue; /* a damaged record is sweep's to tell */
		if (path3_parse("volume", key, &f.path, NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		KMS_TRY(look_at(op, &v, &f));
		if (f.reason == NULL)
			KMS_TRY(found_add(l, &f));
	}
	return e == KMS_OK || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* One a service and day: what failed today is tried again tomorrow, and not every ten minutes. */
static kms_err_t schedule_id(const op_t *op, const path3_t *of, char out[MAINT_ID_CAP])
{
	uint8_t digest[SHA256_LEN];
	char text[3 * NAME_CAP];
	(void)snprintf(text, sizeof text, "%s/%s %lld", of->customer, of->service,
		       (long long)(op->now_ms / 86400000));
	KMS_TRY(crypto_sha256(span_str(text), digest));
	write_id(digest, out);
	return KMS_OK;
}

/* People's events come first: what they are at is not begun beside them. */
static kms_err_t is_busy(op_t *op, const path3_t *of, const char *id, bool *busy)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP], open[MAINT_ID_CAP];
	span_t key = {0}, value = {0};
	maint_rec_t m;
	kms_err_t e = record_get_maint(op->txn, op->mac, id, &m);
	*busy = e == KMS_OK;
	if (e != KMS_E_NOTFOUND)
		return e;
	maint_open_prefix(of->customer, prefix);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_TASKS, span_str(prefix), STORE_UP, &c));
	while (!*busy && (e = store_next(c, &key, &value)) == KMS_OK && key.n > np &&
	       memcmp(key.p, prefix, np) == 0) {
		if (key.n - np >= sizeof open)
			return KMS_E_INTEGRITY;
		(void)snprintf(open, sizeof open, "%.*s", (int)(key.n - np), (const char *)key.p + np);
		KMS_TRY(record_get_maint(op->txn, op->mac, open, &m));
		*busy = m.service[0] == '\0' || strcmp(m.service, of->service) == 0;
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t log_schedule(op_t *op, const char *id, const path3_t *of, size_t n)
{
	char detail[96];
	uint64_t index;
	(void)snprintf(detail, sizeof detail, "%zu volumes have secrets older than %lld days", n,
		       (long long)(op->core->rotate_ms / 86400000));
	event_t e = {.time_ms = op->now_ms,
		     .operation = "maintenance.create",
		     .class_uid = 3004,
		     .activity_id = 1,
		     .success = true,
		     .status_code = "done",
		     .status_detail = detail,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .customer = of->customer,
		     .resource_uid = id,
		     .resource_type = "maintenance"};
	return log_append(op->core->audit, op->txn, &e, &index);
}

/* The volumes of one service. */
static kms_err_t schedule(op_t *op, found_list_t *l)
{
	const path3_t *of = &l->at[0].path;
	char id[MAINT_ID_CAP];
	bool busy = false;
	maint_rec_t m = {.window_s = SCHEDULE_WINDOW_S,
			 .wave_percent = SCHEDULE_WAVE_PERCENT,
			 .gate_s = SCHEDULE_GATE_S,
			 .gate_failures = MAINT_NO_GATE,
			 .max_failures = SCHEDULE_MAX_FAILURES,
			 .has_hours = op->core->has_rotate_hours,
			 .hours = op->core->rotate_hours,
			 .by_schedule = true};
	KMS_TRY(schedule_id(op, of, id));
	KMS_TRY(is_busy(op, of, id, &busy));
	if (busy)
		return KMS_OK;
	memcpy(m.customer, of->customer, sizeof m.customer);
	memcpy(m.service, of->service, sizeof m.service);
	(void)snprintf(m.ticket, sizeof m.ticket, "cryptoperiod");
	plan_waves(l, &m);
	KMS_TRY(put_event(op, id, l, &m));
	return log_schedule(op, id, of, l->n);
}

static bool same_service(const path3_t *a, const path3_t *b)
{
	return strcmp(a->customer, b->customer) == 0 && strcmp(a->service, b->service) == 0;
}

kms_err_t maint_schedule(core_t *c, store_txn_t *t, int64_t now_ms)
{
	if (c->rotate_ms == 0 || (c->has_rotate_hours && !hours_contain(&c->rotate_hours, now_ms)))
		return KMS_OK;
	SCOPED(found_free) found_list_t all = {0};
	SCOPED(freep) core_request_t *nobody = calloc(1, sizeof *nobody);
	if (nobody == NULL)
		return KMS_E_NOMEM;
	op_t op = {.core = c, .txn = t, .rq = nobody, .mac = keyring_mac(c->keys), .now_ms = now_ms};
	(void)snprintf(nobody->caller.id.operator_name, sizeof nobody->caller.id.operator_name, "kms-server");
	KMS_TRY(find_due(&op, &all));
	for (size_t i = 0, n; i < all.n; i += n) {
		for (n = 1; i + n < all.n && same_service(&all.at[i].path, &all.at[i + n].path);)
			n++;
		found_list_t part = {.at = all.at + i, .n = n, .doable = (uint32_t)n};
		KMS_TRY(schedule(&op, &part));
	}
	c->woken |= op.wake;
	return KMS_OK;
}
