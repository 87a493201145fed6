#include "policy/decide.h"

#include "policy/statement.h"

#include <stdio.h>

#define SAY(what, ...) (why != NULL ? (void)diag_fail(why, KMS_OK, __VA_ARGS__) : (void)0, (what))

/* --- one statement --- */

static bool any_principal(const policy_statement_t *s, const policy_request_t *r)
{
	for (size_t i = 0; i < s->principals.n; i++)
		if (principal_matches(&s->principals.item[i], r))
			return true;
	return false;
}

static bool any_resource(const policy_statement_t *s, const policy_request_t *r)
{
	for (size_t i = 0; i < s->n_resources; i++)
		if (resource_matches(&s->resources[i], r))
			return true;
	return false;
}

static bool concerns(const policy_statement_t *s, const policy_request_t *r, diag_t *why)
{
	if (!any_principal(s, r))
		return SAY(false, "principals: the caller is none of them");
	if (!any_resource(s, r))
		return SAY(false, "resources: the resource is none of them");
	return true;
}

static policy_say_t say_deny(const policy_statement_t *s, const policy_request_t *r,
			     const condition_t **lacks, diag_t *why)
{
	diag_t part;
	const condition_t *first = NULL;
	for (size_t i = 0; i < s->n_unless; i++) {
		verdict_t v = condition_check(&s->unless[i], r, why != NULL ? &part : NULL);
		if (v == VERDICT_HOLDS)
			return SAY(POLICY_SAYS_NOTHING, "unless[%zu] holds", i);
		if (v == VERDICT_LACKS && first == NULL) {
			first = &s->unless[i];
			(void)SAY(0, "unless[%zu].%s", i, part.text);
		}
	}
	if (first == NULL)
		return SAY(POLICY_SAYS_NO, "it matches%s", s->n_unless > 0 ? " and no \"unless\" holds" : "");
	*lacks = first;
	return POLICY_SAYS_WAIT;
}

policy_say_t policy_statement_say(const policy_statement_t *s, const policy_request_t *r,
				  const condition_t **lacks, diag_t *why)
{
	diag_t part;
	if (!concerns(s, r, why))
		return POLICY_SAYS_NOTHING;
	verdict_t v = condition_check(&s->conditions, r, why != NULL ? &part : NULL);
	if (v != VERDICT_HOLDS)
		(void)SAY(0, "conditions.%s", part.text);
	if (v == VERDICT_FAILS || (v == VERDICT_LACKS && s->effect == POLICY_DENY))
		return POLICY_SAYS_NOTHING;
	if (s->effect == POLICY_DENY)
		return say_deny(s, r, lacks, why);
	if (v == VERDICT_HOLDS)
		return SAY(POLICY_SAYS_YES, "it matches");
	*lacks = &s->conditions;
	return POLICY_SAYS_WAIT;
}

/* --- all of them --- */

/* People work on all tenants and may know what there is; a node may know of what is its own alone, so that
 * neither names of other tenants nor of its neighbours can be found out by trying; and who is there for some
 * customers, of those. */
static bool may_see(const policy_request_t *r)
{
	if (r->who == POLICY_SCOPED)
		return r->in_scope;
	if (r->who != POLICY_NODE)
		return true;
	return r->own && strcmp(r->customer, r->node.customer) == 0 &&
	       strcmp(r->service, r->node.service) == 0;
}

static bool same_need(const policy_need_t *a, const policy_need_t *b)
{
	return a->count == b->count && a->break_glass == b->break_glass &&
	       policy_list_equal(a->from, b->from);
}

/* False: there are too many different ones. */
static bool remember(policy_decision_t *d, const policy_need_t *need)
{
	for (size_t i = 0; i < d->n_needs; i++)
		if (same_need(&d->needs[i], need))
			return true;
	if (d->n_needs == POLICY_NEEDS_MAX)
		return false;
	d->needs[d->n_needs++] = *need;
	return true;
}

/* The first statement of each kind; the denying ones that wait leave their needs in `held`. */
typedef struct tally {
	const policy_statement_t *no, *yes, *on_grant;
	policy_need_t bringing; /* what on_grant waits for */
	policy_decision_t held; /* its statement is NULL while nothing waits */
} tally_t;

