#include "policy/decide.h"

#include "policy/statement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* --- one statement against one request --- */

typedef struct row {
	const char *reason;
	policy_principal_t principal;
	const char *action;
	policy_resource_t resource;
	policy_need_t needs;
	policy_request_t request;
	bool matches;
} row_t;

#define ANYTHING                                                                                             \
	{                                                                                                    \
		"*", "*", "*", "*"                                                                           \
	}
#define OPERATOR(r, a)    .who = POLICY_OPERATOR, .operator_name = "o", .role = (r), .action = (a)
#define NODE(a)           .who = POLICY_NODE, .node = {"c", "s", "n"}, .operator_name = "", .role = "", .action = (a)
#define SCOPED_TO_C(r, a) .who = POLICY_SCOPED, .operator_name = "o", .role = (r), .action = (a)
#define ANONYMOUS(a)      .who = POLICY_ANONYMOUS, .operator_name = "", .role = "", .action = (a)
#define ON(t, c, s, n)    .type = (t), .customer = (c), .service = (s), .name = (n)
#define ADMIN                                                                                                \
	{                                                                                                    \
		POLICY_OPERATOR, "admin"                                                                     \
	}
#define ANY_OPERATOR                                                                                         \
	{                                                                                                    \
		POLICY_OPERATOR, "*"                                                                         \
	}
#define SCOPED_AUDITOR                                                                                       \
	{                                                                                                    \
		POLICY_SCOPED, "auditor"                                                                     \
	}
#define A_NODE                                                                                               \
	{                                                                                                    \
		POLICY_NODE, ""                                                                              \
	}

