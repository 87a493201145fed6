#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#include <time.h>

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
	char body[400];
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
	assert_int_equal(tasks(w, 2), 0); /* it is in the second wave */
	assert_int_equal(tasks(w, 0), 1);
	assert_event(w->f, &id, "open", (int[]){2, 2, 0, 0});
	rotate(w, 0, &id);
	assert_int_equal(tasks(w, 2), 0);
	assert_int_equal(report(w, 1, &id, "acme/db/v1", "false"), 200); /* a failure ends a task too */
	assert_int_equal(tasks(w, 2), 1);
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

static void test_refused_acts(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, "");
	caller_t adam = make_operator(w->f, "adam", "auditor");
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{404, "not-found", {.op = OP_MAINT_PLAN, .body = "{\"customer\":\"none\"}"}},
		{400, "bad-request", {.op = OP_MAINT_PLAN, .body = "{\"customer\":\"acme\",\"wave\":-1}"}},
		{403, "denied", {.op = OP_MAINT_PLAN, .who = &adam, .body = "{\"customer\":\"acme\"}"}},
		{403, "denied", {.op = OP_MAINT_ABORT, .who = &adam, .path = id.path}},
		{404, "not-found", {.op = OP_MAINT_PAUSE, .who = &w->node[0], .path = id.path}},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(w->f, rows[i].status, rows[i].slug, &rows[i].ask);
}

static void test_refused_fields(void **state)
{
	static const char *const rows[] = {
		"\"wave\":1,\"wave_percent\":5",
		"\"wave_percent\":101",
		"\"wave_percent\":-1",
		"\"gate_s\":86401",
		"\"gate_s\":-1",
		"\"gate_failures\":100001",
		"\"start_ms\":-1",
		"\"start_ms\":9007199254740991",
		"\"compromised\":\"yes\"",
		"\"nodes\":\"n1\"",
		"\"nodes\":[\"\"]",
		"\"nodes\":[\"n1\",7]",
		"\"nodes\":[\"n*1\"]",
		"\"nodes\":[\"n**\"]",
		"\"nodes\":[\"../x\"]",
		"\"hours\":\"22:00-05:00\"",
		"\"hours\":[]",
		"\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\"}",
		"\"hours\":{\"from\":\"24:00\",\"to\":\"05:00\",\"zone\":\"Z\"}",
		"\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"CET\"}",
		"\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"Z\",\"days\":[]}",
		"\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"Z\",\"days\":[\"noday\"]}",
		"\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"Z\",\"x\":1}",
	};
	world_t *w = *state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char body[300];
		(void)snprintf(body, sizeof body, "{\"customer\":\"acme\",%s}", rows[i]);
		fixture_refused(w->f, 400, "bad-request", &(ask_t){.op = OP_MAINT_CREATE, .body = body});
		fixture_refused(w->f, 400, "bad-request", &(ask_t){.op = OP_MAINT_PLAN, .body = body});
	}
}

/* Time passes, and the server has looked at what it brings. */
static void later(world_t *w, int64_t ms)
{
	fixture_pass(w->f, ms);
	for (int i = 0; i < 2; i++) /* what is looked at behind the first is over before the second */
		fixture_must(w->f, 200, &(ask_t){.op = OP_CUSTOMER_LIST});
}

static void act(world_t *w, core_op_t op, const event_id_t *id)
{
	fixture_must(w->f, 200, &(ask_t){.op = op, .path = id->path});
}

static void assert_at(world_t *w, const event_id_t *id, const char *path, const char *text, int64_t number)
{
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_GET, .path = id->path});
	if (text != NULL)
		assert_string_equal(text_at(a.json, path), text);
	else if (number_at(a.json, path) != number)
		fail_msg("%s is not %lld: %.*s", path, (long long)number, (int)a.text.n,
			 (const char *)a.text.p);
	answer_free(&a);
}

