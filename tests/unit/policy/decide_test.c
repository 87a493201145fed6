#include "policy/decide.h"

#include "common/base/scope.h"
#include "tests/unit/policy/policy_support.h"

#include <stdio.h>

/* --- one statement against one request --- */

typedef struct row {
	const char *reason;
	const char *principal, *action, *resource, *conditions; /* NULL: a matching one, none */
	policy_request_t request;
	bool matches;
} row_t;

#define OPERATOR(r) .who = POLICY_OPERATOR, .person = {.name = "o", .role = (r)}, .action = "volume.read"
#define MEMBER(g)                                                                                            \
	.who = POLICY_OPERATOR,                                                                              \
	.person = {.name = "o", .role = "auditor", .groups = {"first", (g)}, .n_groups = 2},                 \
	.action = "volume.read"
#define NODE           .who = POLICY_NODE, .node = {"c", "s", "n"}, .action = "volume.read"
#define AUDITOR        .who = POLICY_SCOPED, .person = {.name = "o", .role = "auditor"}, .action = "volume.read"
#define NOBODY         .who = POLICY_ANONYMOUS, .action = "volume.read"
#define ON(t, c, s, n) .type = (t), .customer = (c), .service = (s), .name = (n)
#define VOLUME         ON("volume", "c", "s", "n")
#define DOES(a)        .who = POLICY_OPERATOR, .person = {.name = "o", .role = "admin"}, .action = (a), VOLUME
#define ADMIN          OPERATOR("admin")

