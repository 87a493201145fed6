#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#define CREATE "{\"customer\":\"acme\",\"ticket\":\"T-1\"}"

static answer_t create(fixture_t *f, int status, const caller_t *who, const char *body, const char *key)
{
	return fixture_expect(f, status,
			      &(ask_t){.op = OP_MAINT_CREATE, .who = who, .body = body, .idem = key});
}

static int64_t events_total(fixture_t *f)
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_MAINT_LIST});
	int64_t n = (int64_t)json_array_size(json_at(a.json, "items"));
	answer_free(&a);
	return n;
}

/* The same answer, nothing done twice, and the replay is in the log. */
static void test_replay(void **state)
{
	fixture_t *f = *state;
	answer_t a = create(f, 201, NULL, CREATE, "key-1");
	uint64_t before = log_size(f);
	answer_t b = create(f, 201, NULL, CREATE, "key-1");
	assert_true(span_eq(buf_span(&a.text), buf_span(&b.text)));
	assert_int_equal(events_with(f, before, "maintenance.create", "replayed"), 1);
	assert_int_equal(events_total(f), 1);
	answer_free(&a);
	answer_free(&b);
}

static void test_mismatch(void **state)
{
	fixture_t *f = *state;
	answer_t a = create(f, 201, NULL, CREATE, "key-1");
	answer_free(&a);
	static const char *const others[] = {"{\"customer\":\"acme\",\"ticket\":\"T-2\"}",
					     "{\"customer\":\"acme\",\"ticket\":\"T-1\"} ",
					     "{\"customer\":\"acme\"}"};
	for (size_t i = 0; i < COUNT(others); i++)
		fixture_refused(f, 422, "idempotency-mismatch",
				&(ask_t){.op = OP_MAINT_CREATE, .body = others[i], .idem = "key-1"});
	assert_int_equal(events_total(f), 1);
}

/* A key is its identity's and its route's: nobody reads another's answer with it. */
static void test_scope(void **state)
{
	fixture_t *f = *state;
	caller_t other = make_operator(f, "second", "operator");
	caller_t admin2 = make_operator(f, "third", "admin");
	answer_t a = create(f, 201, NULL, CREATE, "key-1");
	answer_t b = create(f, 201, &other, CREATE, "key-1");
	answer_t c = create(f, 201, &admin2, CREATE, "key-1");
	answer_t d = create(f, 201, NULL, CREATE, "key-2");
	assert_int_equal(events_total(f), 4);
	assert_string_not_equal(text_at(a.json, "id"), text_at(b.json, "id"));
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "beta", .idem = "key-1"});
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "gamma", .idem = "key-1"});
	answer_free(&a);
	answer_free(&b);
	answer_free(&c);
	answer_free(&d);
}

static void test_expiry(void **state)
{
	fixture_t *f = *state;
	answer_t a = create(f, 201, NULL, CREATE, "key-1");
	fixture_pass(f, DAY_MS - 1);
	answer_t b = create(f, 201, NULL, CREATE, "key-1");
	assert_string_equal(text_at(a.json, "id"), text_at(b.json, "id"));
	fixture_pass(f, 1);
	answer_t c = create(f, 201, NULL, CREATE, "key-1");
	assert_string_not_equal(text_at(a.json, "id"), text_at(c.json, "id"));
	fixture_pass(f, DAY_MS);
	answer_t d = create(f, 201, NULL, "{\"customer\":\"acme\"}", "key-1"); /* and with another body */
	answer_free(&a);
	answer_free(&b);
	answer_free(&c);
	answer_free(&d);
}

/* Decided anew: who may not any more does not get the old answer. */
static void test_replay_is_decided_again(void **state)
{
	fixture_t *f = *state;
	caller_t other = make_operator(f, "second", "operator");
	answer_t a = create(f, 201, &other, CREATE, "key-1");
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_SUSPEND, .path = "//second"});
	fixture_refused(f, 403, "identity-suspended",
			&(ask_t){.op = OP_MAINT_CREATE, .who = &other, .body = CREATE, .idem = "key-1"});
}

/* A refusal is not kept: what was wrong may be put right under the same key. */
static void test_refusals_are_not_kept(void **state)
{
	fixture_t *f = *state;
	static const char body[] = "{\"customer\":\"later\"}";
	fixture_must(f, 404, &(ask_t){.op = OP_MAINT_CREATE, .body = body, .idem = "key-1"});
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "later"});
	fixture_must(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = body, .idem = "key-1"});
}

/* Tokens and secrets are never stored: the act is done again. */
static void test_tokens_and_secrets_are_not_kept(void **state)
{
	fixture_t *f = *state;
	caller_t n1 = make_main(f);
	uint64_t n = 0;
	const ask_t invite = {.op = OP_NODE_INVITE, .path = "acme/db/n2", .idem = "key-1"};
	answer_t a = fixture_expect(f, 201, &invite);
	answer_t b = fixture_expect(f, 201, &invite);
	assert_string_not_equal(text_at(a.json, "token"), text_at(b.json, "token"));
	const ask_t asks[] = {
		{.op = OP_NODE_RELEASE, .who = &n1, .idem = "key-1"},
		{.op = OP_VOLUME_RELEASE, .who = &n1, .path = "acme/db/v1", .idem = "key-1"},
		{.op = OP_ROTATION_STAGE, .who = &n1, .path = "acme/db/v1", .idem = "key-1"},
	};
	for (size_t i = 0; i < COUNT(asks); i++)
		fixture_must(f, 200, &asks[i]);
	SCOPED(store_abortp) store_txn_t *t = NULL;
	assert_int_equal(store_begin_read(f->store, &t), KMS_OK);
	assert_int_equal(store_count(t, STORE_IDEMPOTENCY, &n), KMS_OK);
	assert_int_equal(n, 0);
	answer_free(&a);
	answer_free(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_replay),
		T(test_mismatch),
		T(test_scope),
		T(test_expiry),
		T(test_replay_is_decided_again),
		T(test_refusals_are_not_kept),
		T(test_tokens_and_secrets_are_not_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
