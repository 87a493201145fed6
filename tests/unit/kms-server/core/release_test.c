#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

static void test_one_volume(void **state)
{
	world_t *w = *state;
	uint64_t before = log_size(w->f);
	answer_t a = fixture_expect(
		w->f, 200,
		&(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1", .body = "{}"});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 1);
	assert_string_equal(text_at(a.json, "volumes.0.volume"), "acme/db/v1");
	assert_string_equal(text_at(a.json, "volumes.0.status"), "released");
	assert_string_equal(text_at(a.json, "volumes.0.luks_uuid"), LUKS_UUID);
	assert_int_equal(number_at(a.json, "volumes.0.lineage"), 1);
	assert_int_equal(number_at(a.json, "volumes.0.event"), before);
	assert_int_equal(number_at(a.json, "volumes.0.secrets.0.version"), 1);
	assert_string_equal(text_at(a.json, "volumes.0.secrets.0.state"), "active");
	assert_int_equal(strlen(text_at(a.json, "volumes.0.secrets.0.secret")), 44);
	answer_free(&a);
	answer_t v = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = "acme/db/v1"});
	assert_int_equal(number_at(v.json, "last_released_ms"), START_MS);
	assert_null(memmem(v.text.p, v.text.n, "\"secret\"", 8));
	answer_free(&v);
}

/* Two events a release: the intent before, the outcome after, tied by the intent's uid. */
static void test_two_events(void **state)
{
	world_t *w = *state;
	uint64_t before = log_size(w->f);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	assert_true(wait_events_with(w->f, before, "key.release", "released", 1));
	SCOPED(json_freep) json_t *intent = event_at(w->f, before);
	SCOPED(json_freep) json_t *outcome = event_at(w->f, before + 1);
	assert_int_equal(log_size(w->f), before + 2);
	assert_string_equal(text_at(intent, "status_code"), "intent");
	assert_string_equal(text_at(outcome, "status_code"), "released");
	assert_string_equal(text_at(outcome, "metadata.correlation_uid"), text_at(intent, "metadata.uid"));
	assert_string_equal(text_at(outcome, "actor.user.name"), "acme/db/n1");
	assert_string_equal(text_at(outcome, "api.request.uid"), text_at(intent, "api.request.uid"));
	assert_string_equal(text_at(outcome, "resources.0.uid"), "acme/db/v1");
	assert_string_equal(text_at(intent, "actor.authorizations.0.policy"), "node-own-volumes");
	assert_int_equal(number_at(outcome, "unmapped.claviger.previous"), before);
}

/* An intent whose outcome was never written is completed at the next start, once. */
static void test_unknown_outcome_at_the_next_start(void **state)
{
	world_t *w = *state;
	kms_err_t e;
	diag_t why;
	uint64_t before = log_size(w->f);
	pending_t *p = fixture_submit(
		w->f, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"}, &e);
	assert_non_null(p);
	assert_true(fixture_done(p, 5000));
	core_stop(w->f->core); /* committed, and the answer not made yet */
	answer_t a = fixture_wait(w->f, p);
	assert_int_equal(a.status, 200);
	answer_free(&a);
	fixture_crash(w->f);
	assert_int_equal(events_with(w->f, before, "key.release", NULL), 1);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	assert_int_equal(events_with(w->f, before, "key.release", "unknown"), 1);
	SCOPED(json_freep) json_t *intent = event_at(w->f, before);
	SCOPED(json_freep) json_t *unknown = event_at(w->f, before + 1);
	assert_string_equal(text_at(unknown, "metadata.correlation_uid"), text_at(intent, "metadata.uid"));
	assert_string_equal(text_at(unknown, "actor.user.name"), "acme/db/n1");
	fixture_stop(w->f);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	assert_int_equal(events_with(w->f, before, "key.release", "unknown"), 1);
}

/* At an orderly end the last outcomes are written with the end itself. */
static void test_outcomes_at_an_orderly_end(void **state)
{
	world_t *w = *state;
	kms_err_t e;
	uint64_t before = log_size(w->f);
	pending_t *p = fixture_submit(w->f, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1}, &e);
	assert_true(fixture_done(p, 5000));
	core_stop(w->f->core);
	answer_t a = fixture_wait(w->f, p);
	answer_free(&a);
	fixture_stop(w->f);
	assert_int_equal(events_with(w->f, before, "key.release", "released"), 1);
	SCOPED(json_freep) json_t *last = last_event(w->f);
	assert_string_equal(text_at(last, "api.operation"), "server.stop");
}

