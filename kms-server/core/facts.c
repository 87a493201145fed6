/* What a policy is told about a request: everything comes from the verified certificate, the connection and
 * the records. */
#include "common/base/network.h"
#include "common/base/scope.h"
#include "common/io/log.h"
#include "kms-server/core/maintenance.h"
#include "kms-server/core/policy_store.h"

/* --- the time before there is a second person --- */

#define BOOTSTRAP_ENDED "bootstrap.ended" /* in STORE_META, for good */
#define APPROVERS       "approvers"       /* the shipped policies' group of people who approve */

bool operator_may_approve(const operator_rec_t *o)
{
	return o->state == IDENTITY_ACTIVE && o->n_customers == 0 &&
	       (o->role == ROLE_ADMIN || o->role == ROLE_APPROVER || operator_in_group(o, APPROVERS));
}

/* There are at least two people who could approve something for one another. */
static kms_err_t two_approvers(store_txn_t *t, const secret_t *mac, bool *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	unsigned n = 0;
	kms_err_t e = KMS_OK;
	KMS_TRY(store_seek(t, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while (n < 2 && (e = store_next(c, &key, &value)) == KMS_OK) {
		operator_rec_t o;
		KMS_TRY(record_decode_operator(mac, key, value, &o));
		n += operator_may_approve(&o) ? 1 : 0;
	}
	*out = n >= 2;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* The mark that it has ended has no MAC; people have. So without the mark they are counted: whoever deletes
 * it from the file gains nothing while there are two. */
kms_err_t bootstrap_lasts(store_txn_t *t, const secret_t *mac, bool *out)
{
	span_t mark = {0};
	bool two = true;
	kms_err_t e = store_get(t, STORE_META, span_str(BOOTSTRAP_ENDED), &mark);
	if (e == KMS_E_NOTFOUND && mac != NULL)
		e = two_approvers(t, mac, &two);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	*out = !two;
	return KMS_OK;
}

kms_err_t bootstrap_settle(core_t *c, store_txn_t *t, const secret_t *mac, int64_t now_ms)
{
	span_t mark = {0};
	bool lasts = false;
	kms_err_t e = store_get(t, STORE_META, span_str(BOOTSTRAP_ENDED), &mark);
	if (e != KMS_E_NOTFOUND)
		return e;
	KMS_TRY(bootstrap_lasts(t, mac, &lasts));
	atomic_store(&c->bootstrap, lasts);
	if (lasts)
		return KMS_OK;
	KMS_TRY(store_put(t, STORE_META, span_str(BOOTSTRAP_ENDED), span_str("1")));
	return log_system(
		c->audit, t, "policy.bootstrap", 3, "ended",
		"there are two people who can approve: acts on keys need the second one from now on", now_ms);
}

kms_err_t op_look(op_t *op)
{
	diag_t why = {""};
	kms_err_t e = policy_store_follow(op->core, op->txn, op->mac, &why);
	if (e != KMS_OK) {
		log_error("request %s: the policy cannot be read (%s), so nothing is allowed: %s",
			  op->rq->request_id, kms_err_name(e), why.text);
		return op_refuse(
			op, e, 500, e == KMS_E_INTEGRITY ? "integrity" : "internal",
			"The policy cannot be read (%s): nothing is allowed. Look at the server's log.",
			kms_err_name(e));
	}
	KMS_TRY(bootstrap_lasts(op->txn, op->mac, &op->bootstrap));
	atomic_store(&op->core->bootstrap, op->bootstrap);
	return KMS_OK;
}

/* --- maintenance --- */

/* So many open events of one customer are looked at: each takes a record. */
#define OPEN_EVENTS_MAX 64U

kms_err_t maintenance_covers(store_txn_t *t, const secret_t *mac, const path3_t *path, int64_t now_ms,
			     bool *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	char prefix[KEY_CAP];
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	maint_open_prefix(path->customer, prefix);
	size_t np = strlen(prefix);
	*out = false;
	if (path->customer[0] == '\0' || mac == NULL)
		return KMS_OK;
	KMS_TRY(store_seek(t, STORE_TASKS, span_str(prefix), STORE_UP, &c));
	for (unsigned i = 0; i < OPEN_EVENTS_MAX && !*out; i++) {
		char id[MAINT_ID_CAP];
		maint_rec_t m;
		e = store_next(c, &key, &value);
		if (e != KMS_OK || key.n <= np || memcmp(key.p, prefix, np) != 0)
			break;
		if (key.n - np >= sizeof id)
			return KMS_E_INTEGRITY;
		(void)snprintf(id, sizeof id, "%.*s", (int)(key.n - np), (const char *)key.p + np);
		KMS_TRY(record_get_maint(t, mac, id, &m));
		*out = maint_is_open(&m, now_ms) && strcmp(m.customer, path->customer) == 0 &&
		       (m.service[0] == '\0' || strcmp(m.service, path->service) == 0) &&
		       maint_names_node(&m, path->name) && !(m.by_schedule && path->name[0] == '\0');
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* --- all of it --- */

void operator_person(const char *name, const operator_rec_t *o, policy_person_t *out)
{
	*out = (policy_person_t){.name = name, .role = operator_role_name(o->role)};
	for (size_t i = 0; i < o->n_groups && i < POLICY_GROUPS_MAX; i++)
		out->groups[out->n_groups++] = o->groups[i];
}

/* Decisions return no errors: a record that cannot be read covers nothing, and the log says why. */
static bool covered(const op_t *op, const policy_request_t *q)
{
	path3_t path = {.name = ""};
	bool out = false;
	(void)snprintf(path.customer, sizeof path.customer, "%.63s", q->customer);
	(void)snprintf(path.service, sizeof path.service, "%.63s", q->service);
	memcpy(path.name, q->node.name, NAME_CAP);
	kms_err_t e = maintenance_covers(op->txn, op->mac, &path, op->now_ms, &out);
	if (e != KMS_OK)
		log_error("request %s: open maintenance events of %s cannot be read (%s): none counts",
			  op->rq->request_id, path.customer, kms_err_name(e));
	return e == KMS_OK && out;
}

static void node_facts(const op_t *op, policy_request_t *q)
{
	q->node = op->rq->caller.id.node;
	q->seen_ms = op->node.proven_ms;
	q->known_address = node_knows(&op->node, op->rq->caller.ip);
}

static void person_facts(const op_t *op, policy_request_t *q)
{
	operator_person(op->actor, &op->oper, &q->person);
	q->in_scope = op_has_customer(op, q->customer);
	if (op->oper.n_customers > 0)
		q->who = POLICY_SCOPED;
}

void op_facts(const op_t *op, policy_request_t *q)
{
	q->who = op->who;
	q->person = (policy_person_t){.name = "", .role = ""};
	grant_facts(op, &q->grant);
	q->now_ms = op->now_ms;
	q->bootstrap = op->bootstrap;
	q->has_address = network_addr(span_str(op->rq->caller.ip), q->address) == KMS_OK;
	if (op->rq->caller.kind == CALLER_VERIFIED)
		q->certificate_from_ms = op->rq->caller.id.not_before_ms;
	if (op->who == POLICY_NODE)
		node_facts(op, q);
	else if (op->who == POLICY_OPERATOR)
		person_facts(op, q);
	q->maintenance = covered(op, q); /* asks which node it is */
}
