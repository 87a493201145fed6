#include "kms-server/core/maintenance.h"

#include "common/base/scope.h"

#define DEFAULT_WINDOW_S (24 * 3600)
#define MAX_WINDOW_S     (30 * 24 * 3600)
#define MAX_GATE_S       (24 * 3600)
#define MAX_COUNT        100000
#define MAX_AHEAD_MS     (INT64_C(90) * 24 * 3600 * 1000)

typedef struct create_body {
	char customer[NAME_CAP], service[NAME_CAP], seen_by[NAME_CAP];
	char action[16];
	char ticket[128];
	int64_t window_s, wave, wave_percent, max_failures, gate_s, gate_failures, start_ms;
	json_t *hours, *nodes; /* borrowed */
	bool compromised;
} create_body_t;

static kms_err_t refuse(op_t *op, const char *text)
{
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s", text);
}

/* --- hours --- */

typedef struct hours_body {
	char from[8], to[8], zone[8];
	json_t *days; /* borrowed */
} hours_body_t;

static kms_err_t read_days(const json_t *days, uint8_t *out, diag_t *why)
{
	*out = HOURS_ALL_DAYS;
	if (days == NULL)
		return KMS_OK;
	if (!json_is_array(days) || json_array_size(days) < 1 || json_array_size(days) > 7)
		return diag_fail(why, KMS_E_INVALID, "days must be a list of 1 to 7 days");
	*out = 0;
	for (size_t i = 0; i < json_array_size(days); i++) {
		uint8_t day = 0;
		const char *text = json_string_value(json_array_get(days, i));
		KMS_TRY(hours_day(span_str(text != NULL ? text : ""), &day, why));
		*out |= day;
	}
	return KMS_OK;
}

static kms_err_t read_hours(const json_t *j, hours_t *out, diag_t *why)
{
	static const json_field_t fields[] = {
		{"from", JF_STRING, offsetof(hours_body_t, from), sizeof((hours_body_t *)0)->from, false},
		{"to", JF_STRING, offsetof(hours_body_t, to), sizeof((hours_body_t *)0)->to, false},
		{"zone", JF_STRING, offsetof(hours_body_t, zone), sizeof((hours_body_t *)0)->zone, false},
		{"days", JF_RAW, offsetof(hours_body_t, days), 0, true}};
	hours_body_t b = {.days = NULL};
	if (!json_is_object(j))
		return diag_fail(why, KMS_E_INVALID, "must be an object with from, to and zone");
	KMS_TRY(json_read(j, fields, sizeof fields / sizeof *fields, true, &b, why));
	KMS_TRY(hours_time(span_str(b.from), &out->from, why));
	KMS_TRY(hours_time(span_str(b.to), &out->to, why));
	KMS_TRY(hours_zone(span_str(b.zone), &out->zone, why));
	return read_days(b.days, &out->days, why);
}

/* --- nodes --- */

/* A name, or its beginning and a "*". */
static bool node_pattern(const char *text, char out[NAME_CAP])
{
	size_t n = strlen(text);
	if (n == 0 || n >= NAME_CAP)
		return false;
	memcpy(out, text, n + 1);
	if (text[n - 1] != '*')
		return name_valid(span_str(text));
	return n == 1 || name_valid(span_of(text, n - 1));
}

static kms_err_t read_nodes(op_t *op, const json_t *list, maint_rec_t *m)
{
	if (list == NULL)
		return KMS_OK;
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n < 1 || n > MAINT_NODES_MAX)
		return refuse(op, "nodes must be a list of 1 to 64 names; each may end in one \"*\".");
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (text == NULL || !node_pattern(text, m->nodes[i]))
			return op_refuse(
				op, KMS_E_INVALID, 400, "bad-request",
				"nodes: the entry %zu is no name of a node; only its end may be \"*\".",
				i + 1);
	}
	m->n_nodes = n;
	return KMS_OK;
}

/* --- the body --- */

static const struct limit {
	size_t offset;
	int64_t min, max;
	const char *told;
} limits[] = {
	{offsetof(create_body_t, window_s), 60, MAX_WINDOW_S, "window_s must be 60 to 2592000 seconds."},
	{offsetof(create_body_t, wave), 0, MAX_COUNT, "wave and max_failures must be 0 to 100000."},
	{offsetof(create_body_t, max_failures), 0, MAX_COUNT, "wave and max_failures must be 0 to 100000."},
	{offsetof(create_body_t, wave_percent), 0, 100, "wave_percent must be 1 to 100."},
	{offsetof(create_body_t, gate_s), 0, MAX_GATE_S, "gate_s must be 0 to 86400 seconds."},
	{offsetof(create_body_t, gate_failures), -1, MAX_COUNT, "gate_failures must be 0 to 100000."},
	{offsetof(create_body_t, start_ms), 0, JSON_SAFE_INTEGER, "start_ms must be a time in milliseconds."},
};

