#include "kms-server/core/internal.h"

#include "common/base/network.h"
#include "common/base/scope.h"
#include "kms-server/core/idempotency.h"

/* How each operation is run. */
typedef struct op_row {
	op_fn run;
	const char *type; /* of the resource, for policy and events */
	bool takes_body;  /* an object; an empty body reads as {} */
	bool while_sealed;
	bool stores_answer; /* for Idempotency-Key: the answer holds no secret and no token */
	bool no_query;
	const char *many; /* reads of an identity within a minute are gathered: what they were of */
} op_row_t;

static const op_row_t rows[OP_COUNT] = {
	[OP_SEAL_STATUS] = {op_seal_status, "sys", false, true, false, true, NULL},
	[OP_UNSEAL] = {op_unseal, "sys", true, true, false, true, NULL},
	[OP_SEAL] = {op_seal, "sys", true, true, false, true, NULL},
	[OP_ENROLL] = {op_enroll, "node", true, false, false, true, NULL},
	[OP_RENEW] = {op_renew, "identity", true, false, true, true, NULL},
	[OP_OPERATOR_PUT] = {op_operator_put, "operator", true, false, true, true, NULL},
	[OP_OPERATOR_GET] = {op_operator_get, "operator", false, false, false, true, NULL},
	[OP_OPERATOR_LIST] = {op_operator_list, "operator", false, false, false, false, NULL},
	[OP_OPERATOR_REVOKE] = {op_operator_state, "operator", true, false, true, true, NULL},
	[OP_OPERATOR_SUSPEND] = {op_operator_state, "operator", true, false, true, true, NULL},
	[OP_OPERATOR_RESUME] = {op_operator_state, "operator", true, false, true, true, NULL},
	[OP_OPERATOR_INVITE] = {op_operator_invite, "operator", true, false, false, true, NULL},
	[OP_OPERATOR_ENROLL] = {op_operator_enroll, "operator", true, false, false, true, NULL},
	[OP_OPERATOR_UPDATE] = {op_operator_update, "operator", true, false, true, true, NULL},
	[OP_OPERATOR_RECERTIFY] = {op_operator_recertify, "operator", true, false, true, true, NULL},
	[OP_CUSTOMER_PUT] = {op_customer_put, "customer", true, false, true, true, NULL},
	[OP_CUSTOMER_GET] = {op_customer_get, "customer", false, false, false, true, NULL},
	[OP_CUSTOMER_LIST] = {op_customer_list, "customer", false, false, false, false, NULL},
	[OP_SERVICE_PUT] = {op_service_put, "service", true, false, true, true, NULL},
	[OP_SERVICE_GET] = {op_service_get, "service", false, false, false, true, NULL},
	[OP_SERVICE_LIST] = {op_service_list, "service", false, false, false, false, NULL},
	[OP_NODE_INVITE] = {op_node_invite, "node", true, false, false, true, NULL},
	[OP_NODE_GET] = {op_node_get, "node", false, false, false, true, NULL},
	[OP_NODE_LIST] = {op_node_list, "node", false, false, false, false, NULL},
	[OP_NODE_REVOKE] = {op_node_state, "node", true, false, true, true, NULL},
	[OP_NODE_SUSPEND] = {op_node_state, "node", true, false, true, true, NULL},
	[OP_NODE_RESUME] = {op_node_state, "node", true, false, true, true, NULL},
	[OP_VOLUME_PUT] = {op_volume_put, "volume", true, false, true, true, NULL},
	[OP_VOLUME_GET] = {op_volume_get, "volume", false, false, false, true, NULL},
	[OP_VOLUME_LIST] = {op_volume_list, "volume", false, false, false, false, NULL},
	[OP_VOLUME_COMMIT] = {op_volume_commit, "volume", true, false, true, true, NULL},
	[OP_VOLUME_REFUSED] = {op_volume_refused, "volume", true, false, false, true, NULL},
	[OP_VOLUME_PROVE] = {op_volume_prove, "volume", true, false, false, true, NULL},
	[OP_HEADER_PUT] = {op_header_put, "volume", true, false, false, true, NULL},
	[OP_HEADER_GET] = {op_header_get, "volume", false, false, false, false, NULL},
	[OP_VOLUME_REFORMAT] = {op_volume_reformat, "volume", true, false, true, true, NULL},
	[OP_VOLUME_RELEASE] = {op_volume_release, "volume", true, false, false, true, NULL},
	[OP_VOLUME_SUSPEND] = {op_volume_state, "volume", true, false, true, true, NULL},
	[OP_VOLUME_RESUME] = {op_volume_state, "volume", true, false, true, true, NULL},
	[OP_VOLUME_ASSIGN] = {op_volume_assign, "volume", true, false, true, true, NULL},
	[OP_VOLUME_DELETE] = {op_volume_delete, "volume", true, false, true, true, NULL},
	[OP_VOLUME_RESTORE] = {op_volume_restore, "volume", true, false, true, true, NULL},
	[OP_ROTATION_STAGE] = {op_rotation_stage, "volume", true, false, false, true, NULL},
	[OP_ROTATION_PROMOTE] = {op_rotation_promote, "volume", true, false, true, true, NULL},
	[OP_ROTATION_RETIRE] = {op_rotation_retire, "volume", true, false, true, true, NULL},
	[OP_ROTATION_ABORT] = {op_rotation_abort, "volume", true, false, true, true, NULL},
	[OP_REENCRYPTION_START] = {op_reencryption_start, "volume", true, false, true, true, NULL},
	[OP_REENCRYPTION_PROGRESS] = {op_reencryption_progress, "volume", true, false, true, true, NULL},
	[OP_REENCRYPTION_PROMOTE] = {op_reencryption_promote, "volume", true, false, true, true, NULL},
	[OP_REENCRYPTION_ABORT] = {op_reencryption_abort, "volume", true, false, true, true, NULL},
	[OP_NODE_RELEASE] = {op_node_release, "node", true, false, false, true, NULL},
	[OP_NODE_TASKS] = {op_node_tasks, "node", false, false, false, false, NULL},
	[OP_NODE_REPORT] = {op_node_report, "node", true, false, false, true, NULL},
	[OP_MAINT_CREATE] = {op_maint_create, "maintenance", true, false, true, true, NULL},
	[OP_MAINT_PLAN] = {op_maint_plan, "maintenance", true, false, false, true, NULL},
	[OP_MAINT_GET] = {op_maint_get, "maintenance", false, false, false, true, NULL},
	[OP_MAINT_LIST] = {op_maint_list, "maintenance", false, false, false, false, NULL},
	[OP_MAINT_OPEN] = {op_maint_state, "maintenance", true, false, true, true, NULL},
	[OP_MAINT_CLOSE] = {op_maint_state, "maintenance", true, false, true, true, NULL},
	[OP_MAINT_HALT] = {op_maint_state, "maintenance", true, false, true, true, NULL},
	[OP_MAINT_PAUSE] = {op_maint_state, "maintenance", true, false, true, true, NULL},
	[OP_MAINT_ABORT] = {op_maint_state, "maintenance", true, false, true, true, NULL},
	[OP_AUDIT_LIST] = {op_audit_list, "log", false, false, false, false, NULL},
	[OP_AUDIT_GET] = {op_audit_get, "log", false, false, false, true, NULL},
	[OP_AUDIT_PROOF] = {op_audit_proof, "log", false, false, false, true, NULL},
	/* of nobody in particular: a sealed server, which cannot check its records, shows them too */
	[OP_LOG_CHECKPOINT] = {op_log_checkpoint, "log", false, true, false, true, "checkpoint"},
	[OP_LOG_VKEY] = {op_log_vkey, "log", false, true, false, true, "vkey"},
	[OP_LOG_TILE] = {op_log_tile, "log", false, true, false, true, "tile"},
	[OP_LOG_ENTRIES] = {op_log_tile, "log", false, false, false, true, "tile/entries"},
	[OP_POLICY_LIST] = {op_policy_list, "policy", false, false, false, false, NULL},
	[OP_POLICY_GET] = {op_policy_get, "policy", false, false, false, false, NULL},
	[OP_POLICY_PUT] = {op_policy_put, "policy", true, false, true, true, NULL},
	[OP_POLICY_DELETE] = {op_policy_delete, "policy", true, false, true, true, NULL},
	[OP_GRANT_REQUEST] = {op_grant_request, "grant", true, false, true, true, NULL},
	[OP_GRANT_LIST] = {op_grant_list, "grant", false, false, false, false, NULL},
	[OP_GRANT_GET] = {op_grant_get, "grant", false, false, false, true, NULL},
	[OP_GRANT_APPROVE] = {op_grant_approve, "grant", true, false, true, true, NULL},
	[OP_GRANT_DENY] = {op_grant_deny, "grant", true, false, true, true, NULL},
	[OP_GRANT_REVOKE] = {op_grant_revoke, "grant", true, false, true, true, NULL},
	[OP_REVIEW_LIST] = {op_review_list, "review", false, false, false, false, NULL},
	[OP_REVIEW_GET] = {op_review_get, "review", false, false, false, true, NULL},
	[OP_REVIEW_CLOSE] = {op_review_close, "review", true, false, true, true, NULL},
	[OP_UNKNOWN] = {NULL, "api", false, true, false, false, NULL},
};

