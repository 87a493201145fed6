/* Policy documents in the store: what is taken, what is refused, what holds from when on, and that nobody
 * locks everybody out. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#define DOC(statements) "{\"version\":1,\"statements\":[" statements "]}"
#define NO_CUSTOMERS                                                                                         \
	"{\"name\":\"no-customers\",\"effect\":\"deny\",\"principals\":[\"operator:*\"],"                    \
	"\"actions\":[\"customer.create\"],\"resources\":[\"*\"]}"
#define MARY_MAKES                                                                                           \
	"{\"name\":\"mary-makes\",\"effect\":\"allow\",\"principals\":[\"operator:mary\"],"                  \
	"\"actions\":[\"customer.create\"],\"resources\":[\"*\"]}"
#define NIGHT_MAKES                                                                                          \
	"{\"name\":\"night-makes\",\"effect\":\"allow\",\"principals\":[\"group:night\"],"                   \
	"\"actions\":[\"customer.create\"],\"resources\":[\"*\"]}"

static void put(fixture_t *f, const char *name, const char *text)
{
	char path[NAME_CAP + 2];
	(void)snprintf(path, sizeof path, "//%s", name);
	fixture_must(f, 200, &(ask_t){.op = OP_POLICY_PUT, .path = path, .body = text});
}

static void del(fixture_t *f, const char *name)
{
	char path[NAME_CAP + 2];
	(void)snprintf(path, sizeof path, "//%s", name);
	fixture_must(f, 200, &(ask_t){.op = OP_POLICY_DELETE, .path = path});
}

static answer_t get(fixture_t *f, const char *path, const char *query)
{
	return fixture_expect(f, 200, &(ask_t){.op = OP_POLICY_GET, .path = path, .query = query});
}

static bool may_make(fixture_t *f, const caller_t *who)
{
	answer_t a = fixture_ask(f, &(ask_t){.op = OP_CUSTOMER_PUT, .who = who, .path = "new"});
	bool may = a.status == 200 || a.status == 201;
	answer_free(&a);
	return may;
}

/* --- reading --- */

static void test_list(void **state)
{
	fixture_t *f = *state;
	static const char *const shipped[] = {"base",      "operators", "approvers",
					      "reviewers", "auditors",  "break-glass"};
	put(f, "own", DOC(NO_CUSTOMERS));
	put(f, "alpha", DOC(MARY_MAKES));
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_POLICY_LIST});
	const json_t *items = json_at(a.json, "items");
	assert_int_equal(json_array_size(items), COUNT(shipped) + 2);
	for (size_t i = 0; i < COUNT(shipped); i++) {
		assert_string_equal(text_at(json_array_get(items, i), "policy"), shipped[i]);
		assert_string_equal(text_at(json_array_get(items, i), "source"), "shipped");
		assert_int_equal(number_at(json_array_get(items, i), "version"), 0);
	}
	assert_true(json_is_true(json_at(items, "0.fixed")));
	assert_true(json_is_false(json_at(items, "1.fixed")));
	assert_string_equal(text_at(items, "6.policy"), "alpha");
	assert_string_equal(text_at(items, "7.policy"), "own");
	assert_string_equal(text_at(items, "7.changed_by"), "root");
	answer_free(&a);
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_POLICY_LIST, .query = "limit=1"});
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_POLICY_LIST, .query = "cursor=a"});
}

