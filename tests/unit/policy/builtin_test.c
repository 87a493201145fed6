/* The built-in policy against every action of the API and every kind of caller. */
#include "policy/decide.h"

#include "policy/statement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Columns of the table. */
typedef struct caller {
	const char *name;
	policy_who_t who;
	const char *role;
	const char *customer, *service; /* of the resource, as this caller asks */
	bool own, in_scope;
} caller_t;

static const caller_t callers[] = {
	{"anonymous", POLICY_ANONYMOUS, "", "c", "s", false, false},
	{"node, own", POLICY_NODE, "", "c", "s", true, false},
	{"node, another's of its service", POLICY_NODE, "", "c", "s", false, false},
	{"node, other service, own claimed", POLICY_NODE, "", "c", "t", true, false},
	{"node, other customer, own claimed", POLICY_NODE, "", "d", "s", true, false},
	{"admin", POLICY_OPERATOR, "admin", "c", "s", false, false},
	{"operator", POLICY_OPERATOR, "operator", "c", "s", false, false},
	{"auditor", POLICY_OPERATOR, "auditor", "c", "s", false, false},
	{"unknown role", POLICY_OPERATOR, "root", "c", "s", false, false},
	{"auditor of c", POLICY_SCOPED, "auditor", "c", "s", false, true},
	{"auditor of c on d", POLICY_SCOPED, "auditor", "d", "s", false, false},
	{"auditor of c on d, own claimed", POLICY_SCOPED, "auditor", "d", "s", true, false},
	{"admin of c", POLICY_SCOPED, "admin", "c", "s", false, true},
};

/* One letter a caller: Y allowed, n refused by 403, . refused by 404. */
typedef struct row {
	const char *action;
	const char *type;
	const char *expect;
} row_t;

static const row_t rows[] = {
	{"sys.seal-status", "sys", "nn...YYYYn..n"},
	{"sys.unseal", "sys", "nn...YYYYn..n"},
	{"sys.seal", "sys", "nn...Ynnnn..n"},
	{"node.enroll", "node", "Yn...Ynnnn..n"},
	{"operator.create", "operator", "nn...Ynnnn..n"},
	{"operator.read", "operator", "nn...YnYnn..n"},
	{"operator.list", "operator", "nn...YnYnn..n"},
	{"operator.revoke", "operator", "nn...Ynnnn..n"},
	{"operator.suspend", "operator", "nn...Ynnnn..n"},
	{"operator.resume", "operator", "nn...Ynnnn..n"},
	{"customer.create", "customer", "nn...Ynnnn..n"},
	{"customer.read", "customer", "nn...YYYnY..n"},
	{"customer.list", "customer", "nn...YYYnY..n"},
	{"service.create", "service", "nn...Ynnnn..n"},
	{"service.read", "service", "nn...YYYnY..n"},
	{"service.list", "service", "nn...YYYnY..n"},
	{"node.invite", "node", "nn...Ynnnn..n"},
	{"node.read", "node", "nY...YYYnY..n"},
	{"node.list", "node", "nn...YYYnY..n"},
	{"node.revoke", "node", "nn...Ynnnn..n"},
	{"node.suspend", "node", "nn...YYnnn..n"},
	{"node.resume", "node", "nn...Ynnnn..n"},
	{"volume.create", "volume", "nY...Ynnnn..n"},
	{"volume.read", "volume", "nY...YYYnY..n"},
	{"volume.list", "volume", "nn...YYYnY..n"},
	{"volume.commit", "volume", "nY...nnnnn..n"},
	{"volume.reformat", "volume", "nY...nnnnn..n"},
	{"key.release", "volume", "nY...nnnnn..n"},
	{"volume.suspend", "volume", "nn...YYnnn..n"},
	{"volume.resume", "volume", "nn...YYnnn..n"},
	{"volume.assign", "volume", "nn...Ynnnn..n"},
	{"volume.delete", "volume", "nn...Ynnnn..n"},
	{"volume.restore", "volume", "nn...Ynnnn..n"},
	{"rotation.stage", "volume", "nY...nnnnn..n"},
	{"rotation.promote", "volume", "nY...nnnnn..n"},
	{"rotation.retire", "volume", "nY...nnnnn..n"},
	{"rotation.abort", "volume", "nY...YYnnn..n"},
	{"node.tasks", "node", "nY...nnnnn..n"},
	{"node.report", "node", "nY...nnnnn..n"},
	{"maintenance.create", "maintenance", "nn...YYnnn..n"},
	{"maintenance.read", "maintenance", "nn...YYYnn..n"},
	{"maintenance.list", "maintenance", "nn...YYYnn..n"},
	{"maintenance.open", "maintenance", "nn...YYnnn..n"},
	{"maintenance.close", "maintenance", "nn...YYnnn..n"},
	{"maintenance.halt", "maintenance", "nn...YYnnn..n"},
	{"audit.query", "log", "nn...YYYnn..n"},
	{"audit.read", "log", "nn...YYYnn..n"},
	{"api.unknown", "api", "nn...Ynnnn..n"},
	{"audit.proof", "log", "nn...YYYnn..n"},
	{"log.checkpoint", "log", "nn...YYYnn..n"},
	{"log.vkey", "log", "nn...YYYnn..n"},
	{"log.tile", "log", "nn...YYYnn..n"},
	{"log.entries", "log", "nn...YYYnn..n"},
	{"audit.read", "event", "nn...YYYnY..n"},
	{"audit.proof", "event", "nn...YYYnY..n"},
	{"log.entries", "event", "nn...YYYnn..n"},
	/* not of the API: an action on the wrong type, a noun that no statement knows */
	{"key.release", "customer", "nn...nnnnn..n"},
	{"key.read", "volume", "nn...YnYnn..n"},
};

