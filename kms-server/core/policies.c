/* Policy documents: what is in force, what was before, and changes of it. */
#include "common/base/scope.h"
#include "kms-server/core/policy_store.h"

/* --- as JSON --- */

static json_t *policy_json(const char *name, const policy_rec_t *rec)
{
	bool stored = rec->version > 0;
	return json_pack("{s:s, s:s, s:I, s:b, s:o, s:o, s:o}", "policy", name, "source",
			 stored ? "stored" : "shipped", "version", (json_int_t)rec->version, "fixed",
			 policy_shipped_named(name) != NULL && policy_shipped_named(name)->fixed,
			 "changed_by", stored ? json_string(rec->changed_by) : json_null(), "changed_ms",
			 op_time_json(rec->changed_ms), "grant",
			 rec->grant[0] != '\0' ? json_string(rec->grant) : json_null());
}

/* The document as it is in force: stored, or as shipped (version 0). */
static kms_err_t find(op_t *op, const char *name, policy_rec_t *rec)
{
	const policy_shipped_t *shipped = policy_shipped_named(name);
	*rec = (policy_rec_t){.version = 0};
	kms_err_t e = shipped != NULL && shipped->fixed ? KMS_E_NOTFOUND
							: record_get_policy(op->txn, op->mac, name, rec);
	if (e != KMS_E_NOTFOUND || shipped == NULL)
		return e;
	*rec = (policy_rec_t){.version = 0, .text = shipped->text};
	return KMS_OK;
}

/* --- reading --- */

/* Shipped names first, in the order in which they are decided; then the others. */
static kms_err_t list_stored(op_t *op, json_t *items)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e;
	KMS_TRY(store_seek(op->txn, STORE_POLICIES, span_of(NULL, 0), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		char name[NAME_CAP];
		policy_rec_t rec;
		if (memchr(key.p, '@', key.n) != NULL)
			continue;
		KMS_TRY(name_parse("policy", key, name, NULL) == KMS_OK ? KMS_OK : KMS_E_INTEGRITY);
		if (policy_shipped_named(name) != NULL)
			continue;
		KMS_TRY(record_decode_policy(op->mac, key, value, &rec));
		if (json_array_append_new(items, policy_json(name, &rec)) != 0)
			return KMS_E_NOMEM;
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* There are POLICY_DOCUMENTS_MAX at most: one page, whatever its limit. */
kms_err_t op_policy_list(op_t *op)
{
	static const char *const known[] = {"limit"};
	SCOPED(json_freep) json_t *items = json_array();
	int64_t limit = 0;
	size_t n = 0;
	const policy_shipped_t *s = policy_shipped(&n);
	KMS_TRY(op_queries_known(op, known, 1));
	KMS_TRY(op_query_number(op, "limit", POLICY_DOCUMENTS_MAX, 1000, POLICY_DOCUMENTS_MAX, &limit));
	for (size_t i = 0; i < n; i++) {
		policy_rec_t rec;
		KMS_TRY(find(op, s[i].name, &rec));
		if (json_array_append_new(items, policy_json(s[i].name, &rec)) != 0)
			return KMS_E_NOMEM;
	}
	KMS_TRY(list_stored(op, items));
	return op_answer(op, 200, json_pack("{s:O}", "items", items));
}

static kms_err_t answer_text(op_t *op, const policy_rec_t *rec)
{
	json_t *j = policy_json(op->rq->name, rec);
	json_t *text = json_stringn((const char *)rec->text.p, rec->text.n);
	if (json_object_set_new(j, "text", text) != 0) {
		json_decref(j);
		return KMS_E_NOMEM;
	}
	return op_answer(op, 200, j);
}

kms_err_t op_policy_get(op_t *op)
{
	static const char *const known[] = {"version"};
	char key[KEY_CAP];
	policy_rec_t rec;
	int64_t version = 0;
	KMS_TRY(op_queries_known(op, known, 1));
	KMS_TRY(op_query_number(op, "version", 0, UINT32_MAX, 0, &version));
	if (op_query(op, "version") == NULL) {
		KMS_TRY(find(op, op->rq->name, &rec));
		return answer_text(op, &rec);
	}
	const policy_shipped_t *shipped = policy_shipped_named(op->rq->name);
	if (version == 0 && shipped == NULL)
		return op_not_found(op);
	rec = (policy_rec_t){.version = 0};
	if (version == 0)
		rec.text = shipped->text;
	policy_version_key(op->rq->name, (uint32_t)version, key);
	if (version > 0)
		KMS_TRY(record_get_policy(op->txn, op->mac, key, &rec));
	return answer_text(op, &rec);
}

/* --- changes --- */

static kms_err_t refuse_fixed(op_t *op)
{
	const policy_shipped_t *s = policy_shipped_named(op->rq->name);
	if (s == NULL || !s->fixed)
		return KMS_OK;
	return op_conflict(
		op,
		"The policy %s always holds: it cannot be changed. Add a document of another name; a "
		"deny in it wins.",
		op->rq->name);
}

static kms_err_t check_alone(op_t *op)
{
	SCOPED(policy_document_freep) policy_document_t *d = NULL;
	policy_error_t wrong = {.line = 0};
	kms_err_t e = policy_parse(op->rq->name, op->rq->body, &d, &wrong);
	if (e != KMS_E_INVALID && e != KMS_E_FULL)
		return e;
	if (wrong.line == 0)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s", wrong.why.text);
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "Line %u, column %u: %s", wrong.line,
			 wrong.column, wrong.why.text);
}

/* The policy as it would be holds together, and somebody can still change it. */
static kms_err_t check_change(op_t *op, span_t text)
{
	SCOPED(policy_freep) policy_t *next = NULL;
	const policy_change_t change = {.name = op->rq->name, .text = text};
	diag_t why = {""};
	kms_err_t e = policy_store_load(op->txn, op->mac, &change, &next, &why);
	if (e == KMS_E_CONFLICT || e == KMS_E_FULL)
		return op_conflict(op, "This does not go with the other policy documents: %s", why.text);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	return lockout_check_policy(op, next);
}

kms_err_t op_policy_put(op_t *op)
{
	policy_rec_t rec = {.changed_ms = op->now_ms, .text = op->rq->body};
	KMS_TRY(refuse_fixed(op));
	KMS_TRY(check_alone(op));
	KMS_TRY(check_change(op, op->rq->body));
	(void)snprintf(rec.changed_by, sizeof rec.changed_by, "%s", op->rq->caller.id.operator_name);
	memcpy(rec.grant, op->grant_id, sizeof rec.grant);
	op->wrote = true;
	KMS_TRY(policy_store_put(op->txn, op->mac, op->rq->name, &rec));
	return op_answer(op, 200, policy_json(op->rq->name, &rec));
}

kms_err_t op_policy_delete(op_t *op)
{
	policy_rec_t rec;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	KMS_TRY(refuse_fixed(op));
	KMS_TRY(find(op, op->rq->name, &rec));
	if (rec.version == 0)
		return op_conflict(
			op,
			"The policy %s is as it was shipped: replace it by one that says less, if it "
			"says too much.",
			op->rq->name);
	KMS_TRY(check_change(op, span_of(NULL, 0)));
	op->wrote = true;
	KMS_TRY(policy_store_delete(op->txn, op->mac, op->rq->name));
	const policy_shipped_t *shipped = policy_shipped_named(op->rq->name);
	return op_answer(op, 200,
			 json_pack("{s:s, s:s}", "policy", op->rq->name, "source",
				   shipped != NULL ? "shipped" : "none"));
}
