/* Closing a review, with what follows from its finding, in one transaction. */
#include "kms-server/core/reviews.h"

#include "common/base/scope.h"

#define VOLUMES_MAX 1000U /* of one node */

typedef struct close_body {
	char finding[16];
	char note[GRANT_TEXT_CAP];
	bool suspend, revoke, rotate;
} close_body_t;

/* Everything that a close does besides; checked in full before the first write. */
typedef struct effects {
	bool person;
	operator_rec_t oper;
	path3_t *volume; /* to be rotated */
	size_t n_volumes;
	char maintenance[MAINT_ID_CAP];
} effects_t;

static void effects_clear(effects_t *x)
{
	free(x->volume);
}

static bool blank(const char *s)
{
	return s[strspn(s, " \t\r\n")] == '\0';
}

static kms_err_t bad(op_t *op, const char *text)
{
	return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "%s", text);
}

static kms_err_t read_close(op_t *op, close_body_t *b)
{
	static const json_field_t fields[] = {
		{"finding", JF_STRING, offsetof(close_body_t, finding), sizeof((close_body_t *)0)->finding,
		 false},
		{"note", JF_STRING, offsetof(close_body_t, note), GRANT_TEXT_CAP, false},
		{"suspend", JF_BOOL, offsetof(close_body_t, suspend), 0, true},
		{"revoke", JF_BOOL, offsetof(close_body_t, revoke), 0, true},
		{"rotate", JF_BOOL, offsetof(close_body_t, rotate), 0, true}};
	KMS_TRY(op_read(op, fields, sizeof fields / sizeof *fields, b));
	bool valid = strcmp(b->finding, review_finding_name(FINDING_VALID)) == 0;
	if (!valid && strcmp(b->finding, review_finding_name(FINDING_INVALID)) != 0)
		return bad(op, "finding must be valid or invalid.");
	if (blank(b->note))
		return bad(op, "note must say what was found.");
	if (valid && (b->suspend || b->revoke || b->rotate))
		return bad(op, "suspend, revoke and rotate go with the finding invalid.");
	if (b->suspend && b->revoke)
		return bad(op, "suspend and revoke exclude one another.");
	return KMS_OK;
}

/* Nobody judges what they did, let, or suffered themselves. */
static bool is_own(const op_t *op, const review_rec_t *v)
{
	if (strcmp(op->actor, v->actor) == 0)
		return true;
	if (v->kind == REVIEW_PERSON && strcmp(op->actor, v->resource) == 0)
		return true;
	for (size_t i = 0; i < v->n_approvers; i++)
		if (strcmp(op->actor, v->approvers[i]) == 0)
			return true;
	return false;
}

static kms_err_t may_close(op_t *op, const review_rec_t *v)
{
	if (is_own(op, v))
		return op_refuse(
			op, KMS_E_DENIED, 403, "own-review",
			"You acted, approved, or are concerned here: somebody else closes this review.");
	if (v->finding != FINDING_NONE)
		return op_conflict(op, "The review was closed as %s by %s.", review_finding_name(v->finding),
				   v->reviewer);
	return KMS_OK;
}

static kms_err_t find_person(op_t *op, const review_rec_t *v, identity_state_t to, effects_t *x)
{
	if (!name_valid(span_str(v->actor)))
		return op_conflict(op, "%s is no operator: suspend or revoke the node itself.", v->actor);
	x->person = true;
	return operator_state_to(op, v->actor, to, &x->oper);
}

static kms_err_t volumes_of_node(op_t *op, const path3_t *node, effects_t *x)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e;
	(void)snprintf(prefix, sizeof prefix, "%s/%s/%s/", node->customer, node->service, node->name);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_NODE_VOLUMES, span_str(prefix), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK && key.n > np && memcmp(key.p, prefix, np) == 0) {
		path3_t *v = &x->volume[x->n_volumes];
		if (x->n_volumes == VOLUMES_MAX)
			return op_conflict(op, "The node has more than %u volumes: rotate the service.",
					   VOLUMES_MAX);
		*v = *node;
		if (name_parse("volume", span_of(key.p + np, key.n - np), v->name, NULL) != KMS_OK)
			return KMS_E_INTEGRITY;
		x->n_volumes++;
	}
	return e == KMS_OK || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* What was reviewed is about one volume, or about a node with all that it has. */
static kms_err_t find_volumes(op_t *op, const review_rec_t *v, effects_t *x)
{
	path3_t path;
	volume_rec_t rec;
	if (path3_parse("resource", span_str(v->resource), &path, NULL) != KMS_OK)
		return op_conflict(op, "This review is about no volume: rotate by kmsctl rotate.");
	x->volume = calloc(VOLUMES_MAX, sizeof *x->volume);
	if (x->volume == NULL)
		return KMS_E_NOMEM;
	if (strncmp(v->action, "node.", 5) == 0)
		return volumes_of_node(op, &path, x);
	kms_err_t e = record_get_volume(op->txn, op->mac, v->resource, &rec);
	if (e == KMS_E_NOTFOUND)
		return op_conflict(op, "There is no volume %s any more.", v->resource);
	KMS_TRY(e);
	x->volume[x->n_volumes++] = path;
	return KMS_OK;
}

