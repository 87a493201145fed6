/* Acting under a grant: which one a call names, whether it covers the call, and counting. A grant is used in
 * the transaction of the act itself, so no two acts can use the same last use of it. */
#include "kms-server/core/grant.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

void grant_take(op_t *op, const char *id, grant_use_t *u)
{
	free(op->own_grant);
	op->own_grant = &u->rec;
	op->grant = &u->rec;
	(void)snprintf(op->grant_id, sizeof op->grant_id, "%s", id);
	for (size_t i = 0; i < u->rec.n_approvals; i++)
		op->approvals[i] = u->rec.approvals[i].name;
}

void grant_facts(const op_t *op, policy_grant_t *g)
{
	*g = (policy_grant_t){.reason = "", .ticket = ""};
	if (op->grant == NULL || !op->grant_covers)
		return;
	const grant_use_t *u = (const grant_use_t *)op->grant; /* its first member */
	g->present = true;
	g->break_glass = u->rec.break_glass;
	g->reason = u->rec.reason;
	g->ticket = u->rec.ticket;
	for (size_t i = 0; i < u->rec.n_approvals && i < POLICY_APPROVERS_MAX; i++)
		operator_person(u->rec.approvals[i].name, &u->approver[i], &g->approvers[g->n_approvers++]);
}

kms_err_t grant_approvers(op_t *op, grant_use_t *u, const char **gone)
{
	*gone = NULL;
	for (size_t i = 0; i < u->rec.n_approvals; i++) {
		operator_rec_t *o = &u->approver[i];
		const char *name = u->rec.approvals[i].name;
		kms_err_t e = record_get_operator(op->txn, op->mac, name, o);
		if (e != KMS_OK && e != KMS_E_NOTFOUND)
			return e;
		bool active = e == KMS_OK && o->state == IDENTITY_ACTIVE && o->n_customers == 0;
		if (!active && *gone == NULL)
			*gone = name;
	}
	return KMS_OK;
}

void grant_told(const grant_rec_t *g, diag_t *out)
{
	char on[PATH3_CAP], digest[2 * sizeof g->digest + 1];
	grant_resource_text(g, on);
	hex_encode(span_of(g->digest, sizeof g->digest), digest);
	int n = snprintf(out->text, sizeof out->text, "%s %s; uses %u; seconds %u; digest %s", g->action,
			 on[0] != '\0' ? on : "*", g->uses, g->for_s, digest);
	for (size_t i = 0; i < g->n_nodes && n > 0 && (size_t)n < sizeof out->text; i++)
		n += snprintf(out->text + n, sizeof out->text - (size_t)n, "%s%s", i == 0 ? "; nodes " : " ",
			      g->nodes[i]);
}

kms_err_t grant_event(core_t *c, store_txn_t *t, const char *id, const grant_rec_t *g, const char *operation,
		      const char *code, int64_t now_ms)
{
	const char *names[GRANT_APPROVALS_MAX];
	uint64_t index;
	diag_t told;
	grant_told(g, &told);
	for (size_t i = 0; i < g->n_approvals; i++)
		names[i] = g->approvals[i].name;
	event_t e = {.time_ms = now_ms,
		     .operation = operation,
		     .class_uid = 3005,
		     .activity_id = g->state == GRANT_APPROVED ? 1 : 2,
		     .success = true,
		     .status_code = code,
		     .status_detail = told.text,
		     .severity_id = g->break_glass ? 5 : 1,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .customer = g->resource.customer,
		     .resource_uid = id,
		     .resource_type = "grant",
		     .correlation_uid = g->maintenance,
		     .reason = g->reason,
		     .ticket = g->ticket,
		     .justification = g->justification,
		     .grant = id,
		     .approvals = names,
		     .n_approvals = g->n_approvals};
	return log_append(c->audit, t, &e, &index);
}

/* --- the grant that a call names --- */