static const row_t rows[] = {
	{"same role", "role:admin", NULL, NULL, NULL, {ADMIN, VOLUME}, true},
	{"another role", "role:admin", NULL, NULL, NULL, {OPERATOR("auditor"), VOLUME}, false},
	{"role in upper case", "role:admin", NULL, NULL, NULL, {OPERATOR("Admin"), VOLUME}, false},
	{"longer role", "role:admin", NULL, NULL, NULL, {OPERATOR("admins"), VOLUME}, false},
	{"no role", "role:admin", NULL, NULL, NULL, {OPERATOR(""), VOLUME}, false},
	{"a role called * is not every role", "role:admin", NULL, NULL, NULL, {OPERATOR("*"), VOLUME}, false},
	{"any operator", "operator:*", NULL, NULL, NULL, {OPERATOR("x"), VOLUME}, true},
	{"this operator", "operator:o", NULL, NULL, NULL, {OPERATOR("x"), VOLUME}, true},
	{"another operator", "operator:oo", NULL, NULL, NULL, {OPERATOR("x"), VOLUME}, false},
	{"a group", "group:g", NULL, NULL, NULL, {MEMBER("g"), VOLUME}, true},
	{"another group", "group:g", NULL, NULL, NULL, {MEMBER("gg"), VOLUME}, false},
	{"a group called like the name", "group:o", NULL, NULL, NULL, {MEMBER("g"), VOLUME}, false},
	{"a group called like the role", "group:auditor", NULL, NULL, NULL, {MEMBER("g"), VOLUME}, false},
	{"a role called like the group",
	 "role:approver",
	 NULL,
	 NULL,
	 NULL,
	 {MEMBER("approver"), VOLUME},
	 false},
	{"a node is no operator", "operator:*", NULL, NULL, NULL, {NODE, VOLUME}, false},
	{"an operator is no node", "node:*", NULL, NULL, NULL, {ADMIN, VOLUME}, false},
	{"nobody is no node", "node:*", NULL, NULL, NULL, {NOBODY, VOLUME}, false},
	{"nobody is no operator", "operator:*", NULL, NULL, NULL, {NOBODY, VOLUME}, false},
	{"a node is not nobody", "anonymous", NULL, NULL, NULL, {NODE, VOLUME}, false},
	{"nobody", "anonymous", NULL, NULL, NULL, {NOBODY, VOLUME}, true},
	{"any node", "node:*", NULL, NULL, NULL, {NODE, VOLUME}, true},
	{"this node", "node:c/s/n", NULL, NULL, NULL, {NODE, VOLUME}, true},
	{"a node of the service", "node:c/s/*", NULL, NULL, NULL, {NODE, VOLUME}, true},
	{"a node of another customer", "node:d/s/n", NULL, NULL, NULL, {NODE, VOLUME}, false},
	{"a node of another service", "node:c/t/n", NULL, NULL, NULL, {NODE, VOLUME}, false},
	{"another node", "node:c/s/m", NULL, NULL, NULL, {NODE, VOLUME}, false},
	{"an operator with a left-over node",
	 "node:c/s/n",
	 NULL,
	 NULL,
	 NULL,
	 {ADMIN, .node = {"c", "s", "n"}, VOLUME},
	 false},
	{"who has customers of their own", "scoped:auditor", NULL, NULL, NULL, {AUDITOR, VOLUME}, true},
	{"the same in any role", "scoped:*", NULL, NULL, NULL, {AUDITOR, VOLUME}, true},
	{"the same in another role", "scoped:admin", NULL, NULL, NULL, {AUDITOR, VOLUME}, false},
	{"who has a scope is no operator", "operator:*", NULL, NULL, NULL, {AUDITOR, VOLUME}, false},
	{"not by name", "operator:o", NULL, NULL, NULL, {AUDITOR, VOLUME}, false},
	{"not by role", "role:auditor", NULL, NULL, NULL, {AUDITOR, VOLUME}, false},
	{"an operator has no scope", "scoped:*", NULL, NULL, NULL, {OPERATOR("auditor"), VOLUME}, false},

	{"any verb", NULL, "volume.*", NULL, NULL, {DOES("volume.read")}, true},
	{"any noun", NULL, "*.read", NULL, NULL, {DOES("volume.read")}, true},
	{"any action", NULL, "*.*", NULL, NULL, {DOES("volume.read")}, true},
	{"another verb", NULL, "volume.list", NULL, NULL, {DOES("volume.read")}, false},
	{"another noun", NULL, "node.read", NULL, NULL, {DOES("volume.read")}, false},
	{"any verb of another noun", NULL, "node.*", NULL, NULL, {DOES("volume.read")}, false},
	{"the last of the table", NULL, "api.unknown", NULL, NULL, {DOES("api.unknown")}, true},
	{"the first of the table", NULL, "sys.seal-status", NULL, NULL, {DOES("sys.seal-status")}, true},
	{"a verb that goes on", NULL, "sys.*", NULL, NULL, {DOES("sys.sealed")}, false},
	{"* is not two segments", NULL, "volume.*", NULL, NULL, {DOES("volume.read.all")}, false},
	{"* is not no segment", NULL, "volume.*", NULL, NULL, {DOES("volume.")}, false},
	{"an action of no table", NULL, "*.*", NULL, NULL, {DOES("volume.burn")}, false},
	{"an action without a dot", NULL, "*.*", NULL, NULL, {DOES("volume")}, false},
	{"no action", NULL, "*.*", NULL, NULL, {DOES("")}, false},
	{"an action called *.*", NULL, "volume.read", NULL, NULL, {DOES("*.*")}, false},
	{"upper case action", NULL, "*.*", NULL, NULL, {DOES("Volume.read")}, false},

	{"exact resource", NULL, NULL, "volume:c/s/n", NULL, {ADMIN, VOLUME}, true},
	{"anything", NULL, NULL, "*", NULL, {ADMIN, ON("whatever", "", "", "")}, true},
	{"another type", NULL, NULL, "node:*/*/*", NULL, {ADMIN, VOLUME}, false},
	{"another customer", NULL, NULL, "volume:d/*/*", NULL, {ADMIN, VOLUME}, false},
	{"another service", NULL, NULL, "volume:*/t/*", NULL, {ADMIN, VOLUME}, false},
	{"another name", NULL, NULL, "volume:*/*/m", NULL, {ADMIN, VOLUME}, false},
	{"no customer is not customer c",
	 NULL,
	 NULL,
	 "volume:c/*/*",
	 NULL,
	 {ADMIN, ON("volume", "", "", "")},
	 false},
	{"a customer is not no customer",
	 NULL,
	 NULL,
	 "customer:",
	 NULL,
	 {ADMIN, ON("customer", "c", "", "")},
	 false},
	{"the list of customers", NULL, NULL, "customer:", NULL, {ADMIN, ON("customer", "", "", "")}, true},
	{"* is the list too", NULL, NULL, "customer:*", NULL, {ADMIN, ON("customer", "", "", "")}, true},
	{"a list of one service", NULL, NULL, "volume:c/s/", NULL, {ADMIN, ON("volume", "c", "s", "")}, true},
	{"a customer called * is not every customer",
	 NULL,
	 NULL,
	 "volume:c/*/*",
	 NULL,
	 {ADMIN, ON("volume", "*", "s", "n")},
	 false},
	{"a customer called * is not customer:",
	 NULL,
	 NULL,
	 "customer:",
	 NULL,
	 {ADMIN, ON("customer", "*", "", "")},
	 false},
	{"a longer name", NULL, NULL, "volume:cc/s/n", NULL, {ADMIN, VOLUME}, false},
	{"upper case", NULL, NULL, "volume:c/s/n", NULL, {ADMIN, ON("volume", "C", "s", "n")}, false},
	{"percent signs are not decoded",
	 NULL,
	 NULL,
	 "volume:c/s/n",
	 NULL,
	 {ADMIN, ON("volume", "c", "s", "%6e")},
	 false},
	{"two dots go nowhere",
	 NULL,
	 NULL,
	 "volume:c/s/n",
	 NULL,
	 {ADMIN, ON("volume", "c", "s", "../n")},
	 false},
	{"other letters that look alike",
	 NULL,
	 NULL,
	 "volume:c/s/n",
	 NULL,
	 {ADMIN, ON("volume", "\xd1\x81", "s", "n")},
	 false},
	{"an operator's name",
	 NULL,
	 NULL,
	 "operator:bob",
	 NULL,
	 {ADMIN, ON("operator", "", "", "bob")},
	 true},
	{"a name where the type has none", NULL, NULL, "sys", NULL, {ADMIN, ON("sys", "", "", "x")}, false},
	{"a customer where the type has none",
	 NULL,
	 NULL,
	 "operator:*",
	 NULL,
	 {ADMIN, ON("operator", "c", "", "bob")},
	 false},

	{"itself",
	 "node:*",
	 NULL,
	 "node:${self}/${self}/${self}",
	 NULL,
	 {NODE, ON("node", "c", "s", "n")},
	 true},
	{"self in another customer",
	 "node:*",
	 NULL,
	 "volume:${self}/*/*",
	 NULL,
	 {NODE, ON("volume", "d", "s", "n")},
	 false},
	{"self in another service",
	 "node:*",
	 NULL,
	 "volume:*/${self}/*",
	 NULL,
	 {NODE, ON("volume", "c", "t", "n")},
	 false},
	{"another node", "node:*", NULL, "node:*/*/${self}", NULL, {NODE, ON("node", "c", "s", "m")}, false},
	{"self is not nothing",
	 "node:*",
	 NULL,
	 "node:${self}/*/*",
	 NULL,
	 {NODE, ON("node", "", "", "")},
	 false},
	{"a node without a name has no self",
	 "node:*",
	 NULL,
	 "node:${self}/*/*",
	 NULL,
	 {.who = POLICY_NODE, .action = "volume.read", ON("node", "", "", "")},
	 false},
	{"an operator has no self",
	 "operator:*",
	 NULL,
	 "volume:${self}/*/*",
	 NULL,
	 {ADMIN, ON("volume", "", "", "")},
	 false},
	{"not from a left-over node either",
	 "operator:*",
	 NULL,
	 "volume:${self}/*/*",
	 NULL,
	 {ADMIN, .node = {"c", "s", "n"}, VOLUME},
	 false},
	{"who has a scope has no self",
	 "scoped:*",
	 NULL,
	 "volume:${self}/*/*",
	 NULL,
	 {AUDITOR, .node = {"c", "s", "n"}, VOLUME, .in_scope = true},
	 false},

	{"own", "node:*", NULL, NULL, "{'own':true}", {NODE, VOLUME, .own = true}, true},
	{"not own", "node:*", NULL, NULL, "{'own':true}", {NODE, VOLUME}, false},
	{"own, where it does not matter", "node:*", NULL, NULL, NULL, {NODE, VOLUME, .own = true}, true},
	{"a person owns nothing",
	 "operator:*",
	 NULL,
	 NULL,
	 "{'own':true}",
	 {ADMIN, VOLUME, .own = true},
	 false},
	{"in scope",
	 "scoped:*",
	 NULL,
	 NULL,
	 "{'own_customers':true}",
	 {AUDITOR, VOLUME, .in_scope = true},
	 true},
	{"out of scope", "scoped:*", NULL, NULL, "{'own_customers':true}", {AUDITOR, VOLUME}, false},
	{"own is not in scope",
	 "scoped:*",
	 NULL,
	 NULL,
	 "{'own_customers':true}",
	 {AUDITOR, VOLUME, .own = true},
	 false},
	{"in scope is not own",
	 "scoped:*",
	 NULL,
	 NULL,
	 "{'own':true}",
	 {AUDITOR, VOLUME, .in_scope = true},
	 false},
	{"an operator meets no scope",
	 "operator:*",
	 NULL,
	 NULL,
	 "{'own_customers':true}",
	 {ADMIN, VOLUME, .in_scope = true},
	 false},
	{"two that both hold",
	 "node:*",
	 NULL,
	 NULL,
	 "{'own':true,'maintenance':true}",
	 {NODE, VOLUME, .own = true, .maintenance = true},
	 true},
	{"two of which one holds",
	 "node:*",
	 NULL,
	 NULL,
	 "{'own':true,'maintenance':true}",
	 {NODE, VOLUME, .own = true},
	 false},
};

