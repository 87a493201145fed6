/* An auditor of some customers: what there is of others answers like what is not there. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static const char *const acme_only[] = {"acme", NULL};

static int setup(void **state)
{
	*state = fixture_new(FIXTURE_KEYFILE);
	return 0;
}

/* Both customers have the same: a node, its volume, a maintenance event. */
static void two_customers(fixture_t *f)
{
	(void)make_main(f);
	make_service(f, "globex", "db");
	caller_t b = make_node(f, "globex/db/n1");
	make_volume(f, &b, "globex/db/v1");
}

/* --- what is asked for of whom --- */

static bool of_one_customer(core_op_t op)
{
	static const core_op_t reads[] = {OP_CUSTOMER_GET, OP_SERVICE_GET, OP_SERVICE_LIST, OP_NODE_GET,
					  OP_NODE_LIST,    OP_VOLUME_GET,  OP_VOLUME_LIST};
	for (size_t i = 0; i < COUNT(reads); i++)
		if (reads[i] == op)
			return true;
	return false;
}

/* What an auditor of acme may ask for wherever it is: the handler or a second decision shows acme's alone. */
static bool of_all(core_op_t op)
{
	return strncmp(core_op_info(op)->action, "log.", 4) == 0 || op == OP_CUSTOMER_LIST ||
	       op == OP_AUDIT_LIST || op == OP_AUDIT_GET || op == OP_RENEW || op == OP_REVIEW_LIST;
}

/* "acme/db/v1": as much of it as the operation's route has. */
static void path_of(core_op_t op, const char *customer, char out[PATH3_CAP])
{
	const char *action = core_op_info(op)->action;
	bool list = strstr(action, ".list") != NULL;
	bool named = strncmp(action, "volume.", 7) == 0 || strncmp(action, "rotation.", 9) == 0 ||
		     op == OP_VOLUME_RELEASE;
	bool node = strncmp(action, "node.", 5) == 0 && op != OP_NODE_TASKS && op != OP_NODE_REPORT &&
		    op != OP_ENROLL;
	bool service = strncmp(action, "service.", 8) == 0;
	out[0] = '\0';
	if (strncmp(action, "operator.", 9) == 0 || strncmp(action, "maintenance.", 12) == 0)
		(void)snprintf(out, PATH3_CAP, "//%s", list || op == OP_MAINT_CREATE ? "" : "root");
	else if ((named || node) && !list)
		(void)snprintf(out, PATH3_CAP, "%s/db/%s", customer, named ? "v1" : "n1");
	else if (named || node || (service && !list))
		(void)snprintf(out, PATH3_CAP, "%s/db", customer);
	else if (service || (strncmp(action, "customer.", 9) == 0 && !list))
		(void)snprintf(out, PATH3_CAP, "%s", customer);
}

static void expect_status(fixture_t *f, const caller_t *who, core_op_t op, const char *customer, int want)
{
	char path[PATH3_CAP];
	path_of(op, customer, path);
	answer_t a = fixture_ask(f, &(ask_t){.op = op, .who = who, .path = path[0] != '\0' ? path : NULL});
	if (a.status != want)
		fail_msg("%s on \"%s\": %d, not %d: %.*s", core_op_info(op)->action, path, a.status, want,
			 (int)a.text.n, (const char *)a.text.p);
	answer_free(&a);
}

static void test_every_operation(void **state)
{
	fixture_t *f = *state;
	two_customers(f);
	caller_t auditor = make_auditor(f, "alice", acme_only);
	for (core_op_t op = 0; op < OP_UNKNOWN; op++) {
		if (of_all(op))
			continue;
		char path[PATH3_CAP];
		path_of(op, "acme", path);
		bool acmes = path[0] != '\0' && path[0] != '/';
		int of_acme = of_one_customer(op) ? 200 : acmes ? 403 : 404;
		expect_status(f, &auditor, op, "acme", of_acme);
		expect_status(f, &auditor, op, "globex", 404);
		expect_status(f, &auditor, op, "nowhere", 404);
	}
}

