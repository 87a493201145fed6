#include "tests/unit/policy/policy_support.h"

#include "common/base/buf.h"
#include "common/base/scope.h"

policy_t *policy_of_texts(const char *const *names, const span_t *texts, size_t n)
{
	policy_document_t *all[POLICY_DOCUMENTS_MAX] = {NULL};
	policy_t *p = NULL;
	diag_t why = {""};
	for (size_t i = 0; i < n; i++) {
		policy_error_t error;
		if (policy_parse(names[i], texts[i], &all[i], &error) != KMS_OK)
			fail_msg("%s, line %u, column %u: %s in %.*s", names[i], error.line, error.column,
				 error.why.text, (int)texts[i].n, (const char *)texts[i].p);
	}
	if (policy_new(all, n, &p, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return p;
}

policy_t *policy_of(const char *statements)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *const name = "test";
	buf_printf(&b, "{'version':1,'statements':[%s]}", statements);
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] == '\'')
			b.p[i] = '"';
	span_t text = buf_span(&b);
	return policy_of_texts(&name, &text, 1);
}

static void fill(const char **text)
{
	if (*text == NULL)
		*text = "";
}

policy_request_t request_of(const policy_request_t *r)
{
	policy_request_t q = *r;
	fill(&q.person.name);
	fill(&q.person.role);
	fill(&q.action);
	fill(&q.customer);
	fill(&q.service);
	fill(&q.type);
	fill(&q.name);
	fill(&q.grant.reason);
	fill(&q.grant.ticket);
	for (size_t i = 0; i < q.grant.n_approvers; i++) {
		fill(&q.grant.approvers[i].name);
		fill(&q.grant.approvers[i].role);
	}
	return q;
}

char outcome_of(const policy_t *p, const policy_request_t *r, policy_decision_t *d)
{
	policy_request_t q = request_of(r);
	policy_decide(p, &q, d);
	switch (d->outcome) {
	case POLICY_ALLOWED:
		return 'Y';
	case POLICY_HELD:
		return 'H';
	case POLICY_DENIED:
		return d->visible ? 'n' : '.';
	}
	return '?';
}
