#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static fixture_t *setup_shamir(void)
{
	return fixture_new(FIXTURE_SHAMIR);
}

static answer_t offer(fixture_t *f, int status, span_t share)
{
	char body[300];
	(void)snprintf(body, sizeof body, "{\"share\":\"%.*s\"}", (int)share.n, (const char *)share.p);
	return fixture_expect(f, status, &(ask_t){.op = OP_UNSEAL, .body = body});
}

static void assert_health(fixture_t *f, int status, const char *text, bool sealed)
{
	core_reply_t r;
	SCOPED(json_freep) json_t *j = NULL;
	core_health(f->core, &r);
	assert_int_equal(r.status, status);
	assert_int_equal(json_parse(buf_span(&r.body), 4096, &j, NULL), KMS_OK);
	assert_string_equal(text_at(j, "status"), text);
	assert_int_equal(json_is_true(json_at(j, "sealed")), sealed);
	assert_int_equal(number_at(j, "log_size"), log_size(f));
	core_reply_free(&r);
}

static void unseal(fixture_t *f)
{
	for (unsigned i = 0; i < THRESHOLD; i++) {
		answer_t a = offer(f, 200, secret_span(f->share[i]));
		assert_int_equal(json_is_true(json_at(a.json, "sealed")), i + 1 < THRESHOLD);
		assert_int_equal(number_at(a.json, "progress"), i + 1 < THRESHOLD ? i + 1 : 0);
		answer_free(&a);
	}
}

static void test_shares_open_it(void **state)
{
	(void)state;
	fixture_t *f = setup_shamir();
	assert_health(f, 503, "sealed", true);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_SEAL_STATUS});
	assert_true(json_is_true(json_at(a.json, "sealed")));
	assert_string_equal(text_at(a.json, "type"), "shamir");
	assert_int_equal(number_at(a.json, "threshold"), THRESHOLD);
	assert_int_equal(number_at(a.json, "shares"), SHARES);
	assert_int_equal(number_at(a.json, "progress"), 0);
	answer_free(&a);
	unseal(f);
	assert_health(f, 200, "ok", false);
	assert_int_equal(events_with(f, 0, "sys.unseal", "share-accepted"), 1);
	assert_int_equal(events_with(f, 0, "sys.unseal", "done"), 1);
	fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme"});
	fixture_free(f);
}

static void test_wrong_shares(void **state)
{
	(void)state;
	fixture_t *f = setup_shamir();
	char text[300];
	span_t good = secret_span(f->share[0]);
	static const char *const wrong[] = {"", "x", "clvs1-2-1-00-00", "clvs1-2-1", "share"};
	for (size_t i = 0; i < COUNT(wrong); i++) {
		answer_t a = offer(f, 400, span_str(wrong[i]));
		answer_free(&a);
	}
	(void)snprintf(text, sizeof text, "%.*s", (int)good.n, (const char *)good.p);
	for (size_t at = 8; at < good.n; at += 5) { /* mistyped anywhere */
		char was = text[at];
		text[at] = was == '0' ? '1' : '0';
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_SEAL_STATUS});
		answer_free(&a);
		a = offer(f, 400, span_str(text));
		assert_null(memmem(a.text.p, a.text.n, text + 12, 20));
		answer_free(&a);
		text[at] = was;
	}
	answer_t a = offer(f, 200, good);
	answer_free(&a);
	a = offer(f, 200, good); /* the same again counts once */
	assert_int_equal(number_at(a.json, "progress"), 1);
	answer_free(&a);
	fixture_refused(f, 400, "bad-request", &(ask_t){.op = OP_UNSEAL, .body = "{\"shares\":[]}"});
	a = fixture_expect(f, 200, &(ask_t){.op = OP_UNSEAL, .body = "{}"});
	assert_true(json_is_true(json_at(a.json, "sealed")));
	answer_free(&a);
	fixture_free(f);
}

/* A sealed server does nothing but say so and take shares, and records who asked. */
static void test_sealed_refuses_everything_else(void **state)
{
	(void)state;
	fixture_t *f = setup_shamir();
	caller_t node = caller_of_node("acme/db/n1");
	for (core_op_t op = 0; op < OP_COUNT; op++) {
		if (op == OP_SEAL_STATUS || op == OP_UNSEAL || op == OP_SEAL || op == OP_UNKNOWN)
			continue;
		/* of nobody in particular: log_read_test.c */
		if (op == OP_LOG_CHECKPOINT || op == OP_LOG_VKEY || op == OP_LOG_TILE)
			continue;
		uint64_t before = log_size(f);
		fixture_refused(f, 503, "sealed", &(ask_t){.op = op, .path = "acme/db/v1"});
		assert_int_equal(events_with(f, before, core_op_info(op)->action, "sealed"), 1);
	}
	fixture_refused(f, 503, "sealed", &(ask_t){.op = OP_NODE_RELEASE, .who = &node});
	fixture_refused(f, 401, "no-certificate", &(ask_t){.op = OP_NODE_RELEASE, .who = &nobody});
	fixture_free(f);
}

