/* Releases that wait for a person: the policy holds a node's release until somebody approves it. The node
 * asks again until then; what it waits for is a grant that the server makes in its name, once, and finds
 * again. It is bound to the node's generation and address: another machine with its certificate waits for a
 * grant of its own. */
#include "kms-server/core/grant.h"

#include "common/base/scope.h"
#include "common/io/log.h"

#define NODE_FOR_S 3600U
#define NODE_USES  16U

/* --- what has been asked for before --- */

static bool same_node(const op_t *op, const grant_rec_t *g)
{
	return g->by_node && strcmp(g->requester, op->actor) == 0 && g->generation == op->node.generation &&
	       strcmp(g->requester_ip, op->rq->caller.ip) == 0;
}

typedef bool (*wanted_fn)(const op_t *op, const grant_rec_t *g, const grant_rec_t *wish);

/* The first open grant of this node that is wanted. NOTFOUND: none. */
static kms_err_t find(op_t *op, wanted_fn wanted, const grant_rec_t *wish, char id[GRANT_ID_CAP],
		      grant_use_t **out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	(void)snprintf(prefix, sizeof prefix, "n/%s/", op->actor);
	size_t np = strlen(prefix);
	KMS_TRY(store_seek(op->txn, STORE_GRANTS, span_str(prefix), STORE_UP, &c));
	for (;;) {
		SCOPED(freep) grant_use_t *u = NULL;
		KMS_TRY(store_next(c, &key, &value));
		if (key.n <= np || memcmp(key.p, prefix, np) != 0)
			return KMS_E_NOTFOUND;
		if (key.n - np >= GRANT_ID_CAP)
			return KMS_E_INTEGRITY;
		(void)snprintf(id, GRANT_ID_CAP, "%.*s", (int)(key.n - np), (const char *)key.p + np);
		KMS_TRY(grant_read_named(op->txn, op->mac, id, &u));
		if (!same_node(op, &u->rec) || !wanted(op, &u->rec, wish))
			continue;
		*out = TAKE(u);
		return KMS_OK;
	}
}

static bool is_approved(const op_t *op, const grant_rec_t *g, const grant_rec_t *wish)
{
	(void)wish;
	return grant_state_at(g, op->now_ms) == GRANT_APPROVED && g->uses_left > 0;
}

static bool asks_for(const grant_rec_t *g, const grant_need_t *n)
{
	for (size_t i = 0; i < g->n_needs; i++)
		if (g->needs[i].count == n->count && strcmp(g->needs[i].from, n->from) == 0)
			return true;
	return false;
}

/* Pending, and asks for all that this release needs. */
static bool waits_for(const op_t *op, const grant_rec_t *g, const grant_rec_t *wish)
{
	bool all = grant_state_at(g, op->now_ms) == GRANT_PENDING;
	for (size_t i = 0; i < wish->n_needs; i++)
		all &= asks_for(g, &wish->needs[i]);
	return all;
}

/* Once a request: the approved grant of this node, if there is one. */
static kms_err_t find_approved(op_t *op)
{
	char id[GRANT_ID_CAP];
	const char *gone = NULL;
	SCOPED(freep) grant_use_t *u = NULL;
	if (op->looked)
		return KMS_OK;
	op->looked = true;
	kms_err_t e = find(op, is_approved, NULL, id, &u);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(grant_approvers(op, u, &gone));
	if (gone == NULL)
		grant_take(op, id, TAKE(u));
	return KMS_OK;
}

/* --- deciding on a volume --- */

static const char *release_action(void)
{
	return core_op_info(OP_NODE_RELEASE)->action;
}

/* What the server would ask for in the node's name. */
static kms_err_t make_wish(op_t *op, release_set_t *set)
{
	if (set->wish != NULL)
		return KMS_OK;
	grant_use_t *u = calloc(1, sizeof *u);
	if (u == NULL)
		return KMS_E_NOMEM;
	grant_rec_t *g = &u->rec;
	g->by_node = true;
	g->generation = op->node.generation;
	(void)snprintf(g->requester, sizeof g->requester, "%s", op->actor);
	(void)snprintf(g->requester_ip, sizeof g->requester_ip, "%s", op->rq->caller.ip);
	(void)snprintf(g->action, sizeof g->action, "%s", release_action());
	(void)snprintf(g->reason, sizeof g->reason, "node-release");
	g->resource = op->rq->caller.id.node;
	g->for_s = NODE_FOR_S;
	g->uses = g->uses_left = NODE_USES;
	set->wish = g;
	return KMS_OK;
}

