/* The customer's events of the period: each held against the log's tree and its chain, and what they say. */
#include "tools/kmsctl/report.h"

#include "common/base/scope.h"
#include "common/tlog/merkle.h"
#include "common/tlog/proof.h"
#include "tools/kmsctl/progress.h"

#include <inttypes.h>

#define EVENTS "/v1/audit/events"

typedef struct reading {
	report_t *r;
	uint64_t begin, end; /* indexes of the period's events */
	uint64_t events;
	uint64_t unnamed;
	bool over;
	json_t *accesses, *gaps;
	json_t *alike;   /* refusals: who, what, on what, how → its row */
	json_t *counts;  /* operation, status, kind of actor → row */
	json_t *grants;  /* id → row */
	json_t *intents; /* uid → row of a release whose outcome is to come */
	progress_t progress;
} reading_t;

static void reading_clear(reading_t *x)
{
	json_decref(x->accesses);
	json_decref(x->gaps);
	json_decref(x->alike);
	json_decref(x->counts);
	json_decref(x->grants);
	json_decref(x->intents);
}

static kms_err_t no_memory(diag_t *why)
{
	return diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
}

void report_free(report_t *r)
{
	logsrc_freep(&r->src);
	loghead_free(&r->head);
	treeread_freep(&r->tree);
	json_decref(r->doc);
	r->doc = NULL;
}

/* --- one event of the server's list --- */

typedef struct first {
	json_t *row;
} first_t;

static kms_err_t keep_first(void *ctx, const json_t *rows, diag_t *why)
{
	first_t *f = ctx;
	json_t *row = json_array_get(rows, 0);
	const json_t *index = json_object_get(row, "index");
	if (row == NULL || f->row != NULL)
		return KMS_OK;
	if (!json_is_integer(index) || json_integer_value(index) < 0 ||
	    !json_is_object(json_object_get(row, "event")))
		return diag_fail(why, KMS_E_IO, "the server's list has something that is no event");
	f->row = json_incref(row);
	return KMS_OK;
}

/* The first of the customer's events in this order; bound: "from" or "to" with a time, or "cursor" with an
 * index. *out is NULL when there is none. */
static kms_err_t find_one(report_t *r, const char *order, const char *bound, int64_t at, json_t **out,
			  diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	first_t f = {.row = NULL};
	page_walk_t w = {.cli = r->cli, .path = EVENTS, .key = "events", .left = 1};
	query_add(&q, "customer", r->customer);
	query_add(&q, "order", order);
	if (strcmp(bound, "cursor") == 0)
		(void)snprintf(w.cursor, sizeof w.cursor, "%" PRId64, at);
	else
		query_add_number(&q, bound, at);
	if (buf_cstr(&q, &w.query) != KMS_OK)
		return no_memory(why);
	kms_err_t e = page_walk(&w, keep_first, &f, why);
	if (e != KMS_OK)
		json_decref(f.row);
	else
		*out = f.row;
	return e;
}

static uint64_t index_of(const json_t *row)
{
	return (uint64_t)value_number(row, "index");
}

/* --- the chain --- */

/* A gap is told, and the chain is followed from behind it. */
static kms_err_t follow_chain(reading_t *x, const json_t *row, diag_t *why)
{
	custcheck_t *c = &x->r->chain;
	const json_t *event = json_object_get(row, "event");
	diag_t gap = {""};
	kms_err_t e = custcheck_event(c, index_of(row), event, &gap);
	if (e == KMS_OK)
		return e;
	if (e != KMS_E_INTEGRITY)
		return diag_fail(why, e, "%.400s", gap.text);
	if (json_array_size(x->gaps) < REPORT_GAPS_MAX &&
	    json_array_append_new(x->gaps, json_string(gap.text)) != 0)
		return no_memory(why);
	c->n++;
	c->last_sequence = (uint64_t)value_number(event, "metadata.sequence");
	c->last_index = index_of(row);
	return KMS_OK;
}

/* The neighbours outside the period: with them nothing can be missing at its ends either. */
static kms_err_t begin_chain(reading_t *x, diag_t *why)
{
	SCOPED(json_freep) json_t *before = NULL;
	report_t *r = x->r;
	r->chain = (custcheck_t){.customer = r->customer};
	if (x->begin == 0)
		return KMS_OK;
	KMS_TRY(find_one(r, "desc", "cursor", (int64_t)x->begin - 1, &before, why));
	if (before == NULL)
		return KMS_OK;
	r->chain.begin = index_of(before);
	return follow_chain(x, before, why);
}