static void statement_text(const row_t *r, const char *effect, char out[1024])
{
	(void)snprintf(out, 1024,
		       "{'name':'it','effect':'%s','principals':['%s'],'actions':['%s'],'resources':['%s'],"
		       "'conditions':%s}",
		       effect, r->principal != NULL ? r->principal : "role:admin",
		       r->action != NULL ? r->action : "volume.read", r->resource != NULL ? r->resource : "*",
		       r->conditions != NULL ? r->conditions : "{}");
}

static void assert_decision(const char *reason, const char *statements, const policy_request_t *r,
			    char outcome, const char *by)
{
	SCOPED(policy_freep) policy_t *p = policy_of(statements);
	policy_decision_t d = {.statement = NULL};
	char got = outcome_of(p, r, &d);
	got = got == '.' ? 'n' : got;
	if (got != outcome || strcmp(d.statement, by) != 0)
		fail_msg("%s: %c by %s, not %c by %s", reason, got, d.statement, outcome, by);
}

static void test_one_statement(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		char allow[1024], deny[1024];
		statement_text(r, "allow", allow);
		statement_text(r, "deny", deny);
		const char *by = r->matches ? "it" : "default-deny";
		assert_decision(r->reason, allow, &r->request, r->matches ? 'Y' : 'n', by);
		assert_decision(r->reason, deny, &r->request, 'n', by);
	}
}