void job_problem(core_job_t *job, int status, const char *slug, uint32_t retry_after, const char *detail)
{
	core_reply_free(&job->reply);
	core_problem(&job->reply, status, slug, job->rq.request_id, "%s", detail);
	job->reply.retry_after = retry_after;
}

void job_forget(core_job_t *job)
{
	release_set_free(job->releases);
	job->releases = NULL;
	free(job->query);
	job->query = NULL;
	free(job->later);
	job->later = NULL;
	job->parked = false;
	core_reply_free(&job->reply);
}

/* --- what --- */

static bool is_volume_route(core_op_t op)
{
	return strcmp(rows[op].type, "volume") == 0 && op != OP_VOLUME_LIST;
}

/* The volume that the route names, where there is one: whether it is the caller's own is part of the
 * decision. */
static kms_err_t load_volume(op_t *op)
{
	char key[PATH3_CAP];
	if (!is_volume_route(op->rq->op))
		return KMS_OK;
	op_path3(op, key);
	kms_err_t e = record_get_volume(op->txn, op->mac, key, &op->volume);
	op->has_volume = e == KMS_OK;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

bool op_bound_to(const op_t *op, const volume_rec_t *v)
{
	return op->who == POLICY_NODE && strcmp(v->node, op->rq->caller.id.node.name) == 0 &&
	       v->generation == op->node.generation;
}

static bool is_own(const op_t *op)
{
	const path3_t *me = &op->rq->caller.id.node;
	if (op->who != POLICY_NODE)
		return false;
	if (strcmp(rows[op->rq->op].type, "volume") != 0) /* about the node itself, or nobody in particular */
		return op->rq->name[0] == '\0' ||
		       (strcmp(me->customer, op->rq->customer) == 0 &&
			strcmp(me->service, op->rq->service) == 0 && strcmp(me->name, op->rq->name) == 0);
	if (strcmp(me->customer, op->rq->customer) != 0 || strcmp(me->service, op->rq->service) != 0)
		return false;
	if (op->has_volume)
		return op_bound_to(op, &op->volume);
	if (op->rq->op != OP_VOLUME_PUT)
		return false;
	const char *node = json_string_value(json_object_get(op->body, "node"));
	return node != NULL && strcmp(node, me->name) == 0;
}

void op_decide(const op_t *op, const char *type, const path3_t *path, bool own, policy_decision_t *out)
{
	op_decide_on(op, core_op_info(op->rq->op)->action, type, path, own, out);
}

void op_decide_on(const op_t *op, const char *action, const char *type, const path3_t *path, bool own,
		  policy_decision_t *out)
{
	policy_request_t q = {.action = action,
			      .customer = path->customer,
			      .service = path->service,
			      .type = type,
			      .name = path->name,
			      .own = own};
	op_facts(op, &q);
	policy_decide(op->core->policy, &q, out);
}

static kms_err_t denied(op_t *op)
{
	if (!op->decision.visible)
		return op_not_found(op);
	if (op->grant_slug != NULL)
		return grant_refused(op);
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "The policy does not allow %s here (statement \"%s\").",
			 core_op_info(op->rq->op)->action, op->decision.statement);
}

