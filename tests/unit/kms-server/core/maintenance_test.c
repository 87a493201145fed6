#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#define NODES 4

typedef struct world {
	fixture_t *f;
	caller_t node[NODES]; /* acme/db/n0 … with the volume v0 … */
} world_t;

static int setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->f = fixture_new(FIXTURE_KEYFILE);
	make_service(w->f, "acme", "db");
	make_service(w->f, "acme", "web");
	for (int i = 0; i < NODES; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "acme/db/n%d", i);
		w->node[i] = make_node(w->f, path);
		(void)snprintf(path, sizeof path, "acme/db/v%d", i);
		make_volume(w->f, &w->node[i], path);
	}
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_t *w = *state;
	fixture_free(w->f);
	free(w);
	return 0;
}

typedef struct event_id {
	char path[MAINT_ID_CAP + 2]; /* "//m-…" */
} event_id_t;

static const char *bare(const event_id_t *id)
{
	return id->path + 2;
}

static event_id_t create(fixture_t *f, const char *more)
{
	char body[200];
	event_id_t id;
	(void)snprintf(body, sizeof body, "{\"customer\":\"acme\"%s}", more);
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = body});
	(void)snprintf(id.path, sizeof id.path, "//%s", text_at(a.json, "id"));
	assert_int_equal(strlen(bare(&id)), 18);
	answer_free(&a);
	return id;
}

static void assert_event(fixture_t *f, const event_id_t *id, const char *state, const int counts[4])
{
	static const char *const names[] = {"counts.todo", "counts.running", "counts.done", "counts.failed"};
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_MAINT_GET, .path = id->path});
	if (strcmp(text_at(a.json, "state"), state) != 0)
		fail_msg("%s, not %s: %.*s", text_at(a.json, "state"), state, (int)a.text.n,
			 (const char *)a.text.p);
	for (size_t i = 0; i < 4; i++)
		if (number_at(a.json, names[i]) != counts[i])
			fail_msg("%s: %.*s", names[i], (int)a.text.n, (const char *)a.text.p);
	int seen[4] = {0};
	static const char *const states[] = {"todo", "running", "done", "failed"};
	json_t *list = json_at(a.json, "volumes");
	for (size_t i = 0; i < json_array_size(list); i++)
		for (size_t k = 0; k < 4; k++)
			seen[k] += strcmp(text_at(json_array_get(list, i), "state"), states[k]) == 0;
	assert_memory_equal(seen, counts, sizeof seen); /* the counters are those of the list */
	answer_free(&a);
}

/* Number of tasks that the node is given now. */
static size_t tasks(world_t *w, int node)
{
	fixture_pass(w->f, 1);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &w->node[node]});
	size_t n = json_array_size(json_at(a.json, "tasks"));
	if (n > 0) {
		assert_string_equal(text_at(a.json, "tasks.0.type"), "rotate");
		assert_non_null(strstr(text_at(a.json, "tasks.0.volume"), "acme/db/v"));
	}
	answer_free(&a);
	return n;
}

static void rotate(world_t *w, int node, const event_id_t *id)
{
	char path[32], body[200], hex[65];
	uint8_t fp[32], nonce[32], mac[32];
	size_t n = 0;
	(void)snprintf(path, sizeof path, "acme/db/v%d", node);
	(void)snprintf(body, sizeof body, "{\"maintenance\":\"%s\"}", bare(id));
	answer_t a = fixture_expect(
		w->f, 200,
		&(ask_t){.op = OP_ROTATION_STAGE, .who = &w->node[node], .path = path, .body = body});
	int64_t version = number_at(a.json, "version");
	assert_int_equal(hex_decode(span_str(FP_HEX), fp, 32), KMS_OK);
	assert_int_equal(base64_decode(span_str(text_at(a.json, "nonce")), nonce, 32, &n), KMS_OK);
	assert_int_equal(crypto_hmac_sha256(span_of(fp, 32), span_of(nonce, 32), mac), KMS_OK);
	hex_encode(span_of(mac, 32), hex);
	answer_free(&a);
	(void)snprintf(body, sizeof body, "{\"version\":%d,\"proof\":\"%s\"}", (int)version, hex);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->node[node], .path = path, .body = body});
	(void)snprintf(body, sizeof body, "{\"version\":%d}", (int)version - 1);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_RETIRE, .who = &w->node[node], .path = path, .body = body});
}

