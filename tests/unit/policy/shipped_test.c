/* The shipped documents against every action of the API and every kind of caller. */
#include "common/base/buf.h"
#include "common/base/scope.h"
#include "common/proto/json.h"
#include "policy/actions.h"
#include "tests/unit/policy/policy_support.h"

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
	{"approver", POLICY_OPERATOR, "approver", "c", "s", false, false},
	{"reviewer", POLICY_OPERATOR, "reviewer", "c", "s", false, false},
};

/* One letter a caller: Y allowed, n refused by 403, . refused by 404. Nobody can approve yet: bootstrap. */
typedef struct row {
	const char *action;
	const char *type;
	const char *expect;
} row_t;

static const row_t rows[] = {
	{"sys.seal-status", "sys", "n....YYYY....YY"},
	{"sys.unseal", "sys", "n....YYYY....YY"},
	{"sys.seal", "sys", "n....Ynnn....nn"},
	{"node.enroll", "node", "Yn...Ynnnn..nnn"},
	{"operator.create", "operator", "n....Ynnn....nn"},
	{"operator.read", "operator", "n....YnYn....YY"},
	{"operator.list", "operator", "n....YnYn....YY"},
	{"operator.revoke", "operator", "n....Ynnn....nn"},
	{"operator.suspend", "operator", "n....Ynnn....nY"},
	{"operator.resume", "operator", "n....Ynnn....nn"},
	{"customer.create", "customer", "n....Ynnnn..nnn"},
	{"customer.read", "customer", "n....YYYnY..nYY"},
	{"customer.list", "customer", "n....YYYnY..nYY"},
	{"service.create", "service", "nn...Ynnnn..nnn"},
	{"service.read", "service", "nn...YYYnY..nYY"},
	{"service.list", "service", "nn...YYYnY..nYY"},
	{"node.invite", "node", "nn...Ynnnn..nnn"},
	{"node.read", "node", "nY...YYYnY..nYY"},
	{"node.list", "node", "nn...YYYnY..nYY"},
	{"node.revoke", "node", "nn...Ynnnn..nnn"},
	{"node.suspend", "node", "nn...YYnnn..nnn"},
	{"node.resume", "node", "nn...Ynnnn..nnn"},
	{"volume.create", "volume", "nY...Ynnnn..nnn"},
	{"volume.read", "volume", "nY...YYYnY..nYY"},
	{"volume.list", "volume", "nn...YYYnY..nYY"},
	{"volume.commit", "volume", "nY...nnnnn..nnn"},
	{"volume.refused", "volume", "nY...nnnnn..nnn"},
	{"volume.prove", "volume", "nY...nnnnn..nnn"},
	{"header.store", "volume", "nY...nnnnn..nnn"},
	{"header.read", "volume", "nY...nnnnn..nnn"},
	{"volume.reformat", "volume", "nY...nnnnn..nnn"},
	{"key.release", "volume", "nY...nnnnn..nnn"},
	{"volume.suspend", "volume", "nn...YYnnn..nnn"},
	{"volume.resume", "volume", "nn...YYnnn..nnn"},
	{"volume.assign", "volume", "nn...Ynnnn..nnn"},
	{"volume.delete", "volume", "nn...Ynnnn..nnn"},
	{"volume.restore", "volume", "nn...Ynnnn..nnn"},
	{"rotation.stage", "volume", "nY...nnnnn..nnn"},
	{"rotation.promote", "volume", "nY...nnnnn..nnn"},
	{"rotation.retire", "volume", "nY...nnnnn..nnn"},
	{"rotation.abort", "volume", "nY...YYnnn..nnn"},
	{"reencryption.start", "volume", "nY...nnnnn..nnn"},
	{"reencryption.progress", "volume", "nY...nnnnn..nnn"},
	{"reencryption.promote", "volume", "nY...nnnnn..nnn"},
	{"reencryption.abort", "volume", "nY...YYnnn..nnn"},
	{"node.tasks", "node", "nY...nnnnn..nnn"},
	{"node.report", "node", "nY...nnnnn..nnn"},
	{"maintenance.create", "maintenance", "n....YYnn....nn"},
	{"maintenance.read", "maintenance", "n....YYYn....YY"},
	{"maintenance.list", "maintenance", "n....YYYn....YY"},
	{"maintenance.open", "maintenance", "n....YYnn....nn"},
	{"maintenance.close", "maintenance", "n....YYnn....nn"},
	{"maintenance.halt", "maintenance", "n....YYnn....nn"},
	{"maintenance.pause", "maintenance", "n....YYnn....nn"},
	{"maintenance.abort", "maintenance", "n....YYnn....nn"},
	{"maintenance.plan", "maintenance", "n....YYnn....nn"},
	{"audit.query", "log", "n....YYYnYYY.nY"},
	{"audit.read", "log", "n....YYYnYYY.nY"},
	{"api.unknown", "api", "n....Ynnn....nn"},
	{"audit.proof", "log", "n....YYYnYYY.nY"},
	{"log.checkpoint", "log", "n....YYYnYYY.nY"},
	{"log.vkey", "log", "n....YYYnYYY.nY"},
	{"log.tile", "log", "n....YYYnYYY.nY"},
	{"log.entries", "log", "n....YYYn....nY"},
	{"audit.read", "event", "nn...YYYnY..nnY"},
	{"audit.proof", "event", "nn...YYYnY..nnY"},
	{"log.entries", "event", "nn...YYYnn..nnY"},
	{"policy.put", "policy", "n....Ynnn....nn"},
	{"policy.delete", "policy", "n....Ynnn....nn"},
	{"policy.read", "policy", "n....YnYn....YY"},
	{"policy.list", "policy", "n....YnYn....YY"},
	{"grant.request", "grant", "n....YYnn....nn"},
	{"grant.list", "grant", "n....YYYn....YY"},
	{"grant.read", "grant", "n....YYYn....YY"},
	{"grant.approve", "grant", "n....Ynnn....Yn"},
	{"grant.deny", "grant", "n....Ynnn....Yn"},
	{"grant.revoke", "grant", "n....YYnn....Yn"},
	{"review.list", "review", "n....YnYnYYY.nY"},
	{"review.read", "review", "n....YnYnYYY.nY"},
	{"review.close", "review", "n....Ynnn....nY"},
	{"operator.invite", "operator", "n....Ynnn....nn"},
	{"operator.enroll", "operator", "Y....Ynnn....nn"},
	{"operator.update", "operator", "n....Ynnn....nn"},
	{"operator.recertify", "operator", "n....Ynnn....nn"},
	{"identity.renew", "identity", "nY.YYYYYYYYYYYY"},
	/* not of the API: an action on the wrong type, a noun that no statement knows */
	{"key.release", "customer", "n....nnnnn..nnn"},
	{"key.read", "volume", "nn...nnnnn..nnn"},
};