static void hear_waiting(tally_t *t, const policy_statement_t *s, const condition_t *lacks)
{
	policy_need_t need = condition_need(lacks, s->name);
	if (s->effect == POLICY_DENY) {
		t->no = remember(&t->held, &need) ? NULL : s;
		t->held.statement = t->held.statement != NULL ? t->held.statement : s->name;
	} else if (t->on_grant == NULL) {
		t->on_grant = s;
		t->bringing = need;
	}
}

static void hear(tally_t *t, const policy_statement_t *s, policy_say_t say, const condition_t *lacks)
{
	if (say == POLICY_SAYS_NO)
		t->no = s;
	else if (say == POLICY_SAYS_WAIT)
		hear_waiting(t, s, lacks);
	else if (say == POLICY_SAYS_YES && t->yes == NULL)
		t->yes = s;
}

static void conclude(tally_t *t, bool visible, policy_decision_t *out)
{
	bool granted = t->yes == NULL && t->on_grant != NULL && remember(&t->held, &t->bringing);
	*out = (policy_decision_t){POLICY_DENIED, .visible = visible, .statement = "default-deny"};
	if (t->no != NULL) {
		out->statement = t->no->name;
	} else if (t->yes != NULL && t->held.statement == NULL) {
		*out = (policy_decision_t){POLICY_ALLOWED, .visible = true, .statement = t->yes->name};
	} else if (t->yes != NULL || granted) {
		*out = t->held;
		out->outcome = POLICY_HELD;
		out->visible = visible;
		if (out->statement == NULL)
			out->statement = t->on_grant->name;
	}
}

/* An action that is in no table is nobody's: no "*" stands for it. */
void policy_decide(const policy_t *p, const policy_request_t *r, policy_decision_t *out)
{
	const policy_action_t *action = policy_action(r->action);
	size_t n, place = action != NULL ? (size_t)(action - policy_actions(&n)) : 0;
	size_t from = p->first[place], to = action != NULL ? p->first[place + 1] : from;
	tally_t t = {.no = NULL};
	for (size_t i = from; i < to && t.no == NULL; i++) {
		const policy_statement_t *s = p->statements[p->about[i]];
		const condition_t *lacks = NULL;
		policy_say_t say = policy_statement_say(s, r, &lacks, NULL);
		hear(&t, s, say, lacks);
	}
	conclude(&t, may_see(r), out);
}

void policy_explain(const policy_t *p, const policy_request_t *r, policy_explain_fn each, void *ctx)
{
	const policy_action_t *action = policy_action(r->action);
	for (size_t i = 0; i < p->n; i++) {
		const policy_statement_t *s = p->statements[i];
		const condition_t *lacks = NULL;
		diag_t why = {""};
		policy_say_t say = POLICY_SAYS_NOTHING;
		if (action == NULL || !action_set_has(&s->actions, action))
			(void)diag_fail(&why, KMS_OK, "actions: %s is none of them", r->action);
		else
			say = policy_statement_say(s, r, &lacks, &why);
		each(ctx, p->of[i], s->name, s->effect == POLICY_DENY, say != POLICY_SAYS_NOTHING, why.text);
	}
}

/* --- needs --- */

bool policy_need_counts(const policy_need_t *n, const policy_person_t *approver)
{
	return n->count > 0 && policy_list_names(n->from, approver);
}

void policy_need_from(const policy_need_t *n, char *out, size_t cap)
{
	static const char cut[] = "\xe2\x80\xa6";
	size_t used = 0;
	if (cap == 0)
		return;
	out[0] = '\0';
	for (size_t i = 0; n->from != NULL && i < n->from->n; i++) {
		char one[PRINCIPAL_TEXT_CAP];
		principal_format(&n->from->item[i], one);
		size_t len = strlen(one) + (i > 0 ? 1 : 0);
		bool last = i + 1 == n->from->n;
		if (used + len + (last ? 1 : sizeof cut + 1) > cap) {
			if (used + sizeof cut + 1 <= cap)
				(void)snprintf(out + used, cap - used, "%s%s", i > 0 ? " " : "", cut);
			return;
		}
		(void)snprintf(out + used, cap - used, "%s%s", i > 0 ? " " : "", one);
		used += len;
	}
}