static const row_t rows[] = {
	{"same role", ADMIN, "a.b", ANYTHING, false, {OPERATOR("admin", "a.b"), ON("t", "", "", "")}, true},
	{"any role", ANY_OPERATOR, "a.b", ANYTHING, false, {OPERATOR("x", "a.b"), ON("t", "", "", "")}, true},
	{"another role",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("auditor", "a.b"), ON("t", "", "", "")},
	 false},
	{"role in upper case",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("Admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"longer role",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admins", "a.b"), ON("t", "", "", "")},
	 false},
	{"no role", ADMIN, "a.b", ANYTHING, false, {OPERATOR("", "a.b"), ON("t", "", "", "")}, false},
	{"a role called * is not every role",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("*", "a.b"), ON("t", "", "", "")},
	 false},
	{"a node is no operator",
	 ANY_OPERATOR,
	 "a.b",
	 ANYTHING,
	 false,
	 {NODE("a.b"), ON("t", "", "", "")},
	 false},
	{"an operator is no node",
	 A_NODE,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"nobody is no node", A_NODE, "a.b", ANYTHING, false, {ANONYMOUS("a.b"), ON("t", "", "", "")}, false},
	{"a node is not nobody",
	 {POLICY_ANONYMOUS, ""},
	 "a.b",
	 ANYTHING,
	 false,
	 {NODE("a.b"), ON("t", "", "", "")},
	 false},
	{"nobody",
	 {POLICY_ANONYMOUS, ""},
	 "a.b",
	 ANYTHING,
	 false,
	 {ANONYMOUS("a.b"), ON("t", "", "", "")},
	 true},

	{"any verb", ADMIN, "a.*", ANYTHING, false, {OPERATOR("admin", "a.b"), ON("t", "", "", "")}, true},
	{"any noun", ADMIN, "*.b", ANYTHING, false, {OPERATOR("admin", "a.b"), ON("t", "", "", "")}, true},
	{"any action", ADMIN, "*.*", ANYTHING, false, {OPERATOR("admin", "a.b"), ON("t", "", "", "")}, true},
	{"another verb",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.c"), ON("t", "", "", "")},
	 false},
	{"another noun",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "c.b"), ON("t", "", "", "")},
	 false},
	{"any verb of another noun",
	 ADMIN,
	 "a.*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "aa.b"), ON("t", "", "", "")},
	 false},
	{"a verb that goes on",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.bc"), ON("t", "", "", "")},
	 false},
	{"a verb that is cut",
	 ADMIN,
	 "a.bc",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"* is not two segments",
	 ADMIN,
	 "a.*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.b.c"), ON("t", "", "", "")},
	 false},
	{"* is not no segment",
	 ADMIN,
	 "a.*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a."), ON("t", "", "", "")},
	 false},
	{"* is not part of a segment",
	 ADMIN,
	 "a.b*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.bc"), ON("t", "", "", "")},
	 false},
	{"an action without a dot",
	 ADMIN,
	 "*.*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "ab"), ON("t", "", "", "")},
	 false},
	{"a pattern without a dot",
	 ADMIN,
	 "*",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"no action", ADMIN, "*.*", ANYTHING, false, {OPERATOR("admin", ""), ON("t", "", "", "")}, false},
	{"an action called *.*",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "*.*"), ON("t", "", "", "")},
	 false},
	{"upper case action",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 false,
	 {OPERATOR("admin", "A.B"), ON("t", "", "", "")},
	 false},

	{"exact resource",
	 ADMIN,
	 "a.b",
	 {"t", "c", "s", "n"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "c", "s", "n")},
	 true},
	{"another type",
	 ADMIN,
	 "a.b",
	 {"t", "*", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("u", "c", "s", "n")},
	 false},
	{"another customer",
	 ADMIN,
	 "a.b",
	 {"*", "c", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "d", "s", "n")},
	 false},
	{"another service",
	 ADMIN,
	 "a.b",
	 {"*", "*", "s", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "c", "d", "n")},
	 false},
	{"another name",
	 ADMIN,
	 "a.b",
	 {"*", "*", "*", "n"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "c", "s", "m")},
	 false},
	{"no customer is not customer c",
	 ADMIN,
	 "a.b",
	 {"*", "c", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"a customer is not no customer",
	 ADMIN,
	 "a.b",
	 {"*", "", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "c", "", "")},
	 false},
	{"a customer called * is not every customer",
	 ADMIN,
	 "a.b",
	 {"*", "c", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "*", "", "")},
	 false},
	{"a cut name",
	 ADMIN,
	 "a.b",
	 {"*", "cc", "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "c", "", "")},
	 false},

	{"itself",
	 A_NODE,
	 "a.b",
	 {"t", POLICY_SELF, POLICY_SELF, POLICY_SELF},
	 false,
	 {NODE("a.b"), ON("t", "c", "s", "n")},
	 true},
	{"self in another customer",
	 A_NODE,
	 "a.b",
	 {"t", POLICY_SELF, "*", "*"},
	 false,
	 {NODE("a.b"), ON("t", "d", "s", "n")},
	 false},
	{"self in another service",
	 A_NODE,
	 "a.b",
	 {"t", "*", POLICY_SELF, "*"},
	 false,
	 {NODE("a.b"), ON("t", "c", "d", "n")},
	 false},
	{"another node",
	 A_NODE,
	 "a.b",
	 {"t", "*", "*", POLICY_SELF},
	 false,
	 {NODE("a.b"), ON("t", "c", "s", "m")},
	 false},
	{"self is not nothing",
	 A_NODE,
	 "a.b",
	 {"t", POLICY_SELF, "*", "*"},
	 false,
	 {NODE("a.b"), ON("t", "", "", "")},
	 false},
	{"an operator has no self",
	 ANY_OPERATOR,
	 "a.b",
	 {"t", POLICY_SELF, "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", "")},
	 false},
	{"an operator with a left-over node",
	 ANY_OPERATOR,
	 "a.b",
	 {"t", POLICY_SELF, "*", "*"},
	 false,
	 {OPERATOR("admin", "a.b"), .node = {"c", "s", "n"}, ON("t", "c", "s", "n")},
	 false},
	{"a type is never self",
	 A_NODE,
	 "a.b",
	 {POLICY_SELF, "*", "*", "*"},
	 false,
	 {NODE("a.b"), ON("", "c", "s", "n")},
	 false},

	{"own", A_NODE, "a.b", ANYTHING, true, {NODE("a.b"), ON("t", "c", "s", "v"), .own = true}, true},
	{"not own", A_NODE, "a.b", ANYTHING, true, {NODE("a.b"), ON("t", "c", "s", "v")}, false},
	{"own, where it does not matter",
	 A_NODE,
	 "a.b",
	 ANYTHING,
	 false,
	 {NODE("a.b"), ON("t", "c", "s", "v"), .own = true},
	 true},

	{"in scope",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 true},
	{"out of scope",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "d", "s", "v")},
	 false},
	{"own is not in scope",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "d", "s", "v"), .own = true},
	 false},
	{"in scope is not own",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_OWN,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 false},
	{"out of scope, where it does not matter",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_NOTHING,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "d", "s", "v")},
	 true},
	{"another role in scope",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {SCOPED_TO_C("admin", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 false},
	{"any role in scope",
	 {POLICY_SCOPED, "*"},
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {SCOPED_TO_C("x", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 true},
	{"who has a scope is no operator",
	 ANY_OPERATOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_NOTHING,
	 {SCOPED_TO_C("auditor", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 false},
	{"an operator has no scope",
	 SCOPED_AUDITOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {OPERATOR("auditor", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 false},
	{"an operator meets no need of scope",
	 ANY_OPERATOR,
	 "a.b",
	 ANYTHING,
	 POLICY_NEEDS_SCOPE,
	 {OPERATOR("auditor", "a.b"), ON("t", "c", "s", "v"), .in_scope = true},
	 false},
	{"who has a scope has no self",
	 SCOPED_AUDITOR,
	 "a.b",
	 {"t", POLICY_SELF, "*", "*"},
	 POLICY_NEEDS_NOTHING,
	 {SCOPED_TO_C("auditor", "a.b"), .node = {"c", "s", "n"}, ON("t", "c", "s", "n"), .in_scope = true},
	 false},
	{"a need that is none",
	 ADMIN,
	 "a.b",
	 ANYTHING,
	 (policy_need_t)7,
	 {OPERATOR("admin", "a.b"), ON("t", "", "", ""), .own = true, .in_scope = true},
	 false},
};

static policy_statement_t statement(const row_t *r, policy_effect_t effect, const char *name)
{
	return (policy_statement_t){name, effect, r->needs, &r->principal, 1, &r->action, 1, &r->resource, 1};
}

static void assert_decision(const char *reason, const policy_statement_t *s, size_t n,
			    const policy_request_t *r, bool allowed, const char *by)
{
	policy_t p = {s, n};
	policy_decision_t d = {.allowed = !allowed};
	policy_decide(&p, r, &d);
	if (d.allowed != allowed || strcmp(d.statement, by) != 0)
		fail_msg("%s: %s by %s", reason, d.allowed ? "allowed" : "denied", d.statement);
}

static void test_one_statement(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		policy_statement_t allow = statement(r, POLICY_ALLOW, "it");
		policy_statement_t deny = statement(r, POLICY_DENY, "it");
		assert_decision(r->reason, &allow, 1, &r->request, r->matches,
				r->matches ? "it" : "default-deny");
		assert_decision(r->reason, &deny, 1, &r->request, false, r->matches ? "it" : "default-deny");
	}
}

/* --- several statements --- */

static void test_any_deny_wins(void **state)
{
	(void)state;
	const row_t *yes = &rows[0];
	policy_statement_t a = statement(yes, POLICY_ALLOW, "a"), b = statement(yes, POLICY_ALLOW, "b");
	policy_statement_t c = statement(yes, POLICY_DENY, "c"), d = statement(yes, POLICY_DENY, "d");
	policy_statement_t odd = statement(yes, (policy_effect_t)7, "odd");
	policy_statement_t other = statement(&rows[2], POLICY_DENY, "other");
	const policy_statement_t first[] = {c, a, b}, last[] = {a, b, c}, two[] = {a, c, d}, none[] = {a, b};
	const policy_statement_t unknown[] = {a, odd},
				 beside[] = {a, statement(&rows[12], POLICY_ALLOW, "verb")};
	policy_request_t r = yes->request, as_auditor = rows[2].request;
	assert_decision("deny first", first, 3, &r, false, "c");
	assert_decision("deny last", last, 3, &r, false, "c");
	assert_decision("the first deny is named", two, 3, &r, false, "c");
	assert_decision("the first allow is named", none, 2, &r, true, "a");
	assert_decision("an effect that is neither denies", unknown, 2, &r, false, "odd");
	assert_decision("two that match", beside, 2, &r, true, "a");
	assert_decision("a statement about others", &other, 1, &as_auditor, false, "default-deny");
	assert_decision("no statement at all", NULL, 0, &r, false, "default-deny");
}

static void test_empty_lists_match_nothing(void **state)
{
	(void)state;
	const row_t *yes = &rows[0];
	policy_statement_t nobody = statement(yes, POLICY_ALLOW, "x"), nothing = nobody, nowhere = nobody;
	nobody.n_principals = 0;
	nothing.n_actions = 0;
	nowhere.n_resources = 0;
	assert_decision("no principal", &nobody, 1, &yes->request, false, "default-deny");
	assert_decision("no action", &nothing, 1, &yes->request, false, "default-deny");
	assert_decision("no resource", &nowhere, 1, &yes->request, false, "default-deny");
}

static void test_second_of_a_list_matches(void **state)
{
	(void)state;
	static const policy_principal_t who[] = {A_NODE, ADMIN};
	static const char *const what[] = {"x.y", "a.b"};
	static const policy_resource_t where[] = {{"u", "*", "*", "*"}, {"t", "*", "*", "*"}};
	policy_statement_t s = {"it", POLICY_ALLOW, false, who, 2, what, 2, where, 2};
	assert_decision("lists of two", &s, 1, &rows[0].request, true, "it");
}

/* --- what a refusal tells --- */

typedef struct seen {
	const char *reason;
	policy_request_t request;
	bool visible;
} seen_t;

static const seen_t seens[] = {
	{"a node: other customer", {NODE("a.b"), ON("volume", "d", "s", "v")}, false},
	{"a node: other service", {NODE("a.b"), ON("volume", "c", "t", "v")}, false},
	{"a node: same service name of another customer", {NODE("a.b"), ON("volume", "d", "s", "n")}, false},
	{"a node: its customer", {NODE("a.b"), ON("customer", "c", "", "")}, false},
	{"a node: an operator", {NODE("a.b"), ON("operator", "", "", "o")}, false},
	{"a node: the log", {NODE("a.b"), ON("log", "", "", "")}, false},
	{"a node: own, but elsewhere", {NODE("a.b"), ON("volume", "d", "s", "v"), .own = true}, false},
	{"a node: own, but in another service",
	 {NODE("a.b"), ON("volume", "c", "t", "v"), .own = true},
	 false},
	{"a node: another's in its own service", {NODE("a.b"), ON("volume", "c", "s", "v")}, false},
	{"a node: its own", {NODE("a.b"), ON("volume", "c", "s", "v"), .own = true}, true},
	{"an operator: anything", {OPERATOR("auditor", "a.b"), ON("volume", "d", "s", "v")}, true},
	{"an auditor of c: c's",
	 {SCOPED_TO_C("auditor", "a.b"), ON("volume", "c", "s", "v"), .in_scope = true},
	 true},
	{"an auditor of c: d's", {SCOPED_TO_C("auditor", "a.b"), ON("volume", "d", "s", "v")}, false},
	{"an auditor of c: nobody's", {SCOPED_TO_C("auditor", "a.b"), ON("operator", "", "", "o")}, false},
	{"an auditor of c: own claimed",
	 {SCOPED_TO_C("auditor", "a.b"), ON("volume", "d", "s", "v"), .own = true},
	 false},
	{"nobody: the edge answers 401", {ANONYMOUS("a.b"), ON("volume", "d", "s", "v")}, true},
};

static void test_visible(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(seens); i++) {
		const seen_t *s = &seens[i];
		row_t all = {.principal = {s->request.who, "*"}, .action = "*.*", .resource = ANYTHING};
		policy_statement_t deny = statement(&all, POLICY_DENY, "deny"),
				   allow = statement(&all, POLICY_ALLOW, "allow");
		const policy_t nothing = {NULL, 0}, refused = {&deny, 1}, granted = {&allow, 1};
		policy_decision_t by_default, by_deny, by_allow;
		policy_decide(&nothing, &s->request, &by_default);
		policy_decide(&refused, &s->request, &by_deny);
		policy_decide(&granted, &s->request, &by_allow);
		if (by_default.visible != s->visible || by_deny.visible != s->visible || !by_allow.visible)
			fail_msg("%s", s->reason);
		assert_string_equal(by_deny.statement, "deny");
		assert_true(by_allow.allowed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_statement),
		cmocka_unit_test(test_any_deny_wins),
		cmocka_unit_test(test_empty_lists_match_nothing),
		cmocka_unit_test(test_second_of_a_list_matches),
		cmocka_unit_test(test_visible),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