static void test_window_ends(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"window_s\":3600");
	later(w, HOUR_MS - 10);
	assert_int_equal(tasks(w, 0), 1);
	later(w, 1000);
	assert_int_equal(tasks(w, 0), 0);
	assert_int_equal(tasks(w, 1), 0);
	assert_event(w->f, &id, "closed", (int[]){0, 0, 0, 0});
	assert_at(w, &id, "counts.skipped", NULL, 4);
}

static void stage(world_t *w, int node, const event_id_t *id)
{
	char path[32], body[100];
	(void)snprintf(path, sizeof path, "acme/db/v%d", node);
	(void)snprintf(body, sizeof body, "{\"maintenance\":\"%s\"}", bare(id));
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->node[node], .path = path, .body = body});
}

static void test_gate(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave_percent\":50,\"gate_s\":600,\"gate_failures\":0");
	assert_at(w, &id, "waves", NULL, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(tasks(w, i), 1);
		rotate(w, i, &id);
	}
	assert_int_equal(tasks(w, 2), 0); /* the gate's time has only begun */
	later(w, 590 * 1000);
	assert_int_equal(tasks(w, 2), 0);
	assert_at(w, &id, "current_wave", NULL, 1);
	later(w, 11 * 1000);
	assert_at(w, &id, "current_wave", NULL, 2);
	assert_int_equal(tasks(w, 2), 1);
	assert_at(w, &id, "volumes.2.wave", NULL, 2);
}

static void test_gate_holds_after_a_failure(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave\":1,\"gate_s\":60"); /* no failure by default */
	assert_int_equal(tasks(w, 0), 1);
	assert_int_equal(report(w, 0, &id, "acme/db/v0", "false"), 200);
	later(w, 61 * 1000);
	assert_event(w->f, &id, "halted", (int[]){3, 0, 0, 1});
	assert_int_equal(tasks(w, 1), 0);
	act(w, OP_MAINT_OPEN, &id); /* a person has looked at it */
	later(w, 1000);
	assert_int_equal(tasks(w, 1), 1);
	rotate(w, 1, &id);
	later(w, 61 * 1000);
	assert_int_equal(tasks(w, 2), 1);
}

static void test_without_a_gate_failures_stop_nothing(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave\":1");
	for (int i = 0; i < 3; i++) {
		char volume[16];
		(void)snprintf(volume, sizeof volume, "acme/db/v%d", i);
		assert_int_equal(tasks(w, i), 1);
		assert_int_equal(report(w, i, &id, volume, "false"), 200);
	}
	assert_event(w->f, &id, "open", (int[]){1, 0, 0, 3});
	assert_int_equal(tasks(w, 3), 1);
}

/* A node that does not ask holds nobody up, and has its turn when it comes back. */
static void test_away(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave\":2");
	assert_int_equal(tasks(w, 0), 1);
	rotate(w, 0, &id);
	later(w, 100 * 1000);
	assert_int_equal(tasks(w, 2), 0);
	assert_at(w, &id, "counts.away", NULL, 0);
	later(w, 30 * 1000);
	assert_at(w, &id, "current_wave", NULL, 2);
	assert_at(w, &id, "counts.away", NULL, 1);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_GET, .path = id.path});
	assert_true(json_is_true(json_at(a.json, "volumes.1.away")));
	assert_false(json_is_true(json_at(a.json, "volumes.2.away")));
	answer_free(&a);
	assert_int_equal(tasks(w, 2), 1);
	assert_int_equal(tasks(w, 1), 1);
	rotate(w, 1, &id);
	/* one that has taken its task, and vanished */
	assert_int_equal(tasks(w, 3), 1);
	later(w, 601 * 1000);
	assert_at(w, &id, "counts.away", NULL, 2);
	assert_event(w->f, &id, "open", (int[]){0, 2, 2, 0});
}

