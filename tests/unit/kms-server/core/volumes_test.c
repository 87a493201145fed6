#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

#define COMMIT(uuid, fp, lineage)                                                                            \
	"{\"luks_uuid\":\"" uuid "\",\"fingerprint\":\"" fp "\",\"lineage\":" lineage "}"
#define N1 "{\"node\":\"n1\"}"

static void test_first_secret_and_commit(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v2";
	answer_t a = fixture_expect(w->f, 201,
				    &(ask_t){.op = OP_VOLUME_PUT, .who = &w->n1, .path = path, .body = N1});
	assert_string_equal(text_at(a.json, "state"), "pre-active");
	assert_string_equal(text_at(a.json, "secrets.0.state"), "pre-active");
	assert_int_equal(number_at(a.json, "lineage"), 1);
	assert_true(json_is_null(json_at(a.json, "luks_uuid")));
	answer_free(&a);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_PUT, .who = &w->n1, .path = path, .body = N1});
	/* a pre-active volume's secret goes to its node: it is what the first keyslot is made from */
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path});
	assert_string_equal(text_at(a.json, "volumes.0.secrets.0.state"), "pre-active");
	SCOPED(buf_free) buf_t first = BUF_INIT;
	buf_str(&first, text_at(a.json, "volumes.0.secrets.0.secret"));
	answer_free(&a);
	const ask_t commit = {
		.op = OP_VOLUME_COMMIT, .who = &w->n1, .path = path, .body = COMMIT(LUKS_UUID, FP_HEX, "1")};
	a = fixture_expect(w->f, 200, &commit);
	assert_string_equal(text_at(a.json, "state"), "active");
	assert_string_equal(text_at(a.json, "fingerprints.0.value"), FP_HEX);
	answer_free(&a);
	fixture_must(w->f, 200, &commit);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path});
	assert_true(span_eq(span_str(text_at(a.json, "volumes.0.secrets.0.secret")), buf_span(&first)));
	answer_free(&a);
}

/* A fingerprint is set once: no call overwrites it. */
static void test_fingerprint_is_set_once(void **state)
{
	world_t *w = *state;
	static const char *const others[] = {
		COMMIT(LUKS_UUID, OTHER_FP, "1"),
		COMMIT("11111111-89ab-cdef-0123-456789abcdef", FP_HEX, "1"),
		COMMIT(LUKS_UUID, FP_HEX, "2"),
		COMMIT(LUKS_UUID, FP_HEX, "0"),
	};
	for (size_t i = 0; i < COUNT(others); i++)
		fixture_refused(w->f, 409, "conflict",
				&(ask_t){.op = OP_VOLUME_COMMIT,
					 .who = &w->n1,
					 .path = "acme/db/v1",
					 .body = others[i]});
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = "acme/db/v1"});
	assert_int_equal(json_array_size(json_at(a.json, "fingerprints")), 1);
	assert_string_equal(text_at(a.json, "fingerprints.0.value"), FP_HEX);
	answer_free(&a);
}