static kms_err_t parse_body(op_t *op)
{
	diag_t why = {""};
	if (!rows[op->rq->op].takes_body) {
		if (op->rq->body.n > 0)
			return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
					 "This request takes no body.");
		return KMS_OK;
	}
	span_t text = op->rq->body.n > 0 ? op->rq->body : span_str("{}");
	size_t limit = op->rq->op == OP_HEADER_PUT ? CORE_HEADER_BODY_MAX : JSON_BODY_LIMIT;
	kms_err_t e = json_parse(text, limit, &op->body, &why);
	if (e == KMS_E_INVALID || e == KMS_E_FULL)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "The body is not acceptable JSON: %s",
				 why.text);
	KMS_TRY(e);
	if (!json_is_object(op->body))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "The body must be a JSON object.");
	return KMS_OK;
}

/* The first answer once more. Its grant may have been used up by it; nothing is done now that would need one,
 * so the event names none: who counts uses in the log would count this one, too. */
static kms_err_t replay(op_t *op)
{
	op->grant = NULL;
	op->grant_covers = false;
	op->grant_slug = NULL;
	if (op->decision.outcome == POLICY_HELD)
		op->decision = (policy_decision_t){POLICY_ALLOWED, .visible = true, .statement = "replay"};
	return KMS_OK;
}