/* --- several statements --- */

#define A(name)                                                                                              \
	"{'name':'" name "','effect':'allow','principals':['role:admin'],'actions':['*.*'],'resources':['*'" \
	"]}"
#define D(name)                                                                                              \
	"{'name':'" name "','effect':'deny','principals':['role:admin'],'actions':['*.*'],'resources':['*']" \
	"}"
#define D_ELSE                                                                                               \
	"{'name':'other','effect':'deny','principals':['role:auditor'],'actions':['*.*'],'resources':['*']}"
#define D_UNLESS(name, unless)                                                                               \
	"{'name':'" name                                                                                     \
	"','effect':'deny','principals':['role:admin'],'actions':['*.*'],'resources':['*'],"                 \
	"'unless':" unless "}"
#define D_WHEN(name, conditions)                                                                             \
	"{'name':'" name                                                                                     \
	"','effect':'deny','principals':['role:admin'],'actions':['*.*'],'resources':['*'],"                 \
	"'conditions':" conditions "}"
#define A_WHEN(name, conditions)                                                                             \
	"{'name':'" name                                                                                     \
	"','effect':'allow','principals':['role:admin'],'actions':['*.*'],'resources':['*'],"                \
	"'conditions':" conditions "}"
#define FROM(n, who) "{'approvals':{'count':" #n ",'from':['" who "']}}"