static void test_versions(void **state)
{
	fixture_t *f = *state;
	put(f, "own", DOC(NO_CUSTOMERS));
	put(f, "own", DOC(MARY_MAKES));
	answer_t a = get(f, "//own", NULL);
	assert_int_equal(number_at(a.json, "version"), 2);
	assert_string_equal(text_at(a.json, "text"), DOC(MARY_MAKES)); /* byte for byte */
	answer_free(&a);
	a = get(f, "//own", "version=1");
	assert_string_equal(text_at(a.json, "text"), DOC(NO_CUSTOMERS));
	answer_free(&a);
	del(f, "own");
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_POLICY_GET, .path = "//own"});
	a = get(f, "//own", "version=2"); /* what held once can still be read */
	answer_free(&a);
	put(f, "own", DOC(NIGHT_MAKES));
	a = get(f, "//own", NULL);
	assert_int_equal(number_at(a.json, "version"), 3);
	answer_free(&a);
	put(f, "own-2", DOC(MARY_MAKES)); /* a name that begins alike */
	a = get(f, "//own-2", NULL);
	assert_int_equal(number_at(a.json, "version"), 1);
	answer_free(&a);
	a = get(f, "//operators", "version=0");
	assert_non_null(strstr(text_at(a.json, "text"), "keys-need-a-second-person"));
	answer_free(&a);
	static const char *const none[] = {"version=4", "version=0", "version=4294967295"};
	for (size_t i = 0; i < COUNT(none); i++)
		fixture_refused(f, 404, "not-found",
				&(ask_t){.op = OP_POLICY_GET, .path = "//own", .query = none[i]});
	static const char *const bad[] = {"version=-1", "version=x", "version=4294967296", "v=1"};
	for (size_t i = 0; i < COUNT(bad); i++)
		fixture_refused(f, 400, "bad-request",
				&(ask_t){.op = OP_POLICY_GET, .path = "//own", .query = bad[i]});
}

/* --- what holds --- */

static void test_a_change_holds_for_the_next_request(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator");
	assert_false(may_make(f, &mary));
	put(f, "own", DOC(MARY_MAKES));
	assert_true(may_make(f, &mary));
	put(f, "no", DOC(NO_CUSTOMERS)); /* a deny wins, also over the admin */
	assert_false(may_make(f, &mary));
	assert_false(may_make(f, &f->admin));
	SCOPED(json_freep) json_t *e = last_event(f);
	assert_string_equal(text_at(e, "actor.authorizations.0.policy"), "no-customers");
	del(f, "no");
	assert_true(may_make(f, &mary));
	put(f, "own", DOC(NIGHT_MAKES));
	assert_false(may_make(f, &mary));
	fixture_must(
		f, 200,
		&(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = "{\"groups\":[\"night\"]}"});
	assert_true(may_make(f, &mary));
	diag_t why = {""};
	fixture_stop(f);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	assert_true(may_make(f, &mary));
	assert_int_equal(events_with(f, 0, "policy.put", "done"), 3);
	assert_int_equal(events_with(f, 0, "policy.delete", "done"), 1);
}

/* Submitted together they are one batch: the second one already meets the change. */
static void test_within_one_batch(void **state)
{
	fixture_t *f = *state;
	pending_t *p[40];
	kms_err_t e = KMS_OK;
	watch_hold(f->store);
	pending_t *first = fixture_submit(f, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "first"}, &e);
	watch_held(f->store);
	unsigned before = watch_commits(f->store);
	for (size_t i = 0; i < COUNT(p); i += 2) {
		p[i] = fixture_submit(f,
				      &(ask_t){.op = i % 4 == 0 ? OP_POLICY_PUT : OP_POLICY_DELETE,
					       .path = "//no",
					       .body = i % 4 == 0 ? DOC(NO_CUSTOMERS) : "{}"},
				      &e);
		p[i + 1] = fixture_submit(f, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "new"}, &e);
	}
	watch_release(f->store);
	assert_true(fixture_done(first, 10000));
	answer_t done = fixture_wait(f, first);
	answer_free(&done);
	for (size_t i = 0; i < COUNT(p); i++) {
		assert_true(fixture_done(p[i], 10000));
		answer_t a = fixture_wait(f, p[i]);
		bool denied = i % 4 == 1;
		assert_int_equal(a.status == 403, denied);
		answer_free(&a);
	}
	assert_true(watch_commits(f->store) - before < 10);
}

/* A change that was not committed never was in force. */
static void test_a_commit_that_fails(void **state)
{
	fixture_t *f = *state;
	watch_fail_commits(f->store, KMS_E_FULL, 1);
	fixture_must(f, 503, &(ask_t){.op = OP_POLICY_PUT, .path = "//no", .body = DOC(NO_CUSTOMERS)});
	assert_true(may_make(f, &f->admin));
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_POLICY_GET, .path = "//no"});
}