/* Routes without a resource in their path: about the node itself where its own, or a list. */
static const row_t pathless[] = {
	{"key.release", "node", "nY.YYnnnn...."},       {"node.tasks", "node", "nY.YYnnnn...."},
	{"node.report", "node", "nY.YYnnnn...."},       {"identity.renew", "identity", "nY.YYYYYnYYY."},
	{"identity.renew", "node", "nY.YYYYYn...."},    {"key.release", "volume", "n....nnnn...."},
	{"rotation.stage", "volume", "n....nnnn...."},  {"volume.create", "volume", "n....Ynnn...."},
	{"node.list", "node", "n....YYYn...."},         {"node.invite", "node", "n....Ynnn...."},
	{"audit.query", "log", "n....YYYnYYY."},        {"operator.list", "operator", "n....YnYn...."},
	{"customer.list", "customer", "n....YYYnYYY."}, {"sys.seal", "sys", "n....Ynnn...."},
	{"sys.unseal", "sys", "n....YYYY...."},         {"sys.unseal", "volume", "n....YYnn...."},
	{"audit.proof", "log", "n....YYYnYYY."},        {"audit.read", "log", "n....YYYnYYY."},
	{"log.checkpoint", "log", "n....YYYnYYY."},     {"log.vkey", "log", "n....YYYnYYY."},
	{"log.tile", "log", "n....YYYnYYY."},           {"log.entries", "log", "n....YYYn...."},
	{"audit.read", "event", "n....YYYn...."},       {"maintenance.list", "maintenance", "n....YYYn...."},
	{"sys.seal-status", "sys", "n....YYYY...."},    {"service.list", "service", "n....YYYn...."},
	{"customer.list", "service", "n....YYYn...."},
};

static policy_request_t request(const row_t *row, const caller_t *c, bool path)
{
	return (policy_request_t){.who = c->who,
				  .node = {"c", "s", "n"},
				  .operator_name = c->role[0] != '\0' ? "o" : "",
				  .role = c->role,
				  .action = row->action,
				  .type = row->type,
				  .customer = path ? c->customer : "",
				  .service = path ? c->service : "",
				  .name = path ? "n" : "",
				  .own = c->own,
				  .in_scope = path && c->in_scope};
}

static char outcome(const policy_t *p, const row_t *row, const caller_t *c, bool path)
{
	policy_decision_t d;
	policy_request_t r = request(row, c, path);
	policy_decide(p, &r, &d);
	return d.allowed ? 'Y' : d.visible ? 'n' : '.';
}

static void assert_table(const row_t *table, size_t n, bool path)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < COUNT(callers); k++) {
			assert_int_equal(strlen(table[i].expect), COUNT(callers));
			char got = outcome(policy_builtin(), &table[i], &callers[k], path);
			if (got != table[i].expect[k])
				fail_msg("%s on %s (%s path) by %s: %c, not %c", table[i].action,
					 table[i].type, path ? "with" : "no", callers[k].name, got,
					 table[i].expect[k]);
		}
}

static void test_every_action_and_caller(void **state)
{
	(void)state;
	assert_table(rows, COUNT(rows), true);
}

