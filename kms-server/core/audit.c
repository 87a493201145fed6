/* Reading the audit log: one event, and pages by filters. A page examines a bounded number of events; a rare
 * combination may come back empty with a cursor to go on. */
#include "kms-server/core/internal.h"

#include "common/base/scope.h"

#include <inttypes.h>

#define EXAMINE_MAX 4000U

/* --- asking --- */

static kms_err_t copy_text(op_t *op, const char *key, char *out, size_t cap)
{
	const char *v = op_query(op, key);
	if (v == NULL)
		return KMS_OK;
	if (v[0] == '\0' || strlen(v) >= cap)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s must be 1 to %zu characters.",
				 key, cap - 1);
	(void)snprintf(out, cap, "%s", v);
	return KMS_OK;
}

static kms_err_t read_status(op_t *op, audit_query_t *q)
{
	const char *s = op_query(op, "status");
	if (s == NULL)
		return KMS_OK;
	q->status_id = strcmp(s, "success") == 0 ? 1 : strcmp(s, "failure") == 0 ? 2 : 0;
	if (q->status_id == 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "status must be success or failure.");
	return KMS_OK;
}

static kms_err_t read_order(op_t *op, audit_query_t *q)
{
	const char *s = op_query(op, "order");
	q->ascending = s != NULL && strcmp(s, "asc") == 0;
	if (s != NULL && !q->ascending && strcmp(s, "desc") != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "order must be asc or desc.");
	return KMS_OK;
}

static kms_err_t read_cursor(op_t *op, audit_query_t *q)
{
	int64_t at = 0, end = (int64_t)log_next(&op->core->log);
	q->has_cursor = op_query(op, "cursor") != NULL;
	KMS_TRY(op_query_number(op, "cursor", 0, INT64_MAX, 0, &at));
	q->cursor = (uint64_t)at;
	q->end = (uint64_t)end;
	return KMS_OK;
}

static kms_err_t read_query(op_t *op, audit_query_t *q)
{
	static const char *const known[] = {"customer", "service", "volume", "node",  "actor",  "operation",
					    "status",   "from",    "to",     "limit", "cursor", "order"};
	KMS_TRY(op_queries_known(op, known, sizeof known / sizeof *known));
	KMS_TRY(copy_text(op, "customer", q->customer, sizeof q->customer));
	KMS_TRY(copy_text(op, "service", q->service, sizeof q->service));
	KMS_TRY(copy_text(op, "volume", q->volume, sizeof q->volume));
	KMS_TRY(copy_text(op, "node", q->node, sizeof q->node));
	KMS_TRY(copy_text(op, "actor", q->actor, sizeof q->actor));
	KMS_TRY(copy_text(op, "operation", q->operation, sizeof q->operation));
	KMS_TRY(read_status(op, q));
	KMS_TRY(read_order(op, q));
	KMS_TRY(op_query_number(op, "from", 0, INT64_MAX, 0, &q->from_ms));
	KMS_TRY(op_query_number(op, "to", 0, INT64_MAX, INT64_MAX, &q->to_ms));
	KMS_TRY(op_query_number(op, "limit", 1, 1000, 100, &q->limit));
	return read_cursor(op, q);
}