static void test_refusals_name_their_statement(void **state)
{
	fixture_t *f = *state;
	two_customers(f);
	caller_t auditor = make_auditor(f, "alice", acme_only);
	static const struct {
		ask_t ask;
		const char *statement, *decision;
	} rows[] = {
		{{.op = OP_VOLUME_GET, .path = "acme/db/v1"}, "auditor-customers", "allow"},
		{{.op = OP_VOLUME_GET, .path = "globex/db/v1"}, "default-deny", "deny"},
		{{.op = OP_VOLUME_RELEASE, .path = "acme/db/v1"}, "operators-hold-no-node-secrets", "deny"},
		{{.op = OP_VOLUME_DELETE, .path = "acme/db/v1"}, "default-deny", "deny"},
		{{.op = OP_CUSTOMER_LIST}, "auditor-list", "allow"},
		{{.op = OP_OPERATOR_LIST}, "default-deny", "deny"},
		{{.op = OP_SEAL_STATUS}, "default-deny", "deny"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		ask_t ask = rows[i].ask;
		ask.who = &auditor;
		answer_t a = fixture_ask(f, &ask);
		answer_free(&a);
		SCOPED(json_freep) json_t *e = last_event(f);
		assert_string_equal(text_at(e, "actor.user.name"), "alice");
		assert_string_equal(text_at(e, "actor.authorizations.0.policy"), rows[i].statement);
		assert_string_equal(text_at(e, "actor.authorizations.0.decision"), rows[i].decision);
	}
}

/* --- the list of customers --- */

static void expect_customers(fixture_t *f, const caller_t *who, const char *query, const char *want)
{
	char have[256] = "";
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_CUSTOMER_LIST, .who = who, .query = query});
	json_t *items = json_at(a.json, "items");
	for (size_t i = 0; i < json_array_size(items); i++) {
		size_t n = strlen(have);
		(void)snprintf(have + n, sizeof have - n, "%s ",
			       text_at(json_array_get(items, i), "customer"));
	}
	size_t n = strlen(have);
	(void)snprintf(have + n, sizeof have - n, ">%s", text_at(a.json, "next_cursor"));
	assert_string_equal(have, want);
	answer_free(&a);
}

/* Neither items nor cursors name a customer of others, nor tell that there are any. */
static void test_list_of_customers(void **state)
{
	fixture_t *f = *state;
	static const char *const names[] = {"aaa", "acme", "beta", "globex", "initech", "zzz"};
	static const char *const two[] = {"initech", "acme", NULL};
	for (size_t i = 0; i < COUNT(names); i++)
		fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = names[i]});
	caller_t one = make_auditor(f, "one", acme_only), both = make_auditor(f, "both", two);
	caller_t all = make_operator(f, "all", "auditor");
	expect_customers(f, &one, NULL, "acme >");
	expect_customers(f, &one, "limit=1", "acme >");
	expect_customers(f, &one, "cursor=acme", ">");
	expect_customers(f, &both, NULL, "acme initech >");
	expect_customers(f, &both, "limit=1", "acme >acme");
	expect_customers(f, &both, "limit=1&cursor=acme", "initech >");
	expect_customers(f, &both, "limit=2", "acme initech >");
	expect_customers(f, &all, "limit=5", "aaa acme beta globex initech >initech");
	expect_customers(f, &all, "limit=6", "aaa acme beta globex initech zzz >");
}

/* --- making one --- */

static void expect_refused(fixture_t *f, int status, const char *slug, const char *role,
			   const char *customers)
{
	char body[1024];
	(void)snprintf(body, sizeof body, "{\"csr\":\"x\",\"role\":\"%s\",\"customers\":%s}", role,
		       customers);
	fixture_refused(f, status, slug, &(ask_t){.op = OP_OPERATOR_PUT, .path = "//eve", .body = body});
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_OPERATOR_GET, .path = "//eve"});
}

static void test_making_refusals(void **state)
{
	fixture_t *f = *state;
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme"});
	static const char seventeen[] = "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\",\"k\","
					"\"l\",\"m\",\"n\",\"o\",\"p\",\"q\"]";
	static const char *const bad[] = {
		"[]",
		"null",
		"\"acme\"",
		"{}",
		"[1]",
		"[null]",
		"[\"acme\",\"acme\"]",
		"[\"*\"]",
		"[\"\"]",
		"[\"Acme\"]",
		"[\"acme\",[\"acme\"]]",
		seventeen,
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		expect_refused(f, 400, "bad-request", "auditor", bad[i]);
	expect_refused(f, 400, "bad-request", "operator", "[\"acme\"]");
	expect_refused(f, 400, "bad-request", "admin", "[\"acme\"]");
	expect_refused(f, 409, "conflict", "auditor", "[\"acme\",\"nowhere\"]");
}

static void test_customers_show(void **state)
{
	fixture_t *f = *state;
	static const char *const two[] = {"initech", "acme", NULL};
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme"});
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "initech"});
	(void)make_auditor(f, "both", two);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_GET, .path = "//both"});
	assert_int_equal(json_array_size(json_at(a.json, "customers")), 2);
	assert_string_equal(text_at(a.json, "customers.0"), "initech");
	assert_string_equal(text_at(a.json, "customers.1"), "acme");
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_OPERATOR_GET, .path = "//root"});
	assert_true(json_is_null(json_at(a.json, "customers")));
	answer_free(&a);
}

/* A limit outlives what else happens to the record, and the run. */
static void test_the_limit_stays(void **state)
{
	fixture_t *f = *state;
	diag_t why = {""};
	two_customers(f);
	caller_t alice = make_auditor(f, "alice", acme_only);
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//alice", .body = "{}"});
	fixture_must(f, 403, &(ask_t){.op = OP_CUSTOMER_GET, .who = &alice, .path = "acme"});
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_RESUME, .path = "//alice", .body = "{}"});
	fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .who = &alice, .path = "globex"});
	fixture_stop(f);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .who = &alice, .path = "acme"});
	fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .who = &alice, .path = "globex"});
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_operation),   T(test_refusals_name_their_statement),
		T(test_list_of_customers), T(test_making_refusals),
		T(test_customers_show),    T(test_the_limit_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