/* Routes without a resource in their path: about the node itself where its own, or a list. */
static const row_t pathless[] = {
	{"key.release", "node", "nY.YYnnnn....nn"},
	{"node.tasks", "node", "nY.YYnnnn....nn"},
	{"node.report", "node", "nY.YYnnnn....nn"},
	{"identity.renew", "identity", "nY.YYYYYYYYYYYY"},
	{"identity.renew", "node", "nY.YYYnnn....nn"},
	{"key.release", "volume", "n....nnnn....nn"},
	{"rotation.stage", "volume", "n....nnnn....nn"},
	{"volume.create", "volume", "n....Ynnn....nn"},
	{"node.list", "node", "n....YYYn....YY"},
	{"node.invite", "node", "n....Ynnn....nn"},
	{"audit.query", "log", "n....YYYnYYY.nY"},
	{"operator.list", "operator", "n....YnYn....YY"},
	{"customer.list", "customer", "n....YYYnYYY.YY"},
	{"sys.seal", "sys", "n....Ynnn....nn"},
	{"sys.unseal", "sys", "n....YYYY....YY"},
	{"sys.unseal", "volume", "n....Ynnn....nn"},
	{"audit.proof", "log", "n....YYYnYYY.nY"},
	{"audit.read", "log", "n....YYYnYYY.nY"},
	{"log.checkpoint", "log", "n....YYYnYYY.nY"},
	{"log.vkey", "log", "n....YYYnYYY.nY"},
	{"log.tile", "log", "n....YYYnYYY.nY"},
	{"log.entries", "log", "n....YYYn....nY"},
	{"audit.read", "event", "n....YYYn....nY"},
	{"maintenance.list", "maintenance", "n....YYYn....YY"},
	{"sys.seal-status", "sys", "n....YYYY....YY"},
	{"service.list", "service", "n....YYYn....YY"},
	{"customer.list", "service", "n....YYYn....YY"},
};