/* Approvers read what waits: as many names as fit. */
static void name_volume(grant_rec_t *g, const char *volume)
{
	size_t n = strlen(g->justification), len = strlen(volume);
	if (n + len + 8 < sizeof g->justification)
		(void)snprintf(g->justification + n, sizeof g->justification - n, "%s%s",
			       n > 0 ? ", " : "waits for ", volume);
}

static void decide_with(op_t *op, grant_rec_t *g, const path3_t *path, bool own, policy_decision_t *out)
{
	op->grant = g;
	op->grant_covers = true;
	op_decide_on(op, release_action(), "volume", path, own, out);
	op->grant = NULL;
	op->grant_covers = false;
}

/* With the node's approved grant, if it has one. */
static kms_err_t decide_approved(op_t *op, const path3_t *path, bool own, policy_decision_t *out)
{
	KMS_TRY(find_approved(op));
	grant_rec_t *mine = op->own_grant;
	op->grant = NULL;
	if (mine != NULL)
		decide_with(op, mine, path, own, out);
	return KMS_OK;
}

/* HELD: what approvals would it take? A policy that asks for what a node cannot have holds nothing: it
 * denies. */
static kms_err_t wish_for(op_t *op, release_set_t *set, release_t *r, bool own)
{
	policy_decision_t d;
	KMS_TRY(make_wish(op, set));
	decide_with(op, set->wish, &r->volume, own, &d);
	if (d.outcome != POLICY_HELD || d.n_needs == 0) {
		r->decision.outcome = POLICY_DENIED;
		return KMS_OK;
	}
	kms_err_t e = grant_add_needs(op, &d, set->wish);
	if (e == KMS_E_CONFLICT && op->slug != NULL) { /* nobody could approve it */
		op->slug = NULL;
		r->decision.outcome = POLICY_DENIED;
		r->reason = "nobody-can-approve";
		return KMS_OK;
	}
	KMS_TRY(e);
	name_volume(set->wish, r->volume.name);
	return KMS_OK;
}

kms_err_t grant_wait_decide(op_t *op, release_set_t *set, release_t *r, bool own)
{
	policy_decision_t with = {.outcome = POLICY_HELD};
	op_decide(op, "volume", &r->volume, own, &r->decision);
	if (op->who != POLICY_NODE || r->decision.outcome != POLICY_HELD || set->rotation || set->proof)
		return KMS_OK;
	KMS_TRY(decide_approved(op, &r->volume, own, &with));
	if (with.outcome == POLICY_ALLOWED) {
		r->decision = with;
		r->granted = true;
		return KMS_OK;
	}
	return wish_for(op, set, r, own);
}

kms_err_t grant_wait_over(op_t *op, const path3_t *volume, bool own)
{
	policy_decision_t d;
	op_decide_on(op, release_action(), "volume", volume, own, &d);
	if (d.outcome == POLICY_HELD)
		KMS_TRY(decide_approved(op, volume, own, &d));
	switch (d.outcome) {
	case POLICY_ALLOWED:
		return KMS_OK;
	case POLICY_HELD:
		return op_refuse(
			op, KMS_E_DENIED, 403, "approval-needed",
			"This answers with the volume's secrets, and statement \"%s\" holds their "
			"release: unlock the volume first (node-agent unlock waits for the approval).",
			d.statement);
	case POLICY_DENIED:
		break;
	}
	return op_refuse(op, KMS_E_DENIED, 403, "denied",
			 "This answers with the volume's secrets, and the policy does not allow their "
			 "release (statement \"%s\").",
			 d.statement);
}

/* --- what becomes of those that wait --- */

static void cool_key(const char *requester, const char *ip, char out[KEY_CAP])
{
	(void)snprintf(out, KEY_CAP, "d/%s/%s", requester, ip);
}

kms_err_t grant_cool_down(op_t *op, const char *id, const grant_rec_t *g)
{
	char key[KEY_CAP];
	cool_key(g->requester, g->requester_ip, key);
	return store_put(op->txn, STORE_GRANTS, span_str(key), span_str(id));
}

static bool is_cool(const grant_rec_t *g, int64_t now_ms)
{
	return now_ms - g->ended_ms >= GRANT_COOL_DOWN_MS || now_ms < g->ended_ms;
}

/* The grant that a row d/… names. */
static kms_err_t read_denied(store_txn_t *t, const secret_t *mac, span_t value, grant_use_t **out)
{
	char id[GRANT_ID_CAP];
	if (value.n >= sizeof id)
		return KMS_E_INTEGRITY;
	(void)snprintf(id, sizeof id, "%.*s", (int)value.n, (const char *)value.p);
	return grant_read_named(t, mac, id, out);
}