static void test_who_may_unseal(void **state)
{
	(void)state;
	fixture_t *f = setup_shamir();
	unseal(f);
	make_service(f, "acme", "db");
	caller_t node = make_node(f, "acme/db/n1");
	caller_t mary = make_operator(f, "mary", "operator");
	caller_t adam = make_operator(f, "adam", "auditor");
	caller_t gone = make_operator(f, "gone", "operator");
	fixture_must(f, 200, &(ask_t){.op = OP_OPERATOR_REVOKE, .path = "//gone"});
	fixture_refused(f, 403, "denied", &(ask_t){.op = OP_SEAL, .who = &mary});
	fixture_refused(f, 403, "denied", &(ask_t){.op = OP_SEAL, .who = &adam});
	fixture_must(f, 200, &(ask_t){.op = OP_SEAL});
	assert_health(f, 503, "sealed", true);
	caller_t forged = caller_of_operator("root");
	caller_t ghost = caller_of_operator("ghost");
	const caller_t *const not [] = {&node, &gone, &forged, &ghost, &nobody};
	for (size_t i = 0; i < COUNT(not ); i++) {
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_UNSEAL, .who = not [i], .body = "{}"});
		assert_true(a.status == 401 || a.status == 403 || a.status == 404);
		answer_free(&a);
	}
	fixture_must(f, 200, &(ask_t){.op = OP_UNSEAL, .who = &mary, .body = "{}"});
	unseal(f);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &node});
	fixture_free(f);
}

/* Sealing forgets: the shares that were offered and every key. */
static void test_seal_forgets(void **state)
{
	(void)state;
	fixture_t *f = setup_shamir();
	unseal(f);
	caller_t n1 = make_main(f);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
	fixture_must(f, 200, &(ask_t){.op = OP_SEAL, .body = "{}"});
	fixture_refused(f, 503, "sealed", &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
	answer_t a = offer(f, 200, secret_span(f->share[2]));
	assert_int_equal(number_at(a.json, "progress"), 1);
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_SEAL}); /* also what was offered since */
	a = fixture_expect(f, 200, &(ask_t){.op = OP_SEAL_STATUS});
	assert_int_equal(number_at(a.json, "progress"), 0);
	answer_free(&a);
	unseal(f);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
	fixture_free(f);
}

static void test_key_file(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	diag_t why;
	assert_health(f, 200, "ok", false);
	fixture_must(f, 200, &(ask_t){.op = OP_SEAL});
	assert_health(f, 503, "sealed", true);
	fixture_must(f, 200, &(ask_t){.op = OP_UNSEAL, .body = "{}"});
	assert_health(f, 200, "ok", false);
	fixture_stop(f);
	char path[TMPDIR_CAP];
	tmpdir_path(f->dir, "seal.key", path);
	assert_int_equal(remove(path), 0); /* absent: it starts, sealed */
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	assert_health(f, 503, "sealed", true);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_UNSEAL});
	assert_true(json_is_true(json_at(a.json, "sealed")));
	answer_free(&a);
	fixture_free(f);
}

/* Health is for everybody: how witnesses and sinks are, not who they are or what they said. */
static void test_health_of_parties(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	core_reply_t r;
	SCOPED(json_freep) json_t *j = NULL;
	const char *text = NULL;
	unsigned good, bad, sink;
	assert_int_equal(audit_party_add(f->audit, AUDIT_WITNESS, "near.example", &good), KMS_OK);
	assert_int_equal(audit_party_add(f->audit, AUDIT_WITNESS, "far.example", &bad), KMS_OK);
	assert_int_equal(audit_party_add(f->audit, AUDIT_SINK, "hook.example", &sink), KMS_OK);
	audit_party_report(f->audit, good, log_size(f), false, NULL, 1);
	audit_party_report(f->audit, bad, log_size(f) - 1, true, "192.0.2.7 refused", 1);
	audit_party_report(f->audit, sink, 0, false, "token secret.example", 1);
	core_health(f->core, &r);
	assert_int_equal(buf_cstr(&r.body, &text), KMS_OK);
	assert_null(strstr(text, "example"));
	assert_null(strstr(text, "192.0.2"));
	assert_int_equal(json_parse(buf_span(&r.body), 4096, &j, NULL), KMS_OK);
	assert_true(json_is_true(json_at(j, "degraded")));
	assert_string_equal(text_at(j, "log_space"), "ok");
	assert_int_equal(number_at(j, "checkpoint_size"), log_size(f));
	const json_t *w = json_at(j, "witnesses"), *s = json_at(j, "sinks");
	assert_int_equal(json_array_size(w), 2);
	assert_int_equal(json_array_size(s), 1);
	assert_true(json_is_true(json_at(json_array_get(w, 0), "ok")));
	assert_int_equal(number_at(json_array_get(w, 0), "lag"), 0);
	assert_false(json_is_true(json_at(json_array_get(w, 1), "ok")));
	assert_true(json_is_true(json_at(json_array_get(w, 1), "conflict")));
	assert_int_equal(number_at(json_array_get(w, 1), "lag"), 1);
	assert_int_equal(number_at(json_array_get(s, 0), "lag"), log_size(f));
	assert_string_equal(json_string_value(json_array_get(json_at(j, "features"), 1)), "audit-log");
	core_reply_free(&r);
	audit_party_report(f->audit, bad, log_size(f), false, NULL, 2);
	audit_party_report(f->audit, sink, log_size(f), false, NULL, 2);
	core_health(f->core, &r);
	SCOPED(json_freep) json_t *again = NULL;
	assert_int_equal(json_parse(buf_span(&r.body), 4096, &again, NULL), KMS_OK);
	assert_false(json_is_true(json_at(again, "degraded")));
	core_reply_free(&r);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares_open_it),
		cmocka_unit_test(test_wrong_shares),
		cmocka_unit_test(test_sealed_refuses_everything_else),
		cmocka_unit_test(test_who_may_unseal),
		cmocka_unit_test(test_seal_forgets),
		cmocka_unit_test(test_key_file),
		cmocka_unit_test(test_health_of_parties),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