/* A document that was changed in the file is no policy: neither does the server start with it, nor go on. */
static void test_a_damaged_document(void **state)
{
	fixture_t *f = *state;
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	diag_t why = {""};
	put(f, "own", DOC(MARY_MAKES));
	put(f, "other", DOC(NIGHT_MAKES));
	raw_get(f, STORE_POLICIES, "own", &raw);
	raw.p[raw.n / 2] ^= 1;
	fixture_stop(f);
	raw_put(f, STORE_POLICIES, "own", buf_span(&raw));
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "the policy cannot be read"));
	raw.p[raw.n / 2] ^= 1;
	raw_put(f, STORE_POLICIES, "own", buf_span(&raw));
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	raw.p[raw.n / 2] ^= 1;
	raw_put(f, STORE_POLICIES, "own", buf_span(&raw));
	fixture_refused(f, 500, "integrity",
			&(ask_t){.op = OP_POLICY_PUT, .path = "//other", .body = DOC(NIGHT_MAKES)});
	raw.p[raw.n / 2] ^= 1;
	raw_put(f, STORE_POLICIES, "own", buf_span(&raw));
	put(f, "other", DOC(NIGHT_MAKES));
}

static void refuses_to_start(fixture_t *f, const char *says)
{
	diag_t why = {""};
	assert_int_equal(fixture_start(f, &why), KMS_E_INTEGRITY);
	if (strstr(why.text, says) == NULL)
		fail_msg("%s", why.text);
}

/* Each row has its MAC; that a row is gone, or is an older one, shows in the tag's. */
static void test_a_document_that_is_taken_away(void **state)
{
	fixture_t *f = *state;
	SCOPED(buf_free) buf_t older = BUF_INIT;
	SCOPED(buf_free) buf_t newer = BUF_INIT;
	SCOPED(buf_free) buf_t tag = BUF_INIT;
	diag_t why = {""};
	put(f, "own", DOC(MARY_MAKES));
	raw_get(f, STORE_POLICIES, "own", &older);
	put(f, "own", DOC(NIGHT_MAKES));
	raw_get(f, STORE_POLICIES, "own", &newer);
	raw_get(f, STORE_META, "policy.tag", &tag);
	fixture_stop(f);
	raw_del(f, STORE_POLICIES, "own");
	refuses_to_start(f, "one is missing");
	raw_put(f, STORE_POLICIES, "own", buf_span(&older));
	refuses_to_start(f, "an older one is back");
	raw_put(f, STORE_POLICIES, "own", buf_span(&newer));
	raw_del(f, STORE_META, "policy.tag");
	refuses_to_start(f, "");
	tag.p[0] ^= 1;
	raw_put(f, STORE_META, "policy.tag", buf_span(&tag));
	refuses_to_start(f, "one is missing");
	tag.p[0] ^= 1;
	raw_put(f, STORE_META, "policy.tag", buf_span(&tag));
	assert_int_equal(fixture_start(f, &why), KMS_OK);
}

/* --- what is refused --- */

