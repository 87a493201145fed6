#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

/* --- all steps in all orders, against a model of the table in rotation.c --- */

typedef enum step { STAGE, PROMOTE, PROMOTE_WRONG, RETIRE, ABORT, STEPS } step_t;
static const char *const step_names[] = {"stage", "promote", "promote with a wrong proof", "retire", "abort"};

#define VERSIONS 8U
typedef struct model {
	uint32_t active, pending, previous, newest;
	const char *state[VERSIONS]; /* by version */
	char nonce[64];
} model_t;

static void model_set(model_t *m, uint32_t version, const char *state)
{
	assert_true(version > 0 && version < VERSIONS);
	m->state[version] = state;
}

static int model_stage(model_t *m)
{
	if (m->pending == 0 && m->previous == 0) {
		m->pending = ++m->newest;
		model_set(m, m->pending, "pending");
	}
	return 200;
}

static int model_promote(model_t *m, bool right)
{
	if (m->pending == 0)
		return m->newest != m->active || m->newest == 1 ? 409 : right ? 200 : 403;
	if (!right)
		return 403;
	for (uint32_t v = 1; v <= m->newest; v++)
		if (strcmp(m->state[v], "deactivated") == 0)
			m->state[v] = "destroyed";
	m->previous = m->active;
	m->active = m->pending;
	m->pending = 0;
	model_set(m, m->previous, "active-previous");
	model_set(m, m->active, "active");
	return 200;
}

/* version: what the agent takes for the old one */
static int model_retire(model_t *m, uint32_t version)
{
	const char *was = m->state[version];
	if (strcmp(was, "deactivated") == 0 || strcmp(was, "destroyed") == 0)
		return 200;
	if (version != m->previous)
		return 409;
	m->previous = 0;
	model_set(m, version, "deactivated");
	return 200;
}

static int model_abort(model_t *m)
{
	if (m->previous != 0)
		return 409;
	if (m->pending != 0)
		model_set(m, m->pending, "destroyed");
	m->pending = 0;
	return 200;
}

static uint32_t old_version(const model_t *m)
{
	if (m->previous != 0)
		return m->previous;
	return m->pending != 0 || m->active == 1 ? m->active : m->active - 1;
}

static void assert_as_modelled(world_t *w, const char *path, const model_t *m, const char *after)
{
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = path});
	json_t *list = json_at(a.json, "secrets");
	assert_int_equal(json_array_size(list), m->newest);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *s = json_array_get(list, i);
		int64_t v = number_at(s, "version");
		if (strcmp(text_at(s, "state"), m->state[v]) != 0)
			fail_msg("%s, %s: version %d is %s, not %s", path, after, (int)v, text_at(s, "state"),
				 m->state[v]);
	}
	uint32_t under_way = m->pending != 0 ? m->pending : m->previous != 0 ? m->active : 0;
	assert_int_equal(json_is_null(json_at(a.json, "rotation")), under_way == 0);
	if (under_way != 0)
		assert_int_equal(number_at(a.json, "rotation.version"), under_way);
	answer_free(&a);
}

/* What a release returns: every live version, newest first. */
static void assert_live(const json_t *secrets, const model_t *m)
{
	size_t i = 0;
	for (uint32_t v = m->newest; v > 0; v--) {
		bool live = v == m->active || v == m->pending || v == m->previous;
		if (!live)
			continue;
		assert_int_equal(number_at(json_array_get(secrets, i), "version"), v);
		assert_string_equal(text_at(json_array_get(secrets, i), "state"), m->state[v]);
		assert_int_equal(strlen(text_at(json_array_get(secrets, i), "secret")), 44);
		i++;
	}
	assert_int_equal(json_array_size(secrets), i);
}

static void take_step(world_t *w, const char *path, model_t *m, step_t step)
{
	char body[160], hex[65] = "";
	int want = 0;
	uint32_t staged = m->newest > 1 ? m->newest : 2, old = old_version(m);
	ask_t ask = {.who = &w->n1, .path = path, .body = body};
	(void)snprintf(body, sizeof body, "{}");
	switch (step) {
	case STAGE:
		ask.op = OP_ROTATION_STAGE;
		want = model_stage(m);
		break;
	case PROMOTE:
	case PROMOTE_WRONG:
		ask.op = OP_ROTATION_PROMOTE;
		if (m->nonce[0] != '\0')
			world_proof(m->nonce, hex);
		else
			(void)snprintf(hex, sizeof hex, "%064d", 0);
		hex[0] = step == PROMOTE ? hex[0] : hex[0] == '0' ? '1' : '0';
		(void)snprintf(body, sizeof body, "{\"version\":%u,\"proof\":\"%s\"}", staged, hex);
		want = model_promote(m, step == PROMOTE);
		break;
	case RETIRE:
		ask.op = OP_ROTATION_RETIRE;
		(void)snprintf(body, sizeof body, "{\"version\":%u}", old);
		want = model_retire(m, old);
		break;
	case ABORT:
		ask.op = OP_ROTATION_ABORT;
		want = model_abort(m);
		break;
	case STEPS:
		break;
	}
	fixture_pass(w->f, 20); /* the node's budget */
	answer_t a = fixture_expect(w->f, want, &ask);
	if (step == STAGE) {
		assert_live(json_at(a.json, "secrets"), m);
		assert_int_equal(number_at(a.json, "version"), m->pending != 0 ? m->pending : m->active);
		if (m->nonce[0] != '\0' && m->pending == 0)
			assert_string_equal(m->nonce, text_at(a.json, "nonce"));
		(void)snprintf(m->nonce, sizeof m->nonce, "%s", text_at(a.json, "nonce"));
	}
	answer_free(&a);
	assert_as_modelled(w, path, m, step_names[step]);
}