#define PERSON(n, r, g)                                                                                      \
	{                                                                                                    \
		.name = (n), .role = (r), .groups = {g}, .n_groups = 1                                       \
	}
#define BOB   PERSON("bob", "admin", "g")
#define CAROL PERSON("carol", "approver", "h")
#define ONE   .present = true, .approvers = {BOB}, .n_approvers = 1
#define TWO   .present = true, .approvers = {BOB, CAROL}, .n_approvers = 2

typedef struct several {
	const char *reason, *statements;
	policy_grant_t grant;
	char outcome;
	const char *by;
} several_t;

#define FOUR                                                                                                 \
	D_UNLESS("d1", FROM(1, "role:admin"))                                                                \
	"," D_UNLESS("d2", FROM(2, "role:admin")) "," D_UNLESS("d3", FROM(3, "role:admin")) "," D_UNLESS(    \
		"d4", FROM(4, "role:admin"))
#define D5 D_UNLESS("d5", FROM(5, "role:admin"))
#define A5 A_WHEN("a5", FROM(5, "role:admin"))

static const several_t severals[] = {
	{"deny first", D("c") "," A("a") "," A("b"), {0}, 'n', "c"},
	{"deny last", A("a") "," A("b") "," D("c"), {0}, 'n', "c"},
	{"the first deny is named", A("a") "," D("c") "," D("d"), {0}, 'n', "c"},
	{"the first allow is named", A("a") "," A("b"), {0}, 'Y', "a"},
	{"a deny about others", A("a") "," D_ELSE, {0}, 'Y', "a"},
	{"only a deny about others", D_ELSE, {0}, 'n', "default-deny"},
	{"no statement at all", "", {0}, 'n', "default-deny"},

	{"unless that holds", A("a") "," D_UNLESS("d", "{'bootstrap':false}"), {0}, 'Y', "a"},
	{"unless that fails", A("a") "," D_UNLESS("d", "{'bootstrap':true}"), {0}, 'n', "d"},
	{"the second unless holds",
	 A("a") "," D_UNLESS("d", "[{'bootstrap':true},{'maintenance':false}]"),
	 {0},
	 'Y',
	 "a"},
	{"both parts of one must",
	 A("a") "," D_UNLESS("d", "{'bootstrap':true,'maintenance':false}"),
	 {0},
	 'n',
	 "d"},
	{"a deny whose condition fails", A("a") "," D_WHEN("d", "{'bootstrap':true}"), {0}, 'Y', "a"},
	{"a deny that lacks a grant does not match", A("a") "," D_WHEN("d", "{'ticket':'*'}"), {0}, 'Y', "a"},
	{"a deny of this reason",
	 A("a") "," D_WHEN("d", "{'reasons':['test']}"),
	 {.present = true, .reason = "test"},
	 'n',
	 "d"},

	{"held", A("a") "," D_UNLESS("d", FROM(1, "role:approver")), {0}, 'H', "d"},
	{"held, but nobody allows it", D_UNLESS("d", FROM(1, "role:approver")), {0}, 'n', "default-deny"},
	{"held, and denied by another",
	 A("a") "," D_UNLESS("d", FROM(1, "role:approver")) "," D("e"),
	 {0},
	 'n',
	 "e"},
	{"denied by another first",
	 D("e") "," A("a") "," D_UNLESS("d", FROM(1, "role:approver")),
	 {0},
	 'n',
	 "e"},
	{"the first holding one is named",
	 D_UNLESS("c", FROM(1, "role:admin")) "," D_UNLESS("d", FROM(2, "role:admin")) "," A("a"),
	 {0},
	 'H',
	 "c"},
	{"the second unless is lacking",
	 A("a") "," D_UNLESS("d", "[{'bootstrap':true}," FROM(1, "role:approver") "]"),
	 {0},
	 'H',
	 "d"},
	{"one lacks, one holds",
	 A("a") "," D_UNLESS("d", "[" FROM(1, "role:approver") ",{'bootstrap':false}]"),
	 {0},
	 'Y',
	 "a"},
	{"what is lacking is not all",
	 A("a") "," D_UNLESS("d", "{'bootstrap':true,'approvals':{'count':1,'from':['role:admin']}}"),
	 {0},
	 'n',
	 "d"},
	{"approved", A("a") "," D_UNLESS("d", FROM(1, "role:approver")), {TWO}, 'Y', "a"},
	{"approved by another role", A("a") "," D_UNLESS("d", FROM(1, "role:approver")), {ONE}, 'H', "d"},
	{"approved by one of two", A("a") "," D_UNLESS("d", FROM(2, "operator:*")), {ONE}, 'H', "d"},
	{"approved by two", A("a") "," D_UNLESS("d", FROM(2, "operator:*")), {TWO}, 'Y', "a"},

	{"allowed on a grant", A_WHEN("a", FROM(1, "role:admin")), {0}, 'H', "a"},
	{"allowed by it", A_WHEN("a", FROM(1, "role:admin")), {ONE}, 'Y', "a"},
	{"the first on a grant is named",
	 A_WHEN("a", FROM(1, "role:admin")) "," A_WHEN("b", FROM(1, "role:approver")),
	 {0},
	 'H',
	 "a"},
	{"a plain allow comes before", A_WHEN("a", FROM(1, "role:admin")) "," A("b"), {0}, 'Y', "b"},
	{"held and allowed on a grant",
	 A_WHEN("a", FROM(1, "role:admin")) "," D_UNLESS("d", FROM(1, "role:approver")),
	 {0},
	 'H',
	 "d"},
	{"denied and allowed on a grant", A_WHEN("a", FROM(1, "role:admin")) "," D("d"), {0}, 'n', "d"},
	{"an allow that fails", A_WHEN("a", "{'bootstrap':true,'grant':true}"), {0}, 'n', "default-deny"},

	{"five different needs are one too many", A("a") "," FOUR "," D5, {0}, 'n', "d5"},
	{"the same need five times is one",
	 A("a") "," FOUR "," D_UNLESS("d5", FROM(4, "role:admin")),
	 {0},
	 'H',
	 "d1"},
	{"a fifth need of the allow is one too many", FOUR "," A5, {0}, 'n', "default-deny"},
	{"a fifth need of an allow beside a plain one", FOUR "," A5 "," A("a"), {0}, 'H', "d1"},
};