static int report(world_t *w, int node, const event_id_t *id, const char *volume, const char *ok)
{
	char body[300];
	(void)snprintf(body, sizeof body,
		       "{\"maintenance\":\"%s\",\"volume\":\"%s\",\"ok\":%s,\"detail\":\"no free keyslot\"}",
		       bare(id), volume, ok);
	answer_t a = fixture_ask(w->f, &(ask_t){.op = OP_NODE_REPORT, .who = &w->node[node], .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

static void test_from_open_to_closed(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"ticket\":\"T-7\"");
	assert_event(w->f, &id, "open", (int[]){4, 0, 0, 0});
	for (int i = 0; i < NODES; i++) {
		assert_int_equal(tasks(w, i), 1);
		assert_int_equal(tasks(w, i), 1); /* asked again: it is still to do */
		rotate(w, i, &id);
		assert_int_equal(tasks(w, i), 0);
	}
	assert_event(w->f, &id, "closed", (int[]){0, 0, 4, 0});
	SCOPED(json_freep) json_t *e = NULL;
	assert_int_equal(events_with(w->f, 0, "rotation.retire", "done"), 4);
	for (uint64_t i = 0; i < log_size(w->f); i++) {
		json_freep(&e);
		e = event_at(w->f, i);
		const char *op = text_at(e, "api.operation");
		if (strcmp(op, "maintenance.create") == 0) {
			assert_string_equal(text_at(e, "unmapped.claviger.ticket"), "T-7");
			assert_string_equal(text_at(e, "metadata.tenant_uid"), "acme");
		}
		if (strncmp(op, "rotation.", 9) == 0 && strcmp(text_at(e, "status_code"), "done") == 0)
			assert_string_equal(text_at(e, "metadata.correlation_uid"), bare(&id));
	}
}

static void test_waves(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave\":2");
	assert_int_equal(tasks(w, 0), 1);
	assert_int_equal(tasks(w, 1), 1);
	assert_int_equal(tasks(w, 2), 0); /* two run already */
	assert_int_equal(tasks(w, 0), 1);
	assert_event(w->f, &id, "open", (int[]){2, 2, 0, 0});
	rotate(w, 0, &id);
	assert_int_equal(tasks(w, 2), 1);
	assert_int_equal(tasks(w, 3), 0);
	assert_int_equal(report(w, 1, &id, "acme/db/v1", "false"), 200); /* a failure makes room too */
	assert_int_equal(tasks(w, 3), 1);
	assert_event(w->f, &id, "open", (int[]){0, 2, 1, 1});
}

static void test_failure_limit_halts(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"max_failures\":2");
	for (int i = 0; i < 3; i++)
		assert_int_equal(tasks(w, i), 1);
	assert_int_equal(report(w, 0, &id, "acme/db/v0", "false"), 200);
	assert_int_equal(report(w, 0, &id, "acme/db/v0", "false"),
			 200); /* the same again is no second failure */
	assert_event(w->f, &id, "open", (int[]){1, 2, 0, 1});
	assert_int_equal(report(w, 1, &id, "acme/db/v1", "false"), 200);
	assert_event(w->f, &id, "halted", (int[]){1, 1, 0, 2});
	assert_int_equal(tasks(w, 2), 0);
	assert_int_equal(tasks(w, 3), 0);
	rotate(w, 2, &id); /* what runs may end well */
	assert_event(w->f, &id, "halted", (int[]){1, 0, 1, 2});
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_OPEN, .path = id.path});
	assert_int_equal(tasks(w, 3), 1);
	rotate(w, 3, &id);
	assert_event(w->f, &id, "closed", (int[]){0, 0, 2, 2});
}

static void test_halt_open_close(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, "");
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_HALT, .path = id.path});
	assert_int_equal(tasks(w, 0), 0);
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_HALT, .path = id.path});
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_OPEN, .path = id.path});
	assert_int_equal(tasks(w, 0), 1);
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_CLOSE, .path = id.path});
	assert_int_equal(tasks(w, 1), 0);
	fixture_refused(w->f, 409, "conflict", &(ask_t){.op = OP_MAINT_OPEN, .path = id.path});
	fixture_refused(w->f, 409, "conflict", &(ask_t){.op = OP_MAINT_HALT, .path = id.path});
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_CLOSE, .path = id.path});
}

static void test_window_ends(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"window_s\":3600");
	fixture_pass(w->f, HOUR_MS - 10);
	assert_int_equal(tasks(w, 0), 1);
	fixture_pass(w->f, 10);
	assert_int_equal(tasks(w, 1), 0);
	assert_event(w->f, &id, "closed", (int[]){3, 1, 0, 0});
}

static void test_scope(void **state)
{
	world_t *w = *state;
	make_service(w->f, "acme2", "db");
	caller_t other = make_node(w->f, "acme2/db/n0");
	make_volume(w->f, &other, "acme2/db/v0");
	caller_t web = make_node(w->f, "acme/web/n0");
	make_volume(w->f, &web, "acme/web/v0");
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v3"});
	event_id_t id = create(w->f, ",\"service\":\"db\"");
	assert_event(w->f, &id, "open", (int[]){3, 0, 0, 1}); /* a suspended volume has failed at once */
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &web});
	assert_int_equal(json_array_size(json_at(a.json, "tasks")), 0);
	answer_free(&a);
	event_id_t all = create(w->f, "");
	assert_event(w->f, &all, "open", (int[]){4, 0, 0, 1});
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &other});
	assert_int_equal(json_array_size(json_at(a.json, "tasks")), 0);
	answer_free(&a);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_LIST});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 2);
	answer_free(&a);
	fixture_must(w->f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "empty"});
	a = fixture_expect(w->f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"empty\"}"});
	assert_string_equal(text_at(a.json, "state"), "closed");
	answer_free(&a);
}