/* Of the path, what the type has. */
static const char *segment(const char *type, unsigned i, const char *text)
{
	const policy_type_t *t = policy_type(type);
	assert_non_null(t);
	return i >= t->first && i < t->first + t->segments ? text : "";
}

static policy_request_t request(const row_t *row, const caller_t *c, bool path)
{
	return (policy_request_t){.who = c->who,
				  .node = {"c", "s", "n"},
				  .person = {.name = c->role[0] != '\0' ? "o" : "", .role = c->role},
				  .action = row->action,
				  .type = row->type,
				  .customer = path ? segment(row->type, 0, c->customer) : "",
				  .service = path ? segment(row->type, 1, c->service) : "",
				  .name = path ? segment(row->type, 2, "n") : "",
				  .own = c->own,
				  .in_scope = path && segment(row->type, 0, c->customer)[0] != '\0' &&
					      c->in_scope,
				  .bootstrap = true};
}

static char outcome(const policy_t *p, const row_t *row, const caller_t *c, bool path)
{
	policy_decision_t d;
	policy_request_t r = request(row, c, path);
	return outcome_of(p, &r, &d);
}

static policy_t *shipped(void)
{
	policy_t *p = NULL;
	assert_int_equal(policy_default(&p), KMS_OK);
	return p;
}