static void test_without_path(void **state)
{
	(void)state;
	assert_table(pathless, COUNT(pathless), false);
}

static void test_refusals_outnumber(void **state)
{
	(void)state;
	size_t allowed = 0, refused = 0;
	for (size_t i = 0; i < COUNT(rows); i++)
		for (const char *c = rows[i].expect; *c != '\0'; c++)
			*(*c == 'Y' ? &allowed : &refused) += 1;
	assert_true(refused > 2 * allowed);
}

/* --- the statement that decided --- */

typedef struct named {
	const char *reason;
	row_t row;
	size_t caller;
	const char *statement;
} named_t;

static const named_t names[] = {
	{"a node opens its volume", {"key.release", "volume", ""}, 1, "node-own-volumes"},
	{"a node asks for its tasks", {"node.tasks", "node", ""}, 1, "node-self"},
	{"a node opens another's volume", {"key.release", "volume", ""}, 2, "default-deny"},
	{"nobody asks for a key", {"key.release", "volume", ""}, 0, "default-deny"},
	{"nobody enrols", {"node.enroll", "node", ""}, 0, "anyone-enroll"},
	{"an admin asks for a key", {"key.release", "volume", ""}, 5, "operators-hold-no-node-secrets"},
	{"an operator asks for a key", {"key.release", "volume", ""}, 6, "operators-hold-no-node-secrets"},
	{"an auditor promotes", {"rotation.promote", "volume", ""}, 7, "operators-hold-no-node-secrets"},
	{"an admin makes an operator", {"operator.create", "operator", ""}, 5, "admin-all"},
	{"an operator halts", {"maintenance.halt", "maintenance", ""}, 6, "operator-maintenance"},
	{"an auditor asks the log", {"audit.query", "log", ""}, 7, "auditor-read"},
	{"an unknown role unseals", {"sys.unseal", "sys", ""}, 8, "operator-unseal"},
	{"an auditor of c reads its volume", {"volume.read", "volume", ""}, 9, "auditor-customers"},
	{"an auditor of c reads its event", {"audit.read", "event", ""}, 9, "auditor-customers"},
	{"an auditor of c reads d's event", {"audit.read", "event", ""}, 10, "default-deny"},
	{"an auditor of c asks for a key",
	 {"key.release", "volume", ""},
	 9,
	 "operators-hold-no-node-secrets"},
	{"an auditor of c unseals", {"sys.unseal", "sys", ""}, 9, "default-deny"},
	{"an auditor makes an operator", {"operator.create", "operator", ""}, 7, "default-deny"},
};

static void test_statement_is_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		policy_decision_t d;
		policy_request_t r = request(&names[i].row, &callers[names[i].caller], true);
		policy_decide(policy_builtin(), &r, &d);
		if (strcmp(d.statement, names[i].statement) != 0)
			fail_msg("%s: by %s", names[i].reason, d.statement);
	}
}

static bool table_holds(const policy_t *p, const row_t *table, size_t n, bool path)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < COUNT(callers); k++)
			if (outcome(p, &table[i], &callers[k], path) != table[i].expect[k])
				return false;
	return true;
}

/* Each statement is needed: without it, some row of the table is decided otherwise. Their order is not:
 * reversed, every row is decided the same. */
static void test_statements_matter_their_order_does_not(void **state)
{
	(void)state;
	const policy_t *whole = policy_builtin();
	policy_statement_t some[16];
	assert_in_range(whole->n, 1, COUNT(some));
	for (size_t gone = 0; gone < whole->n; gone++) {
		size_t n = 0;
		for (size_t i = 0; i < whole->n; i++)
			if (i != gone)
				some[n++] = whole->statements[i];
		policy_t p = {some, n};
		if (table_holds(&p, rows, COUNT(rows), true) &&
		    table_holds(&p, pathless, COUNT(pathless), false))
			fail_msg("nothing tests %s", whole->statements[gone].name);
	}
	for (size_t i = 0; i < whole->n; i++)
		some[i] = whole->statements[whole->n - 1 - i];
	policy_t reversed = {some, whole->n};
	assert_true(table_holds(&reversed, rows, COUNT(rows), true));
	assert_true(table_holds(&reversed, pathless, COUNT(pathless), false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_action_and_caller),
		cmocka_unit_test(test_without_path),
		cmocka_unit_test(test_refusals_outnumber),
		cmocka_unit_test(test_statement_is_named),
		cmocka_unit_test(test_statements_matter_their_order_does_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