static void test_several(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(severals); i++) {
		const several_t *s = &severals[i];
		policy_request_t r = {ADMIN, VOLUME, .grant = s->grant};
		assert_decision(s->reason, s->statements, &r, s->outcome, s->by);
	}
}

/* --- needs --- */

#define THREE       A_WHEN("a", "{'approvals':{'count':3,'from':['operator:eve','group:h']}}")
#define ONE_OF_THEM D_UNLESS("d", FROM(1, "role:approver"))
#define ANY_GRANT   D_UNLESS("e", "{'grant':true}")

static void test_needs(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = policy_of(THREE "," ONE_OF_THEM "," ANY_GRANT);
	policy_request_t r = {ADMIN, VOLUME};
	policy_decision_t d;
	char text[64];
	const policy_person_t carol = CAROL, bob = BOB, eve = PERSON("eve", "auditor", "-");
	assert_int_equal(outcome_of(p, &r, &d), 'H');
	assert_int_equal(d.n_needs, 3);
	assert_string_equal(d.needs[0].statement, "d");
	assert_int_equal(d.needs[0].count, 1);
	assert_false(d.needs[0].break_glass);
	assert_true(policy_need_counts(&d.needs[0], &carol));
	assert_false(policy_need_counts(&d.needs[0], &bob));
	assert_string_equal(d.needs[1].statement, "e");
	assert_int_equal(d.needs[1].count, 0);
	assert_null(d.needs[1].from);
	assert_false(policy_need_counts(&d.needs[1], &carol));
	assert_int_equal(d.needs[2].count, 3);
	assert_true(policy_need_counts(&d.needs[2], &eve) && policy_need_counts(&d.needs[2], &carol));
	policy_need_from(&d.needs[2], text, sizeof text);
	assert_string_equal(text, "operator:eve group:h");
	policy_need_from(&d.needs[1], text, sizeof text);
	assert_string_equal(text, "");
	for (size_t cap = 0; cap < sizeof text; cap++) {
		memset(text, 'x', sizeof text);
		policy_need_from(&d.needs[2], text, cap);
		if (cap > 0)
			assert_true(strlen(text) < cap);
		if (cap >= strlen("operator:eve group:h") + 1)
			assert_string_equal(text, "operator:eve group:h");
		assert_int_equal(text[cap], 'x');
	}
	policy_need_from(&d.needs[2], text, 17);
	assert_string_equal(text, "operator:eve \xe2\x80\xa6");
}