static kms_err_t end_chain(reading_t *x, bool *proved, diag_t *why)
{
	SCOPED(json_freep) json_t *after = NULL;
	*proved = false;
	if (x->end >= x->r->head.head.size)
		return KMS_OK;
	KMS_TRY(find_one(x->r, "asc", "cursor", (int64_t)x->end, &after, why));
	if (after == NULL)
		return KMS_OK;
	*proved = true;
	return follow_chain(x, after, why);
}

/* --- the tree --- */

static kms_err_t check_leaf(report_t *r, uint64_t index, span_t bytes, diag_t *why)
{
	uint8_t leaf[MERKLE_HASH_LEN], there[MERKLE_HASH_LEN];
	if (merkle_leaf(bytes, leaf) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "the hash function failed");
	KMS_TRY(treeread_leaf(r->tree, index, there, why));
	if (memcmp(leaf, there, sizeof leaf) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "bad leaf at index %" PRIu64
				 ": the log has another event there than the server shows",
				 index);
	return KMS_OK;
}

static kms_err_t add_proof(const report_t *r, uint64_t index, span_t bytes, json_t *row, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *proof = NULL;
	tlog_proof_t p = {.index = index, .checkpoint = buf_span(&r->head.note)};
	diag_t inner = {""};
	KMS_TRY(treeread_inclusion(r->tree, index, p.hash, &p.n, why));
	kms_err_t e = proof_verify(&p, bytes, &r->head.key, NULL, &inner);
	if (e != KMS_OK)
		return diag_fail(why, e, "the proof of event %" PRIu64 " does not hold: %.300s", index,
				 inner.text);
	if (proof_format(&p, &text) != KMS_OK || buf_cstr(&text, &proof) != KMS_OK ||
	    json_object_set_new(row, "proof", json_string(proof)) != 0)
		return no_memory(why);
	return KMS_OK;
}

/* --- what an event says --- */

static bool is(const json_t *event, const char *path, const char *text)
{
	return strcmp(value_text(event, path), text) == 0;
}

static bool failed(const json_t *event)
{
	return value_number(event, "status_id") != 1;
}

/* What a person looks at one by one: what people did, what was refused, what happened under a grant or to a
 * review or key. What nodes do all day, and what was only looked at, is counted. */
static bool is_named(const json_t *event)
{
	int64_t class_uid = value_number(event, "class_uid");
	bool release = is(event, "api.operation", "key.release");
	bool read = class_uid == 6003 && value_number(event, "activity_id") == 2;
	if (failed(event) || value_text(event, "unmapped.claviger.grant")[0] != '\0')
		return true;
	if (is(event, "actor.user.type", "operator"))
		return release || !read;
	if (is(event, "actor.user.type", "node"))
		return is(event, "api.operation", "node.enroll");
	return class_uid != 6003;
}

static json_t *row_of(uint64_t index, const json_t *e)
{
	const json_t *approvals = value_at(e, "unmapped.claviger.approvals");
	int64_t count = value_number(e, "unmapped.claviger.count");
	return json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, "
		"s:O?, s:n, s:n, s:n}",
		"index", (json_int_t)index, "last_index", (json_int_t)index, "time_ms",
		(json_int_t)value_number(e, "time"), "last_ms", (json_int_t)value_number(e, "time"), "times",
		(json_int_t)(count > 0 ? count : 1), "actor", value_text(e, "actor.user.name"), "actor_type",
		value_text(e, "actor.user.type"), "ip", value_text(e, "src_endpoint.ip"), "operation",
		value_text(e, "api.operation"), "resource", value_text(e, "resources.0.uid"), "status",
		failed(e) ? "failure" : "success", "code", value_text(e, "status_code"), "detail",
		value_text(e, "status_detail"), "reason", value_text(e, "unmapped.claviger.reason"), "ticket",
		value_text(e, "unmapped.claviger.ticket"), "justification",
		value_text(e, "unmapped.claviger.justification"), "grant",
		value_text(e, "unmapped.claviger.grant"), "approvals", approvals, "review", "finding",
		"reviewed_by");
}