static void close_event(const op_t *op, core_op_t as, const review_rec_t *v, event_t *e)
{
	const core_op_info_t *info = core_op_info(as);
	op_event(op, e);
	e->operation = info->action;
	e->class_uid = info->class_uid;
	e->activity_id = info->activity_id;
	e->success = true;
	e->status_code = "done";
	e->correlation_uid = op->rq->name;
	e->justification = v->note;
}

static kms_err_t record_closing(op_t *op, const review_rec_t *v, const close_body_t *b, const effects_t *x)
{
	event_t e;
	diag_t detail;
	uint64_t index;
	close_event(op, OP_REVIEW_CLOSE, v, &e);
	(void)diag_fail(&detail, KMS_OK, "%s by %s: %s %s%s%s%s", review_kind_name(v->kind), v->actor,
			v->action, v->resource,
			b->suspend  ? "; suspended"
			: b->revoke ? "; revoked"
				    : "",
			b->rotate ? "; rotation " : "", x->maintenance);
	e.status_code = review_finding_name(v->finding);
	e.status_detail = detail.text;
	e.severity_id = v->finding == FINDING_INVALID ? 4 : 1;
	e.resource_uid = op->rq->name;
	e.resource_type = "review";
	e.grant = v->grant;
	return log_append(op->core->audit, op->txn, &e, &index);
}

static kms_err_t put_down(op_t *op, const review_rec_t *v, const close_body_t *b, const effects_t *x)
{
	event_t e;
	uint64_t index;
	if (!x->person)
		return KMS_OK;
	KMS_TRY(record_put_operator(op->txn, op->mac, v->actor, &x->oper));
	close_event(op, b->revoke ? OP_OPERATOR_REVOKE : OP_OPERATOR_SUSPEND, v, &e);
	e.status_detail = "after the finding of a review";
	e.customer = "";
	e.resource_uid = v->actor;
	e.resource_type = "operator";
	KMS_TRY(log_append(op->core->audit, op->txn, &e, &index));
	return review_event(op, &e, false, index);
}

/* NIST SP 800-57's `compromised` is what somebody finds, not a state that a secret gets to by itself: it is
 * in the log, and the rotation ends it. */
static kms_err_t record_compromise(op_t *op, const review_rec_t *v, const path3_t *volume,
				   const char *maintenance)
{
	event_t e;
	char uid[PATH3_CAP];
	uint64_t index;
	path3_format(volume, uid);
	close_event(op, OP_VOLUME_SUSPEND, v, &e);
	e.operation = "key.compromised";
	e.status_detail = "found by a review: its secrets are to be rotated";
	e.severity_id = 4;
	e.customer = volume->customer;
	e.resource_uid = uid;
	e.resource_type = "volume";
	e.correlation_uid = maintenance;
	return log_append(op->core->audit, op->txn, &e, &index);
}

static kms_err_t rotate(op_t *op, const review_rec_t *v, effects_t *x)
{
	event_t e;
	uint64_t index;
	if (x->n_volumes == 0)
		return KMS_OK;
	const char *customer = x->volume[0].customer;
	KMS_TRY(maint_rotate(op, customer, op->rq->name, x->volume, x->n_volumes, x->maintenance));
	close_event(op, OP_MAINT_CREATE, v, &e);
	e.customer = customer;
	e.resource_uid = x->maintenance;
	e.resource_type = "maintenance";
	e.correlation_uid = x->maintenance;
	KMS_TRY(log_append(op->core->audit, op->txn, &e, &index));
	for (size_t i = 0; i < x->n_volumes; i++)
		KMS_TRY(record_compromise(op, v, &x->volume[i], x->maintenance));
	return KMS_OK;
}

static kms_err_t check_effects(op_t *op, const review_rec_t *v, const close_body_t *b, effects_t *x)
{
	if (b->suspend || b->revoke)
		KMS_TRY(find_person(op, v, b->revoke ? IDENTITY_REVOKED : IDENTITY_SUSPENDED, x));
	if (!b->rotate)
		return KMS_OK;
	KMS_TRY(find_volumes(op, v, x));
	return x->n_volumes > 0 ? KMS_OK : op_conflict(op, "The node has no volumes.");
}

kms_err_t op_review_close(op_t *op)
{
	SCOPED(effects_clear) effects_t x = {.person = false};
	close_body_t b = {.finding = ""};
	review_rec_t v;
	const char *id = op->rq->name;
	KMS_TRY(read_close(op, &b));
	KMS_TRY(review_load(op, &v));
	KMS_TRY(may_close(op, &v));
	KMS_TRY(check_effects(op, &v, &b, &x));
	v.finding =
		strcmp(b.finding, review_finding_name(FINDING_VALID)) == 0 ? FINDING_VALID : FINDING_INVALID;
	v.closed_ms = op->now_ms;
	memcpy(v.reviewer, op->rq->caller.id.operator_name, sizeof v.reviewer);
	(void)snprintf(v.note, sizeof v.note, "%s", b.note);
	KMS_TRY(rotate(op, &v, &x)); /* the first that writes, and may still refuse before it does */
	op->wrote = true;
	op->events_done = true;
	KMS_TRY(review_put_closed(op, id, &v));
	KMS_TRY(put_down(op, &v, &b, &x));
	KMS_TRY(record_closing(op, &v, &b, &x));
	KMS_TRY(op_answer(op, 200, review_json(id, &v, op->now_ms)));
	if (json_object_set_new(op->answer, "maintenance", review_text_json(x.maintenance)) != 0)
		return KMS_E_NOMEM;
	return KMS_OK;
}