/* Handlers that read no field of the body still refuse one with fields; those that read some check by
 * op_read. */
static kms_err_t run(op_t *op)
{
	const op_row_t *row = &rows[op->rq->op];
	KMS_TRY(op_identify(op));
	if (op->rq->refused != KMS_OK)
		return op_refuse(op, op->rq->refused, op->rq->refused_status,
				 op->rq->refused_status == 404   ? "not-found"
				 : op->rq->refused_status == 405 ? "method-not-allowed"
				 : op->rq->refused_status == 413 ? "too-large"
				 : op->rq->refused_status == 429 ? "too-many-requests"
				 : op->rq->refused_status == 500 ? "internal"
								 : "bad-request",
				 "%s", op->rq->why.text);
	if (row->run == NULL)
		return op_not_found(op);
	if (op->mac == NULL && !row->while_sealed)
		return op_refuse(op, KMS_E_UNAVAILABLE, 503, "sealed",
				 "The server is sealed: operators unseal it with kmsctl sys unseal.");
	KMS_TRY(op_look(op));
	if (op->mac != NULL)
		KMS_TRY(load_volume(op));
	kms_err_t parsed = parse_body(op);
	KMS_TRY(grant_name(op));
	op_decide(op, rows[op->rq->op].type, &op->path, is_own(op), &op->decision);
	if (op->decision.outcome == POLICY_DENIED || !op->decision.visible)
		return denied(op);
	KMS_TRY(op_limits(op));
	KMS_TRY(parsed);
	if (row->no_query)
		KMS_TRY(op_queries_known(op, NULL, 0));
	if (is_volume_route(op->rq->op) && !op->has_volume && op->rq->op != OP_VOLUME_PUT)
		return op_not_found(op);
	bool replayed = false;
	if (op->rq->idempotency_key[0] != '\0' && row->stores_answer)
		KMS_TRY(idempotency_find(op, &replayed));
	if (replayed)
		return replay(op);
	KMS_TRY(grant_needed(op));
	KMS_TRY(row->run(op));
	KMS_TRY(grant_count(op));
	if (op->rq->idempotency_key[0] != '\0' && row->stores_answer && op->answer != NULL)
		KMS_TRY(idempotency_store(op));
	return KMS_OK;
}