static void test_away_until_the_end(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"wave\":3,\"window_s\":60");
	assert_int_equal(tasks(w, 0), 1);
	stage(w, 0, &id);
	assert_int_equal(tasks(w, 1), 1); /* taken, and nothing done about it */
	later(w, 60 * 1000);
	assert_event(w->f, &id, "closed", (int[]){0, 1, 0, 0});
	assert_at(w, &id, "counts.skipped", NULL, 3);
	assert_at(w, &id, "volumes.1.detail", "the window ended before its node had begun", 0);
	assert_at(w, &id, "volumes.2.detail", "the window ended before its node had begun", 0);
	assert_at(w, &id, "volumes.3.detail", "the window ended before its turn", 0);
	assert_int_equal(tasks(w, 1), 0);
	assert_int_equal(tasks(w, 0), 1); /* two secrets open it: its node is to finish */
	rotate(w, 0, &id);
	assert_int_equal(tasks(w, 0), 0);
	assert_event(w->f, &id, "closed", (int[]){0, 0, 1, 0});
}

static void test_schedule(void **state)
{
	world_t *w = *state;
	char more[80];
	uint64_t before = log_size(w->f);
	(void)snprintf(more, sizeof more, ",\"window_s\":3600,\"start_ms\":%lld",
		       (long long)(atomic_load(&w->f->now_ms) + HOUR_MS));
	event_id_t id = create(w->f, more);
	assert_event(w->f, &id, "scheduled", (int[]){4, 0, 0, 0});
	later(w, HOUR_MS - 5000);
	assert_int_equal(tasks(w, 0), 0);
	later(w, 6000);
	assert_event(w->f, &id, "open", (int[]){4, 0, 0, 0});
	assert_int_equal(events_with(w->f, before, "maintenance.open", "done"), 1);
	assert_int_equal(tasks(w, 0), 1);
	later(w, HOUR_MS - 10000);
	assert_int_equal(tasks(w, 1), 1); /* the window counts from its begin */
	later(w, 10000);
	assert_event(w->f, &id, "closed", (int[]){0, 0, 0, 0});
	/* opened by hand before its time */
	(void)snprintf(more, sizeof more, ",\"start_ms\":%lld",
		       (long long)(atomic_load(&w->f->now_ms) + HOUR_MS));
	id = create(w->f, more);
	act(w, OP_MAINT_OPEN, &id);
	assert_int_equal(tasks(w, 2), 1);
}

static void test_hours(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"+01:30\"}");
	int64_t day = 24 * HOUR_MS, now = atomic_load(&w->f->now_ms);
	int64_t begins = (now / day + 1) * day + 20 * HOUR_MS + HOUR_MS / 2; /* 22:00 there, tomorrow */
	assert_at(w, &id, "hours.zone", "+01:30", 0);
	assert_at(w, &id, "hours.days.6", "sun", 0);
	act(w, OP_MAINT_CLOSE, &id);
	id = create(
		w->f,
		",\"window_s\":604800,\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"+01:30\"}");
	later(w, begins - now - 1000);
	assert_int_equal(tasks(w, 0), 0);
	later(w, 2000);
	assert_int_equal(tasks(w, 0), 1);
	later(w, 7 * HOUR_MS);
	assert_int_equal(tasks(w, 1), 0);
	assert_int_equal(tasks(w, 0), 0); /* told, but nothing begun */
	assert_at(w, &id, "counts.away", NULL, 0);
}

static void test_pause_and_abort(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, "");
	assert_int_equal(tasks(w, 0), 1);
	assert_int_equal(tasks(w, 1), 1);
	stage(w, 0, &id);
	act(w, OP_MAINT_PAUSE, &id);
	assert_event(w->f, &id, "paused", (int[]){2, 2, 0, 0});
	assert_int_equal(tasks(w, 0), 1); /* has begun */
	assert_int_equal(tasks(w, 1), 0);
	assert_int_equal(tasks(w, 2), 0);
	act(w, OP_MAINT_OPEN, &id);
	assert_int_equal(tasks(w, 2), 1);
	act(w, OP_MAINT_ABORT, &id);
	assert_event(w->f, &id, "aborted", (int[]){0, 1, 0, 0});
	assert_at(w, &id, "counts.skipped", NULL, 3);
	assert_at(w, &id, "volumes.3.detail", "the event was aborted before its node had begun", 0);
	for (int i = 1; i < NODES; i++)
		assert_int_equal(tasks(w, i), 0);
	assert_int_equal(tasks(w, 0), 1);
	rotate(w, 0, &id);
	assert_event(w->f, &id, "aborted", (int[]){0, 0, 1, 0});
	fixture_refused(w->f, 409, "conflict", &(ask_t){.op = OP_MAINT_OPEN, .path = id.path});
	fixture_refused(w->f, 409, "conflict", &(ask_t){.op = OP_MAINT_CLOSE, .path = id.path});
	act(w, OP_MAINT_ABORT, &id);
}