/* One suspended, one unknown, one of another node, one of another generation: the others are released. */
static void test_batch(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	make_volume(f, &w->n1, "acme/db/v2");
	make_volume(f, &w->n1, "acme/db/v3");
	make_volume(f, &n2, "acme/db/other");
	fixture_must(f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v2"});
	uint64_t before = log_size(f);
	answer_t a =
		fixture_expect(f, 200,
			       &(ask_t){.op = OP_NODE_RELEASE,
					.who = &w->n1,
					.body = "{\"volumes\":[\"v1\",\"v2\",\"none\",\"other\",\"v3\"]}"});
	static const char *const want[] = {"released", "suspended", "denied", "denied", "released"};
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), COUNT(want));
	for (size_t i = 0; i < COUNT(want); i++) {
		const json_t *v = json_array_get(json_at(a.json, "volumes"), i);
		bool released = strcmp(want[i], "released") == 0;
		assert_string_equal(text_at(v, "status"), want[i]);
		uint64_t event = (uint64_t)number_at(v, "event");
		assert_true(event >= before + i && event < log_size(f));
		assert_int_equal(json_at(v, "secrets") != NULL, released);
		assert_int_equal(json_at(v, "luks_uuid") != NULL, released);
		SCOPED(json_freep) json_t *e = event_at(f, event);
		assert_string_equal(text_at(e, "resources.0.uid"), text_at(v, "volume"));
		assert_string_equal(text_at(e, "status_code"), released ? "intent" : want[i]);
		assert_string_equal(text_at(e, "metadata.tenant_uid"), "acme");
	}
	/* what is denied tells nothing of whether it exists */
	json_t *unknown = json_at(a.json, "volumes.2"), *other = json_at(a.json, "volumes.3");
	assert_int_equal(json_object_size(unknown), json_object_size(other));
	answer_free(&a);
}

static void test_all_of_a_node(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	make_volume(f, &w->n1, "acme/db/v2");
	make_volume(f, &n2, "acme/db/x1");
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 2);
	assert_string_equal(text_at(a.json, "volumes.1.volume"), "acme/db/v2");
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n2});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 1);
	assert_string_equal(text_at(a.json, "volumes.0.volume"), "acme/db/x1");
	answer_free(&a);
	caller_t n10 = make_node(f, "acme/db/n10"); /* n1 is a prefix of it */
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n10});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 0);
	SCOPED(json_freep) json_t *e = last_event(f);
	assert_string_equal(text_at(e, "actor.user.name"), "acme/db/n10");
	answer_free(&a);
}

static void test_refusals(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const char *v = "acme/db/v1";
	caller_t n2 = make_node(f, "acme/db/n2");
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/n1");
	caller_t forged = caller_of_node("acme/db/n1"); /* right name, another key */
	caller_t ghost = caller_of_node("acme/db/ghost");
	caller_t auditor = make_operator(f, "adam", "auditor");
	caller_t bad = {.kind = CALLER_BAD, .reason = "expired", .ip = "192.0.2.1"};
	SCOPED(buf_free) buf_t many = BUF_INIT;
	const char *too_many = NULL;
	buf_str(&many, "{\"volumes\":[\"v0\"");
	for (int i = 1; i <= 256; i++)
		buf_printf(&many, ",\"v%d\"", i);
	buf_str(&many, "]}");
	assert_int_equal(buf_cstr(&many, &too_many), KMS_OK);
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{404, "not-found", {.op = OP_VOLUME_RELEASE, .who = &n2, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_RELEASE, .who = &m1, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/none"}},
		{404, "not-found", {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "evil/db/v1"}},
		{403, "identity-revoked", {.op = OP_VOLUME_RELEASE, .who = &forged, .path = v}},
		{403, "identity-revoked", {.op = OP_NODE_RELEASE, .who = &forged}},
		{403, "identity-revoked", {.op = OP_NODE_RELEASE, .who = &ghost}},
		{401, "no-certificate", {.op = OP_NODE_RELEASE, .who = &nobody}},
		{401, "bad-certificate", {.op = OP_NODE_RELEASE, .who = &bad}},
		{403, "denied", {.op = OP_VOLUME_RELEASE, .path = v}},
		{403, "denied", {.op = OP_VOLUME_RELEASE, .who = &auditor, .path = v}},
		{403, "denied", {.op = OP_NODE_RELEASE}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = v, .body = "{\"a\":1}"}},
		{400, "bad-request", {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = v, .query = "a=1"}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[]}"}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":\"v1\"}"}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[1]}"}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":null}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[\"v1\",\"../x\"]}"}},
		{400,
		 "bad-request",
		 {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[\"v1\",\"v1\"]}"}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = too_many}},
		{400, "bad-request", {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volume\":[\"v1\"]}"}},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(f, rows[i].status, rows[i].slug, &rows[i].ask);
	assert_int_equal(events_with(f, 0, "key.release", "intent"), 0);
}

