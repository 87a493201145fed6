#include "kms-server/core/internal.h"

#include "common/base/scope.h"

static kms_err_t unknown_identity(op_t *op)
{
	return op_refuse(op, KMS_E_DENIED, 403, "identity-revoked",
			 "The certificate is good, but this identity is revoked or has a newer generation: "
			 "enrol again.");
}

static kms_err_t suspended(op_t *op)
{
	return op_refuse(op, KMS_E_DENIED, 403, "identity-suspended",
			 "This identity is suspended: an operator can resume it.");
}

static kms_err_t who_node(op_t *op, const x509_identity_t *id)
{
	op->who = POLICY_NODE;
	op->actor_type = "node";
	path3_format(&id->node, op->actor);
	if (op->mac == NULL)
		return KMS_OK; /* sealed: nothing that a node may do is open anyway */
	kms_err_t e = record_get_node(op->txn, op->mac, op->actor, &op->node);
	if (e == KMS_E_NOTFOUND)
		return unknown_identity(op);
	KMS_TRY(e);
	if (op->node.generation == 0 || !ct_equal(op->node.spki, id->spki, SPKI_HASH_LEN))
		return unknown_identity(op);
	switch (op->node.state) {
	case IDENTITY_ACTIVE:
		return KMS_OK;
	case IDENTITY_SUSPENDED:
		return suspended(op);
	case IDENTITY_INVITED:
	case IDENTITY_REVOKED:
		return unknown_identity(op);
	}
	return KMS_E_INTEGRITY;
}

/* What a stolen certificate of an operator is good for. An address that cannot be read is in no network. */
static kms_err_t may_come_from(op_t *op)
{
	const networks_t *allowed = &op->core->operator_networks;
	uint8_t addr[NETWORK_ADDR_LEN];
	if (allowed->n == 0)
		return KMS_OK;
	if (network_addr(span_str(op->rq->caller.ip), addr) == KMS_OK && networks_contain(allowed, addr))
		return KMS_OK;
	op->decision = (policy_decision_t){.statement = "operator-networks"};
	return op_refuse(op, KMS_E_DENIED, 403, "network",
			 "Operators may not come from %s: come through a gateway, or from a network that the "
			 "server's setting operator-networks lists.",
			 op->rq->caller.ip);
}

static kms_err_t who_operator(op_t *op, const x509_identity_t *id)
{
	op->who = POLICY_OPERATOR;
	op->actor_type = "operator";
	(void)snprintf(op->actor, sizeof op->actor, "%s", id->operator_name);
	KMS_TRY(may_come_from(op));
	kms_err_t e = record_get_operator(op->txn, op->mac, op->actor, &op->oper);
	if (e == KMS_E_NOTFOUND)
		return unknown_identity(op);
	KMS_TRY(e);
	if (!ct_equal(op->oper.spki, id->spki, SPKI_HASH_LEN))
		return unknown_identity(op);
	switch (op->oper.state) {
	case IDENTITY_ACTIVE:
		return KMS_OK;
	case IDENTITY_SUSPENDED:
		return suspended(op);
	case IDENTITY_INVITED:
	case IDENTITY_REVOKED:
		return unknown_identity(op);
	}
	return KMS_E_INTEGRITY;
}

kms_err_t op_identify(op_t *op)
{
	const caller_t *c = &op->rq->caller;
	switch (c->kind) {
	case CALLER_NONE:
		op->who = POLICY_ANONYMOUS;
		op->actor_type = "anonymous";
		if (op->rq->op != OP_ENROLL && op->rq->op != OP_OPERATOR_ENROLL)
			return op_refuse(op, KMS_E_DENIED, 401, "no-certificate",
					 "A client certificate of this deployment is needed.");
		return KMS_OK;
	case CALLER_BAD:
		op->who = POLICY_ANONYMOUS;
		op->actor_type = "anonymous";
		return op_refuse(op, KMS_E_DENIED, 401, "bad-certificate",
				 "The client certificate is not accepted: %s", c->reason);
	case CALLER_VERIFIED:
		return c->id.kind == X509_NODE ? who_node(op, &c->id) : who_operator(op, &c->id);
	}
	return KMS_E_INTEGRITY;
}

/* --- when and where the caller was last here --- */

#define SEEN_EVERY_MS INT64_C(60000)
/* Calls that come at least so often are one presence. */
#define PRESENCE_MS (INT64_C(24) * 3600 * 1000)

bool node_knows(const node_rec_t *n, const char *ip)
{
	for (size_t i = 0; i < n->n_addresses; i++)
		if (strcmp(n->addresses[i], ip) == 0)
			return true;
	return false;
}