static kms_err_t unusable(op_t *op, const char *slug, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Kept until it is known whether the caller may hear of it at all. */
static kms_err_t unusable(op_t *op, const char *slug, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(op->grant_why.text, sizeof op->grant_why.text, fmt, ap);
	va_end(ap);
	op->grant_slug = slug;
	return KMS_OK;
}

static bool names_node(const grant_rec_t *g, const char *node)
{
	for (size_t i = 0; i < g->n_nodes; i++)
		if (strcmp(g->nodes[i], node) == 0)
			return true;
	return false;
}

/* A grant for nodes covers the nodes that it names, and volumes that are bound to them; where a volume goes
 * must be among them too. */
static bool covers_node(const op_t *op, const grant_rec_t *g)
{
	if (!op->has_volume)
		return names_node(g, op->path.name);
	const char *to = json_string_value(json_object_get(op->body, "node"));
	return names_node(g, op->volume.node) &&
	       (op->rq->op != OP_VOLUME_ASSIGN || (to != NULL && names_node(g, to)));
}

static bool covers_resource(const op_t *op, const grant_rec_t *g)
{
	const path3_t *a = &g->resource, *b = &op->path;
	if (strcmp(a->customer, b->customer) != 0 || strcmp(a->service, b->service) != 0)
		return false;
	return g->n_nodes > 0 ? covers_node(op, g) : strcmp(a->name, b->name) == 0;
}

/* Compared as canonical JSON (RFC 8785): what was approved is what is sent, however it is written. */
static kms_err_t covers_body(const op_t *op, const grant_rec_t *g, bool *out)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	*out = !g->has_body;
	if (!g->has_body || op->body == NULL)
		return KMS_OK;
	kms_err_t e = json_write(op->body, &text);
	*out = e == KMS_OK && span_eq(buf_span(&text), g->body);
	return e == KMS_E_INVALID ? KMS_OK : e;
}

static kms_err_t check_ended(op_t *op, const char *id, const grant_rec_t *g, bool *good)
{
	grant_state_t s = grant_state_at(g, op->now_ms);
	*good = s == GRANT_APPROVED && g->uses_left > 0;
	if (*good)
		return KMS_OK;
	if (s == GRANT_PENDING)
		return unusable(op, "grant-pending",
				"Grant %s is not approved yet: kmsctl grant show %s says who can do that.",
				id, id);
	return unusable(op, "grant-ended", "Grant %s is %s: ask for a new one (kmsctl grant request).", id,
			grant_state_name(s == GRANT_APPROVED ? GRANT_USED : s));
}

static kms_err_t check_covers(op_t *op, const char *id, const grant_rec_t *g, bool *good)
{
	bool body = false, same = false;
	*good = false;
	if (strcmp(g->action, core_op_info(op->rq->op)->action) != 0)
		return unusable(op, "grant-mismatch", "Grant %s is for %s, not for %s.", id, g->action,
				core_op_info(op->rq->op)->action);
	if (!covers_resource(op, g))
		return unusable(op, "grant-mismatch", "Grant %s is for another resource.", id);
	KMS_TRY(covers_body(op, g, &body));
	if (!body)
		return unusable(op, "grant-mismatch",
				"Grant %s is for another request: the body differs from the one that was "
				"approved.",
				id);
	KMS_TRY(grant_target_same(op, g, &same));
	if (!same)
		return unusable(
			op, "grant-mismatch",
			"Since grant %s was asked for, the node has been enrolled anew, or the volume was "
			"moved or formatted again: what was approved is not there any more. Ask for a new "
			"one (kmsctl grant request).",
			id);
	*good = true;
	return KMS_OK;
}

static kms_err_t check_maintenance(op_t *op, const char *id, const grant_rec_t *g, bool *good)
{
	bool covers = false, open = false, ended = false;
	*good = true;
	if (g->maintenance[0] == '\0')
		return KMS_OK;
	kms_err_t e = grant_maintenance(op, g, &covers, &open, &ended);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	*good = covers && open;
	return *good ? KMS_OK
		     : unusable(op, ended ? "grant-ended" : "grant-mismatch",
				"Grant %s holds while maintenance event %s is open, and it is not.", id,
				g->maintenance);
}

static kms_err_t check_named(op_t *op, const char *id, grant_use_t *u, bool *good)
{
	const char *gone = NULL;
	KMS_TRY(check_ended(op, id, &u->rec, good));
	if (*good)
		KMS_TRY(check_covers(op, id, &u->rec, good));
	if (*good)
		KMS_TRY(check_maintenance(op, id, &u->rec, good));
	if (!*good)
		return KMS_OK;
	KMS_TRY(grant_approvers(op, u, &gone));
	*good = gone == NULL;
	return *good ? KMS_OK
		     : unusable(op, "grant-ended",
				"%s, who approved grant %s, is no active operator any more: ask for a new "
				"one.",
				gone, id);
}

