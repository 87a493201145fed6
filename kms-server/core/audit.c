/* Reading the audit log: one event, and pages by filters. A page examines a bounded number of events; a rare
 * combination may come back empty with a cursor to go on. */
#include "kms-server/core/internal.h"

#include "common/base/scope.h"

#include <inttypes.h>

#define PAGE_BYTES   (4U << 20) /* a page ends with the event that goes beyond */
#define EXAMINE_MAX  2000U      /* index entries and events that one page may look at */
#define TAIL_EXAMINE 200U       /* what a long poll may cost the committer each time the log has grown */

/* --- asking --- */

static kms_err_t bad_filter(op_t *op, const char *key, const diag_t *why)
{
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s: %s", key, why->text);
}

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

static kms_err_t read_name(op_t *op, const char *key, char out[NAME_CAP])
{
	const char *v = op_query(op, key);
	diag_t why = {""};
	kms_err_t e = v != NULL ? name_parse(key, span_str(v), out, &why) : KMS_OK;
	return e == KMS_E_INVALID ? bad_filter(op, key, &why) : e;
}

/* "s" or "c/s". */
static kms_err_t read_service(op_t *op, const char *customer, audit_query_t *q)
{
	const char *v = op_query(op, "service");
	char name[NAME_CAP] = "", of[NAME_CAP] = "";
	diag_t why = {""};
	if (v == NULL)
		return KMS_OK;
	const char *slash = strchr(v, '/');
	kms_err_t e =
		slash != NULL ? name_parse("service", span_of(v, (size_t)(slash - v)), of, &why) : KMS_OK;
	if (e == KMS_OK)
		e = name_parse("service", span_str(slash != NULL ? slash + 1 : v), name, &why);
	if (e != KMS_OK)
		return e == KMS_E_INVALID ? bad_filter(op, "service", &why) : e;
	if (slash == NULL)
		(void)snprintf(of, sizeof of, "%s", customer);
	(void)snprintf(q->service, sizeof q->service, "%s%s%s", of, of[0] != '\0' ? "/" : "", name);
	return KMS_OK;
}

/* "v" or "c/s/v". */
static kms_err_t read_leaf(op_t *op, const char *key, const audit_query_t *q, char out[PATH3_CAP])
{
	const char *v = op_query(op, key);
	char name[NAME_CAP] = "";
	path3_t path;
	diag_t why = {""};
	if (v == NULL)
		return KMS_OK;
	kms_err_t e = strchr(v, '/') != NULL ? path3_parse(key, span_str(v), &path, &why)
					     : name_parse(key, span_str(v), name, &why);
	if (e != KMS_OK)
		return e == KMS_E_INVALID ? bad_filter(op, key, &why) : e;
	if (name[0] != '\0' && strchr(q->service, '/') != NULL)
		(void)snprintf(out, PATH3_CAP, "%s/%s", q->service, name);
	else
		(void)snprintf(out, PATH3_CAP, "%s", v);
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

static kms_err_t read_order(op_t *op, int64_t wait_s, audit_query_t *q)
{
	const char *s = op_query(op, "order");
	q->ascending = s != NULL && strcmp(s, "asc") == 0;
	if (s != NULL && !q->ascending && strcmp(s, "desc") != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "order must be asc or desc.");
	q->tail = op_query(op, "wait") != NULL;
	if (wait_s > 0 && !q->ascending)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "wait goes with order=asc.");
	return KMS_OK;
}

static kms_err_t read_cursor(op_t *op, audit_query_t *q)
{
	int64_t at = 0;
	q->end = audit_size(op->core->audit);
	KMS_TRY(op_query_number(op, "cursor", 0, INT64_MAX, 0, &at));
	if (op_query(op, "cursor") != NULL)
		q->cursor = (uint64_t)at;
	else
		q->cursor = q->ascending ? 0 : q->end - 1;
	return KMS_OK;
}

/* A caller who may see some customers only asks for one of these, or for all of them. */
static kms_err_t read_customers(op_t *op, audit_query_t *q)
{
	const char *scope[AUDIT_ANY_OF_MAX];
	char asked[NAME_CAP] = "";
	size_t n = op_customers(op, scope);
	KMS_TRY(read_name(op, "customer", asked));
	bool allowed = n == 0;
	for (size_t i = 0; i < n; i++)
		allowed |= strcmp(scope[i], asked) == 0;
	if (asked[0] != '\0' && !allowed)
		return op_not_found(op);
	if (asked[0] != '\0') {
		scope[0] = asked;
		n = 1;
	}
	for (size_t i = 0; i < n; i++)
		(void)snprintf(q->customers[i], NAME_CAP, "%s", scope[i]);
	q->n_customers = n;
	return KMS_OK;
}