/* The same refusal again is one row with a number: a flood fills no report. */
static kms_err_t count_alike(reading_t *x, const json_t *row, bool *found, diag_t *why)
{
	SCOPED(buf_free) buf_t key = BUF_INIT;
	const char *text = NULL;
	*found = false;
	if (strcmp(value_text(row, "status"), "failure") != 0)
		return KMS_OK;
	buf_printf(&key, "%s\n%s\n%s\n%s\n%s", value_text(row, "actor"), value_text(row, "operation"),
		   value_text(row, "resource"), value_text(row, "code"), value_text(row, "grant"));
	if (buf_cstr(&key, &text) != KMS_OK)
		return no_memory(why);
	json_t *first = json_object_get(x->alike, text);
	int rc = 0;
	if (first == NULL)
		return json_object_set(x->alike, text, (json_t *)(uintptr_t)row) == 0 ? KMS_OK
										      : no_memory(why);
	*found = true;
	rc |= json_object_set(first, "last_index", json_object_get(row, "index"));
	rc |= json_object_set(first, "last_ms", json_object_get(row, "time_ms"));
	rc |= json_object_set_new(first, "times",
				  json_integer(value_number(first, "times") + value_number(row, "times")));
	return rc == 0 ? KMS_OK : no_memory(why);
}

static kms_err_t keep_event(const report_t *r, uint64_t index, const json_t *event, span_t bytes, json_t *row,
			    diag_t *why)
{
	if (!r->proofs)
		return KMS_OK;
	if (json_object_set(row, "event", (json_t *)(uintptr_t)event) != 0)
		return no_memory(why);
	return add_proof(r, index, bytes, row, why);
}

/* The outcome of a release stands with its intent, which says why and by whose leave. */
static kms_err_t join_outcome(reading_t *x, uint64_t index, const json_t *event, span_t bytes, bool *joined,
			      diag_t *why)
{
	SCOPED(json_freep) json_t *outcome = NULL;
	json_t *intent = json_object_get(x->intents, value_text(event, "metadata.correlation_uid"));
	*joined = intent != NULL && is(event, "actor.authorizations.0.policy", "outcome");
	if (!*joined)
		return KMS_OK;
	outcome =
		json_pack("{s:I, s:I, s:s}", "index", (json_int_t)index, "time_ms",
			  (json_int_t)value_number(event, "time"), "code", value_text(event, "status_code"));
	if (outcome == NULL || json_object_set(intent, "outcome", outcome) != 0)
		return no_memory(why);
	return keep_event(x->r, index, event, bytes, outcome, why);
}

static kms_err_t note_intent(reading_t *x, const json_t *event, json_t *row, diag_t *why)
{
	if (!is(event, "status_code", "intent"))
		return KMS_OK;
	return json_object_set(x->intents, value_text(event, "metadata.uid"), row) == 0 ? KMS_OK
											: no_memory(why);
}

static kms_err_t name_event(reading_t *x, uint64_t index, const json_t *event, span_t bytes, diag_t *why)
{
	SCOPED(json_freep) json_t *row = row_of(index, event);
	bool found = false;
	if (row == NULL)
		return no_memory(why);
	KMS_TRY(join_outcome(x, index, event, bytes, &found, why));
	if (!found)
		KMS_TRY(count_alike(x, row, &found, why));
	if (found)
		return KMS_OK;
	if (json_array_size(x->accesses) == REPORT_NAMED_MAX) {
		x->unnamed++;
		return KMS_OK;
	}
	KMS_TRY(keep_event(x->r, index, event, bytes, row, why));
	KMS_TRY(note_intent(x, event, row, why));
	return json_array_append(x->accesses, row) == 0 ? KMS_OK : no_memory(why);
}

static kms_err_t count_event(reading_t *x, const json_t *event, diag_t *why)
{
	SCOPED(buf_free) buf_t key = BUF_INIT;
	const char *text = NULL, *status = failed(event) ? "failure" : "success";
	const char *operation = value_text(event, "api.operation"),
		   *type = value_text(event, "actor.user.type");
	int64_t many = value_number(event, "unmapped.claviger.count");
	buf_printf(&key, "%s\n%s\n%s", operation, status, type);
	if (buf_cstr(&key, &text) != KMS_OK)
		return no_memory(why);
	json_t *row = json_object_get(x->counts, text);
	if (row == NULL) {
		row = json_pack("{s:s, s:s, s:s, s:I}", "operation", operation, "status", status, "by", type,
				"times", (json_int_t)0);
		if (json_object_set_new(x->counts, text, row) != 0)
			return no_memory(why);
	}
	json_int_t n = (json_int_t)value_number(row, "times") + (json_int_t)(many > 0 ? many : 1);
	return json_object_set_new(row, "times", json_integer(n)) == 0 ? KMS_OK : no_memory(why);
}

