/* A request to the shipped policy, its texts taken from the input between NUL bytes. What must hold of every
 * decision is said here once more, without the statements. */
#include "policy/document.h"
#include "tests/fuzz/fuzz.h"

#define TEXTS 10U

typedef struct texts {
	char at[TEXTS][NAME_CAP];
} texts_t;

static texts_t split(span_t in)
{
	texts_t t = {0};
	for (size_t i = 0; i < TEXTS && in.n > 0; i++) {
		const uint8_t *end = memchr(in.p, 0, in.n);
		size_t n = end != NULL ? (size_t)(end - in.p) : in.n;
		memcpy(t.at[i], in.p, n < NAME_CAP ? n : NAME_CAP - 1);
		in = span_of(in.p + (n < in.n ? n + 1 : n), n < in.n ? in.n - n - 1 : 0);
	}
	return t;
}

static bool one_of(const char *s, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(s, *list) == 0)
			return true;
	return false;
}

static void check_node(const policy_request_t *r)
{
	static const char *const themselves[] = {"node", "identity", NULL};
	MUST_HOLD(r->own);
	if (strcmp(r->type, "volume") == 0) {
		MUST_HOLD(strcmp(r->customer, r->node.customer) == 0);
		MUST_HOLD(strcmp(r->service, r->node.service) == 0);
	} else {
		MUST_HOLD(one_of(r->type, themselves));
		MUST_HOLD(r->name[0] == '\0' || strcmp(r->name, r->node.name) == 0);
	}
}

static void check_scoped(const policy_request_t *r)
{
	static const char *const everywhere[] = {"audit.query",    "audit.read",     "audit.proof",
						 "log.checkpoint", "log.vkey",       "log.tile",
						 "customer.list",  "identity.renew", NULL};
	MUST_HOLD(strcmp(r->person.role, "auditor") == 0 || strcmp(r->action, "identity.renew") == 0);
	MUST_HOLD(r->in_scope || (one_of(r->action, everywhere) && r->customer[0] == '\0'));
}

static void check_allowed(const policy_request_t *r)
{
	static const char *const of_nodes[] = {
		"key.release",        "rotation.stage",        "rotation.promote",     "rotation.retire",
		"volume.commit",      "volume.reformat",       "node.tasks",           "node.report",
		"reencryption.start", "reencryption.progress", "reencryption.promote", NULL};
	switch (r->who) {
	case POLICY_ANONYMOUS:
		MUST_HOLD((strcmp(r->action, "node.enroll") == 0 ||
			   strcmp(r->action, "operator.enroll") == 0) &&
			  (strcmp(r->type, "node") == 0 || strcmp(r->type, "operator") == 0));
		return;
	case POLICY_NODE:
		check_node(r);
		return;
	case POLICY_SCOPED:
		check_scoped(r);
		MUST_HOLD(!one_of(r->action, of_nodes));
		return;
	case POLICY_OPERATOR:
		MUST_HOLD(!one_of(r->action, of_nodes));
		return;
	}
}

/* One for all runs: it is immutable. */
static const policy_t *shipped(void)
{
	static policy_t *p;
	if (p == NULL)
		MUST_HOLD(policy_default(&p) == KMS_OK);
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	policy_decision_t a, b;
	if (size < 2)
		return 0;
	texts_t t = split(span_of(data + 2, size - 2));
	policy_request_t r = {.who = (policy_who_t)(data[0] % 4),
			      .person = {.name = t.at[0], .role = t.at[1]},
			      .action = t.at[2],
			      .customer = t.at[3],
			      .service = t.at[4],
			      .type = t.at[5],
			      .name = t.at[6],
			      .own = (data[1] & 1U) != 0,
			      .in_scope = (data[1] & 2U) != 0,
			      .bootstrap = (data[1] & 4U) != 0,
			      .grant = {.present = (data[1] & 8U) != 0,
					.break_glass = (data[1] & 16U) != 0,
					.reason = t.at[1],
					.ticket = t.at[0]}};
	memcpy(r.node.customer, t.at[7], NAME_CAP);
	memcpy(r.node.service, t.at[8], NAME_CAP);
	memcpy(r.node.name, t.at[9], NAME_CAP);
	policy_decide(shipped(), &r, &a);
	policy_decide(shipped(), &r, &b);
	MUST_HOLD(a.statement != NULL && a.statement[0] != '\0');
	MUST_HOLD(a.outcome == b.outcome && a.visible == b.visible && a.statement == b.statement);
	MUST_HOLD(a.n_needs == 0 || a.outcome == POLICY_HELD);
	if (a.outcome == POLICY_ALLOWED)
		check_allowed(&r);
	else
		MUST_HOLD(strcmp(a.statement, "admin-all") != 0);
	if (a.outcome == POLICY_HELD)
		MUST_HOLD(r.who == POLICY_OPERATOR && a.n_needs > 0);
	return 0;
}