static kms_err_t read_query(op_t *op, audit_query_t *q, int64_t *wait_s)
{
	static const char *const known[] = {"customer",  "service", "volume", "node",        "actor",
					    "operation", "status",  "grant",  "maintenance", "from",
					    "to",        "limit",   "cursor", "order",       "wait"};
	KMS_TRY(op_queries_known(op, known, sizeof known / sizeof *known));
	KMS_TRY(read_customers(op, q));
	KMS_TRY(read_service(op, q->n_customers == 1 ? q->customers[0] : "", q));
	KMS_TRY(read_leaf(op, "volume", q, q->volume));
	KMS_TRY(read_leaf(op, "node", q, q->node));
	KMS_TRY(copy_text(op, "actor", q->actor, sizeof q->actor));
	KMS_TRY(copy_text(op, "operation", q->operation, sizeof q->operation));
	KMS_TRY(copy_text(op, "grant", q->grant, sizeof q->grant));
	KMS_TRY(copy_text(op, "maintenance", q->maintenance, sizeof q->maintenance));
	KMS_TRY(read_status(op, q));
	KMS_TRY(op_query_number(op, "from", 0, INT64_MAX, 0, &q->from_ms));
	KMS_TRY(op_query_number(op, "to", 0, INT64_MAX, INT64_MAX, &q->to_ms));
	KMS_TRY(op_query_number(op, "limit", 1, 1000, 100, &q->limit));
	KMS_TRY(op_query_number(op, "wait", 0, 60, 0, wait_s));
	KMS_TRY(read_order(op, *wait_s, q));
	return read_cursor(op, q);
}

static kms_err_t tail_ready(op_t *op, const audit_query_t *q, bool *out);