/* --- what is written of it --- */

static bool is_tile(core_op_t op)
{
	return op == OP_LOG_TILE || op == OP_LOG_ENTRIES;
}

static void resource_uid(const op_t *op, char out[KEY_CAP])
{
	const core_request_t *rq = op->rq;
	bool by_number = rq->op == OP_AUDIT_GET || rq->op == OP_AUDIT_PROOF;
	out[0] = '\0';
	if (rq->refused_status == 400 && (by_number || is_tile(rq->op)))
		return; /* most likely it is the number that was refused */
	if (by_number)
		(void)snprintf(out, KEY_CAP, "%llu", (unsigned long long)rq->index);
	else if (is_tile(rq->op) && rq->tile.width > 0)
		tile_format(&rq->tile, out);
	else if (rows[rq->op].many != NULL)
		(void)snprintf(out, KEY_CAP, "%s", rows[rq->op].many);
	else if (rq->op == OP_MAINT_CREATE)
		(void)snprintf(out, KEY_CAP, "%s", op->correlation);
	else if (rq->op == OP_GRANT_REQUEST)
		(void)snprintf(out, KEY_CAP, "%s", op->grant_id);
	else if (rq->service[0] != '\0' && rq->name[0] != '\0')
		op_path3(op, out);
	else if (rq->service[0] != '\0')
		(void)snprintf(out, KEY_CAP, "%s/%s", rq->customer, rq->service);
	else if (rq->name[0] != '\0')
		(void)snprintf(out, KEY_CAP, "%s", rq->name);
	else
		(void)snprintf(out, KEY_CAP, "%s", rq->customer);
	bool itself = strcmp(op->actor_type, "node") == 0 || op->rq->op == OP_RENEW ||
		      op->rq->op == OP_OPERATOR_ENROLL;
	if (out[0] == '\0' && itself) /* enrolment, too: by then the token has said who it is */
		(void)snprintf(out, KEY_CAP, "%s", op->actor);
}

/* Refusals without an identity, or over its budget (whatever else is wrong with them), are gathered: they
 * must not be able to fill the log, nor must a fleet that waits for a copy. Reads of its own pieces neither.
 */
static bool is_gathered(const op_t *op, kms_err_t e)
{
	if (e == KMS_OK)
		return op->waits || rows[op->rq->op].many != NULL;
	return op->slug != NULL && (op->who == POLICY_ANONYMOUS || op->rq->refused_status == 429 ||
				    strcmp(op->slug, "too-many-requests") == 0 ||
				    strcmp(op->slug, "waits-for-copies") == 0 || limits_gather(op));
}

/* Once a job: a batch that is done again must not count it twice. */
static void gather(op_t *op, const event_t *ev)
{
	const gather_key_t key = {.ip = ev->ip,
				  .actor = op->who == POLICY_ANONYMOUS ? "" : ev->actor_name,
				  .actor_type = op->who == POLICY_ANONYMOUS ? "anonymous" : ev->actor_type,
				  .op = op->rq->op,
				  .slug = ev->success ? "" : ev->status_code,
				  .statement = ev->statement,
				  .customer = ev->customer};
	if (op->job->gather == GATHER_NOT)
		op->job->gather = gather_add(op->core->gather, &key, op->now_ms);
	/* a stranger's first must not use the log's reserve: it is counted too */
	if (op->job->gather == GATHER_FIRST && op->who == POLICY_ANONYMOUS &&
	    atomic_load(&op->core->space) != LOG_SPACE_OK)
		op->job->gather = gather_add(op->core->gather, &key, op->now_ms);
}