kms_err_t op_audit_list(op_t *op)
{
	SCOPED(freep) audit_query_t *q = calloc(1, sizeof *q);
	if (q == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(read_query(op, q));
	op->job->query = TAKE(q);
	return KMS_OK;
}

kms_err_t op_audit_get(op_t *op)
{
	uint8_t key[8];
	span_t bytes = {0};
	json_t *event = NULL;
	log_key(op->rq->index, key);
	KMS_TRY(store_get(op->txn, STORE_EVENTS, span_of(key, sizeof key), &bytes));
	kms_err_t e = json_parse(bytes, EVENT_MAX, &event, NULL);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	return op_answer(op, 200,
			 json_pack("{s:I, s:o}", "index", (json_int_t)op->rq->index, "event", event));
}

/* --- matching --- */

static const char *text_at(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s != NULL ? s : "";
}

/* filter: a whole path, or only its last name. */
static bool names(const char *filter, const char *path)
{
	size_t nf = strlen(filter), np = strlen(path);
	if (strcmp(filter, path) == 0)
		return true;
	return strchr(filter, '/') == NULL && np > nf && path[np - nf - 1] == '/' &&
	       strcmp(path + np - nf, filter) == 0;
}

/* The second segment of a path. */
static bool in_service(const char *service, const char *path)
{
	const char *slash = strchr(path, '/');
	size_t n = strlen(service);
	if (slash == NULL || strncmp(slash + 1, service, n) != 0)
		return false;
	return slash[1 + n] == '\0' || slash[1 + n] == '/';
}

static bool matches_parties(const audit_query_t *q, const json_t *e)
{
	const json_t *user = json_object_get(json_object_get(e, "actor"), "user");
	const json_t *resource = json_array_get(json_object_get(e, "resources"), 0);
	const char *actor = text_at(user, "name"), *uid = text_at(resource, "uid"),
		   *type = text_at(resource, "type");
	if (q->actor[0] != '\0' && strcmp(q->actor, actor) != 0)
		return false;
	if (q->volume[0] != '\0' && (strcmp(type, "volume") != 0 || !names(q->volume, uid)))
		return false;
	if (q->service[0] != '\0' && !in_service(q->service, uid))
		return false;
	if (q->node[0] == '\0')
		return true;
	return (strcmp(text_at(user, "type"), "node") == 0 && names(q->node, actor)) ||
	       (strcmp(type, "node") == 0 && names(q->node, uid));
}

static bool matches(const audit_query_t *q, const json_t *e)
{
	json_int_t time = json_integer_value(json_object_get(e, "time"));
	if (time < q->from_ms || time > q->to_ms)
		return false;
	if (q->status_id != 0 && json_integer_value(json_object_get(e, "status_id")) != q->status_id)
		return false;
	if (q->customer[0] != '\0' &&
	    strcmp(text_at(json_object_get(e, "metadata"), "tenant_uid"), q->customer) != 0)
		return false;
	if (q->operation[0] != '\0' &&
	    strcmp(text_at(json_object_get(e, "api"), "operation"), q->operation) != 0)
		return false;
	return matches_parties(q, e);
}

/* --- a page --- */

typedef struct page {
	int64_t found;
	uint32_t examined;
	bool more;
	uint64_t next;
} page_t;

/* The event's own bytes go out, as they are in the log. */
static kms_err_t examine(const audit_query_t *q, uint64_t index, span_t bytes, page_t *p, buf_t *out)
{
	SCOPED(json_freep) json_t *event = NULL;
	p->examined++;
	kms_err_t e = json_parse(bytes, EVENT_MAX, &event, NULL);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	if (!matches(q, event))
		return KMS_OK;
	buf_printf(out, "%s{\"index\":%" PRIu64 ",\"event\":", p->found > 0 ? "," : "", index);
	buf_bytes(out, bytes);
	buf_str(out, "}");
	p->found++;
	return out->err;
}

static kms_err_t read_page(store_txn_t *t, const audit_query_t *q, page_t *p, buf_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t from[8];
	span_t key = {0}, bytes = {0};
	kms_err_t e;
	uint64_t start = q->has_cursor ? q->cursor : q->ascending ? 0 : q->end - 1;
	if (start >= q->end)
		return KMS_OK;
	log_key(start, from);
	KMS_TRY(store_seek(t, STORE_EVENTS, span_of(from, sizeof from), q->ascending ? STORE_UP : STORE_DOWN,
			   &c));
	while ((e = store_next(c, &key, &bytes)) == KMS_OK) {
		uint64_t index = 0;
		for (size_t i = 0; i < key.n; i++)
			index = index << 8 | key.p[i];
		if (index >= q->end)
			return KMS_OK;
		if (p->found == q->limit || p->examined == EXAMINE_MAX) {
			p->more = true;
			p->next = index;
			return KMS_OK;
		}
		KMS_TRY(examine(q, index, bytes, p, out));
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t audit_query_run(store_t *s, const audit_query_t *q, buf_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	page_t p = {0};
	KMS_TRY(store_begin_read(s, &t));
	buf_str(out, "{\"events\":[");
	KMS_TRY(read_page(t, q, &p, out));
	buf_str(out, "]");
	if (p.more)
		buf_printf(out, ",\"next_cursor\":\"%" PRIu64 "\"", p.next);
	buf_str(out, "}");
	return out->err;
}