static kms_err_t check(op_t *op, const create_body_t *b)
{
	if (strcmp(b->action, "rotate") != 0 && strcmp(b->action, "reencrypt") != 0)
		return refuse(op, "action must be rotate or reencrypt.");
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		int64_t v;
		memcpy(&v, (const char *)b + limits[i].offset, sizeof v);
		if (v < limits[i].min || v > limits[i].max)
			return refuse(op, limits[i].told);
	}
	if (b->wave > 0 && b->wave_percent > 0)
		return refuse(
			op,
			"wave and wave_percent exclude each other: a number of volumes, or a part of them.");
	if (b->seen_by[0] != '\0' && b->service[0] == '\0')
		return refuse(op, "seen_by is a node of one service: name it.");
	if (b->start_ms > op->now_ms + MAX_AHEAD_MS)
		return refuse(op, "start_ms is more than 90 days ahead.");
	return KMS_OK;
}

#define TEXT(member) JF_STRING, offsetof(create_body_t, member), sizeof((create_body_t *)0)->member, true
#define I64(member)  JF_I64, offsetof(create_body_t, member), 0, true

static kms_err_t read_fields(op_t *op, create_body_t *b)
{
	static const json_field_t fields[] = {
		{"customer", JF_NAME, offsetof(create_body_t, customer), 0, false},
		{"service", JF_NAME, offsetof(create_body_t, service), 0, true},
		{"action", TEXT(action)},
		{"ticket", TEXT(ticket)},
		{"window_s", I64(window_s)},
		{"wave", I64(wave)},
		{"wave_percent", I64(wave_percent)},
		{"max_failures", I64(max_failures)},
		{"gate_s", I64(gate_s)},
		{"gate_failures", I64(gate_failures)},
		{"start_ms", I64(start_ms)},
		{"hours", JF_RAW, offsetof(create_body_t, hours), 0, true},
		{"nodes", JF_RAW, offsetof(create_body_t, nodes), 0, true},
		{"compromised", JF_BOOL, offsetof(create_body_t, compromised), 0, true},
		{"seen_by", JF_NAME, offsetof(create_body_t, seen_by), 0, true}};
	*b = (create_body_t){.action = "rotate", .window_s = DEFAULT_WINDOW_S, .gate_failures = -1};
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, b));
	return check(op, b);
}

static uint32_t gate_failures(const create_body_t *b)
{
	if (b->gate_failures >= 0)
		return (uint32_t)b->gate_failures;
	return b->gate_s > 0 ? 0 : MAINT_NO_GATE; /* who asks for a gate wants it to hold */
}

kms_err_t maint_read_body(op_t *op, maint_rec_t *m)
{
	create_body_t b;
	diag_t why = {""};
	KMS_TRY(read_fields(op, &b));
	*m = (maint_rec_t){.reencrypt = strcmp(b.action, "reencrypt") == 0,
			   .compromised = b.compromised,
			   .window_s = (uint32_t)b.window_s,
			   .wave = (uint32_t)b.wave,
			   .wave_percent = (uint32_t)b.wave_percent,
			   .max_failures = (uint32_t)b.max_failures,
			   .gate_s = (uint32_t)b.gate_s,
			   .gate_failures = gate_failures(&b),
			   .start_ms = b.start_ms,
			   .has_hours = b.hours != NULL};
	if (m->has_hours && read_hours(b.hours, &m->hours, &why) != KMS_OK)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "hours: %s.", why.text);
	KMS_TRY(read_nodes(op, b.nodes, m));
	memcpy(m->customer, b.customer, NAME_CAP);
	memcpy(m->service, b.service, NAME_CAP);
	memcpy(m->seen_by, b.seen_by, NAME_CAP);
	(void)snprintf(m->ticket, sizeof m->ticket, "%s", b.ticket);
	return KMS_OK;
}

/* --- as JSON --- */

static json_t *hours_json(const maint_rec_t *m)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	const hours_t *h = &m->hours;
	char from[16], to[16], zone[16] = "Z";
	if (!m->has_hours)
		return json_null();
	unsigned off = (unsigned)(h->zone < 0 ? -h->zone : h->zone);
	(void)snprintf(from, sizeof from, "%02u:%02u", h->from / 60U, h->from % 60U);
	(void)snprintf(to, sizeof to, "%02u:%02u", h->to / 60U, h->to % 60U);
	if (off != 0)
		(void)snprintf(zone, sizeof zone, "%c%02u:%02u", h->zone < 0 ? '-' : '+', off / 60, off % 60);
	json_t *days = json_array();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((h->days >> i & 1U) != 0)
			(void)json_array_append_new(days, json_string(names[i]));
	return json_pack("{s:s, s:s, s:s, s:o}", "from", from, "to", to, "zone", zone, "days", days);
}