/* An event joins the chain of the customer it is about; what a node does elsewhere joins its own customer's,
 * and what is about nothing that exists the deployment's, so that made-up names make no chains. */
static const char *chain_of(const op_t *op, kms_err_t e, const event_t *ev)
{
	if (op->who == POLICY_NODE)
		return op->rq->caller.id.node.customer;
	return e == KMS_E_NOTFOUND || op->who == POLICY_ANONYMOUS ? op->tenant : ev->customer;
}

/* A node that looks whether its volume is there, and makes it next. */
static bool looks_for_its_own(const op_t *op)
{
	const path3_t *me = &op->rq->caller.id.node;
	return op->rq->op == OP_VOLUME_GET && op->who == POLICY_NODE && !op->has_volume &&
	       strcmp(me->customer, op->rq->customer) == 0 && strcmp(me->service, op->rq->service) == 0;
}

/* What somebody looks at afterwards: not what was only malformed, unknown, or of nobody that is known. */
static bool denied_by_policy(const op_t *op, kms_err_t e)
{
	static const char *const slugs[] = {"denied", "network", "grant-mismatch", "grant-ended"};
	if (e == KMS_OK || op->slug == NULL || op->rq->refused != KMS_OK || op->rq->op == OP_UNKNOWN)
		return false;
	for (size_t i = 0; i < sizeof slugs / sizeof *slugs; i++)
		if (strcmp(op->slug, slugs[i]) == 0)
			return true;
	return strcmp(op->slug, "not-found") == 0 && op->decision.outcome == POLICY_DENIED &&
	       !looks_for_its_own(op);
}

static kms_err_t record(op_t *op, kms_err_t e)
{
	event_t ev;
	char uid[KEY_CAP];
	uint64_t index;
	op_event(op, &ev);
	ev.customer = chain_of(op, e, &ev);
	resource_uid(op, uid);
	ev.success = e == KMS_OK && !op->waits;
	ev.status_code = e != KMS_OK ? op->slug : op->code != NULL ? op->code : "done";
	ev.status_detail = ev.success ? op->told.text : op->why.text;
	ev.resource_uid = uid;
	ev.resource_type = rows[op->rq->op].type;
	if (e == KMS_E_INTEGRITY)
		ev.severity_id = 5;
	else if (e != KMS_OK && e != KMS_E_DENIED && ev.severity_id == 0)
		ev.severity_id = 2;
	if (is_gathered(op, e)) {
		gather(op, &ev);
		if (op->job->gather == GATHER_COUNTED)
			return KMS_OK;
		ev.count = 1;
	}
	KMS_TRY(log_append(op->core->audit, op->txn, &ev, &index));
	return review_event(op, &ev, denied_by_policy(op, e), index);
}

kms_err_t op_record(op_t *op)
{
	op->events_done = true;
	return record(op, KMS_OK);
}

static kms_err_t write_answer(op_t *op)
{
	core_reply_t *r = &op->job->reply;
	core_reply_free(r);
	r->status = op->status;
	r->content_type = "application/json";
	return op->answer != NULL ? json_write(op->answer, &r->body) : KMS_OK;
}

/* Failures that are ours, not the caller's, get a problem too. */
static void name_failure(op_t *op, kms_err_t e)
{
	if (op->slug != NULL)
		return;
	if (e == KMS_E_INTEGRITY)
		(void)op_refuse(op, e, 500, "integrity",
				"A record failed its integrity check: nothing was released. Look at the "
				"server's log.");
	else if (e == KMS_E_NOTFOUND)
		(void)op_not_found(op);
	else
		(void)op_refuse(op, e, 500, "internal", "The server could not do this (%s).",
				kms_err_name(e));
}