static void test_nodes(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"nodes\":[\"n1\",\"n3*\"]");
	assert_event(w->f, &id, "open", (int[]){2, 0, 0, 0});
	assert_int_equal(tasks(w, 0), 0);
	assert_int_equal(tasks(w, 1), 1);
	assert_int_equal(tasks(w, 3), 1);
	assert_at(w, &id, "nodes.1", "n3*", 0);
	id = create(w->f, ",\"nodes\":[\"n\"]");
	assert_event(w->f, &id, "closed", (int[]){0, 0, 0, 0});
	id = create(w->f, ",\"nodes\":[\"*\"]");
	assert_event(w->f, &id, "open", (int[]){4, 0, 0, 0});
}

/* What a node has or had, for as long as a secret of then is live. */
static void test_seen_by(void **state)
{
	world_t *w = *state;
	fixture_refused(
		w->f, 400, "bad-request",
		&(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"seen_by\":\"n0\"}"});
	fixture_refused(
		w->f, 409, "conflict",
		&(ask_t){.op = OP_MAINT_CREATE,
			 .body = "{\"customer\":\"acme\",\"service\":\"db\",\"seen_by\":\"nosuch\"}"});
	event_id_t id = create(w->f, ",\"service\":\"db\",\"seen_by\":\"n0\"");
	assert_event(w->f, &id, "open", (int[]){1, 0, 0, 0});
	assert_at(w, &id, "volumes.0.volume", "acme/db/v0", 0);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_VOLUME_ASSIGN, .path = "acme/db/v0", .body = "{\"node\":\"n1\"}"});
	id = create(w->f, ",\"service\":\"db\",\"seen_by\":\"n0\"");
	assert_event(w->f, &id, "open", (int[]){1, 0, 0, 0});
	assert_at(w, &id, "seen_by", "n0", 0);
	assert_at(w, &id, "volumes.0.node", "n1", 0);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->node[1], .path = "acme/db/v0"});
	fixture_must(
		w->f, 200,
		&(ask_t){.op = OP_VOLUME_COMMIT,
			 .who = &w->node[1],
			 .path = "acme/db/v0",
			 .body = "{\"luks_uuid\":\"01234567-89ab-cdef-0123-456789abcdef\",\"fingerprint\":"
				 "\"" FP_HEX "\",\"lineage\":2}"});
	id = create(w->f, ",\"service\":\"db\",\"seen_by\":\"n0\"");
	assert_event(w->f, &id, "closed", (int[]){0, 0, 0, 0});
}

static void test_plan(void **state)
{
	world_t *w = *state;
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v1"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_REVOKE, .path = "acme/db/n2"});
	answer_t a = fixture_expect(
		w->f, 200,
		&(ask_t){.op = OP_MAINT_PLAN,
			 .body = "{\"customer\":\"acme\",\"wave\":1,\"action\":\"reencrypt\"}"});
	assert_int_equal(json_array_size(json_at(a.json, "volumes")), 4);
	assert_int_equal(number_at(a.json, "waves"), 2);
	static const struct {
		const char *will, *reason;
		int64_t wave;
	} rows[] = {
		{"reencrypt", "", 1}, {"skip", "suspended", 0}, {"skip", "revoked", 0}, {"reencrypt", "", 2}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		const json_t *v = json_array_get(json_at(a.json, "volumes"), i);
		assert_string_equal(text_at(v, "will"), rows[i].will);
		assert_non_null(strstr(text_at(v, "reason"), rows[i].reason));
		assert_int_equal(number_at(v, "wave"), rows[i].wave);
	}
	answer_free(&a);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_LIST});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 0); /* a plan makes nothing */
	answer_free(&a);
	event_id_t id = create(w->f, "");
	assert_event(w->f, &id, "open", (int[]){2, 0, 0, 1});
	assert_at(w, &id, "counts.skipped", NULL, 1);
}