static void test_refusals(void **state)
{
	fixture_t *f = *state;
	caller_t mary = make_operator(f, "mary", "operator"), rita = make_operator(f, "rita", "reviewer");
	caller_t n1 = make_node(f, "acme/db/n1");
	put(f, "own", DOC(MARY_MAKES));
	const struct {
		int status;
		const char *slug, *says;
		ask_t ask;
	} rows[] = {
		{400, "bad-request", "empty", {.op = OP_POLICY_PUT, .path = "//x", .body = NULL}},
		{400, "bad-request", "line 1", {.op = OP_POLICY_PUT, .path = "//x", .body = "{"}},
		{400, "bad-request", "", {.op = OP_POLICY_PUT, .path = "//x", .body = "[]"}},
		{400,
		 "bad-request",
		 "version",
		 {.op = OP_POLICY_PUT, .path = "//x", .body = "{\"statements\":[]}"}},
		{400,
		 "bad-request",
		 "Line 2, column",
		 {.op = OP_POLICY_PUT, .path = "//x", .body = "{\"version\":1,\n\"statments\":[]}"}},
		{400,
		 "bad-request",
		 "customer.burn",
		 {.op = OP_POLICY_PUT,
		  .path = "//x",
		  .body = DOC("{\"name\":\"a\",\"effect\":\"allow\",\"principals\":[\"role:admin\"],"
			      "\"actions\":[\"customer.burn\"],\"resources\":[\"*\"]}")}},
		{409,
		 "conflict",
		 "mary-makes",
		 {.op = OP_POLICY_PUT, .path = "//x", .body = DOC(MARY_MAKES)}},
		{409,
		 "conflict",
		 "admin-all",
		 {.op = OP_POLICY_PUT,
		  .path = "//x",
		  .body = DOC("{\"name\":\"admin-all\",\"effect\":\"allow\",\"principals\":[\"role:admin\"],"
			      "\"actions\":[\"*.*\"],\"resources\":[\"*\"]}")}},
		{409,
		 "conflict",
		 "always holds",
		 {.op = OP_POLICY_PUT, .path = "//base", .body = DOC(NO_CUSTOMERS)}},
		{409, "conflict", "always holds", {.op = OP_POLICY_DELETE, .path = "//base"}},
		{409, "conflict", "as it was shipped", {.op = OP_POLICY_DELETE, .path = "//operators"}},
		{404, "not-found", "", {.op = OP_POLICY_DELETE, .path = "//x"}},
		{404, "not-found", "", {.op = OP_POLICY_GET, .path = "//x"}},
		{400, "bad-request", "", {.op = OP_POLICY_DELETE, .path = "//own", .body = "{\"x\":1}"}},
		{403,
		 "denied",
		 "",
		 {.op = OP_POLICY_PUT, .who = &mary, .path = "//x", .body = DOC(NO_CUSTOMERS)}},
		{403, "denied", "", {.op = OP_POLICY_DELETE, .who = &rita, .path = "//own"}},
		{403, "denied", "", {.op = OP_POLICY_GET, .who = &mary, .path = "//own"}},
		{404, "not-found", "", {.op = OP_POLICY_GET, .who = &n1, .path = "//own"}},
		{401, "no-certificate", "", {.op = OP_POLICY_LIST, .who = &nobody}},
	};
	for (size_t k = 0; k < COUNT(rows); k++) {
		answer_t a = fixture_expect(f, rows[k].status, &rows[k].ask);
		if (strstr(text_at(a.json, "detail"), rows[k].says) == NULL ||
		    strcmp(text_at(a.json, "title"), rows[k].slug) != 0)
			fail_msg("row %zu: %s: %s", k, text_at(a.json, "title"), text_at(a.json, "detail"));
		answer_free(&a);
	}
	assert_true(may_make(f, &f->admin)); /* none of it held */
	fixture_must(f, 200, &(ask_t){.op = OP_POLICY_GET, .who = &rita, .path = "//own"});
}

static void test_too_many(void **state)
{
	fixture_t *f = *state;
	unsigned fit = 0;
	int status = 200;
	for (unsigned i = 0; status == 200; i++) {
		char path[32], body[300];
		(void)snprintf(path, sizeof path, "//many-%u", i);
		(void)snprintf(
			body, sizeof body,
			DOC("{\"name\":\"many-%u\",\"effect\":\"allow\",\"principals\":[\"role:admin\"],"
			    "\"actions\":[\"customer.read\"],\"resources\":[\"*\"]}"),
			i);
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_POLICY_PUT, .path = path, .body = body});
		status = a.status;
		fit += status == 200 ? 1 : 0;
		answer_free(&a);
	}
	assert_int_equal(status, 409);
	assert_int_equal(fit, 64 - 6);
}

static void statements(buf_t *out, unsigned from, unsigned n)
{
	const char *s = NULL;
	buf_str(out, "{\"version\":1,\"statements\":[");
	for (unsigned i = 0; i < n; i++) {
		char one[160];
		(void)snprintf(one, sizeof one,
			       "%s{\"name\":\"s%u\",\"effect\":\"allow\",\"principals\":[\"role:admin\"],"
			       "\"actions\":[\"*.*\"],\"resources\":[\"*\"]}",
			       i > 0 ? "," : "", from + i);
		buf_str(out, one);
	}
	buf_str(out, "]}");
	assert_int_equal(buf_cstr(out, &s), KMS_OK);
}