static json_t *nodes_json(const maint_rec_t *m)
{
	json_t *list = json_array();
	for (size_t i = 0; i < m->n_nodes; i++)
		(void)json_array_append_new(list, json_string(m->nodes[i]));
	return list;
}

static json_t *counts_json(const maint_rec_t *m)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "todo", (json_int_t)m->todo, "running",
			 (json_int_t)m->running, "done", (json_int_t)m->done, "failed", (json_int_t)m->failed,
			 "skipped", (json_int_t)m->skipped, "away", (json_int_t)m->away);
}

static json_t *gate_json(const maint_rec_t *m)
{
	return m->gate_failures == MAINT_NO_GATE ? json_null() : json_integer((json_int_t)m->gate_failures);
}

json_t *maint_json(const char *id, const maint_rec_t *m, int64_t now_ms)
{
	bool over = !maint_has_ended(m) && now_ms >= m->until_ms;
	json_t *service = m->service[0] != '\0' ? json_string(m->service) : json_null();
	json_t *j = json_pack(
		"{s:s, s:s, s:o, s:s, s:b, s:s, s:s, s:s, s:o, s:o}", "id", id, "customer", m->customer,
		"service", service, "action", m->reencrypt ? "reencrypt" : "rotate", "compromised",
		m->compromised ? 1 : 0, "state", over ? "closed" : maint_state_name(m->state), "opened_by",
		m->opened_by, "ticket", m->ticket, "nodes", nodes_json(m), "hours", hours_json(m));
	json_t *more = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:o, s:o, s:o}", "created_ms",
		(json_int_t)m->created_ms, "start_ms", (json_int_t)m->start_ms, "opened_ms",
		(json_int_t)m->opened_ms, "until_ms", (json_int_t)m->until_ms, "wave", (json_int_t)m->wave,
		"wave_percent", (json_int_t)m->wave_percent, "waves", (json_int_t)m->waves, "current_wave",
		(json_int_t)m->current_wave, "max_failures", (json_int_t)m->max_failures, "by_schedule",
		m->by_schedule, "gate_s", (json_int_t)m->gate_s, "gate_failures", gate_json(m), "counts",
		counts_json(m), "seen_by", m->seen_by[0] != '\0' ? json_string(m->seen_by) : json_null());
	if (j == NULL || more == NULL || json_object_update_new(j, more) != 0) {
		json_decref(j);
		return NULL;
	}
	return j;
}

/* --- reading --- */

kms_err_t maint_load(op_t *op, const char *id, maint_rec_t *m)
{
	if (strlen(id) >= MAINT_ID_CAP)
		return KMS_E_NOTFOUND;
	KMS_TRY(record_get_maint(op->txn, op->mac, id, m));
	memcpy(op->tenant, m->customer, NAME_CAP);
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", id);
	return KMS_OK;
}

typedef struct listing {
	const op_t *op;
	const maint_rec_t *m;
	json_t *list;
} listing_t;

static kms_err_t list_task(void *ctx, maint_task_at_t *at, bool *wrote)
{
	const listing_t *l = ctx;
	char volume[PATH3_CAP];
	int64_t shown = 0;
	task_begun_t begun;
	(void)wrote;
	path3_format(&at->volume, volume);
	if (at->task.state == TASK_RUNNING)
		KMS_TRY(maint_task_begun(l->op->txn, l->op->mac, &at->volume, &begun, &shown));
	bool away = waves_task_away(l->m, &at->task, shown, l->op->now_ms);
	json_t *item = json_pack("{s:s, s:s, s:s, s:b, s:I, s:s, s:I}", "volume", volume, "node",
				 at->task.node, "state", task_state_name(at->task.state), "away",
				 away ? 1 : 0, "wave", (json_int_t)at->task.wave, "detail", at->task.detail,
				 "changed_ms", (json_int_t)at->task.changed_ms);
	return json_array_append_new(l->list, item) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_maint_get(op_t *op)
{
	maint_rec_t m;
	KMS_TRY(maint_load(op, op->rq->name, &m));
	SCOPED(json_freep) json_t *list = json_array();
	listing_t l = {op, &m, list};
	KMS_TRY(maint_each_task(op->txn, op->mac, op->rq->name, list_task, &l));
	json_t *answer = maint_json(op->rq->name, &m, op->now_ms);
	if (json_object_set(answer, "volumes", list) != 0) {
		json_decref(answer);
		return KMS_E_NOMEM;
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