static void former_secret_is(world_t *w, int node, const char *state)
{
	char path[32];
	(void)snprintf(path, sizeof path, "acme/db/v%d", node);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = path});
	assert_string_equal(text_at(a.json, "secrets.1.state"), state);
	answer_free(&a);
}

static void test_compromised(void **state)
{
	world_t *w = *state;
	event_id_t id = create(w->f, ",\"compromised\":true"), usual = create(w->f, "");
	rotate(w, 0, &id);
	former_secret_is(w, 0, "destroyed");
	rotate(w, 1, &usual);
	former_secret_is(w, 1, "deactivated");
	/* another customer's event has no say */
	make_service(w->f, "evil", "db");
	caller_t m = make_node(w->f, "evil/db/n0");
	make_volume(w->f, &m, "evil/db/v0");
	answer_t a = fixture_expect(
		w->f, 201,
		&(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"evil\",\"compromised\":true}"});
	event_id_t foreign;
	(void)snprintf(foreign.path, sizeof foreign.path, "//%s", text_at(a.json, "id"));
	answer_free(&a);
	rotate(w, 2, &foreign);
	former_secret_is(w, 2, "deactivated");
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

/* --- by the clock --- */

/* The server as it starts with this setting. */
static void restart_with(world_t *w, uint32_t days)
{
	diag_t why = {""};
	fixture_stop(w->f);
	w->f->rotate_days = days;
	if (fixture_start(w->f, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static json_t *scheduled_events(fixture_t *f)
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_MAINT_LIST});
	json_t *list = json_array();
	json_t *items = json_at(a.json, "items");
	for (size_t i = 0; i < json_array_size(items); i++)
		if (json_is_true(json_object_get(json_array_get(items, i), "by_schedule")))
			(void)json_array_append(list, json_array_get(items, i));
	answer_free(&a);
	return list;
}

static size_t count_scheduled(fixture_t *f)
{
	SCOPED(json_freep) json_t *l = scheduled_events(f);
	return json_array_size(l);
}

static void wait_scheduled(fixture_t *f, size_t n)
{
	for (int i = 0; i < 300 && count_scheduled(f) != n; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(count_scheduled(f), n);
}

static void test_old_secrets_are_rotated_by_themselves(void **state)
{
	world_t *w = *state;
	restart_with(w, 90);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v3"});
	fixture_pass(w->f, 90 * DAY_MS - HOUR_MS);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
	assert_int_equal(count_scheduled(w->f), 0); /* not a moment too early */
	fixture_pass(w->f, HOUR_MS);
	wait_scheduled(w->f, 1);
	SCOPED(json_freep) json_t *l = scheduled_events(w->f);
	assert_string_equal(text_at(l, "0.service"), "db");
	assert_string_equal(text_at(l, "0.opened_by"), "kms-server");
	assert_string_equal(text_at(l, "0.ticket"), "cryptoperiod");
	assert_string_equal(text_at(l, "0.state"), "open");
	assert_int_equal(number_at(l, "0.counts.todo"), 3); /* a suspended one is left alone */
	assert_int_equal(number_at(l, "0.max_failures"), 3);
	assert_int_equal(number_at(l, "0.wave_percent"), 10);
	assert_true(wait_events_with(w->f, 0, "maintenance.create", "done", 1));
	/* the nodes are told */
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &w->node[0]});
	assert_string_equal(text_at(a.json, "tasks.0.volume"), "acme/db/v0");
	answer_free(&a);
	/* once a service and day: what was not done is tried again the next one */
	char id[MAINT_ID_CAP + 2];
	(void)snprintf(id, sizeof id, "//%s", text_at(l, "0.id"));
	fixture_must(w->f, 200, &(ask_t){.op = OP_MAINT_CLOSE, .path = id});
	fixture_pass(w->f, 601000);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
	assert_int_equal(count_scheduled(w->f), 1);
	fixture_pass(w->f, DAY_MS);
	wait_scheduled(w->f, 2);
}

