#include "kms-server/core/internal.h"

#include "common/base/scope.h"

#include <errno.h>
#include <stdarg.h>

static const core_op_info_t infos[OP_COUNT] = {
#define X(id, action, class_uid, activity) [id] = {action, class_uid, activity},
	CORE_OPS(X)
#undef X
};

const core_op_info_t *core_op_info(core_op_t op)
{
	return &infos[op < OP_COUNT ? op : OP_UNKNOWN];
}

kms_err_t op_refuse(op_t *op, kms_err_t e, int status, const char *slug, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (vsnprintf(op->why.text, sizeof op->why.text, fmt, ap) < 0)
		op->why.text[0] = '\0';
	va_end(ap);
	op->status = status;
	op->slug = slug;
	return e;
}

kms_err_t op_conflict(op_t *op, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (vsnprintf(op->why.text, sizeof op->why.text, fmt, ap) < 0)
		op->why.text[0] = '\0';
	va_end(ap);
	op->status = 409;
	op->slug = "conflict";
	return KMS_E_CONFLICT;
}

kms_err_t op_not_found(op_t *op)
{
	return op_refuse(op, KMS_E_NOTFOUND, 404, "not-found",
			 "There is no such thing, or you may not see it.");
}

static kms_err_t bad_request(op_t *op, const char *text)
{
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s", text);
}

kms_err_t op_read(op_t *op, const json_field_t *fields, size_t n, void *out)
{
	diag_t why = {""};
	kms_err_t e = json_read(op->body, fields, n, true, out, &why);
	return e == KMS_E_INVALID ? bad_request(op, why.text) : e;
}

const char *op_query(const op_t *op, const char *key)
{
	for (size_t i = 0; i < op->rq->n_query; i++)
		if (strcmp(op->rq->query[i].key, key) == 0)
			return op->rq->query[i].value;
	return NULL;
}

kms_err_t op_queries_known(op_t *op, const char *const *known, size_t n)
{
	for (size_t i = 0; i < op->rq->n_query; i++) {
		bool ok = false;
		for (size_t k = 0; k < n; k++)
			ok |= strcmp(op->rq->query[i].key, known[k]) == 0;
		if (!ok)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
					 "The query parameter \"%s\" is not known here.",
					 op->rq->query[i].key);
	}
	return KMS_OK;
}

kms_err_t op_query_number(op_t *op, const char *key, int64_t min, int64_t max, int64_t dflt, int64_t *out)
{
	const char *s = op_query(op, key);
	char *end = NULL;
	if (s == NULL) {
		*out = dflt;
		return KMS_OK;
	}
	errno = 0;
	long long v = s[0] >= '0' && s[0] <= '9' ? strtoll(s, &end, 10) : -1;
	if (end == NULL || *end != '\0' || errno != 0 || v < min || v > max)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "%s must be a number from %lld to %lld.", key, (long long)min,
				 (long long)max);
	*out = v;
	return KMS_OK;
}

kms_err_t op_answer(op_t *op, int status, json_t *body)
{
	if (body == NULL)
		return KMS_E_NOMEM;
	json_decref(op->answer);
	op->answer = body;
	op->status = status;
	return KMS_OK;
}

void op_service_path(const op_t *op, char out[2 * NAME_CAP])
{
	(void)snprintf(out, 2 * NAME_CAP, "%s/%s", op->rq->customer, op->rq->service);
}

void op_path3(const op_t *op, char out[PATH3_CAP])
{
	path3_format(&op->path, out);
}

void op_event(const op_t *op, event_t *e)
{
	const core_op_info_t *info = core_op_info(op->rq->op);
	*e = (event_t){
		.time_ms = op->now_ms,
		.operation = info->action,
		.class_uid = info->class_uid,
		.activity_id = info->activity_id,
		.actor_name = op->actor,
		.actor_type = op->actor_type,
		.decision = op->decision.outcome == POLICY_ALLOWED ? "allow" : "deny",
		.statement = op->decision.statement,
		.ip = op->rq->caller.ip,
		.port = op->rq->caller.port,
		.via = op->rq->caller.via,
		.request_id = op->rq->request_id,
		.customer = op->tenant[0] != '\0' ? op->tenant : op->rq->customer,
		.severity_id = op->grant != NULL && op->grant->break_glass ? 5 : 0,
		.correlation_uid = op->correlation[0] == '\0' && op->grant != NULL ? op->grant->maintenance
										   : op->correlation,
		.ticket = op->grant != NULL && op->ticket[0] == '\0' ? op->grant->ticket : op->ticket,
		.reason = op->grant != NULL ? op->grant->reason : "",
		.justification = op->grant != NULL ? op->grant->justification : "",
		.grant = op->grant != NULL || op->grant_slug != NULL ? op->grant_id : "",
		.approvals = op->approvals,
		.n_approvals = op->grant != NULL ? op->grant->n_approvals : 0,
	};
}

/* Keys are text without NUL, so "prefix\xff" is after all that start with prefix. The cursor is the last key
 * shown; it only moves a start within the prefix, so a forged one shows nothing that the caller could not
 * list anyway. */
kms_err_t op_page_by(op_t *op, store_table_t table, const char *prefix, const char *parameter,
		     page_item_fn each)
{
	const char *const known[] = {"limit", "cursor", parameter};
	int64_t limit = 0;
	KMS_TRY(op_queries_known(op, known, parameter != NULL ? 3 : 2));
	KMS_TRY(op_query_number(op, "limit", 1, 1000, 100, &limit));
	const char *after = op_query(op, "cursor");
	size_t np = strlen(prefix);
	if (after != NULL && strncmp(after, prefix, np) != 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "The cursor is not one of this list.");

	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	SCOPED(json_freep) json_t *items = json_array();
	char last[KEY_CAP] = ""; /* of what is shown: a key that the caller may not see is no cursor */
	span_t key = {0}, value = {0};
	kms_err_t e;
	KMS_TRY(store_seek(op->txn, table, span_str(after != NULL ? after : prefix), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		if (key.n < np || memcmp(key.p, prefix, np) != 0 || key.n >= sizeof last)
			break;
		if (after != NULL && span_eq(key, span_str(after)))
			continue;
		size_t before = json_array_size(items);
		KMS_TRY(each(op, items, key, value));
		if (json_array_size(items) > (size_t)limit) {
			(void)json_array_remove(items, before);
			return op_answer(op, 200,
					 json_pack("{s:O, s:s}", "items", items, "next_cursor", last));
		}
		if (json_array_size(items) == before)
			continue;
		memcpy(last, key.p, key.n);
		last[key.n] = '\0';
	}
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	return op_answer(op, 200, json_pack("{s:O}", "items", items));
}

kms_err_t op_page(op_t *op, store_table_t table, const char *prefix, page_item_fn each)
{
	return op_page_by(op, table, prefix, NULL, each);
}

json_t *op_text_json(const char *s)
{
	return s[0] != '\0' ? json_string(s) : json_null();
}

json_t *op_time_json(int64_t ms)
{
	return ms != 0 ? json_integer((json_int_t)ms) : json_null();
}