/* The kind of grant that a need asks for is that which the request has. */
#define BOTH_KINDS                                                                                           \
	D_UNLESS("d", "[{'break_glass':false,'approvals':{'count':1,'from':['role:admin']}},"                \
		      "{'break_glass':true,'approvals':{'count':2,'from':['role:admin']}}]")

static void test_need_of_its_kind(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = policy_of(A("a") "," BOTH_KINDS);
	policy_request_t r = {ADMIN, VOLUME};
	policy_decision_t d;
	assert_int_equal(outcome_of(p, &r, &d), 'H');
	assert_true(d.n_needs == 1 && d.needs[0].count == 1 && !d.needs[0].break_glass);
	r.grant = (policy_grant_t){.present = true, .break_glass = true};
	assert_int_equal(outcome_of(p, &r, &d), 'H');
	assert_true(d.n_needs == 1 && d.needs[0].count == 2 && d.needs[0].break_glass);
}

/* The same approvals, but one statement would also take an ordinary grant: two needs. */
static void test_needs_of_two_kinds(void **state)
{
	(void)state;
	SCOPED(policy_freep)
	policy_t *p =
		policy_of(A("a") "," D_UNLESS("d", "{'break_glass':true,'approvals':{'count':1,'from':['role:"
						   "admin']}}") "," D_UNLESS("e", FROM(1, "role:admin")));
	policy_request_t r = {ADMIN, VOLUME, .grant = {.present = true, .break_glass = true}};
	policy_decision_t d;
	assert_int_equal(outcome_of(p, &r, &d), 'H');
	assert_int_equal(d.n_needs, 2);
	assert_true(d.needs[0].break_glass && !d.needs[1].break_glass);
}

/* --- what a refusal tells --- */

typedef struct seen {
	const char *reason;
	policy_request_t request;
	bool visible;
} seen_t;

static const seen_t seens[] = {
	{"a node: other customer", {NODE, ON("volume", "d", "s", "v")}, false},
	{"a node: other service", {NODE, ON("volume", "c", "t", "v")}, false},
	{"a node: same service name of another customer", {NODE, ON("volume", "d", "s", "n")}, false},
	{"a node: its customer", {NODE, ON("customer", "c", "", "")}, false},
	{"a node: an operator", {NODE, ON("operator", "", "", "o")}, false},
	{"a node: the log", {NODE, ON("log", "", "", "")}, false},
	{"a node: own, but elsewhere", {NODE, ON("volume", "d", "s", "v"), .own = true}, false},
	{"a node: own, but in another service", {NODE, ON("volume", "c", "t", "v"), .own = true}, false},
	{"a node: another's in its own service", {NODE, ON("volume", "c", "s", "v")}, false},
	{"a node: its own", {NODE, ON("volume", "c", "s", "v"), .own = true}, true},
	{"an operator: anything", {OPERATOR("auditor"), ON("volume", "d", "s", "v")}, true},
	{"an auditor of c: c's", {AUDITOR, ON("volume", "c", "s", "v"), .in_scope = true}, true},
	{"an auditor of c: d's", {AUDITOR, ON("volume", "d", "s", "v")}, false},
	{"an auditor of c: nobody's", {AUDITOR, ON("operator", "", "", "o")}, false},
	{"an auditor of c: own claimed", {AUDITOR, ON("volume", "d", "s", "v"), .own = true}, false},
	{"nobody: the edge answers 401", {NOBODY, ON("volume", "d", "s", "v")}, true},
};

#define ALL "'principals':['anonymous','node:*','operator:*','scoped:*'],'actions':['*.*'],'resources':['*']"