void node_proven(node_rec_t *n, const char *ip, int64_t now_ms)
{
	size_t at = 0;
	n->proven_ms = now_ms;
	if (ip[0] == '\0')
		return;
	while (at < n->n_addresses && strcmp(n->addresses[at], ip) != 0)
		at++;
	if (at == n->n_addresses && n->n_addresses < NODE_ADDRESSES_MAX)
		n->n_addresses++;
	at = at < NODE_ADDRESSES_MAX ? at : NODE_ADDRESSES_MAX - 1;
	memmove(n->addresses[1], n->addresses[0], at * sizeof *n->addresses);
	(void)snprintf(n->addresses[0], sizeof *n->addresses, "%s", ip);
}

static bool was_released(const release_set_t *set)
{
	for (size_t i = 0; set != NULL && i < set->n; i++)
		if (set->item[i].status == RELEASE_RELEASED)
			return true;
	return false;
}

/* A policy may want a person's approval for a node that was away long, or that calls from elsewhere. Whoever
 * stole such a node's key must not get around that by asking for something harmless first: a call proves the
 * node only where no policy could ask for more. */
static bool proves(const op_t *op)
{
	if (was_released(op->job->releases))
		return true;
	return op->now_ms - op->node.proven_ms < PRESENCE_MS && node_knows(&op->node, op->rq->caller.ip);
}

static kms_err_t node_seen(op_t *op)
{
	const char *ip = op->rq->caller.ip;
	node_rec_t n;
	bool proven = proves(op);
	bool due = op->now_ms - op->node.last_seen_ms >= SEEN_EVERY_MS || op->now_ms < op->node.last_seen_ms;
	bool moved = proven && ip[0] != '\0' && !node_knows(&op->node, ip);
	bool back = proven && op->now_ms - op->node.proven_ms >= PRESENCE_MS;
	if (!due && !moved && !back)
		return KMS_OK;
	KMS_TRY(record_get_node(op->txn, op->mac, op->actor, &n));
	n.last_seen_ms = op->now_ms;
	if (proven)
		node_proven(&n, ip, op->now_ms);
	return record_put_node(op->txn, op->mac, op->actor, &n);
}

static kms_err_t operator_seen(op_t *op)
{
	operator_rec_t o;
	if (op->now_ms - op->oper.last_seen_ms < SEEN_EVERY_MS && op->now_ms >= op->oper.last_seen_ms)
		return KMS_OK;
	KMS_TRY(record_get_operator(op->txn, op->mac, op->actor, &o));
	o.last_seen_ms = op->now_ms;
	return record_put_operator(op->txn, op->mac, op->actor, &o);
}

kms_err_t op_note_seen(op_t *op)
{
	if (op->mac == NULL)
		return KMS_OK;
	switch (op->who) {
	case POLICY_NODE:
		return node_seen(op);
	case POLICY_OPERATOR:
	case POLICY_SCOPED:
		return operator_seen(op);
	case POLICY_ANONYMOUS:
		return KMS_OK;
	}
	return KMS_OK;
}

/* --- which customers concern the caller --- */

size_t op_customers(const op_t *op, const char *out[OPERATOR_CUSTOMERS_MAX])
{
	size_t n = op->who == POLICY_OPERATOR ? op->oper.n_customers : 0;
	for (size_t i = 0; i < n; i++)
		out[i] = op->oper.customers[i];
	return n;
}

bool op_has_customer(const op_t *op, const char *customer)
{
	const char *list[OPERATOR_CUSTOMERS_MAX];
	size_t n = op_customers(op, list);
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], customer) == 0)
			return true;
	return false;
}

bool operator_in_group(const operator_rec_t *o, const char *group)
{
	for (size_t i = 0; i < o->n_groups; i++)
		if (strcmp(o->groups[i], group) == 0)
			return true;
	return false;
}

static bool decide_for(const op_t *op, const char *type, const char *customer, policy_decision_t *out)
{
	path3_t path = {.name = ""};
	if (strlen(customer) >= sizeof path.customer)
		return false;
	memcpy(path.customer, customer, strlen(customer));
	op_decide(op, type, &path, false, out);
	return out->outcome == POLICY_ALLOWED;
}

bool op_may_see(const op_t *op, const char *type, const char *customer)
{
	policy_decision_t d;
	return decide_for(op, type, customer, &d);
}

kms_err_t op_see_event(op_t *op, span_t event_bytes)
{
	SCOPED(json_freep) json_t *event = NULL;
	policy_decision_t d = {.statement = "default-deny"};
	kms_err_t e = json_parse(event_bytes, EVENT_MAX, &event, NULL);
	KMS_TRY(e == KMS_E_INVALID ? KMS_E_INTEGRITY : e);
	const json_t *metadata = json_object_get(event, "metadata");
	const char *customer = json_string_value(json_object_get(metadata, "tenant_uid"));
	if (customer != NULL && decide_for(op, "event", customer, &d))
		return KMS_OK;
	op->decision = d;
	return op_not_found(op);
}