static void assert_table(const policy_t *p, const row_t *table, size_t n, bool path)
{
	unsigned wrong = 0;
	for (size_t i = 0; i < n; i++) {
		char got[COUNT(callers) + 1] = "";
		for (size_t k = 0; k < COUNT(callers); k++)
			got[k] = outcome(p, &table[i], &callers[k], path);
		if (strcmp(got, table[i].expect) != 0) {
			print_error("%s on %s (%s path): %s, not %s\n", table[i].action, table[i].type,
				    path ? "with" : "no", got, table[i].expect);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_every_action_and_caller(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = shipped();
	assert_table(p, rows, COUNT(rows), true);
}

static void test_without_path(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = shipped();
	assert_table(p, pathless, COUNT(pathless), false);
}

/* Each action of the table has a row. */
static void test_no_action_is_forgotten(void **state)
{
	(void)state;
	size_t n;
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++) {
		bool there = false;
		for (size_t k = 0; k < COUNT(rows); k++)
			there = there || strcmp(rows[k].action, all[i].name) == 0;
		if (!there)
			fail_msg("no row for %s", all[i].name);
	}
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
	{"an admin registers a volume key",
	 {"reencryption.start", "volume", ""},
	 5,
	 "operators-act-for-no-node"},
	{"an auditor promotes", {"rotation.promote", "volume", ""}, 7, "operators-act-for-no-node"},
	{"an admin makes an operator", {"operator.create", "operator", ""}, 5, "admin-all"},
	{"an operator halts", {"maintenance.halt", "maintenance", ""}, 6, "operator-maintenance"},
	{"an auditor asks the log", {"audit.query", "log", ""}, 7, "auditor-read"},
	{"an admin unseals", {"sys.unseal", "sys", ""}, 5, "operator-unseal"},
	{"an approver approves", {"grant.approve", "grant", ""}, 13, "approver-grants"},
	{"a reviewer closes", {"review.close", "review", ""}, 14, "reviewer-reviews"},
	{"a reviewer stops an operator", {"operator.suspend", "operator", ""}, 14, "reviewer-suspends"},
	{"an auditor renews", {"identity.renew", "identity", ""}, 7, "people-renew-themselves"},
	{"an unknown role unseals", {"sys.unseal", "sys", ""}, 8, "operator-unseal"},
	{"an auditor of c reads its volume", {"volume.read", "volume", ""}, 9, "auditor-customers"},
	{"an auditor of c reads its event", {"audit.read", "event", ""}, 9, "auditor-customers"},
	{"an auditor of c reads d's event", {"audit.read", "event", ""}, 10, "default-deny"},
	{"an auditor of c asks for a key",
	 {"key.release", "volume", ""},
	 9,
	 "operators-hold-no-node-secrets"},
	{"an auditor of c lists reviews", {"review.list", "review", ""}, 9, "auditor-reviews"},
	{"an auditor of c unseals", {"sys.unseal", "sys", ""}, 9, "default-deny"},
	{"an auditor makes an operator", {"operator.create", "operator", ""}, 7, "default-deny"},
};

static void test_statement_is_named(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = shipped();
	for (size_t i = 0; i < COUNT(names); i++) {
		policy_decision_t d;
		policy_request_t r = request(&names[i].row, &callers[names[i].caller], true);
		(void)outcome_of(p, &r, &d);
		if (strcmp(d.statement, names[i].statement) != 0)
			fail_msg("%s: by %s", names[i].reason, d.statement);
	}
}

/* --- a second person --- */

#define PERSON(n, r, ...)                                                                                    \
	{                                                                                                    \
		.name = (n), .role = (r), .groups = {__VA_ARGS__},                                           \
		.n_groups = COUNT(((const char *[]){__VA_ARGS__}))                                           \
	}
#define ALICE   PERSON("alice", "admin", "-")
#define BOB     PERSON("bob", "admin", "-")
#define CAROL   PERSON("carol", "approver", "-")
#define DAVE    PERSON("dave", "operator", "approvers")
#define ERIN    PERSON("erin", "operator", "break-glass")
#define FRANK   PERSON("frank", "auditor", "break-glass")
#define GRACE   PERSON("grace", "reviewer", "-")
#define HEIDI   PERSON("heidi", "operator", "-")
#define BY(...) .approvers = {__VA_ARGS__}, .n_approvers = COUNT(((policy_person_t[]){__VA_ARGS__}))

typedef struct kept {
	const char *reason;
	policy_person_t who;
	const char *action, *type;
	policy_grant_t grant;
	char expect;
	const char *statement;
	uint32_t count; /* HELD: of its first need */
} kept_t;

#define GUARD "keys-need-a-second-person"
#define GLASS "operators-hold-no-node-secrets"

static const kept_t kept[] = {
	{"an admin alone", ALICE, "node.invite", "node", {0}, 'H', GUARD, 1},
	{"with a grant that nobody approved", ALICE, "node.invite", "node", {.present = true}, 'H', GUARD, 1},
	{"their own approval is none",
	 ALICE,
	 "node.invite",
	 "node",
	 {.present = true, BY(ALICE)},
	 'H',
	 GUARD,
	 1},
	{"an operator's is none", ALICE, "node.invite", "node", {.present = true, BY(HEIDI)}, 'H', GUARD, 1},
	{"a reviewer's is none", ALICE, "node.invite", "node", {.present = true, BY(GRACE)}, 'H', GUARD, 1},
	{"those of the glass are none",
	 ALICE,
	 "policy.put",
	 "policy",
	 {.present = true, BY(ERIN, FRANK)},
	 'H',
	 GUARD,
	 1},
	{"approvers without a grant", ALICE, "node.invite", "node", {BY(BOB)}, 'H', GUARD, 1},
	{"another admin's", ALICE, "node.invite", "node", {.present = true, BY(BOB)}, 'Y', "admin-all", 0},
	{"an approver's", ALICE, "policy.put", "policy", {.present = true, BY(CAROL)}, 'Y', "admin-all", 0},
	{"one of the group's",
	 ALICE,
	 "operator.revoke",
	 "operator",
	 {.present = true, BY(DAVE)},
	 'Y',
	 "admin-all",
	 0},
	{"an ordinary approval on a glass grant",
	 ALICE,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true, BY(BOB, CAROL)},
	 'H',
	 GUARD,
	 2},
	{"the glass, one of two",
	 ALICE,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true, BY(ERIN)},
	 'H',
	 GUARD,
	 2},
	{"the glass, the same one twice",
	 ALICE,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true, BY(ERIN, ERIN)},
	 'H',
	 GUARD,
	 2},
	{"the glass, broken",
	 ALICE,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'Y',
	 "admin-all",
	 0},
	{"an operator resumes a volume", HEIDI, "volume.resume", "volume", {0}, 'H', GUARD, 1},
	{"and with an approval",
	 HEIDI,
	 "volume.resume",
	 "volume",
	 {.present = true, BY(ALICE)},
	 'Y',
	 "operator-maintenance",
	 0},
	{"an operator may not invite, whoever approves",
	 HEIDI,
	 "node.invite",
	 "node",
	 {.present = true, BY(ALICE)},
	 'n',
	 "default-deny",
	 0},
	{"but with the glass",
	 HEIDI,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'Y',
	 "break-glass-acts",
	 0},
	{"and waits for it",
	 HEIDI,
	 "node.invite",
	 "node",
	 {.present = true, .break_glass = true},
	 'H',
	 GUARD,
	 2},
	{"no key without the glass", ALICE, "key.release", "volume", {0}, 'n', GLASS, 0},
	{"not with any approval",
	 ALICE,
	 "key.release",
	 "volume",
	 {.present = true, BY(BOB, CAROL, ERIN, FRANK)},
	 'n',
	 GLASS,
	 0},
	{"a key with the glass waits",
	 ALICE,
	 "key.release",
	 "volume",
	 {.present = true, .break_glass = true, BY(BOB, ERIN)},
	 'H',
	 GLASS,
	 2},
	{"a key with the glass",
	 ALICE,
	 "key.release",
	 "volume",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'Y',
	 "admin-all",
	 0},
	{"one of the glass needs two others",
	 ERIN,
	 "key.release",
	 "volume",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'H',
	 GLASS,
	 2},
	{"an auditor of the glass gets the key",
	 FRANK,
	 "key.release",
	 "volume",
	 {.present = true, .break_glass = true, BY(ERIN, PERSON("ivan", "operator", "x", "break-glass"))},
	 'Y',
	 "break-glass-acts",
	 0},
	{"an approver gets none",
	 CAROL,
	 "key.release",
	 "volume",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'n',
	 "default-deny",
	 0},
	{"a rotation is no person's, with any grant",
	 ALICE,
	 "rotation.promote",
	 "volume",
	 {.present = true, .break_glass = true, BY(ERIN, FRANK)},
	 'n',
	 "operators-act-for-no-node",
	 0},
	{"what protects needs nobody", ALICE, "node.revoke", "node", {0}, 'Y', "admin-all", 0},
	{"one who approves by group", DAVE, "grant.approve", "grant", {0}, 'Y', "approver-grants", 0},
	{"one who breaks glass asks", FRANK, "grant.request", "grant", {0}, 'Y', "break-glass-grants", 0},
	{"an auditor does not",
	 PERSON("judy", "auditor", "-"),
	 "grant.request",
	 "grant",
	 {0},
	 'n',
	 "default-deny",
	 0},
	{"an operator approves nothing", HEIDI, "grant.approve", "grant", {0}, 'n', "default-deny", 0},
};