static void op_clear(op_t *op)
{
	json_decref(op->body);
	json_decref(op->answer);
	free(op->own_grant);
}

static kms_err_t finish(op_t *op, kms_err_t e, bool *wake)
{
	if (e == KMS_E_FULL && op->slug == NULL)
		return e; /* the store has no space: the whole batch goes */
	if (e != KMS_OK && op->wrote)
		return e; /* half an effect must not be committed */
	if (e != KMS_OK)
		name_failure(op, e);
	if (op->job->parked)
		return KMS_OK;
	if (!op->events_done && !op->quiet)
		KMS_TRY(record(op, e));
	if (e != KMS_OK) {
		uint32_t soon = op->status == 503 || op->status == 429 ? 2 : 0;
		uint32_t retry = op->retry_after > 0 ? op->retry_after : soon;
		job_forget(op->job);
		job_problem(op->job, op->status, op->slug, retry, op->why.text);
		return KMS_OK;
	}
	*wake |= op->wake;
	if (op->job->releases != NULL || op->job->query != NULL || op->job->later != NULL)
		return KMS_OK;
	return write_answer(op);
}

kms_err_t process_job(core_t *c, store_txn_t *t, core_job_t *job, int64_t now_ms, bool *wake)
{
	op_t op = {.core = c,
		   .txn = t,
		   .job = job,
		   .rq = &job->rq,
		   .mac = keyring_mac(c->keys),
		   .now_ms = now_ms,
		   .actor_type = "anonymous",
		   .decision = {.statement = "default-deny"}};
	memcpy(op.path.customer, job->rq.customer, NAME_CAP);
	memcpy(op.path.service, job->rq.service, NAME_CAP);
	memcpy(op.path.name, job->rq.name, NAME_CAP);
	job_forget(job);
	kms_err_t e = run(&op);
	if (e == KMS_OK && !op.job->parked)
		e = op_note_seen(&op);
	e = finish(&op, e, wake);
	op_clear(&op);
	return e;
}

kms_err_t process_outcome(core_t *c, store_txn_t *t, core_job_t *job, int64_t now_ms)
{
	for (size_t i = 0; i < job->releases->n; i++) {
		const release_t *r = &job->releases->item[i];
		open_release_t open;
		char uid[PATH3_CAP];
		uint64_t index;
		if (r->status != RELEASE_RELEASED)
			continue;
		KMS_TRY(log_open_take(t, r->event, &open));
		event_t e = log_outcome(&open, core_op_info(job->rq.op), uid, now_ms);
		e.success = job->opened;
		e.status_code = job->opened ? "released" : "failed";
		e.status_detail = job->opened ? "" : "the wrapped secret did not open";
		e.severity_id = job->opened ? 1 : 5;
		e.ip = job->rq.caller.ip;
		e.port = job->rq.caller.port;
		e.via = job->rq.caller.via;
		KMS_TRY(log_append(c->audit, t, &e, &index));
	}
	return KMS_OK;
}

kms_err_t process_gathered(core_t *c, store_txn_t *t, const gather_row_t *row, int64_t now_ms)
{
	const core_op_info_t *info = core_op_info(row->op);
	uint64_t index;
	bool refused = row->slug[0] != '\0';
	event_t e = {.time_ms = now_ms,
		     .operation = info->action,
		     .class_uid = info->class_uid,
		     .activity_id = info->activity_id,
		     .success = !refused,
		     .status_code = refused ? row->slug : "done",
		     .status_detail = "more of the same within the minute",
		     .severity_id = refused ? 3 : 1,
		     .actor_name = row->actor,
		     .actor_type = row->actor_type,
		     .decision = refused ? "deny" : "allow",
		     .statement = row->statement,
		     .ip = row->where,
		     .customer = row->customer,
		     .resource_type = rows[row->op].type,
		     .resource_uid = rows[row->op].many,
		     .count = row->count};
	return log_append(c->audit, t, &e, &index);
}