/* NOLINTNEXTLINE(readability-function-size): a table */
static void test_refusals(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/n1");
	caller_t mary = make_operator(f, "mary", "operator");
	const char *v = "acme/db/v1";
	static const char good[] = COMMIT(LUKS_UUID, FP_HEX, "1");
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{400, "bad-request", {.op = OP_VOLUME_PUT, .path = "acme/db/x"}},
		{400, "bad-request", {.op = OP_VOLUME_PUT, .path = "acme/db/x", .body = "{\"node\":\"N1\"}"}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_PUT, .path = "acme/db/x", .body = "{\"node\":\"n1\",\"generation\":1}"}},
		{409, "conflict", {.op = OP_VOLUME_PUT, .path = "acme/db/x", .body = "{\"node\":\"none\"}"}},
		{409, "conflict", {.op = OP_VOLUME_PUT, .path = v, .body = "{\"node\":\"n2\"}"}},
		{409, "conflict", {.op = OP_VOLUME_PUT, .path = "acme/none/x", .body = N1}},
		{404, "not-found", {.op = OP_VOLUME_PUT, .who = &n2, .path = "acme/db/x", .body = N1}},
		{404, "not-found", {.op = OP_VOLUME_PUT, .who = &m1, .path = "acme/db/x", .body = N1}},
		{404, "not-found", {.op = OP_VOLUME_PUT, .who = &n2, .path = v, .body = "{\"node\":\"n2\"}"}},
		{403, "denied", {.op = OP_VOLUME_PUT, .who = &mary, .path = "acme/db/x", .body = N1}},
		{401, "no-certificate", {.op = OP_VOLUME_PUT, .who = &nobody, .path = v, .body = N1}},
		{404, "not-found", {.op = OP_VOLUME_GET, .path = "acme/db/none"}},
		{404, "not-found", {.op = OP_VOLUME_GET, .who = &n2, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_GET, .who = &m1, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_LIST, .path = "acme/none"}},
		{403, "denied", {.op = OP_VOLUME_COMMIT, .path = v, .body = good}},
		{404, "not-found", {.op = OP_VOLUME_COMMIT, .who = &n2, .path = v, .body = good}},
		{403, "denied", {.op = OP_VOLUME_REFUSED, .path = v, .body = "{\"detail\":\"x\"}"}},
		{404,
		 "not-found",
		 {.op = OP_VOLUME_REFUSED, .who = &n2, .path = v, .body = "{\"detail\":\"x\"}"}},
		{400, "bad-request", {.op = OP_VOLUME_REFUSED, .who = &w->n1, .path = v, .body = "{}"}},
		{400, "bad-request", {.op = OP_VOLUME_COMMIT, .who = &w->n1, .path = v, .body = "{}"}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_COMMIT,
		  .who = &w->n1,
		  .path = v,
		  .body = COMMIT("0123456789ABCDEF", FP_HEX, "1")}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_COMMIT,
		  .who = &w->n1,
		  .path = v,
		  .body = COMMIT("01234567-89AB-cdef-0123-456789abcdef", FP_HEX, "1")}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_COMMIT, .who = &w->n1, .path = v, .body = COMMIT(LUKS_UUID, "5f", "1")}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_COMMIT, .who = &w->n1, .path = v, .body = COMMIT(LUKS_UUID, FP_HEX, "-1")}},
		{403, "denied", {.op = OP_VOLUME_REFORMAT, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_REFORMAT, .who = &n2, .path = v}},
		{400,
		 "bad-request",
		 {.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = v, .body = "{\"force\":true}"}},
		{404, "not-found", {.op = OP_VOLUME_SUSPEND, .path = "acme/db/none"}},
		{403, "denied", {.op = OP_VOLUME_SUSPEND, .who = &w->n1, .path = v}},
		{403, "denied", {.op = OP_VOLUME_ASSIGN, .who = &mary, .path = v, .body = N1}},
		{403, "denied", {.op = OP_VOLUME_ASSIGN, .who = &w->n1, .path = v, .body = N1}},
		{404,
		 "not-found",
		 {.op = OP_VOLUME_ASSIGN, .who = &n2, .path = v, .body = "{\"node\":\"n2\"}"}},
		{409, "conflict", {.op = OP_VOLUME_ASSIGN, .path = v, .body = "{\"node\":\"none\"}"}},
		{400, "bad-request", {.op = OP_VOLUME_ASSIGN, .path = v}},
		{403, "denied", {.op = OP_VOLUME_DELETE, .who = &mary, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_DELETE, .who = &m1, .path = v}},
		{404, "not-found", {.op = OP_VOLUME_RESTORE, .path = "acme/db/none"}},
		{400, "bad-request", {.op = OP_VOLUME_DELETE, .path = v, .body = "{\"now\":true}"}},
	};
	SCOPED(buf_free) buf_t before = BUF_INIT;
	SCOPED(buf_free) buf_t after = BUF_INIT;
	raw_get(f, STORE_VOLUMES, v, &before);
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(f, rows[i].status, rows[i].slug, &rows[i].ask);
	raw_get(f, STORE_VOLUMES, v, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	fixture_must(f, 404, &(ask_t){.op = OP_VOLUME_GET, .path = "acme/db/x"});
}