static void test_too_many_statements(void **state)
{
	fixture_t *f = *state;
	int status = 200;
	unsigned n = 0;
	for (; status == 200 && n < 10; n++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		char path[32];
		(void)snprintf(path, sizeof path, "//many-%u", n);
		statements(&text, n * 500, 500);
		answer_t a = fixture_ask(
			f, &(ask_t){.op = OP_POLICY_PUT, .path = path, .body = (const char *)text.p});
		status = a.status;
		answer_free(&a);
	}
	assert_int_equal(status, 409);
	assert_int_equal(n, 4); /* with the shipped ones, the fourth 500 are too many */
}

/* --- lock-out --- */

static void locked(fixture_t *f, const ask_t *a)
{
	answer_t got = fixture_expect(f, 409, a);
	assert_non_null(strstr(text_at(got.json, "detail"), "nobody could change policies"));
	answer_free(&got);
}

#define NO_PUT(condition)                                                                                    \
	DOC("{\"name\":\"no-put\",\"effect\":\"deny\",\"principals\":[\"operator:*\"],"                      \
	    "\"actions\":[\"policy.put\"],\"resources\":[\"*\"]" condition "}")

static void test_policies_that_lock_out(void **state)
{
	fixture_t *f = *state;
	static const struct {
		const char *name, *text, *reason;
	} rows[] = {
		{"own", NO_PUT(""), "a plain deny"},
		{"own",
		 NO_PUT(",\"unless\":{\"ticket\":\"X-*\",\"approvals\":{\"count\":1,\"from\":[\"role:"
			"admin\"]}}"),
		 "a second person who is not there"},
		{"own", NO_PUT(",\"unless\":{\"networks\":[\"203.0.113.7/32\"]}"), "another network"},
		{"operators", DOC(MARY_MAKES), "nobody is allowed to"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "//%s", rows[i].name);
		locked(f, &(ask_t){.op = OP_POLICY_PUT, .path = path, .body = rows[i].text});
	}
	static const char mary[] =
		NO_PUT(",\"unless\":{\"approvals\":{\"count\":1,\"from\":[\"operator:mary\"]}}");
	allow_alone(f);
	(void)make_operator(f, "mary", "operator"); /* she counts, and may approve nothing */
	locked(f, &(ask_t){.op = OP_POLICY_PUT, .path = "//own", .body = mary});
	fixture_must(f, 200,
		     &(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//mary", .body = "{\"role\":\"approver\"}"});
	put(f, "own", mary);
	locked(f, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
}

static void test_people_who_are_the_last(void **state)
{
	fixture_t *f = *state;
	locked(f, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//root"});
	locked(f, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//root"});
	locked(f, &(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//root", .body = "{\"role\":\"approver\"}"});
	caller_t mary = make_operator(f, "mary", "approver");
	(void)mary;
	/* from here on root needs mary */
	locked(f, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
	fixture_refused(f, 403, "approval-needed", &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//mary"});
}

static void test_a_third_person_is_enough(void **state)
{
	fixture_t *f = *state;
	allow_alone(f);
	(void)make_operator(f, "mary", "approver");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"}); /* nobody needs her */
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_RESUME, .path = "//mary"});
	(void)make_operator(f, "nina", "operator");
	fixture_must(
		f, 200,
		&(ask_t){.op = OP_OPERATOR_UPDATE, .path = "//nina", .body = "{\"groups\":[\"approvers\"]}"});
	del(f, "operators"); /* now everybody needs a second one */
	fixture_refused(f, 403, "approval-needed",
			&(ask_t){.op = OP_POLICY_PUT, .path = "//x", .body = DOC(NO_CUSTOMERS)});
	/* nina counts, but may not approve: role operator asks, group approvers approves */
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//mary"});
	locked(f, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//nina"});
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_list),
		T(test_versions),
		T(test_a_change_holds_for_the_next_request),
		T(test_within_one_batch),
		T(test_a_commit_that_fails),
		T(test_a_damaged_document),
		T(test_a_document_that_is_taken_away),
		T(test_refusals),
		T(test_too_many),
		T(test_too_many_statements),
		T(test_policies_that_lock_out),
		T(test_people_who_are_the_last),
		T(test_a_third_person_is_enough),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
