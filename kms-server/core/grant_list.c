/* Grants as people and programs see them: one, and lists. */
#include "kms-server/core/grant.h"

#include "common/base/encode.h"
#include "common/base/reader.h"
#include "common/base/scope.h"

#include <inttypes.h>

#define EXAMINE_MAX 500U /* rows that one page looks at: others wait for the committer */

/* --- as JSON --- */

/* list must be freed when an item is NULL: what grant_json gets must be whole. */
static json_t *whole(json_t *list, bool good)
{
	if (good)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *names_json(const char (*names)[NAME_CAP], size_t n)
{
	json_t *list = json_array();
	bool good = list != NULL;
	for (size_t i = 0; i < n && good; i++)
		good = json_array_append_new(list, json_string(names[i])) == 0;
	return whole(list, good);
}

bool grant_asks(const grant_need_t *n, const char *name)
{
	for (size_t i = 0; i < n->n_eligible; i++)
		if (strcmp(n->eligible[i], name) == 0)
			return true;
	return false;
}

static json_t *needs_json(const grant_rec_t *g)
{
	json_t *list = json_array();
	bool good = list != NULL;
	for (size_t i = 0; i < g->n_needs && good; i++) {
		const grant_need_t *n = &g->needs[i];
		json_int_t have = 0;
		for (size_t k = 0; k < g->n_approvals; k++)
			have += grant_asks(n, g->approvals[k].name) ? 1 : 0;
		json_t *item = json_pack("{s:s, s:s, s:I, s:I, s:o}", "statement", n->statement, "from",
					 n->from, "count", (json_int_t)n->count, "approved", have, "eligible",
					 names_json(n->eligible, n->n_eligible));
		good = json_array_append_new(list, item) == 0;
	}
	return whole(list, good);
}

static json_t *approvals_json(const grant_rec_t *g)
{
	json_t *list = json_array();
	bool good = list != NULL;
	for (size_t i = 0; i < g->n_approvals && good; i++) {
		const grant_approval_t *a = &g->approvals[i];
		json_t *item = json_pack("{s:s, s:s, s:I}", "name", a->name, "ip", a->ip, "time_ms",
					 (json_int_t)a->time_ms);
		good = json_array_append_new(list, item) == 0;
	}
	return whole(list, good);
}

static json_t *body_json(const grant_rec_t *g)
{
	json_t *body = NULL;
	if (!g->has_body)
		return json_null();
	return json_parse(g->body, 2 * JSON_BODY_LIMIT, &body, NULL) == KMS_OK ? body : NULL;
}

static int set_new(json_t *j, const char *name, json_t *value)
{
	return json_object_set_new(j, name, value);
}

json_t *grant_json(const char *id, const grant_rec_t *g, int64_t now_ms)
{
	char on[PATH3_CAP], digest[2 * sizeof g->digest + 1];
	grant_resource_text(g, on);
	hex_encode(span_of(g->digest, sizeof g->digest), digest);
	SCOPED(json_freep)
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:s, s:s, s:s}", "id", id,
			      "state", grant_state_name(grant_state_at(g, now_ms)), "action", g->action,
			      "resource", on, "requester", g->requester, "requester_ip", g->requester_ip,
			      "by_node", g->by_node, "break_glass", g->break_glass, "reason", g->reason,
			      "ticket", g->ticket, "justification", g->justification, "maintenance",
			      g->maintenance, "digest", digest);
	SCOPED(json_freep)
	json_t *more =
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:s, s:s, s:I}", "for_s",
			  (json_int_t)g->for_s, "uses", (json_int_t)g->uses, "uses_left",
			  (json_int_t)g->uses_left, "created_ms", (json_int_t)g->created_ms, "decide_by_ms",
			  (json_int_t)g->decide_by_ms, "approved_ms", op_time_json(g->approved_ms),
			  "until_ms", op_time_json(g->until_ms), "ended_ms", op_time_json(g->ended_ms),
			  "ended_by", g->ended_by, "note", g->note, "change", (json_int_t)g->change);
	if (j == NULL || more == NULL || json_object_update(j, more) != 0 ||
	    set_new(j, "nodes", names_json(g->nodes, g->n_nodes)) != 0 ||
	    set_new(j, "needs", needs_json(g)) != 0 || set_new(j, "approvals", approvals_json(g)) != 0 ||
	    set_new(j, "body", body_json(g)) != 0)
		return NULL;
	return TAKE(j);
}