/* Formatting again: a new lineage with a fresh secret; nothing of the old one is released any more. */
static void test_reformat(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	const ask_t release = {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path};
	answer_t before = fixture_expect(w->f, 200, &release);
	fixture_must(w->f, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
	answer_t a =
		fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = path});
	assert_int_equal(number_at(a.json, "lineage"), 2);
	assert_string_equal(text_at(a.json, "state"), "pre-active");
	assert_int_equal(json_array_size(json_at(a.json, "fingerprints")), 0);
	assert_true(json_is_null(json_at(a.json, "rotation")));
	assert_string_equal(text_at(a.json, "secrets.0.state"), "pre-active");
	assert_string_equal(text_at(a.json, "secrets.1.state"), "deactivated");
	assert_string_equal(text_at(a.json, "secrets.2.state"), "deactivated");
	answer_free(&a);
	answer_t after = fixture_expect(w->f, 200, &release);
	assert_int_equal(json_array_size(json_at(after.json, "volumes.0.secrets")), 1);
	assert_string_not_equal(text_at(after.json, "volumes.0.secrets.0.secret"),
				text_at(before.json, "volumes.0.secrets.0.secret"));
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_VOLUME_COMMIT,
				 .who = &w->n1,
				 .path = path,
				 .body = COMMIT(LUKS_UUID, FP_HEX, "1")});
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_VOLUME_COMMIT,
			      .who = &w->n1,
			      .path = path,
			      .body = COMMIT(LUKS_UUID, OTHER_FP, "2")});
	answer_free(&before);
	answer_free(&after);
}

/* Over and over: the record stays within its arrays, and refuses instead of overflowing. */
static void test_reformat_has_an_end(void **state)
{
	world_t *w = *state;
	int status = 200, n = 0;
	for (; status == 200 && n < 60; n++) {
		answer_t a = fixture_ask(
			w->f, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = "acme/db/v1"});
		status = a.status;
		answer_free(&a);
	}
	assert_int_equal(status, 409);
	assert_int_equal(n, VOLUME_SECRETS_MAX);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	/* and when the old ones were destroyed, there is room again */
	fixture_pass(w->f, 8 * DAY_MS);
	assert_true(wait_events_with(w->f, 0, "key.destroy", NULL, 1));
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = "acme/db/v1"});
}

typedef struct move {
	core_op_t op;
	int status;
	const char *state;
} move_t;

static void run_moves(fixture_t *f, const char *path, const move_t *moves, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		answer_t a = fixture_expect(f, moves[i].status, &(ask_t){.op = moves[i].op, .path = path});
		if (moves[i].state != NULL && strcmp(text_at(a.json, "state"), moves[i].state) != 0)
			fail_msg("%zu: %s, not %s", i, text_at(a.json, "state"), moves[i].state);
		answer_free(&a);
	}
}

static void test_states(void **state)
{
	world_t *w = *state;
	static const move_t moves[] = {
		{OP_VOLUME_RESUME, 200, "active"},      {OP_VOLUME_RESTORE, 200, "active"},
		{OP_VOLUME_SUSPEND, 200, "suspended"},  {OP_VOLUME_SUSPEND, 200, "suspended"},
		{OP_VOLUME_DELETE, 200, "deactivated"}, {OP_VOLUME_DELETE, 200, "deactivated"},
		{OP_VOLUME_SUSPEND, 409, NULL},         {OP_VOLUME_RESUME, 409, NULL},
		{OP_VOLUME_RESTORE, 200, "active"},     {OP_VOLUME_SUSPEND, 200, "suspended"},
		{OP_VOLUME_RESUME, 200, "active"},      {OP_VOLUME_DELETE, 200, "deactivated"},
	};
	run_moves(w->f, "acme/db/v1", moves, COUNT(moves));
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = "acme/db/v1"});
	/* a suspended pre-active volume comes back as pre-active, not as active */
	fixture_must(w->f, 201,
		     &(ask_t){.op = OP_VOLUME_PUT, .who = &w->n1, .path = "acme/db/v2", .body = N1});
	static const move_t young[] = {{OP_VOLUME_SUSPEND, 200, "suspended"},
				       {OP_VOLUME_RESUME, 200, "pre-active"},
				       {OP_VOLUME_DELETE, 200, "deactivated"},
				       {OP_VOLUME_RESTORE, 200, "pre-active"}};
	run_moves(w->f, "acme/db/v2", young, COUNT(young));
}

