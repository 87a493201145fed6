#include "policy/decide.h"

#include "policy/statement.h"

static bool principal_matches(const policy_principal_t *p, const policy_request_t *r)
{
	if (p->who != r->who)
		return false;
	if (p->who == POLICY_ANONYMOUS || p->who == POLICY_NODE)
		return true;
	return strcmp(p->role, POLICY_ANY) == 0 || strcmp(p->role, r->role) == 0;
}

/* "*" is one whole segment: neither none nor two. */
static bool verb_matches(span_t pattern, span_t text)
{
	if (span_eq(pattern, span_str(POLICY_ANY)))
		return text.n > 0 && memchr(text.p, '.', text.n) == NULL;
	return span_eq(pattern, text);
}

static bool action_matches(const char *pattern, const char *action)
{
	const char *p = strchr(pattern, '.'), *a = strchr(action, '.');
	if (p == NULL || a == NULL)
		return false;
	return verb_matches(span_of(pattern, (size_t)(p - pattern)), span_of(action, (size_t)(a - action))) &&
	       verb_matches(span_str(p + 1), span_str(a + 1));
}

static bool segment_matches(const char *pattern, const char *self, const char *text)
{
	if (strcmp(pattern, POLICY_ANY) == 0)
		return true;
	if (strcmp(pattern, POLICY_SELF) == 0)
		return self[0] != '\0' && strcmp(self, text) == 0;
	return strcmp(pattern, text) == 0;
}

static bool resource_matches(const policy_resource_t *p, const policy_request_t *r)
{
	static const path3_t nobody = {.name = ""};
	const path3_t *self = r->who == POLICY_NODE ? &r->node : &nobody;
	return segment_matches(p->type, "", r->type) &&
	       segment_matches(p->customer, self->customer, r->customer) &&
	       segment_matches(p->service, self->service, r->service) &&
	       segment_matches(p->name, self->name, r->name);
}

static bool any_principal(const policy_statement_t *s, const policy_request_t *r)
{
	for (size_t i = 0; i < s->n_principals; i++)
		if (principal_matches(&s->principals[i], r))
			return true;
	return false;
}

static bool any_action(const policy_statement_t *s, const policy_request_t *r)
{
	for (size_t i = 0; i < s->n_actions; i++)
		if (action_matches(s->actions[i], r->action))
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

/* A need that is none of these is never met. */
static bool need_met(policy_need_t need, const policy_request_t *r)
{
	switch (need) {
	case POLICY_NEEDS_NOTHING:
		return true;
	case POLICY_NEEDS_OWN:
		return r->own;
	case POLICY_NEEDS_SCOPE:
		return r->who == POLICY_SCOPED && r->in_scope;
	}
	return false;
}

static bool statement_matches(const policy_statement_t *s, const policy_request_t *r)
{
	return need_met(s->needs, r) && any_principal(s, r) && any_action(s, r) && any_resource(s, r);
}

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

void policy_decide(const policy_t *p, const policy_request_t *r, policy_decision_t *out)
{
	*out = (policy_decision_t){.allowed = false, .visible = may_see(r), .statement = "default-deny"};
	for (size_t i = 0; i < p->n; i++) {
		const policy_statement_t *s = &p->statements[i];
		if (!statement_matches(s, r))
			continue;
		if (s->effect != POLICY_ALLOW) {
			*out = (policy_decision_t){
				.allowed = false, .visible = may_see(r), .statement = s->name};
			return;
		}
		if (!out->allowed)
			*out = (policy_decision_t){.allowed = true, .visible = true, .statement = s->name};
	}
}
