/* Where operators may come from. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static void start_with(fixture_t *f, const char *networks)
{
	diag_t why = {""};
	fixture_stop(f);
	assert_int_equal(networks_parse("operator-networks", networks, &f->operator_networks, &why), KMS_OK);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
}

static caller_t from(caller_t who, const char *ip, const char *via)
{
	(void)snprintf(who.ip, sizeof who.ip, "%s", ip);
	(void)snprintf(who.via, sizeof who.via, "%s", via);
	return who;
}

typedef struct row {
	const char *networks, *ip, *via;
	bool may;
	const char *reason;
} row_t;

static const row_t rows[] = {
	{"", "203.0.113.9", "", true, "no networks: from anywhere"},
	{"10.0.0.0/8", "10.1.2.3", "", true, "in the network"},
	{"10.0.0.0/8", "11.1.2.3", "", false, "outside"},
	{"10.0.0.0/8,2001:db8::/32", "2001:db8::5", "", true, "in the second network"},
	{"10.0.0.0/8,2001:db8::/32", "2001:db9::5", "", false, "in neither"},
	{"10.0.0.0/8", "::ffff:10.1.2.3", "", true, "IPv4 in its mapped form"},
	{"::/0", "203.0.113.9", "", false, "IPv4 is not IPv6"},
	{"127.0.0.0/8", "::1", "", false, "loopback is an address like others"},
	{"10.0.0.0/8", "203.0.113.9", "10.0.0.1", false, "the bastion is inside, the caller is not"},
	{"203.0.113.0/24", "203.0.113.9", "10.0.0.1", true, "the caller is inside, the bastion is not"},
	{"0.0.0.0/0,::/0", "", "", false, "no address known"},
	{"0.0.0.0/0,::/0", "elsewhere", "", false, "no address"},
};

static void check_refusal(fixture_t *f, const row_t *r, uint64_t before)
{
	/* a review of it may stand behind it */
	SCOPED(json_freep) json_t *e = event_at(f, before);
	assert_int_equal(events_with(f, before, "customer.list", NULL), 1);
	assert_string_equal(text_at(e, "status_code"), "network");
	assert_string_equal(text_at(e, "actor.user.name"), "root");
	assert_string_equal(text_at(e, "actor.authorizations.0.decision"), "deny");
	assert_string_equal(text_at(e, "actor.authorizations.0.policy"), "operator-networks");
	assert_string_equal(text_at(e, "src_endpoint.ip"), r->ip);
	assert_string_equal(text_at(e, "src_endpoint.intermediate_ips.0"), r->via);
	assert_null(json_at(e, "unmapped.claviger.count"));
}

static void test_networks(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		start_with(f, r->networks);
		uint64_t before = log_size(f);
		caller_t who = from(f->admin, r->ip, r->via);
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_CUSTOMER_LIST, .who = &who});
		if (a.status != (r->may ? 200 : 403))
			fail_msg("%s: %d", r->reason, a.status);
		if (!r->may) {
			assert_string_equal(text_at(a.json, "type"), "urn:claviger:problem:network");
			assert_non_null(strstr(text_at(a.json, "detail"), "come through a gateway"));
			check_refusal(f, r, before);
		}
		answer_free(&a);
	}
	fixture_free(f);
}

/* Nothing is decided, done or told: not even that the certificate would be of no use inside. */
static void test_before_anything_else(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	caller_t gone = make_operator(f, "gone", "operator"), unknown = caller_of_operator("eve");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//gone", .body = "{}"});
	start_with(f, "10.0.0.0/8");
	const caller_t *const who[] = {&f->admin, &gone, &unknown};
	for (size_t i = 0; i < COUNT(who); i++) {
		fixture_refused(f, 403, "network",
				&(ask_t){.op = OP_CUSTOMER_PUT, .who = who[i], .path = "acme", .body = "{}"});
		fixture_refused(f, 403, "network", &(ask_t){.op = OP_SEAL, .who = who[i], .body = "{}"});
		fixture_refused(f, 403, "network",
				&(ask_t){.op = OP_CUSTOMER_PUT, .who = who[i], .refused_status = 413});
	}
	start_with(f, "");
	fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_CUSTOMER_GET, .who = &gone});
	fixture_free(f);
}

static void test_others_are_not_asked(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	caller_t n1 = make_main(f);
	start_with(f, "10.0.0.0/8");
	caller_t far = from(n1, "203.0.113.9", "");
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &far, .body = "{}"});
	fixture_refused(f, 401, "no-certificate", &(ask_t){.op = OP_CUSTOMER_LIST, .who = &nobody});
	/* whoever enrols has only a token: it is not for an address to say who that is */
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_ENROLL, .who = &nobody, .body = "{"});
	fixture_free(f);
}

/* How many requests the events from `from` on stand for. */
static int64_t counted(fixture_t *f, uint64_t from)
{
	int64_t n = 0;
	for (uint64_t i = from; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		int64_t many = number_at(e, "unmapped.claviger.count");
		if (strcmp(text_at(e, "api.operation"), "customer.list") == 0)
			n += many > 0 ? many : 1;
	}
	return n;
}

/* A refusal for who one is must not be a way around the budget: it would fill the log. */
static void test_floods_are_gathered(void **state)
{
	(void)state;
	static const char *const slugs[] = {"network", "identity-revoked"};
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	caller_t gone = make_operator(f, "gone", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//gone", .body = "{}"});
	for (size_t k = 0; k < COUNT(slugs); k++) {
		start_with(f, k == 0 ? "10.0.0.0/8" : "");
		fixture_pass(f, 61000);
		uint64_t before = log_size(f);
		for (unsigned i = 0; i < 1200; i++)
			fixture_refused(f, 403, slugs[k], &(ask_t){.op = OP_CUSTOMER_LIST, .who = &gone});
		unsigned n = events_with(f, before, "customer.list", slugs[k]);
		assert_in_range(n, 1000, 1001);
		assert_in_range(log_size(f) - before, n, n + 2);
		fixture_pass(f, 61000);
		assert_true(wait_events_with(f, before, "customer.list", slugs[k], n + 1));
		assert_int_equal(counted(f, before), 1200);
	}
	fixture_free(f);
}

/* Where it says no network, it says so. */
static void test_health_tells(void **state)
{
	(void)state;
	static const char *const networks[] = {"", "10.0.0.0/8"};
	static const char *const want[] = {"anywhere", "listed"};
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	for (size_t i = 0; i < COUNT(want); i++) {
		core_reply_t r;
		SCOPED(json_freep) json_t *j = NULL;
		start_with(f, networks[i]);
		core_health(f->core, &r);
		assert_int_equal(json_parse(buf_span(&r.body), 4096, &j, NULL), KMS_OK);
		assert_string_equal(text_at(j, "operator_networks"), want[i]);
		assert_int_equal(r.status, 200);
		core_reply_free(&r);
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_before_anything_else),
		cmocka_unit_test(test_others_are_not_asked),
		cmocka_unit_test(test_floods_are_gathered),
		cmocka_unit_test(test_health_tells),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