/* The store in memory copies a table for each commit that changes it: many orders over one long log would
 * take minutes with sanitizers. */
static world_t *new_world(void **state)
{
	assert_int_equal(world_teardown(state), 0);
	assert_int_equal(world_setup(state), 0);
	return *state;
}

static void test_all_orders(void **state)
{
	world_t *w = *state;
	enum { LENGTH = 5, A_WORLD = 40 };
	unsigned n = 1, done = 0;
	for (unsigned i = 0; i < LENGTH; i++)
		n *= STEPS;
	for (unsigned order = 0; order < n; order += order % 3 == 0 ? 1 : 4) { /* a spread of them */
		char path[32];
		if (++done % A_WORLD == 0)
			w = new_world(state);
		(void)snprintf(path, sizeof path, "acme/db/o%u", order);
		fixture_pass(w->f, 100);
		make_volume(w->f, &w->n1, path);
		model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
		unsigned rest = order;
		for (unsigned i = 0; i < LENGTH; i++, rest /= STEPS)
			take_step(w, path, &m, (step_t)(rest % STEPS));
		answer_t a = fixture_expect(w->f, 200,
					    &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path});
		assert_live(json_at(a.json, "volumes.0.secrets"), &m);
		answer_free(&a);
	}
}

static void test_a_stage_after_promote_returns_both(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	take_step(w, path, &m, STAGE);
	take_step(w, path, &m, PROMOTE);
	answer_t a = fixture_expect(
		w->f, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path, .body = "{}"});
	assert_int_equal(number_at(a.json, "version"), 2);
	assert_int_equal(number_at(a.json, "secrets.0.version"), 2);
	assert_string_equal(text_at(a.json, "secrets.0.state"), "active");
	assert_int_equal(number_at(a.json, "secrets.1.version"), 1);
	assert_string_equal(text_at(a.json, "secrets.1.state"), "active-previous");
	assert_string_equal(text_at(a.json, "volume"), path);
	assert_string_equal(text_at(a.json, "luks_uuid"), LUKS_UUID);
	assert_string_equal(text_at(a.json, "fingerprints.0.value"), FP_HEX);
	answer_free(&a);
}

/* The secret that was active keeps its bytes through promote and retire of its successor: it opens the disk.
 */
static void test_secrets_keep_their_bytes(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	const ask_t release = {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path};
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	answer_t a = fixture_expect(w->f, 200, &release);
	take_step(w, path, &m, STAGE);
	answer_t b = fixture_expect(w->f, 200, &release);
	take_step(w, path, &m, PROMOTE);
	answer_t c = fixture_expect(w->f, 200, &release);
	take_step(w, path, &m, RETIRE);
	answer_t d = fixture_expect(w->f, 200, &release);
	const char *one = text_at(a.json, "volumes.0.secrets.0.secret");
	const char *two = text_at(b.json, "volumes.0.secrets.0.secret");
	assert_string_not_equal(one, two);
	assert_string_equal(text_at(b.json, "volumes.0.secrets.1.secret"), one);
	assert_string_equal(text_at(c.json, "volumes.0.secrets.0.secret"), two);
	assert_string_equal(text_at(c.json, "volumes.0.secrets.1.secret"), one);
	assert_string_equal(text_at(d.json, "volumes.0.secrets.0.secret"), two);
	assert_int_equal(json_array_size(json_at(d.json, "volumes.0.secrets")), 1);
	answer_free(&a);
	answer_free(&b);
	answer_free(&c);
	answer_free(&d);
}

#define ZEROS64 "0000000000000000000000000000000000000000000000000000000000000000"