static void test_people_come_before_the_clock(void **state)
{
	world_t *w = *state;
	(void)create(w->f, ",\"service\":\"db\",\"start_ms\":1707775000000,\"window_s\":86400");
	restart_with(w, 90);
	fixture_pass(w->f, 90 * DAY_MS - HOUR_MS);
	fixture_pass(w->f, 2 * HOUR_MS);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
	assert_int_equal(count_scheduled(w->f), 0);
}

static void test_the_clock_has_its_hours(void **state)
{
	world_t *w = *state;
	/* START_MS is a Tuesday, 22:13 UTC */
	w->f->has_rotate_hours = true;
	w->f->rotate_hours = (hours_t){.days = HOURS_ALL_DAYS, .from = 60, .to = 120};
	restart_with(w, 90);
	fixture_pass(w->f, 90 * DAY_MS + HOUR_MS);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
	assert_int_equal(count_scheduled(w->f), 0);
	fixture_pass(w->f, 2 * HOUR_MS); /* 01:13 */
	wait_scheduled(w->f, 1);
}

/* Without the setting nothing is begun, however old a secret is. */
static void test_no_clock(void **state)
{
	world_t *w = *state;
	restart_with(w, 0);
	fixture_pass(w->f, 3650 * DAY_MS);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
	assert_int_equal(count_scheduled(w->f), 0);
}

#define ONLY_IN_MAINTENANCE                                                                                  \
	"{\"version\":1,\"statements\":[{\"name\":\"planned\",\"effect\":\"deny\",\"principals\":[\"node:*"  \
	"\","                                                                                                \
	"\"operator:*\"],\"actions\":[\"volume.suspend\",\"volume.reformat\"],\"resources\":[\"*\"],"        \
	"\"unless\":"                                                                                        \
	"{\"maintenance\":true}}]}"

/* An event that nobody opened opens no door for people; the nodes that it is about are covered. */
static void test_what_the_clock_opens_covers_no_person(void **state)
{
	world_t *w = *state;
	restart_with(w, 90);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_POLICY_PUT, .path = "//planned", .body = ONLY_IN_MAINTENANCE});
	fixture_pass(w->f, 90 * DAY_MS);
	wait_scheduled(w->f, 1);
	fixture_refused(w->f, 403, "denied", &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v0"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->node[1], .path = "acme/db/v1"});
	(void)create(w->f, ",\"service\":\"db\"");
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v0"});
}

/* An event of some nodes covers their own requests, and nobody else's. */
static void test_an_event_of_nodes_covers_these(void **state)
{
	world_t *w = *state;
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_POLICY_PUT, .path = "//planned", .body = ONLY_IN_MAINTENANCE});
	(void)create(w->f, ",\"service\":\"db\",\"nodes\":[\"n1\"]");
	fixture_refused(w->f, 403, "denied", &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v1"});
	fixture_refused(w->f, 403, "denied",
			&(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->node[2], .path = "acme/db/v2"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->node[1], .path = "acme/db/v1"});
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
		T(test_refused_acts),
		T(test_refused_fields),
		T(test_gate),
		T(test_gate_holds_after_a_failure),
		T(test_without_a_gate_failures_stop_nothing),
		T(test_away),
		T(test_away_until_the_end),
		T(test_schedule),
		T(test_hours),
		T(test_pause_and_abort),
		T(test_nodes),
		T(test_seen_by),
		T(test_plan),
		T(test_compromised),
		T(test_a_foreign_event_is_not_touched),
		cmocka_unit_test_setup_teardown(test_old_secrets_are_rotated_by_themselves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_people_come_before_the_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_clock_has_its_hours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_the_clock_opens_covers_no_person, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_event_of_nodes_covers_these, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
