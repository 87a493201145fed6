/* Nobody may take away the last way to change the policy: neither by a policy nor by a change of people.
 * Looked at as from the caller's address, now, with a certificate of today: what no caller like this one
 * could do any more is taken for lost. */
#include "common/base/network.h"
#include "common/base/scope.h"
#include "kms-server/core/internal.h"

#define PEOPLE_MAX 1024U /* so many are looked at, in the order of their names */

typedef struct one {
	char name[NAME_CAP];
	operator_rec_t rec;
} one_t;

typedef struct people {
	one_t *at;
	size_t n;
} people_t;

static void people_free(people_t *p)
{
	free(p->at);
	p->at = NULL;
}

/* Everybody active, as they would be. */
static kms_err_t load_people(op_t *op, const char *name, const operator_rec_t *changed, people_t *out)
{
	SCOPED(people_free) people_t p = {.at = calloc(PEOPLE_MAX, sizeof *p.at)};
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	if (p.at == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(store_seek(op->txn, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while (p.n < PEOPLE_MAX && (e = store_next(c, &key, &value)) == KMS_OK) {
		one_t *o = &p.at[p.n];
		KMS_TRY(record_decode_operator(op->mac, key, value, &o->rec));
		KMS_TRY(name_parse("operator", key, o->name, NULL) == KMS_OK ? KMS_OK : KMS_E_INTEGRITY);
		if (changed != NULL && strcmp(o->name, name) == 0)
			o->rec = *changed;
		if (o->rec.state == IDENTITY_ACTIVE && o->rec.n_customers == 0)
			p.n++;
	}
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	*out = p;
	p.at = NULL;
	return KMS_OK;
}

/* While it lasts, one person is enough; two end it in the same transaction. */
static bool bootstrap_with(const op_t *op, const people_t *p)
{
	size_t n = 0;
	for (size_t i = 0; i < p->n; i++)
		n += operator_may_approve(&p->at[i].rec) ? 1 : 0;
	return op->bootstrap && n < 2;
}

static policy_outcome_t outcome(const op_t *op, const policy_t *policy, const people_t *p, size_t i,
				const char *action, policy_decision_t *out)
{
	bool grant = strncmp(action, "grant.", 6) == 0;
	policy_request_t q = {.who = POLICY_OPERATOR,
			      .action = action,
			      .customer = "",
			      .service = "",
			      .type = grant ? "grant" : "policy",
			      .name = grant ? "" : "operators",
			      .now_ms = op->now_ms,
			      .certificate_from_ms = op->now_ms,
			      .bootstrap = bootstrap_with(op, p),
			      .grant = {.reason = "", .ticket = ""}};
	operator_person(p->at[i].name, &p->at[i].rec, &q.person);
	q.has_address = network_addr(span_str(op->rq->caller.ip), q.address) == KMS_OK;
	policy_decide(policy, &q, out);
	return out->outcome;
}

/* Whether so many others may approve and count. */
static bool need_can_be_met(const op_t *op, const policy_t *policy, const people_t *p, size_t asks,
			    const policy_need_t *need)
{
	uint32_t n = 0;
	for (size_t i = 0; i < p->n && n < need->count; i++) {
		policy_person_t person;
		policy_decision_t d;
		operator_person(p->at[i].name, &p->at[i].rec, &person);
		if (i != asks && policy_need_counts(need, &person) &&
		    outcome(op, policy, p, i, "grant.approve", &d) == POLICY_ALLOWED)
			n++;
	}
	return n >= need->count;
}

static bool may_change(const op_t *op, const policy_t *policy, const people_t *p, size_t i)
{
	policy_decision_t d, ask;
	switch (outcome(op, policy, p, i, "policy.put", &d)) {
	case POLICY_DENIED:
		return false;
	case POLICY_ALLOWED:
		return true;
	case POLICY_HELD:
		break;
	}
	if (outcome(op, policy, p, i, "grant.request", &ask) != POLICY_ALLOWED)
		return false;
	for (size_t k = 0; k < d.n_needs; k++)
		if (!need_can_be_met(op, policy, p, i, &d.needs[k]))
			return false;
	return true;
}

static kms_err_t somebody_can(op_t *op, const policy_t *policy, const char *name,
			      const operator_rec_t *changed, bool *out)
{
	SCOPED(people_free) people_t p = {.at = NULL};
	KMS_TRY(load_people(op, name, changed, &p));
	*out = false;
	for (size_t i = 0; i < p.n && !*out; i++)
		*out = may_change(op, policy, &p, i);
	return KMS_OK;
}

kms_err_t lockout_check_policy(op_t *op, const policy_t *next)
{
	bool can = false;
	KMS_TRY(somebody_can(op, next, "", NULL, &can));
	return can ? KMS_OK
		   : op_conflict(
			     op,
			     "With this policy nobody could change policies any more, alone or with the "
			     "approval of others who exist: allow policy.put to somebody who can get it.");
}

kms_err_t lockout_check_person(op_t *op, const char *name, const operator_rec_t *changed)
{
	bool before = false, after = false;
	KMS_TRY(somebody_can(op, op->core->policy, name, changed, &after));
	if (after)
		return KMS_OK;
	KMS_TRY(somebody_can(op, op->core->policy, "", NULL, &before));
	if (!before) /* nobody can from here, whoever it is */
		return KMS_OK;
	return op_conflict(
		op,
		"Without %s as it is nobody could change policies and people any more, alone or with "
		"the approval of others who exist: have another admin or approver first.",
		name);
}