/* --- grants --- */

static kms_err_t grant_row(reading_t *x, const char *id, json_t **out, diag_t *why)
{
	json_t *row = json_object_get(x->grants, id);
	if (row == NULL && json_object_size(x->grants) < REPORT_ROWS_MAX) {
		row = json_pack("{s:s, s:n, s:n, s:[], s:i, s:n, s:n, s:s, s:s, s:s}", "grant", id,
				"requester", "requested_ms", "approved_by", "uses", 0, "ended", "ended_ms",
				"reason", "", "ticket", "", "justification", "");
		if (json_object_set_new(x->grants, id, row) != 0)
			return no_memory(why);
	}
	*out = row;
	return KMS_OK;
}

static int grant_asked(json_t *row, const json_t *event)
{
	int rc = json_object_set(row, "requester", (json_t *)(uintptr_t)value_at(event, "actor.user.name"));
	rc |= json_object_set(row, "requested_ms", json_object_get(event, "time"));
	rc |= json_object_set_new(row, "reason", json_string(value_text(event, "unmapped.claviger.reason")));
	rc |= json_object_set_new(row, "ticket", json_string(value_text(event, "unmapped.claviger.ticket")));
	rc |= json_object_set_new(row, "justification",
				  json_string(value_text(event, "unmapped.claviger.justification")));
	return rc;
}

/* What the events of a grant make of it. */
static kms_err_t note_grant(reading_t *x, const json_t *event, diag_t *why)
{
	const char *id = value_text(event, "unmapped.claviger.grant");
	const char *operation = value_text(event, "api.operation");
	json_t *row = NULL;
	int rc = 0;
	if (id[0] == '\0' || failed(event) || strncmp(operation, "review.", 7) == 0)
		return KMS_OK;
	KMS_TRY(grant_row(x, id, &row, why));
	if (row == NULL)
		return KMS_OK;
	if (strcmp(operation, "grant.request") == 0)
		rc = grant_asked(row, event);
	else if (strcmp(operation, "grant.approve") == 0)
		rc = json_array_append_new(json_object_get(row, "approved_by"),
					   json_string(value_text(event, "actor.user.name")));
	else if (strcmp(operation, "grant.deny") == 0 || strcmp(operation, "grant.revoke") == 0 ||
		 strcmp(operation, "grant.expire") == 0) {
		rc = json_object_set_new(row, "ended", json_string(operation + strlen("grant.")));
		rc |= json_object_set(row, "ended_ms", json_object_get(event, "time"));
	} else if (strncmp(operation, "grant.", 6) != 0 && !is(event, "status_code", "released"))
		rc = json_object_set_new(row, "uses", json_integer(value_number(row, "uses") + 1));
	return rc == 0 ? KMS_OK : no_memory(why);
}

/* --- all of them --- */

static kms_err_t take_event(reading_t *x, const json_t *row, diag_t *why)
{
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	const json_t *number = json_object_get(row, "index"), *event = json_object_get(row, "event");
	if (!json_is_integer(number) || json_integer_value(number) < 0 || !json_is_object(event))
		return diag_fail(why, KMS_E_IO, "the server's list has something that is no event");
	uint64_t index = (uint64_t)json_integer_value(number);
	x->over = index >= x->end;
	if (x->over)
		return KMS_OK;
	if (json_write(event, &bytes) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "event %" PRIu64 " cannot be written canonically", index);
	KMS_TRY(check_leaf(x->r, index, buf_span(&bytes), why));
	KMS_TRY(follow_chain(x, row, why));
	x->events++;
	progress_share(&x->progress, index - x->begin, x->end - x->begin, "of the log",
		       clock_now(&x->r->cli->clock));
	KMS_TRY(count_event(x, event, why));
	KMS_TRY(note_grant(x, event, why));
	return is_named(event) ? name_event(x, index, event, buf_span(&bytes), why) : KMS_OK;
}

static kms_err_t take_page(void *ctx, const json_t *rows, diag_t *why)
{
	reading_t *x = ctx;
	for (size_t i = 0; i < json_array_size(rows) && !x->over; i++)
		KMS_TRY(take_event(x, json_array_get(rows, i), why));
	return KMS_OK;
}

