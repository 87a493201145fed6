/* Reviews over the API: lists, and one. What opens them: review_note.c; what closes them: review_close.c. */
#include "kms-server/core/reviews.h"

#include "common/base/scope.h"

#define EXAMINE_MAX 2000U /* rows that one page may look at */

/* --- seeing one --- */

/* A caller whom only some customers concern sees theirs, whatever the policy says of reviews in general. */
static bool visible(const op_t *op, const review_rec_t *v)
{
	const char *list[OPERATOR_CUSTOMERS_MAX];
	return op_customers(op, list) == 0 || op_has_customer(op, v->customer);
}

static json_t *names_json(const char (*names)[NAME_CAP], size_t n)
{
	SCOPED(json_freep) json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_string(names[i])) != 0)
			return NULL;
	return TAKE(list);
}

json_t *review_text_json(const char *s)
{
	return s[0] != '\0' ? json_string(s) : json_null();
}

json_t *review_json(const char *id, const review_rec_t *v, int64_t now_ms)
{
	bool open = v->finding == FINDING_NONE;
	return json_pack(
		"{s:s, s:s, s:s, s:b, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:o, "
		"s:o}",
		"id", id, "kind", review_kind_name(v->kind), "state", open ? "open" : "closed", "overdue",
		review_is_overdue(v, now_ms), "finding",
		open ? json_null() : json_string(review_finding_name(v->finding)), "customer", v->customer,
		"actor", v->actor, "action", v->action, "resource", v->resource, "grant",
		review_text_json(v->grant), "approvers", names_json(v->approvers, v->n_approvers), "event",
		(json_int_t)v->event, "last_event", (json_int_t)v->last_event, "count", (json_int_t)v->count,
		"opened_ms", (json_int_t)v->opened_ms, "deadline_ms", (json_int_t)v->deadline_ms, "closed_ms",
		op_time_json(v->closed_ms), "reviewer", review_text_json(v->reviewer), "note",
		review_text_json(v->note));
}

/* NOTFOUND also for what concerns other customers; the refusal is then a denial. */
kms_err_t review_load(op_t *op, review_rec_t *v)
{
	const char *id = op->rq->name;
	if (strncmp(id, REVIEW_RECORDS, sizeof REVIEW_RECORDS - 1) != 0 || strlen(id) != REVIEW_ID_CAP - 1)
		return KMS_E_NOTFOUND;
	KMS_TRY(record_get_review(op->txn, op->mac, id, v));
	if (!visible(op, v)) {
		op->decision = (policy_decision_t){.statement = "default-deny"};
		return op_not_found(op);
	}
	memcpy(op->tenant, v->customer, NAME_CAP);
	return KMS_OK;
}

kms_err_t op_review_get(op_t *op)
{
	review_rec_t v;
	KMS_TRY(review_load(op, &v));
	return op_answer(op, 200, review_json(op->rq->name, &v, op->now_ms));
}

/* --- lists --- */

typedef enum list_state { LIST_ALL, LIST_OPEN, LIST_CLOSED, LIST_OVERDUE } list_state_t;

typedef struct list {
	list_state_t state;
	char customer[NAME_CAP]; /* "": of any */
	int64_t limit;
	const char *prefix;
	json_t *items;
	char last[KEY_CAP]; /* key that was looked at */
	bool more, end;
} list_t;

static kms_err_t read_state(op_t *op, list_state_t *out)
{
	static const char *const names[] = {"all", "open", "closed", "overdue"};
	const char *s = op_query(op, "state");
	*out = LIST_ALL;
	if (s == NULL)
		return KMS_OK;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(s, names[i]) == 0) {
			*out = (list_state_t)i;
			return KMS_OK;
		}
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
			 "state must be open, overdue, closed or all.");
}

static kms_err_t read_customer(op_t *op, char out[NAME_CAP])
{
	const char *list[OPERATOR_CUSTOMERS_MAX];
	const char *text = op_query(op, "customer");
	diag_t why = {""};
	if (text == NULL)
		return KMS_OK;
	kms_err_t e = name_parse("customer", span_str(text), out, &why);
	if (e == KMS_E_INVALID)
		return op_refuse(op, e, 400, "bad-request", "customer: %s", why.text);
	KMS_TRY(e);
	return op_customers(op, list) == 0 || op_has_customer(op, out) ? KMS_OK : op_not_found(op);
}

static bool begins(span_t key, const char *prefix)
{
	size_t n = strlen(prefix);
	return key.n > n && memcmp(key.p, prefix, n) == 0;
}