static void test_second_person(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = shipped();
	for (size_t i = 0; i < COUNT(kept); i++) {
		const kept_t *k = &kept[i];
		policy_decision_t d;
		policy_request_t r = {.who = POLICY_OPERATOR,
				      .person = k->who,
				      .action = k->action,
				      .type = k->type,
				      .customer = segment(k->type, 0, "c"),
				      .service = segment(k->type, 1, "s"),
				      .name = segment(k->type, 2, "n"),
				      .grant = k->grant};
		char got = outcome_of(p, &r, &d);
		if (got != k->expect || strcmp(d.statement, k->statement) != 0 ||
		    (got == 'H' && d.needs[0].count != k->count))
			fail_msg("%s: %c by %s, %u", k->reason, got, d.statement,
				 d.n_needs > 0 ? d.needs[0].count : 0);
		r.bootstrap = true;
		if (got == 'H' && !k->grant.break_glass && outcome_of(p, &r, &d) != 'Y')
			fail_msg("%s: held in bootstrap, by %s", k->reason, d.statement);
	}
}

/* The acts that actions.h says need a second person are those that the shipped guard holds. */
static void test_acts_on_keys(void **state)
{
	(void)state;
	size_t n;
	SCOPED(policy_freep) policy_t *p = shipped();
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++) {
		policy_decision_t d;
		policy_request_t r = {.who = POLICY_OPERATOR,
				      .person = ALICE,
				      .action = all[i].name,
				      .type = all[i].type,
				      .grant = {.present = true, .break_glass = true}};
		bool waits = outcome_of(p, &r, &d) == 'H';
		if (waits != all[i].acts_on_keys)
			fail_msg("%s %s", all[i].name, waits ? "waits" : "does not wait");
	}
}