/* NOLINTNEXTLINE(readability-function-size): a table */
static void test_refusals(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/n1");
	caller_t maintainer = make_operator(f, "mary", "operator");
	fixture_must(f, 201,
		     &(ask_t){.op = OP_VOLUME_PUT, .path = "acme/db/young", .body = "{\"node\":\"n1\"}"});
	const char *v = "acme/db/v1";
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{404, "not-found", {.op = OP_ROTATION_STAGE, .who = &n2, .path = v}},
		{404, "not-found", {.op = OP_ROTATION_STAGE, .who = &m1, .path = v}},
		{404, "not-found", {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "acme/db/none"}},
		{404, "not-found", {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "evil/db/v1"}},
		{401, "no-certificate", {.op = OP_ROTATION_STAGE, .who = &nobody, .path = v}},
		{409, "conflict", {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "acme/db/young"}},
		{400,
		 "bad-request",
		 {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = v, .body = "{\"x\":1}"}},
		{400,
		 "bad-request",
		 {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = v, .body = "{\"maintenance\":\"m/../x\"}"}},
		{400,
		 "bad-request",
		 {.op = OP_ROTATION_STAGE, .who = &w->n1, .path = v, .body = "{\"maintenance\":7}"}},
		{400, "bad-request", {.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = v}},
		{400,
		 "bad-request",
		 {.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = v, .body = "{\"version\":2}"}},
		{400,
		 "bad-request",
		 {.op = OP_ROTATION_PROMOTE,
		  .who = &w->n1,
		  .path = v,
		  .body = "{\"version\":2,\"proof\":\"00\"}"}},
		{409,
		 "conflict",
		 {.op = OP_ROTATION_PROMOTE,
		  .who = &w->n1,
		  .path = v,
		  .body = "{\"version\":99,\"proof\":\"" ZEROS64 "\"}"}},
		{404,
		 "not-found",
		 {.op = OP_ROTATION_PROMOTE,
		  .who = &n2,
		  .path = v,
		  .body = "{\"version\":2,\"proof\":\"" ZEROS64 "\"}"}},
		{409,
		 "conflict",
		 {.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = v, .body = "{\"version\":1}"}},
		{409,
		 "conflict",
		 {.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = v, .body = "{\"version\":0}"}},
		{400, "bad-request", {.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = v}},
		{404,
		 "not-found",
		 {.op = OP_ROTATION_RETIRE, .who = &m1, .path = v, .body = "{\"version\":1}"}},
		{400, "bad-request", {.op = OP_ROTATION_ABORT, .path = v, .body = "{\"force\":true}"}},
		{400, "bad-request", {.op = OP_ROTATION_ABORT, .path = v, .body = "{\"version\":\"1\"}"}},
		{404, "not-found", {.op = OP_ROTATION_ABORT, .who = &n2, .path = v}},
		/* operators hold no node's secrets */
		{403, "denied", {.op = OP_ROTATION_STAGE, .path = v}},
		{403, "denied", {.op = OP_ROTATION_STAGE, .who = &maintainer, .path = v}},
		{403,
		 "denied",
		 {.op = OP_ROTATION_PROMOTE, .path = v, .body = "{\"version\":2,\"proof\":\"" ZEROS64 "\"}"}},
		{403, "denied", {.op = OP_ROTATION_RETIRE, .path = v, .body = "{\"version\":1}"}},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		fixture_refused(f, rows[i].status, rows[i].slug, &rows[i].ask);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = v});
	assert_int_equal(json_array_size(json_at(a.json, "secrets")), 1);
	assert_true(json_is_null(json_at(a.json, "rotation")));
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_ROTATION_ABORT, .who = &maintainer, .path = v});
}