static kms_err_t walk_events(reading_t *x, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	page_walk_t w = {
		.cli = x->r->cli, .path = EVENTS, .key = "events", .left = LIST_NO_LIMIT, .stop = &x->over};
	if (x->begin >= x->end)
		return KMS_OK;
	query_add(&q, "customer", x->r->customer);
	query_add(&q, "order", "asc");
	if (buf_cstr(&q, &w.query) != KMS_OK)
		return no_memory(why);
	(void)snprintf(w.cursor, sizeof w.cursor, "%" PRIu64, x->begin);
	return page_walk(&w, take_page, x, why);
}

/* From the first event that is not before the period to the last one that is not after it, by their indexes:
 * what stands between belongs to it, whatever a clock that was set back says. Without one, begin is end,
 * where the period's events would be. */
static kms_err_t find_range(reading_t *x, diag_t *why)
{
	SCOPED(json_freep) json_t *first = NULL;
	SCOPED(json_freep) json_t *last = NULL;
	uint64_t size = x->r->head.head.size;
	KMS_TRY(find_one(x->r, "asc", "from", x->r->from_ms, &first, why));
	KMS_TRY(find_one(x->r, "desc", "to", x->r->to_ms, &last, why));
	x->begin = first != NULL && index_of(first) < size ? index_of(first) : size;
	x->end = last != NULL ? index_of(last) + 1 : 0;
	x->end = x->end < x->begin ? x->begin : x->end > size ? size : x->end;
	return KMS_OK;
}

/* The values of an object by key, as an array. */
static json_t *values_of(json_t *rows)
{
	SCOPED(json_freep) json_t *list = json_array();
	const char *key;
	json_t *row;
	json_object_foreach(rows, key, row) if (json_array_append(list, row) != 0) return NULL;
	return TAKE(list);
}

static kms_err_t add_log(const reading_t *x, bool end_proved, diag_t *why)
{
	const report_t *r = x->r;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	const char *text = NULL;
	char key[NOTE_VKEY_CAP];
	bool any = x->events > 0;
	note_vkey_format(&r->head.key, key);
	buf_bytes(&note, buf_span(&r->head.note));
	if (buf_cstr(&note, &text) != KMS_OK)
		return no_memory(why);
	json_t *log = json_pack("{s:s, s:I, s:s, s:b, s:s, s:I, s:o, s:o, s:b, s:b, s:O, s:I}", "origin",
				r->head.head.origin, "size", (json_int_t)r->head.head.size, "vkey", key,
				"key_given", conf_is_set(r->cli->conf, "key"), "checkpoint", text, "events",
				(json_int_t)x->events, "first_index",
				any ? json_integer((json_int_t)x->begin) : json_null(), "last_index",
				any ? json_integer((json_int_t)x->end - 1) : json_null(), "complete",
				json_array_size(x->gaps) == 0, "end_proved", end_proved, "gaps", x->gaps,
				"unnamed", (json_int_t)x->unnamed);
	return json_object_set_new(r->doc, "log", log) == 0 ? KMS_OK : no_memory(why);
}

bool report_has_gaps(const report_t *r)
{
	return json_array_size(value_at(r->doc, "log.gaps")) > 0;
}

static kms_err_t read_all(reading_t *x, diag_t *why)
{
	report_t *r = x->r;
	bool end_proved = false;
	if (x->accesses == NULL || x->gaps == NULL || x->alike == NULL || x->counts == NULL ||
	    x->grants == NULL || x->intents == NULL)
		return no_memory(why);
	KMS_TRY(find_range(x, why));
	KMS_TRY(begin_chain(x, why));
	progress_init(&x->progress, r->cli->err, cli_is_terminal(r->cli->err), r->now_ms);
	kms_err_t e = walk_events(x, why);
	progress_end(&x->progress);
	KMS_TRY(e);
	KMS_TRY(end_chain(x, &end_proved, why));
	KMS_TRY(add_log(x, end_proved, why));
	if (json_object_set(r->doc, "accesses", x->accesses) != 0 ||
	    json_object_set_new(r->doc, "counts", values_of(x->counts)) != 0 ||
	    json_object_set_new(r->doc, "grants", values_of(x->grants)) != 0)
		return no_memory(why);
	return KMS_OK;
}

kms_err_t report_log_read(report_t *r, diag_t *why)
{
	SCOPED(reading_clear)
	reading_t x = {.r = r,
		       .accesses = json_array(),
		       .gaps = json_array(),
		       .alike = json_object(),
		       .counts = json_object(),
		       .grants = json_object(),
		       .intents = json_object()};
	KMS_TRY(treeread_new(r->src, &r->head.head, &r->tree, why));
	return read_all(&x, why);
}