static kms_err_t read_list(op_t *op, list_t *l)
{
	static const char *const known[] = {"state", "customer", "limit", "cursor"};
	KMS_TRY(op_queries_known(op, known, sizeof known / sizeof *known));
	KMS_TRY(read_state(op, &l->state));
	KMS_TRY(read_customer(op, l->customer));
	KMS_TRY(op_query_number(op, "limit", 1, 1000, 100, &l->limit));
	l->prefix = l->state == LIST_OPEN || l->state == LIST_OVERDUE ? REVIEW_OPEN_KEYS : REVIEW_RECORDS;
	const char *cursor = op_query(op, "cursor");
	if (cursor != NULL && (!begins(span_str(cursor), l->prefix) || strlen(cursor) >= sizeof l->last))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "The cursor is not one of this list.");
	return KMS_OK;
}

/* The row's review, by its record or by its place among the open ones. */
static kms_err_t row_review(op_t *op, const list_t *l, span_t key, span_t value, char id[REVIEW_ID_CAP],
			    review_rec_t *v)
{
	int64_t deadline_ms = 0;
	if (strcmp(l->prefix, REVIEW_RECORDS) == 0) {
		if (key.n >= REVIEW_ID_CAP)
			return KMS_E_INTEGRITY;
		memcpy(id, key.p, key.n);
		id[key.n] = '\0';
		return record_decode_review(op->mac, key, value, v);
	}
	KMS_TRY(review_open_id(key, id, &deadline_ms));
	kms_err_t e = record_get_review(op->txn, op->mac, id, v);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && v->deadline_ms != deadline_ms))
		return KMS_E_INTEGRITY;
	return e;
}

static bool wanted(const op_t *op, const list_t *l, const review_rec_t *v)
{
	if (!visible(op, v) || (l->customer[0] != '\0' && strcmp(l->customer, v->customer) != 0))
		return false;
	switch (l->state) {
	case LIST_ALL:
		return true;
	case LIST_OPEN:
		return v->finding == FINDING_NONE;
	case LIST_CLOSED:
		return v->finding != FINDING_NONE;
	case LIST_OVERDUE:
		return review_is_overdue(v, op->now_ms);
	}
	return false;
}

static kms_err_t add_row(op_t *op, list_t *l, span_t key, span_t value)
{
	review_rec_t v;
	char id[REVIEW_ID_CAP];
	KMS_TRY(row_review(op, l, key, value, id, &v));
	if (l->state == LIST_OVERDUE && op->now_ms < v.deadline_ms) {
		l->end = true; /* and so are all behind it */
		return KMS_OK;
	}
	if (!wanted(op, l, &v))
		return KMS_OK;
	return json_array_append_new(l->items, review_json(id, &v, op->now_ms)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

/* Open ones by their deadlines, others the newest first. A page that has looked at enough ends, maybe empty,
 * with a cursor. */
static kms_err_t walk(op_t *op, list_t *l)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	const char *after = op_query(op, "cursor");
	bool down = strcmp(l->prefix, REVIEW_RECORDS) == 0;
	const char *from = after != NULL ? after : down ? REVIEW_RECORDS "~" : l->prefix;
	span_t key = {0}, value = {0};
	unsigned seen = 0;
	kms_err_t e;
	KMS_TRY(store_seek(op->txn, STORE_REVIEWS, span_str(from), down ? STORE_DOWN : STORE_UP, &c));
	while (!l->end && (e = store_next(c, &key, &value)) == KMS_OK) {
		if (!begins(key, l->prefix) || key.n >= sizeof l->last)
			return KMS_OK;
		if (after != NULL && span_eq(key, span_str(after)))
			continue;
		if (json_array_size(l->items) == (size_t)l->limit || seen++ == EXAMINE_MAX) {
			l->more = true;
			return KMS_OK;
		}
		memcpy(l->last, key.p, key.n);
		l->last[key.n] = '\0';
		KMS_TRY(add_row(op, l, key, value));
	}
	return l->end || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t op_review_list(op_t *op)
{
	SCOPED(json_freep) json_t *items = json_array();
	list_t l = {.items = items};
	KMS_TRY(read_list(op, &l));
	KMS_TRY(walk(op, &l));
	if (l.more)
		return op_answer(op, 200, json_pack("{s:O, s:s}", "items", items, "next_cursor", l.last));
	return op_answer(op, 200, json_pack("{s:O}", "items", items));
}