/* Wrong proofs of every kind: one bit, another fingerprint, another nonce; nothing changes. */
static void test_wrong_proof_changes_nothing(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	take_step(w, path, &m, STAGE);
	char good[65];
	world_proof(m.nonce, good);
	SCOPED(buf_free) buf_t before = BUF_INIT;
	raw_get(w->f, STORE_VOLUMES, path, &before);
	for (unsigned i = 0; i < 64; i++) {
		char body[160], wrong[65];
		memcpy(wrong, good, sizeof wrong);
		wrong[i] = wrong[i] == 'f' ? '0' : wrong[i] == '9' ? 'a' : (char)(wrong[i] + 1);
		(void)snprintf(body, sizeof body, "{\"version\":2,\"proof\":\"%s\"}", wrong);
		fixture_pass(w->f, 10);
		fixture_refused(
			w->f, 403, "denied",
			&(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = path, .body = body});
	}
	SCOPED(buf_free) buf_t after = BUF_INIT;
	raw_get(w->f, STORE_VOLUMES, path, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	take_step(w, path, &m, PROMOTE);
}

/* A proof is for one nonce: that of an aborted rotation does not promote the next one. */
static void test_old_proof_is_not_taken(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	char old[65], body[160];
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	take_step(w, path, &m, STAGE);
	world_proof(m.nonce, old);
	take_step(w, path, &m, ABORT);
	m.nonce[0] = '\0';
	take_step(w, path, &m, STAGE);
	(void)snprintf(body, sizeof body, "{\"version\":3,\"proof\":\"%s\"}", old);
	fixture_refused(w->f, 403, "denied",
			&(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = path, .body = body});
}

/* Requests of a rotation that is over, which come late, into the next one. */
static void test_late_requests_change_nothing(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	char proof[65], promote[160];
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	take_step(w, path, &m, STAGE);
	world_proof(m.nonce, proof);
	(void)snprintf(promote, sizeof promote, "{\"version\":2,\"proof\":\"%s\"}", proof);
	take_step(w, path, &m, PROMOTE);
	take_step(w, path, &m, RETIRE);
	take_step(w, path, &m, STAGE);
	const struct {
		int status;
		core_op_t op;
		const char *body;
	} rows[] = {
		{403, OP_ROTATION_PROMOTE, promote},          {200, OP_ROTATION_RETIRE, "{\"version\":1}"},
		{409, OP_ROTATION_RETIRE, "{\"version\":2}"}, {200, OP_ROTATION_ABORT, "{\"version\":2}"},
		{200, OP_ROTATION_ABORT, "{\"version\":1}"},  {200, OP_ROTATION_ABORT, "{\"version\":4}"},
		{200, OP_ROTATION_ABORT, "{\"version\":0}"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		fixture_pass(w->f, 20);
		answer_t a = fixture_expect(
			w->f, rows[i].status,
			&(ask_t){.op = rows[i].op, .who = &w->n1, .path = path, .body = rows[i].body});
		answer_free(&a);
		assert_as_modelled(w, path, &m, rows[i].body);
	}
	fixture_must(
		w->f, 200,
		&(ask_t){.op = OP_ROTATION_ABORT, .who = &w->n1, .path = path, .body = "{\"version\":3}"});
	assert_int_equal(model_abort(&m), 200);
	assert_as_modelled(w, path, &m, "abort of this one");
}

static void test_suspended_volume_does_not_rotate(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	model_t m = {.active = 1, .newest = 1, .state = {"", "active"}};
	take_step(w, path, &m, STAGE);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = path});
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_ROTATION_PROMOTE,
				 .who = &w->n1,
				 .path = path,
				 .body = "{\"version\":2,\"proof\":\"" ZEROS64 "\"}"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RESUME, .path = path});
	take_step(w, path, &m, PROMOTE);
}

static void test_promote_waits_for_copies(void **state)
{
	static const struct {
		const char *reason, *label;
		size_t broken;
		int status;
	} rows[] = {
		{"one was made before the stage", "", 0, 503},
		{"one of two", "a", 0, 503},
		{"the same place again", "a", 0, 503},
		{"a damaged mark", "b", 9, 503},
		{"two places", "b", 0, 200},
	};
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why = {""};
	char body[160], hex[65];
	fixture_stop(f);
	f->copies = 2;
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	fixture_mark(f, "early", 0);
	answer_t a = fixture_expect(f, 200,
				    &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "acme/db/v1"});
	world_proof(text_at(a.json, "nonce"), hex);
	answer_free(&a);
	(void)snprintf(body, sizeof body, "{\"version\":2,\"proof\":\"%s\"}", hex);
	const ask_t promote = {.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = "acme/db/v1", .body = body};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].label[0] != '\0')
			fixture_mark(f, rows[i].label, rows[i].broken);
		print_message("%s\n", rows[i].reason);
		if (rows[i].status == 503)
			fixture_refused(f, 503, "waits-for-copies", &promote);
		else
			fixture_must(f, rows[i].status, &promote);
	}
}

/* Rotations go on for ever: destroyed versions make room in the record. */
static void test_many_rotations(void **state)
{
	world_t *w = *state;
	const char *path = "acme/db/v1";
	for (uint32_t n = 1; n < 100; n++) {
		char body[160], hex[65];
		fixture_pass(w->f, 100);
		answer_t a = fixture_expect(w->f, 200,
					    &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
		world_proof(text_at(a.json, "nonce"), hex);
		answer_free(&a);
		(void)snprintf(body, sizeof body, "{\"version\":%u,\"proof\":\"%s\"}", n + 1, hex);
		fixture_must(w->f, 200,
			     &(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = path, .body = body});
		(void)snprintf(body, sizeof body, "{\"version\":%u}", n);
		fixture_must(w->f, 200,
			     &(ask_t){.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = path, .body = body});
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_all_orders),
		T(test_a_stage_after_promote_returns_both),
		T(test_secrets_keep_their_bytes),
		T(test_refusals),
		T(test_wrong_proof_changes_nothing),
		T(test_old_proof_is_not_taken),
		T(test_late_requests_change_nothing),
		T(test_suspended_volume_does_not_rotate),
		T(test_promote_waits_for_copies),
		T(test_many_rotations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
