/* A policy document out of the input: refused with a place in it, or a policy that decides. */
#include "policy/document.h"
#include "tests/fuzz/fuzz.h"

static const policy_request_t requests[] = {
	{.who = POLICY_ANONYMOUS, .action = "node.enroll", .type = "node"},
	{.who = POLICY_NODE,
	 .node = {"acme", "db", "n1"},
	 .action = "key.release",
	 .customer = "acme",
	 .service = "db",
	 .type = "volume",
	 .name = "v1",
	 .own = true},
	{.who = POLICY_OPERATOR,
	 .person = {.name = "alice", .role = "admin", .groups = {"approvers"}, .n_groups = 1},
	 .action = "node.invite",
	 .customer = "acme",
	 .service = "db",
	 .type = "node",
	 .name = "n1",
	 .has_address = true,
	 .address = {[10] = 0xff, [11] = 0xff, [12] = 10},
	 .now_ms = INT64_C(1700000000000)},
	{.who = POLICY_OPERATOR,
	 .person = {.name = "alice", .role = "operator"},
	 .action = "key.release",
	 .type = "volume",
	 .grant = {.present = true,
		   .break_glass = true,
		   .reason = "incident",
		   .ticket = "OPS-1",
		   .approvers = {{.name = "bob", .role = "admin"}, {.name = "bob", .role = "admin"}},
		   .n_approvers = 2}},
	{.who = POLICY_SCOPED,
	 .person = {.name = "eve", .role = "auditor"},
	 .action = "customer.list",
	 .type = "customer"},
};

static const char *or_empty(const char *s)
{
	return s != NULL ? s : "";
}

static void each(void *ctx, const char *document, const char *statement, bool deny, bool matched,
		 const char *why)
{
	size_t *n = ctx;
	MUST_HOLD(document != NULL && statement != NULL && why[0] != '\0');
	*n += 1;
	(void)deny;
	(void)matched;
}

static void decide(const policy_t *p, size_t statements, policy_request_t r)
{
	policy_decision_t d;
	size_t explained = 0;
	r.person.name = or_empty(r.person.name);
	r.person.role = or_empty(r.person.role);
	r.customer = or_empty(r.customer);
	r.service = or_empty(r.service);
	r.name = or_empty(r.name);
	r.grant.reason = or_empty(r.grant.reason);
	r.grant.ticket = or_empty(r.grant.ticket);
	policy_decide(p, &r, &d);
	policy_explain(p, &r, each, &explained);
	MUST_HOLD(explained == statements);
	MUST_HOLD(d.outcome == POLICY_HELD ? d.n_needs > 0 : d.n_needs == 0);
	MUST_HOLD(d.outcome == POLICY_DENIED || strcmp(d.statement, "default-deny") != 0);
	for (size_t i = 0; i < d.n_needs; i++) {
		char from[64];
		policy_need_from(&d.needs[i], from, sizeof from);
		MUST_HOLD((d.needs[i].count > 0) == (from[0] != '\0'));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	policy_document_t *d = NULL;
	policy_t *p = NULL;
	policy_error_t why = {0};
	kms_err_t e = policy_parse("fuzz", span_of(data, size), &d, &why);
	if (e != KMS_OK) {
		MUST_HOLD(e == KMS_E_INVALID || e == KMS_E_FULL);
		MUST_HOLD(why.why.text[0] != '\0' && why.line <= size + 1 && why.column <= size + 1);
		return 0;
	}
	size_t n = policy_document_statements(d);
	MUST_HOLD(policy_new(&d, 1, &p, NULL) == KMS_OK);
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
		decide(p, n, requests[i]);
	policy_free(p);
	return 0;
}