static void test_visible(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *nothing = policy_of("");
	SCOPED(policy_freep) policy_t *refused = policy_of("{'name':'deny','effect':'deny'," ALL "}");
	SCOPED(policy_freep) policy_t *granted = policy_of("{'name':'allow','effect':'allow'," ALL "}");
	SCOPED(policy_freep)
	policy_t *waiting = policy_of("{'name':'wait','effect':'allow'," ALL ",'conditions':{'grant':true}}");
	for (size_t i = 0; i < COUNT(seens); i++) {
		const seen_t *s = &seens[i];
		policy_decision_t d;
		char no = s->visible ? 'n' : '.';
		if (outcome_of(nothing, &s->request, &d) != no || outcome_of(refused, &s->request, &d) != no)
			fail_msg("%s", s->reason);
		assert_string_equal(d.statement, "deny");
		assert_int_equal(outcome_of(waiting, &s->request, &d), 'H');
		if (d.visible != s->visible)
			fail_msg("%s, held", s->reason);
		assert_int_equal(outcome_of(granted, &s->request, &d), 'Y');
		assert_true(d.visible);
	}
}

/* --- explanations --- */

typedef struct said {
	char text[1024];
} said_t;

static void note(void *ctx, const char *document, const char *statement, bool deny, bool matched,
		 const char *why)
{
	said_t *said = ctx;
	size_t n = strlen(said->text);
	(void)snprintf(said->text + n, sizeof said->text - n, "%s/%s%s%s: %s\n", document, statement,
		       deny ? " deny" : "", matched ? " matched" : "", why);
}

#define FROM_TEN A_WHEN("b", "{'networks':['10.0.0.0/8']}")
#define ON_GRANT A_WHEN("c", FROM(2, "role:admin"))
#define UNLESS_1 D_UNLESS("d", "[{'bootstrap':true}," FROM(1, "role:approver") "]")
#define UNLESS_2 D_UNLESS("e", "{'bootstrap':false}")
#define UNLESS_3 D_UNLESS("f", "{'maintenance':true}")
#define NOT_IT                                                                                               \
	"{'name':'h','effect':'deny','principals':['role:admin'],'actions':['node.read'],'resources':['*']}"
#define NOT_THERE                                                                                            \
	"{'name':'i','effect':'deny','principals':['role:admin'],'actions':['*.*'],'resources':['sys']}"

static void test_explain(void **state)
{
	(void)state;
	SCOPED(policy_freep)
	policy_t *p = policy_of(A("a") "," D_ELSE "," FROM_TEN "," ON_GRANT "," UNLESS_1 "," UNLESS_2
				       "," UNLESS_3 "," D("g") "," NOT_IT "," NOT_THERE);
	policy_request_t r = request_of(&(policy_request_t){
		ADMIN, VOLUME, .has_address = true,
		.address = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1}});
	said_t said = {""};
	policy_explain(p, &r, note, &said);
	assert_string_equal(said.text,
			    "test/a matched: it matches\n"
			    "test/other deny: principals: the caller is none of them\n"
			    "test/b: conditions.networks: 192.0.2.1 is in none of them\n"
			    "test/c matched: conditions.approvals: 0 of the 2 approvals are there\n"
			    "test/d deny matched: unless[1].approvals: 0 of the 1 approvals are there\n"
			    "test/e deny: unless[0] holds\n"
			    "test/f deny matched: it matches and no \"unless\" holds\n"
			    "test/g deny matched: it matches\n"
			    "test/h deny: actions: volume.read is none of them\n"
			    "test/i deny: resources: the resource is none of them\n");
}

/* An action of no table is nobody's, and each statement says so. */
static void test_explain_no_action(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = policy_of(A("a") "," D("g"));
	policy_request_t r = request_of(&(policy_request_t){DOES("volume.burn")});
	said_t said = {""};
	policy_explain(p, &r, note, &said);
	assert_string_equal(said.text, "test/a: actions: volume.burn is none of them\n"
				       "test/g deny: actions: volume.burn is none of them\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_statement),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_needs),
		cmocka_unit_test(test_need_of_its_kind),
		cmocka_unit_test(test_needs_of_two_kinds),
		cmocka_unit_test(test_visible),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_explain_no_action),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