/* --- one --- */

/* Who looks does nothing under it. */
kms_err_t op_grant_get(op_t *op)
{
	SCOPED(freep) grant_use_t *u = NULL;
	if (strlen(op->rq->name) >= GRANT_ID_CAP)
		return KMS_E_NOTFOUND;
	KMS_TRY(grant_read(op->txn, op->mac, op->rq->name, &u));
	memcpy(op->tenant, u->rec.resource.customer, NAME_CAP);
	return op_answer(op, 200, grant_json(op->rq->name, &u->rec, op->now_ms));
}

/* --- lists --- */

typedef struct list_query {
	char state[16];
	char requester[PATH3_CAP];
	bool open;     /* only open ones can match */
	bool since;    /* oldest change first, behind `from` */
	uint64_t from; /* change */
	int64_t limit, wait_s;
} list_query_t;

static kms_err_t known_state(op_t *op, list_query_t *q)
{
	bool known = q->state[0] == '\0' || strcmp(q->state, "open") == 0;
	for (grant_state_t s = GRANT_PENDING; s <= GRANT_USED; s++)
		known |= strcmp(q->state, grant_state_name(s)) == 0;
	if (!known)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "state must be open, pending, approved, denied, revoked, expired or used.");
	/* an open one that has run out is expired: it is found among the open ones until housekeeping came */
	q->open = strcmp(q->state, "open") == 0 || strcmp(q->state, "pending") == 0 ||
		  strcmp(q->state, "approved") == 0;
	return KMS_OK;
}

static kms_err_t copy_query(op_t *op, const char *key, char *out, size_t cap)
{
	const char *v = op_query(op, key);
	if (v != NULL && strlen(v) >= cap)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s is too long.", key);
	if (v != NULL)
		(void)snprintf(out, cap, "%s", v);
	return KMS_OK;
}

static kms_err_t read_list(op_t *op, list_query_t *q)
{
	static const char *const known[] = {"state", "requester", "limit", "cursor", "since", "wait"};
	int64_t since = 0, cursor = 0;
	*q = (list_query_t){.state = ""};
	KMS_TRY(op_queries_known(op, known, sizeof known / sizeof *known));
	KMS_TRY(copy_query(op, "state", q->state, sizeof q->state));
	KMS_TRY(known_state(op, q));
	KMS_TRY(copy_query(op, "requester", q->requester, sizeof q->requester));
	KMS_TRY(op_query_number(op, "limit", 1, 1000, 100, &q->limit));
	KMS_TRY(op_query_number(op, "wait", 0, 60, 0, &q->wait_s));
	KMS_TRY(op_query_number(op, "since", 0, INT64_MAX, 0, &since));
	KMS_TRY(op_query_number(op, "cursor", 1, INT64_MAX, INT64_MAX, &cursor));
	q->since = op_query(op, "since") != NULL;
	if (q->wait_s > 0 && !q->since)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "wait goes with since.");
	if (q->since && op_query(op, "cursor") != NULL)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "cursor does not go with since.");
	q->from = (uint64_t)(q->since ? since : cursor);
	return KMS_OK;
}

static bool matches(const list_query_t *q, const grant_rec_t *g, int64_t now_ms)
{
	grant_state_t s = grant_state_at(g, now_ms);
	if (q->requester[0] != '\0' && strcmp(q->requester, g->requester) != 0)
		return false;
	if (strcmp(q->state, "open") == 0)
		return grant_is_open(s);
	return q->state[0] == '\0' || strcmp(q->state, grant_state_name(s)) == 0;
}