/* Destroyed is destroyed: nothing brings it back. */
static void test_destroyed_stays_destroyed(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = path});
	assert_int_equal(number_at(a.json, "destroy_after_ms"), START_MS + 7 * DAY_MS);
	answer_free(&a);
	fixture_pass(w->f, 7 * DAY_MS);
	assert_true(wait_events_with(w->f, 0, "key.destroy", "done", 1));
	static const move_t moves[] = {
		{OP_VOLUME_RESTORE, 409, NULL},    {OP_VOLUME_DELETE, 409, NULL},
		{OP_VOLUME_SUSPEND, 409, NULL},    {OP_VOLUME_RESUME, 409, NULL},
		{OP_VOLUME_GET, 200, "destroyed"},
	};
	run_moves(w->f, path, moves, COUNT(moves));
	fixture_refused(w->f, 409, "conflict", &(ask_t){.op = OP_VOLUME_ASSIGN, .path = path, .body = N1});
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = path});
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path});
	assert_string_equal(text_at(a.json, "volumes.0.status"), "denied");
	answer_free(&a);
	SCOPED(secret_freep) secret_t *mac = fixture_mac(w->f);
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	volume_rec_t rec;
	static const uint8_t zeros[WRAPPED_KEY_LEN];
	raw_get(w->f, STORE_VOLUMES, path, &bytes);
	assert_int_equal(record_decode_volume(mac, span_str(path), buf_span(&bytes), &rec), KMS_OK);
	assert_int_equal(rec.secrets[0].state, SECRET_DESTROYED);
	assert_memory_equal(rec.secrets[0].blob, zeros, sizeof zeros);
}

static void test_assign_moves_the_index_too(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	fixture_must(f, 200,
		     &(ask_t){.op = OP_VOLUME_ASSIGN, .path = "acme/db/v1", .body = "{\"node\":\"n2\"}"});
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 0);
	answer_free(&a);
	fixture_refused(f, 404, "not-found",
			&(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n2});
	assert_string_equal(text_at(a.json, "volumes.0.status"), "released");
	answer_free(&a);
}

/* Who had it may know its secret, until that is dead. */
static void test_former_nodes(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	const ask_t read = {.op = OP_VOLUME_GET, .path = "acme/db/v1"};
	const ask_t to_n2 = {.op = OP_VOLUME_ASSIGN, .path = "acme/db/v1", .body = "{\"node\":\"n2\"}"};
	answer_t a = fixture_expect(f, 200, &read);
	assert_int_equal(json_array_size(json_at(a.json, "former_nodes")), 0);
	answer_free(&a);
	fixture_must(f, 200, &to_n2);
	fixture_must(f, 200, &to_n2); /* where it is already: nobody has left */
	a = fixture_expect(f, 200, &read);
	assert_int_equal(json_array_size(json_at(a.json, "former_nodes")), 1);
	assert_string_equal(text_at(a.json, "former_nodes.0.node"), "n1");
	assert_int_equal(number_at(a.json, "former_nodes.0.version"), 1);
	assert_true(json_is_true(json_at(a.json, "former_nodes.0.live")));
	assert_int_equal(strlen(text_at(a.json, "former_nodes.0.luks_uuid")), 36);
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &n2, .path = "acme/db/v1"});
	a = fixture_expect(f, 200, &read);
	assert_true(json_is_false(json_at(a.json, "former_nodes.0.live")));
	assert_int_equal(number_at(a.json, "former_nodes.0.lineage"), 1);
	answer_free(&a);
}

/* Nobody who may know a live secret is forgotten for want of room. */
static void test_former_nodes_are_not_forgotten(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	char path[32], body[32];
	for (unsigned i = 0; i <= VOLUME_FORMER_MAX; i++) {
		(void)snprintf(path, sizeof path, "acme/db/m%u", i);
		(void)make_node(f, path);
		(void)snprintf(body, sizeof body, "{\"node\":\"m%u\"}", i);
		const ask_t move = {.op = OP_VOLUME_ASSIGN, .path = "acme/db/v1", .body = body};
		if (i < VOLUME_FORMER_MAX)
			fixture_must(f, 200, &move);
		else
			fixture_refused(f, 409, "conflict", &move);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_first_secret_and_commit),
		T(test_fingerprint_is_set_once),
		T(test_refusals),
		T(test_reformat),
		T(test_reformat_has_an_end),
		T(test_states),
		T(test_destroyed_stays_destroyed),
		T(test_assign_moves_the_index_too),
		T(test_former_nodes),
		T(test_former_nodes_are_not_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