kms_err_t op_audit_list(op_t *op)
{
	SCOPED(freep) audit_query_t *q = calloc(1, sizeof *q);
	int64_t wait_s = 0;
	if (q == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(read_query(op, q, &wait_s));
	if (wait_s > 0) {
		bool ready = false, waited = op->job->deadline_ms != 0 && op->now_ms >= op->job->deadline_ms;
		KMS_TRY(tail_ready(op, q, &ready));
		if (!ready && !waited)
			return op_park(op, wait_s * 1000);
		op->quiet = !ready; /* a poll that finds nothing is no access, and its event would end the
				       next poll */
	}
	op->job->query = TAKE(q);
	return KMS_OK;
}

kms_err_t op_audit_get(op_t *op)
{
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	json_t *event = NULL;
	KMS_TRY(audit_read(op->core->audit, op->txn, op->rq->index, &bytes));
	KMS_TRY(op_see_event(op, buf_span(&bytes)));
	kms_err_t e = json_parse(buf_span(&bytes), EVENT_MAX, &event, NULL);
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

/* service: "c/s", or "s" for the second segment of the path. */
static bool in_service(const char *service, const char *path)
{
	const char *slash = strchr(path, '/');
	const char *at = strchr(service, '/') != NULL ? path : slash != NULL ? slash + 1 : "";
	size_t n = strlen(service);
	return strncmp(at, service, n) == 0 && (at[n] == '\0' || at[n] == '/');
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

static bool matches_customer(const audit_query_t *q, const json_t *metadata)
{
	bool any = q->n_customers == 0;
	for (size_t i = 0; i < q->n_customers; i++)
		any |= strcmp(text_at(metadata, "tenant_uid"), q->customers[i]) == 0;
	return any;
}

/* filter: empty asks for nothing. */
static bool is_asked(const char *filter, const char *value)
{
	return filter[0] == '\0' || strcmp(filter, value) == 0;
}

static bool matches(const audit_query_t *q, const json_t *e)
{
	const json_t *metadata = json_object_get(e, "metadata");
	const json_t *ours = json_object_get(json_object_get(e, "unmapped"), "claviger");
	json_int_t time = json_integer_value(json_object_get(e, "time"));
	if (time < q->from_ms || time > q->to_ms)
		return false;
	if (q->status_id != 0 && json_integer_value(json_object_get(e, "status_id")) != q->status_id)
		return false;
	return matches_customer(q, metadata) &&
	       is_asked(q->operation, text_at(json_object_get(e, "api"), "operation")) &&
	       is_asked(q->grant, text_at(ours, "grant")) &&
	       is_asked(q->maintenance, text_at(metadata, "correlation_uid")) && matches_parties(q, e);
}

/* --- a page --- */

static void add_filter(audit_search_t *s, audit_term_kind_t kind, const char *value)
{
	if (value[0] == '\0' && kind != AUDIT_FAILURE)
		return;
	audit_filter_t *f = &s->filter[s->n_filters++];
	*f = (audit_filter_t){.kind = kind, .n = 1, .any_of = {value}};
}

/* Only whole paths are in the index. */
static const char *whole(const char *path)
{
	return strchr(path, '/') != NULL ? path : "";
}

/* What the indexes can answer of q; `matches` does the rest. */
static void search_of(const audit_query_t *q, uint32_t examine, audit_search_t *out)
{
	audit_search_t s = {
		.from_ms = q->from_ms, .to_ms = q->to_ms, .ascending = q->ascending, .examine = examine};
	s.begin = q->ascending ? q->cursor : 0;
	s.end = q->ascending ? q->end : q->cursor < q->end ? q->cursor + 1 : 0;
	if (q->n_customers > 0) {
		audit_filter_t *f = &s.filter[s.n_filters++];
		*f = (audit_filter_t){.kind = AUDIT_CUSTOMER, .n = q->n_customers};
		for (size_t i = 0; i < q->n_customers; i++)
			f->any_of[i] = q->customers[i];
	}
	add_filter(&s, AUDIT_SERVICE, whole(q->service));
	add_filter(&s, AUDIT_VOLUME, whole(q->volume));
	add_filter(&s, AUDIT_NODE, whole(q->node));
	add_filter(&s, strchr(q->actor, '/') != NULL ? AUDIT_NODE : AUDIT_ACTOR, q->actor);
	add_filter(&s, AUDIT_OPERATION, q->operation);
	add_filter(&s, AUDIT_GRANT, q->grant);
	add_filter(&s, AUDIT_MAINTENANCE, q->maintenance);
	if (q->status_id == 2)
		add_filter(&s, AUDIT_FAILURE, "");
	*out = s;
}

typedef struct page {
	const audit_query_t *q;
	int64_t found;
	buf_t *out;
} page_t;

/* The event's own bytes go out, as they are in the log. A full page asks to go on behind its last event, and
 * has not taken the one at which it was full. */
static kms_err_t add_event(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	page_t *p = ctx;
	SCOPED(json_freep) json_t *event = NULL;
	kms_err_t e = json_parse(bytes, EVENT_MAX, &event, NULL);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	if (!matches(p->q, event))
		return KMS_OK;
	if (p->found == p->q->limit || p->out->n > PAGE_BYTES) {
		*go_on = false;
		return KMS_OK;
	}
	buf_printf(p->out, "%s{\"index\":%" PRIu64 ",\"event\":", p->found > 0 ? "," : "", index);
	buf_bytes(p->out, bytes);
	buf_str(p->out, "}");
	p->found++;
	return p->out->err;
}

kms_err_t audit_query_run(const core_t *c, const audit_query_t *q, buf_t *out)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	audit_search_t s;
	page_t p = {.q = q, .out = out};
	uint64_t next = q->end;
	bool more = false;
	KMS_TRY(store_begin_read(c->store, &t));
	search_of(q, EXAMINE_MAX + (uint32_t)q->limit * 8, &s);
	buf_str(out, "{\"events\":[");
	KMS_TRY(audit_search(c->audit, t, &s, add_event, &p, &next, &more));
	buf_str(out, "]");
	if (more || q->tail)
		buf_printf(out, ",\"next_cursor\":\"%" PRIu64 "\"", more ? next : q->end);
	buf_str(out, "}");
	return out->err;
}

/* --- the tail --- */

typedef struct tail {
	const op_t *op;
	const audit_query_t *q;
	bool ready;
} tail_t;

/* What the tail's own reading writes is shown with the next event of somebody else; it must not end the poll.
 */
static kms_err_t look_at(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	tail_t *tail = ctx;
	SCOPED(json_freep) json_t *event = NULL;
	(void)index;
	kms_err_t e = json_parse(bytes, EVENT_MAX, &event, NULL);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	const char *actor = text_at(json_object_get(json_object_get(event, "actor"), "user"), "name");
	const char *operation = text_at(json_object_get(event, "api"), "operation");
	bool own = strcmp(actor, tail->op->actor) == 0 &&
		   strcmp(operation, core_op_info(OP_AUDIT_LIST)->action) == 0;
	tail->ready = !own && matches(tail->q, event);
	*go_on = !tail->ready;
	return KMS_OK;
}

/* Whether there is something to show behind the cursor. What was looked at in vain is not looked at again. */
static kms_err_t tail_ready(op_t *op, const audit_query_t *q, bool *out)
{
	audit_search_t s;
	tail_t tail = {.op = op, .q = q};
	core_job_t *job = op->job;
	uint64_t next = q->end;
	bool more = false;
	search_of(q, TAIL_EXAMINE, &s);
	if (job->tails && job->seen > s.begin)
		s.begin = job->seen;
	KMS_TRY(audit_search(op->core->audit, op->txn, &s, look_at, &tail, &next, &more));
	job->tails = true;
	job->seen = next;
	*out = tail.ready || more; /* the rest of a long way is the reader's own thread's */
	return KMS_OK;
}