static void test_revoked_and_suspended_nodes(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t release = {.op = OP_NODE_RELEASE, .who = &w->n1};
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_SUSPEND, .path = "acme/db/n1"});
	fixture_refused(f, 403, "identity-suspended", &release);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RESUME, .path = "acme/db/n1"});
	fixture_must(f, 200, &release);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_REVOKE, .path = "acme/db/n1"});
	fixture_refused(f, 403, "identity-revoked", &release);
	fixture_refused(f, 409, "conflict", &(ask_t){.op = OP_NODE_RESUME, .path = "acme/db/n1"});
}

/* A new generation of an old name gets nothing until an operator assigns it, and the old key nothing more. */
static void test_generations(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t next = make_node(f, "acme/db/n1");
	const ask_t by_new = {.op = OP_VOLUME_RELEASE, .who = &next, .path = "acme/db/v1"};
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	answer_t a = fixture_ask(f, &by_new);
	assert_true(a.status == 404 || a.status == 403);
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &next});
	assert_string_equal(text_at(a.json, "volumes.0.status"), "denied");
	assert_null(json_at(a.json, "volumes.0.secrets"));
	answer_free(&a);
	fixture_must(f, 200,
		     &(ask_t){.op = OP_VOLUME_ASSIGN, .path = "acme/db/v1", .body = "{\"node\":\"n1\"}"});
	a = fixture_expect(f, 200, &by_new);
	assert_string_equal(text_at(a.json, "volumes.0.status"), "released");
	answer_free(&a);
	fixture_refused(f, 403, "identity-revoked", &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

static void test_states_of_the_volume(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t release = {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"};
	const struct {
		core_op_t before;
		const char *status;
	} rows[] = {
		{OP_VOLUME_SUSPEND, "suspended"}, {OP_VOLUME_RESUME, "released"},
		{OP_VOLUME_DELETE, "denied"},     {OP_VOLUME_RESTORE, "released"},
		{OP_VOLUME_DELETE, "denied"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		fixture_must(f, 200, &(ask_t){.op = rows[i].before, .path = "acme/db/v1"});
		answer_t a = fixture_expect(f, 200, &release);
		assert_string_equal(text_at(a.json, "volumes.0.status"), rows[i].status);
		assert_int_equal(json_at(a.json, "volumes.0.secrets") != NULL,
				 strcmp(rows[i].status, "released") == 0);
		answer_free(&a);
	}
}

/* The node's own secret, in no byte of the store: not in events, not in records. */
static void test_secret_is_nowhere_in_the_store(void **state)
{
	world_t *w = *state;
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	const char *b64 = text_at(a.json, "volumes.0.secrets.0.secret");
	assert_true(wait_events_with(w->f, 0, "key.release", "released", 1));
	SCOPED(store_abortp) store_txn_t *t = NULL;
	assert_int_equal(store_begin_read(w->f->store, &t), KMS_OK);
	for (store_table_t table = STORE_META; table < STORE_TABLES; table++) {
		SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
		span_t key, value;
		assert_int_equal(store_seek(t, table, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
		while (store_next(c, &key, &value) == KMS_OK)
			assert_null(memmem(value.p, value.n, b64, 20));
	}
	answer_free(&a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_one_volume),
		T(test_two_events),
		T(test_unknown_outcome_at_the_next_start),
		T(test_outcomes_at_an_orderly_end),
		T(test_batch),
		T(test_all_of_a_node),
		T(test_refusals),
		T(test_revoked_and_suspended_nodes),
		T(test_generations),
		T(test_states_of_the_volume),
		T(test_secret_is_nowhere_in_the_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