/* --- what each statement is for --- */

/* The shipped documents, one statement left out (-1: none), or each document's statements turned round. */
static policy_t *changed(size_t gone, bool reversed, bool *left_out)
{
	buf_t text[16] = {BUF_INIT};
	const char *name[16];
	span_t span[16];
	size_t n, at = 0;
	const policy_shipped_t *all = policy_shipped(&n);
	assert_in_range(n, 1, COUNT(text));
	for (size_t i = 0; i < n; i++) {
		SCOPED(json_freep) json_t *j = NULL;
		assert_int_equal(json_parse(all[i].text, POLICY_DOCUMENT_MAX, &j, NULL), KMS_OK);
		json_t *list = json_object_get(j, "statements"), *kept_ones = json_array();
		for (size_t k = 0; k < json_array_size(list); k++, at++)
			if (at == gone)
				*left_out = true;
			else if (reversed)
				assert_int_equal(json_array_insert(kept_ones, 0, json_array_get(list, k)), 0);
			else
				assert_int_equal(json_array_append(kept_ones, json_array_get(list, k)), 0);
		assert_int_equal(json_object_set_new(j, "statements", kept_ones), 0);
		assert_int_equal(json_write(j, &text[i]), KMS_OK);
		size_t place = reversed ? n - 1 - i : i;
		name[place] = all[i].name;
		span[place] = buf_span(&text[i]);
	}
	policy_t *p = policy_of_texts(name, span, n);
	for (size_t i = 0; i < n; i++)
		buf_free(&text[i]);
	return p;
}

static bool table_holds(const policy_t *p, const row_t *table, size_t n, bool path)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < COUNT(callers); k++)
			if (outcome(p, &table[i], &callers[k], path) != table[i].expect[k])
				return false;
	return true;
}

static bool kept_holds(const policy_t *p)
{
	for (size_t i = 0; i < COUNT(kept); i++) {
		const kept_t *k = &kept[i];
		policy_decision_t d;
		policy_request_t r = {.who = POLICY_OPERATOR,
				      .person = k->who,
				      .action = k->action,
				      .type = k->type,
				      .customer = segment(k->type, 0, "c"),
				      .service = segment(k->type, 1, "s"),
				      .name = segment(k->type, 2, "n"),
				      .grant = k->grant};
		if (outcome_of(p, &r, &d) != k->expect)
			return false;
	}
	return true;
}

static bool all_holds(const policy_t *p)
{
	return table_holds(p, rows, COUNT(rows), true) && table_holds(p, pathless, COUNT(pathless), false) &&
	       kept_holds(p);
}

/* Each statement is needed: without it, some row of a table is decided otherwise. Their order is not:
 * reversed, every row is decided the same. */
static void test_statements_matter_their_order_does_not(void **state)
{
	(void)state;
	bool left_out = true;
	for (size_t gone = 0; left_out; gone++) {
		left_out = false;
		SCOPED(policy_freep) policy_t *p = changed(gone, false, &left_out);
		if (left_out && all_holds(p))
			fail_msg("nothing tests statement %zu", gone);
		if (!left_out)
			assert_true(all_holds(p));
	}
	SCOPED(policy_freep) policy_t *reversed = changed(SIZE_MAX, true, &left_out);
	assert_true(all_holds(reversed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_action_and_caller),
		cmocka_unit_test(test_without_path),
		cmocka_unit_test(test_no_action_is_forgotten),
		cmocka_unit_test(test_refusals_outnumber),
		cmocka_unit_test(test_statement_is_named),
		cmocka_unit_test(test_second_person),
		cmocka_unit_test(test_acts_on_keys),
		cmocka_unit_test(test_statements_matter_their_order_does_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