kms_err_t grant_name(op_t *op)
{
	const char *id = op->rq->grant;
	SCOPED(freep) grant_use_t *u = NULL;
	bool good = false;
	if (id[0] == '\0' || op->mac == NULL)
		return KMS_OK;
	kms_err_t e = grant_read(op->txn, op->mac, id, &u);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	if (e == KMS_OK) /* events tell of somebody else's, too; of made-up ones they do not */
		(void)snprintf(op->grant_id, sizeof op->grant_id, "%s", id);
	if (e != KMS_OK || u->rec.by_node || op->who != POLICY_OPERATOR ||
	    strcmp(u->rec.requester, op->actor) != 0)
		return unusable(op, "grant-unknown",
				"You have no grant %s: kmsctl grant list --requester %s.", id, op->actor);
	KMS_TRY(check_named(op, id, u, &good));
	if (!good)
		return KMS_OK;
	op->grant_covers = true;
	grant_take(op, id, TAKE(u));
	return KMS_OK;
}

/* --- after the decision --- */

static kms_err_t ask_for_one(op_t *op)
{
	const policy_decision_t *d = &op->decision;
	char who[256] = "", on[KEY_CAP] = "";
	grant_rec_t *g = calloc(1, sizeof *g);
	if (g == NULL)
		return KMS_E_NOMEM;
	g->resource = op->path;
	grant_resource_text(g, on);
	free(g);
	if (d->n_needs > 0 && d->needs[0].count > 0) {
		char from[160];
		policy_need_from(&d->needs[0], from, sizeof from);
		(void)snprintf(who, sizeof who, "the approval of %u of %s", d->needs[0].count, from);
	} else {
		(void)snprintf(who, sizeof who, "a grant");
	}
	return op_refuse(op, KMS_E_DENIED, 403, "approval-needed",
			 "Statement \"%s\" asks for %s%s. Ask for it with: kmsctl grant request --action %s "
			 "--resource %s --reason CODE",
			 d->statement, who, d->n_needs > 1 ? ", and for more" : "",
			 core_op_info(op->rq->op)->action, on[0] != '\0' ? on : "''");
}

kms_err_t grant_refused(op_t *op)
{
	return op_refuse(op, KMS_E_DENIED, 403, op->grant_slug, "%s", op->grant_why.text);
}

/* A node has no grant to name: release.c looks for the one that waits for it, or makes it. */
static bool may_wait(const op_t *op)
{
	return op->who == POLICY_NODE && (op->rq->op == OP_NODE_RELEASE || op->rq->op == OP_VOLUME_RELEASE);
}

kms_err_t grant_needed(op_t *op)
{
	if (op->grant_slug != NULL)
		return grant_refused(op);
	if (op->decision.outcome != POLICY_HELD || may_wait(op))
		return KMS_OK;
	if (op->grant != NULL)
		return op_refuse(op, KMS_E_DENIED, 403, "grant-ended",
				 "The approvals of grant %s are not what statement \"%s\" asks for now "
				 "(somebody left a group, or the policy has changed): ask for a new one.",
				 op->grant_id, op->decision.statement);
	return ask_for_one(op);
}

/* A release counts when a secret left; a node's only where it took the grant. */
static bool was_used(const op_t *op)
{
	const release_set_t *set = op->job->releases;
	bool node = op->who == POLICY_NODE, any = false;
	if (set == NULL)
		return op->grant_covers && !op->job->parked;
	for (size_t i = 0; i < set->n; i++)
		any |= set->item[i].status == RELEASE_RELEASED &&
		       (node ? set->item[i].granted : op->grant_covers);
	return any;
}

kms_err_t grant_count(op_t *op)
{
	grant_rec_t *g = op->own_grant;
	if (g == NULL || !was_used(op))
		return KMS_OK;
	if (g->uses_left == 0)
		return KMS_E_INTEGRITY;
	g->uses_left--;
	if (g->uses_left == 0) {
		g->state = GRANT_USED;
		g->ended_ms = op->now_ms;
	}
	op->wrote = true;
	return grant_write(op->txn, op->mac, op->grant_id, g);
}