/* Whether it was denied so short a time ago that it is not asked again; then also the id. */
static kms_err_t was_denied(op_t *op, char id[GRANT_ID_CAP], bool *out)
{
	char key[KEY_CAP];
	span_t value = {0};
	SCOPED(freep) grant_use_t *u = NULL;
	*out = false;
	cool_key(op->actor, op->rq->caller.ip, key);
	kms_err_t e = store_get(op->txn, STORE_GRANTS, span_str(key), &value);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(read_denied(op->txn, op->mac, value, &u));
	if (!same_node(op, &u->rec) || is_cool(&u->rec, op->now_ms))
		return KMS_OK;
	(void)snprintf(id, GRANT_ID_CAP, "%.*s", (int)value.n, (const char *)value.p);
	*out = true;
	return KMS_OK;
}

kms_err_t grant_forget_denied(core_t *c, store_txn_t *t, int64_t now_ms)
{
	char last[KEY_CAP] = "d/";
	for (;;) { /* a write ends the cursor */
		SCOPED(store_cursor_freep) store_cursor_t *cur = NULL;
		SCOPED(freep) grant_use_t *u = NULL;
		span_t key = {0}, value = {0};
		KMS_TRY(store_seek(t, STORE_GRANTS, span_str(last), STORE_UP, &cur));
		kms_err_t e = store_next(cur, &key, &value);
		if (e == KMS_OK && span_eq(key, span_str(last)))
			e = store_next(cur, &key, &value);
		if (e == KMS_E_NOTFOUND || (e == KMS_OK && (key.n < 2 || memcmp(key.p, "d/", 2) != 0)))
			return KMS_OK;
		KMS_TRY(e);
		if (key.n >= sizeof last)
			return KMS_E_INTEGRITY;
		memcpy(last, key.p, key.n);
		last[key.n] = '\0';
		e = read_denied(t, keyring_mac(c->keys), value, &u);
		store_cursor_freep(&cur);
		if (e == KMS_E_INTEGRITY) { /* it ends no round */
			log_error("housekeeping: the row %s leads to no whole grant", last);
			continue;
		}
		KMS_TRY(e);
		if (is_cool(&u->rec, now_ms))
			KMS_TRY(store_del(t, STORE_GRANTS, span_str(last)));
	}
}

static void say_who(release_set_t *set, const grant_rec_t *g)
{
	size_t n = 0, cap = sizeof set->waits_for;
	for (size_t i = 0; i < g->n_needs && n < cap; i++)
		n += (size_t)snprintf(set->waits_for + n, cap - n, "%s%u of %s", i > 0 ? ", and " : "",
				      g->needs[i].count, g->needs[i].from);
}

static void deny_all(release_set_t *set, const char *reason, const char *grant)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->item[i].status == RELEASE_PENDING) {
			set->item[i].status = RELEASE_DENIED;
			set->item[i].reason = reason;
			set->item[i].denied_by = grant;
		}
}

static kms_err_t record_wish(op_t *op, const char *id, const grant_rec_t *g)
{
	event_t e;
	uint64_t index;
	const core_op_info_t *info = core_op_info(OP_GRANT_REQUEST);
	op_event(op, &e);
	e.operation = info->action;
	e.class_uid = info->class_uid;
	e.activity_id = info->activity_id;
	e.success = true;
	e.status_code = "done";
	e.decision = "allow";
	e.statement = g->needs[0].statement;
	e.customer = g->resource.customer;
	e.resource_uid = id;
	e.resource_type = "grant";
	e.reason = g->reason;
	e.justification = g->justification;
	e.grant = id;
	return log_append(op->core->audit, op->txn, &e, &index);
}

static kms_err_t ask(op_t *op, release_set_t *set)
{
	grant_use_t *u = (grant_use_t *)set->wish; /* its first member */
	kms_err_t e = grant_make(op, u, set->grant);
	if (e == KMS_E_FULL && op->slug != NULL) {
		op->slug = NULL;
		deny_all(set, "too-many-grants", NULL);
		return KMS_OK;
	}
	KMS_TRY(e);
	return record_wish(op, set->grant, set->wish);
}

kms_err_t grant_wait(op_t *op, release_set_t *set, bool *fresh)
{
	SCOPED(freep) grant_use_t *u = NULL;
	bool denied = false;
	*fresh = false;
	kms_err_t e = find(op, waits_for, set->wish, set->grant, &u);
	if (e == KMS_OK) {
		say_who(set, &u->rec);
		return KMS_OK;
	}
	if (e != KMS_E_NOTFOUND)
		return e;
	set->grant[0] = '\0';
	*fresh = true;
	KMS_TRY(was_denied(op, set->grant, &denied));
	if (denied) {
		deny_all(set, "approval-denied", set->grant);
		return KMS_OK;
	}
	KMS_TRY(ask(op, set));
	say_who(set, set->wish);
	return KMS_OK;
}