/* A row of c/ or o/: the change in its key, the id in its value. */
static kms_err_t read_row(span_t key, span_t value, uint64_t *change, char id[GRANT_ID_CAP])
{
	uint8_t be[8];
	if (key.n != 18 || hex_decode(span_of(key.p + 2, 16), be, sizeof be) != KMS_OK)
		return KMS_E_INTEGRITY;
	*change = 0;
	for (size_t i = 0; i < sizeof be; i++)
		*change = *change << 8 | be[i];
	reader_t r = reader_of(value);
	if (key.p[0] == 'o') {
		value = reader_lp(&r);
		(void)reader_u64(&r);
		KMS_TRY(reader_done(&r));
	}
	if (value.n >= GRANT_ID_CAP)
		return KMS_E_INTEGRITY;
	memcpy(id, value.p, value.n);
	id[value.n] = '\0';
	return KMS_OK;
}

typedef struct page {
	json_t *items;
	unsigned examined;
	uint64_t last; /* change of the last row looked at */
	bool more;
} page_t;

static kms_err_t add_row(op_t *op, const list_query_t *q, page_t *p, const char *id)
{
	SCOPED(freep) grant_use_t *u = NULL;
	KMS_TRY(grant_read_named(op->txn, op->mac, id, &u));
	if (!matches(q, &u->rec, op->now_ms))
		return KMS_OK;
	return json_array_append_new(p->items, grant_json(id, &u->rec, op->now_ms)) == 0 ? KMS_OK
											 : KMS_E_NOMEM;
}

static kms_err_t walk(op_t *op, const list_query_t *q, page_t *p)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char at[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	char list = q->open && !q->since ? 'o' : 'c';
	/* a cursor names the last row that was looked at */
	(void)snprintf(at, sizeof at, "%c/%016" PRIx64, list, q->since ? q->from + 1 : q->from - 1);
	KMS_TRY(store_seek(op->txn, STORE_GRANTS, span_str(at), q->since ? STORE_UP : STORE_DOWN, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK && key.n > 2 && key.p[0] == (uint8_t)list &&
	       key.p[1] == '/') {
		char id[GRANT_ID_CAP];
		uint64_t change = 0;
		if (json_array_size(p->items) >= (size_t)q->limit || p->examined >= EXAMINE_MAX) {
			p->more = true;
			return KMS_OK;
		}
		KMS_TRY(read_row(key, value, &change, id));
		KMS_TRY(add_row(op, q, p, id));
		p->examined++;
		p->last = change;
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* The log grows with every change of a grant: the committer looks again when it has. */
static kms_err_t wait_for_change(op_t *op, const list_query_t *q)
{
	op->job->tails = true;
	op->job->seen = audit_size(op->core->audit);
	return op_park(op, q->wait_s * 1000);
}

kms_err_t op_grant_list(op_t *op)
{
	list_query_t q;
	uint64_t change = 0;
	SCOPED(json_freep) json_t *items = json_array();
	KMS_TRY(read_list(op, &q));
	if (items == NULL)
		return KMS_E_NOMEM;
	page_t p = {.items = items};
	KMS_TRY(walk(op, &q, &p));
	KMS_TRY(grant_last_change(op->txn, &change));
	bool empty = json_array_size(items) == 0 && !p.more;
	if (empty && q.wait_s > 0) {
		bool waited = op->job->deadline_ms != 0 && op->now_ms >= op->job->deadline_ms;
		if (!waited)
			return wait_for_change(op, &q);
		op->quiet = true; /* a poll that finds nothing is no access */
	}
	if (q.since && p.more)
		change = p.last;
	KMS_TRY(op_answer(op, 200, json_pack("{s:O, s:I}", "items", items, "change", (json_int_t)change)));
	char cursor[24];
	(void)snprintf(cursor, sizeof cursor, "%" PRIu64, p.last);
	if (p.more && !q.since && json_object_set_new(op->answer, "next_cursor", json_string(cursor)) != 0)
		return KMS_E_NOMEM;
	return KMS_OK;
}