static void test_refusals(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	event_id_t id = create(f, "");
	caller_t adam = make_operator(f, "adam", "auditor");
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{400, "bad-request", {.op = OP_MAINT_CREATE}},
		{400,
		 "bad-request",
		 {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"action\":\"wipe\"}"}},
		{400,
		 "bad-request",
		 {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"window_s\":59}"}},
		{400,
		 "bad-request",
		 {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"window_s\":2592001}"}},
		{400, "bad-request", {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"wave\":-1}"}},
		{400,
		 "bad-request",
		 {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"max_failures\":100001}"}},
		{400, "bad-request", {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"*\"}"}},
		{400, "bad-request", {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"nodes\":[]}"}},
		{404, "not-found", {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"none\"}"}},
		{404,
		 "not-found",
		 {.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"service\":\"none\"}"}},
		{403, "denied", {.op = OP_MAINT_CREATE, .who = &adam, .body = "{\"customer\":\"acme\"}"}},
		{404,
		 "not-found",
		 {.op = OP_MAINT_CREATE, .who = &w->node[0], .body = "{\"customer\":\"acme\"}"}},
		{404, "not-found", {.op = OP_MAINT_GET, .path = "//m-0000000000000000"}},
		{404, "not-found", {.op = OP_MAINT_CLOSE, .path = "//m-0000000000000000"}},
		{404,
		 "not-found",
		 {.op = OP_MAINT_GET, .path = "//aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}},
		{404, "not-found", {.op = OP_MAINT_GET, .who = &w->node[0], .path = id.path}},
		{403, "denied", {.op = OP_MAINT_HALT, .who = &adam, .path = id.path}},
		{400, "bad-request", {.op = OP_MAINT_HALT, .path = id.path, .body = "{\"x\":1}"}},
		{400, "bad-request", {.op = OP_NODE_TASKS, .who = &w->node[0], .query = "wait=61"}},
		{400, "bad-request", {.op = OP_NODE_TASKS, .who = &w->node[0], .query = "wait=x"}},
		{400, "bad-request", {.op = OP_NODE_TASKS, .who = &w->node[0], .query = "limit=1"}},
		{403, "denied", {.op = OP_NODE_TASKS}},
		{401, "no-certificate", {.op = OP_NODE_TASKS, .who = &nobody}},
		{400, "bad-request", {.op = OP_NODE_REPORT, .who = &w->node[0]}},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(f, rows[i].status, rows[i].slug, &rows[i].ask);
	/* a node reports of its own volumes only, and failures only */
	const event_id_t none = {"//m-0000000000000000"}, odd = {"//m/../x"};
	assert_int_equal(report(w, 0, &id, "acme/db/v1", "false"), 404);
	assert_int_equal(report(w, 0, &id, "acme2/db/v0", "false"), 404);
	assert_int_equal(report(w, 0, &id, "acme/db/none", "false"), 404);
	assert_int_equal(report(w, 0, &none, "acme/db/v0", "false"), 404);
	assert_int_equal(report(w, 0, &odd, "acme/db/v0", "false"), 404);
	assert_int_equal(report(w, 0, &id, "acme/db/v0", "true"), 400);
	assert_event(f, &id, "open", (int[]){4, 0, 0, 0});
}

/* A node that names an event which is not its own rotates, and that event is none the wiser. */
static void test_a_foreign_event_is_not_touched(void **state)
{
	world_t *w = *state;
	make_service(w->f, "evil", "db");
	caller_t m = make_node(w->f, "evil/db/n0");
	make_volume(w->f, &m, "evil/db/v0");
	event_id_t id = create(w->f, "");
	w->node[0] = m;
	char body[100];
	(void)snprintf(body, sizeof body, "{\"maintenance\":\"%s\"}", bare(&id));
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_STAGE, .who = &m, .path = "evil/db/v0", .body = body});
	fixture_must(w->f, 200, &(ask_t){.op = OP_ROTATION_ABORT, .who = &m, .path = "evil/db/v0"});
	assert_event(w->f, &id, "open", (int[]){4, 0, 0, 0});
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_from_open_to_closed),
		T(test_waves),
		T(test_failure_limit_halts),
		T(test_halt_open_close),
		T(test_window_ends),
		T(test_scope),
		T(test_refusals),
		T(test_a_foreign_event_is_not_touched),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
