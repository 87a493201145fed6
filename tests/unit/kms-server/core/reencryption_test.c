#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

#define THIRD_FP "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f"
#define ZEROS64  "0000000000000000000000000000000000000000000000000000000000000000"
#define V        "acme/db/v1"

static void start(world_t *w, const char *path, const char *fingerprint, const char *maintenance,
		  char nonce[64])
{
	char body[200];
	fixture_pass(w->f, 20); /* the node's budget */
	(void)snprintf(body, sizeof body, "{\"fingerprint\":\"%s\"%s%s%s}", fingerprint,
		       maintenance != NULL ? ",\"maintenance\":\"" : "",
		       maintenance != NULL ? maintenance : "", maintenance != NULL ? "\"" : "");
	answer_t a = fixture_expect(
		w->f, 200, &(ask_t){.op = OP_REENCRYPTION_START, .who = &w->n1, .path = path, .body = body});
	assert_string_equal(text_at(a.json, "volume"), path);
	(void)snprintf(nonce, 64, "%s", text_at(a.json, "nonce"));
	answer_free(&a);
}

static int progress(world_t *w, const char *path, const char *body)
{
	fixture_pass(w->f, 20);
	answer_t a = fixture_ask(
		w->f, &(ask_t){.op = OP_REENCRYPTION_PROGRESS, .who = &w->n1, .path = path, .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

static int promote(world_t *w, const char *path, const char *nonce, const char *fingerprint)
{
	char hex[65], body[100];
	world_proof_by(fingerprint, nonce, hex);
	(void)snprintf(body, sizeof body, "{\"proof\":\"%s\"}", hex);
	fixture_pass(w->f, 20);
	answer_t a = fixture_ask(
		w->f, &(ask_t){.op = OP_REENCRYPTION_PROMOTE, .who = &w->n1, .path = path, .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

/* --- every call in every state --- */

typedef enum at { NONE, REGISTERED, RUNNING, DONE, STATES } at_t;
static const char *const at_names[] = {"none", "registered", "running", "none"};

typedef enum call {
	START_SAME,
	START_OTHER,
	START_FIRST, /* the fingerprint from the formatting */
	PROGRESS,
	PROMOTE,
	PROMOTE_BY_FIRST,
	PROMOTE_WRONG,
	ABORT,
	ABORT_PROVED,
	ABORT_WRONG,
	STAGE,
	CALLS
} call_t;

static const char *const call_names[] = {"start",
					 "start with another key",
					 "start with the first key",
					 "progress",
					 "promote",
					 "promote by the first key",
					 "promote with a wrong proof",
					 "abort",
					 "abort with a proof",
					 "abort with a wrong proof",
					 "stage of a rotation"};

typedef struct outcome {
	int status;
	at_t then;
	const char *pending; /* fingerprint; NULL: none */
} outcome_t;

/* FP_HEX is the first fingerprint, OTHER_FP the one that is registered in all states but NONE. */
static const outcome_t outcomes[STATES][CALLS] = {
	[NONE] = {[START_SAME] = {200, REGISTERED, OTHER_FP},
		  [START_OTHER] = {200, REGISTERED, THIRD_FP},
		  [START_FIRST] = {400, NONE, NULL},
		  [PROGRESS] = {409, NONE, NULL},
		  [PROMOTE] = {409, NONE, NULL},
		  [PROMOTE_BY_FIRST] = {409, NONE, NULL},
		  [PROMOTE_WRONG] = {409, NONE, NULL},
		  [ABORT] = {200, NONE, NULL},
		  [ABORT_PROVED] = {200, NONE, NULL},
		  [ABORT_WRONG] = {200, NONE, NULL},
		  [STAGE] = {200, NONE, NULL}},
	[REGISTERED] = {[START_SAME] = {200, REGISTERED, OTHER_FP},
			[START_OTHER] = {200, REGISTERED, THIRD_FP},
			[START_FIRST] = {400, REGISTERED, OTHER_FP},
			[PROGRESS] = {200, RUNNING, OTHER_FP},
			[PROMOTE] = {409, REGISTERED, OTHER_FP},
			[PROMOTE_BY_FIRST] = {409, REGISTERED, OTHER_FP},
			[PROMOTE_WRONG] = {409, REGISTERED, OTHER_FP},
			[ABORT] = {200, NONE, NULL},
			[ABORT_PROVED] = {200, NONE, NULL},
			[ABORT_WRONG] = {403, REGISTERED, OTHER_FP},
			[STAGE] = {409, REGISTERED, OTHER_FP}},
	[RUNNING] = {[START_SAME] = {200, RUNNING, OTHER_FP},
		     [START_OTHER] = {409, RUNNING, OTHER_FP},
		     [START_FIRST] = {400, RUNNING, OTHER_FP},
		     [PROGRESS] = {200, RUNNING, OTHER_FP},
		     [PROMOTE] = {200, DONE, NULL},
		     [PROMOTE_BY_FIRST] = {403, RUNNING, OTHER_FP},
		     [PROMOTE_WRONG] = {403, RUNNING, OTHER_FP},
		     [ABORT] = {409, RUNNING, OTHER_FP},
		     [ABORT_PROVED] = {200, NONE, NULL},
		     [ABORT_WRONG] = {403, RUNNING, OTHER_FP},
		     [STAGE] = {409, RUNNING, OTHER_FP}},
	[DONE] = {[START_SAME] = {400, DONE, NULL},
		  [START_OTHER] = {200, REGISTERED, THIRD_FP},
		  [START_FIRST] = {400, DONE, NULL},
		  [PROGRESS] = {409, DONE, NULL},
		  [PROMOTE] = {200, DONE, NULL},
		  [PROMOTE_BY_FIRST] = {403, DONE, NULL},
		  [PROMOTE_WRONG] = {403, DONE, NULL},
		  [ABORT] = {200, DONE, NULL},
		  [ABORT_PROVED] = {200, DONE, NULL},
		  [ABORT_WRONG] = {200, DONE, NULL},
		  [STAGE] = {200, DONE, NULL}},
};

static void bring(world_t *w, const char *path, at_t to, char nonce[64])
{
	(void)snprintf(nonce, 64, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	make_volume(w->f, &w->n1, path);
	if (to >= REGISTERED)
		start(w, path, OTHER_FP, NULL, nonce);
	if (to >= RUNNING)
		assert_int_equal(progress(w, path, "{\"done\":0,\"total\":0}"), 200);
	if (to >= DONE)
		assert_int_equal(promote(w, path, nonce, OTHER_FP), 200);
}

static const struct {
	core_op_t op;
	const char *start; /* with this fingerprint */
	const char *by;    /* a proof by this one */
	bool forged;
	const char *body;
} requests[CALLS] = {
	[START_SAME] = {OP_REENCRYPTION_START, OTHER_FP, NULL, false, NULL},
	[START_OTHER] = {OP_REENCRYPTION_START, THIRD_FP, NULL, false, NULL},
	[START_FIRST] = {OP_REENCRYPTION_START, FP_HEX, NULL, false, NULL},
	[PROGRESS] = {OP_REENCRYPTION_PROGRESS, NULL, NULL, false, "{\"done\":1,\"total\":9}"},
	[PROMOTE] = {OP_REENCRYPTION_PROMOTE, NULL, OTHER_FP, false, NULL},
	[PROMOTE_BY_FIRST] = {OP_REENCRYPTION_PROMOTE, NULL, FP_HEX, false, NULL},
	[PROMOTE_WRONG] = {OP_REENCRYPTION_PROMOTE, NULL, OTHER_FP, true, NULL},
	[ABORT] = {OP_REENCRYPTION_ABORT, NULL, NULL, false, "{}"},
	[ABORT_PROVED] = {OP_REENCRYPTION_ABORT, NULL, FP_HEX, false, NULL},
	[ABORT_WRONG] = {OP_REENCRYPTION_ABORT, NULL, FP_HEX, true, NULL},
	[STAGE] = {OP_ROTATION_STAGE, NULL, NULL, false, "{}"},
};

static int take(world_t *w, const char *path, call_t call, const char *nonce)
{
	char body[200], hex[65];
	if (requests[call].start != NULL) {
		(void)snprintf(body, sizeof body, "{\"fingerprint\":\"%s\"}", requests[call].start);
	} else if (requests[call].by != NULL) {
		world_proof_by(requests[call].by, nonce, hex);
		if (requests[call].forged)
			hex[63] = hex[63] == '0' ? '1' : '0';
		(void)snprintf(body, sizeof body, "{\"proof\":\"%s\"}", hex);
	} else {
		(void)snprintf(body, sizeof body, "%s", requests[call].body);
	}
	fixture_pass(w->f, 20);
	answer_t a = fixture_ask(
		w->f, &(ask_t){.op = requests[call].op, .who = &w->n1, .path = path, .body = body});
	int status = a.status;
	answer_free(&a);
	return status;
}

/* What a release says that the disk may be: nothing else may open. */
static void assert_fingerprints(world_t *w, const char *path, const char *active, const char *pending)
{
	fixture_pass(w->f, 20);
	answer_t a =
		fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = path});
	json_t *list = json_at(a.json, "volumes.0.fingerprints");
	assert_int_equal(json_array_size(list), pending != NULL ? 2 : 1);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *f = json_array_get(list, i);
		bool is_pending = strcmp(text_at(f, "state"), "pending") == 0;
		if (!is_pending)
			assert_string_equal(text_at(f, "state"), "active");
		assert_string_equal(text_at(f, "value"), is_pending ? pending : active);
	}
	answer_free(&a);
}

static void assert_state(world_t *w, const char *path, at_t at)
{
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = path});
	if (at == NONE || at == DONE)
		assert_true(json_is_null(json_at(a.json, "reencryption")));
	else
		assert_string_equal(text_at(a.json, "reencryption.state"), at_names[at]);
	assert_int_equal(json_is_null(json_at(a.json, "reencrypted_ms")), at != DONE);
	answer_free(&a);
}

static void test_every_call_in_every_state(void **state)
{
	world_t *w = *state;
	for (at_t at = NONE; at < STATES; at++)
		for (call_t call = START_SAME; call < CALLS; call++) {
			const outcome_t *o = &outcomes[at][call];
			char path[32], nonce[64];
			(void)snprintf(path, sizeof path, "acme/db/s%d-%d", (int)at, (int)call);
			bring(w, path, at, nonce);
			int status = take(w, path, call, nonce);
			if (status != o->status)
				fail_msg("%s while %s%s: %d, not %d", call_names[call], at_names[at],
					 at == DONE ? " (done)" : "", status, o->status);
			if (!(at == DONE && o->then == REGISTERED)) /* it was re-encrypted once */
				assert_state(w, path, o->then);
			assert_fingerprints(w, path, at == DONE || o->then == DONE ? OTHER_FP : FP_HEX,
					    o->pending);
		}
}

/* --- a registration that comes late, of a run that nobody goes on with --- */

static void rotate_once(world_t *w, const char *path)
{
	char body[160], hex[65];
	fixture_pass(w->f, 20);
	answer_t a =
		fixture_expect(w->f, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
	world_proof_by(FP_HEX, text_at(a.json, "nonce"), hex);
	answer_free(&a);
	(void)snprintf(body, sizeof body, "{\"version\":2,\"proof\":\"%s\"}", hex);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = path, .body = body});
	fixture_must(
		w->f, 200,
		&(ask_t){.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = path, .body = "{\"version\":1}"});
}

static void test_a_late_start_changes_nothing(void **state)
{
	world_t *w = *state;
	enum { FRESH, ROTATED, REENCRYPTED };
	static const char first[] =
		"{\"fingerprint\":\"" THIRD_FP "\",\"version\":1,\"from\":\"" FP_HEX "\"}";
	static const char version[] = "{\"fingerprint\":\"" THIRD_FP "\",\"version\":1}";
	static const char from[] = "{\"fingerprint\":\"" THIRD_FP "\",\"from\":\"" FP_HEX "\"}";
	static const char ahead[] = "{\"fingerprint\":\"" THIRD_FP "\",\"version\":2}";
	static const char after[] = "{\"fingerprint\":\"" THIRD_FP "\",\"from\":\"" OTHER_FP "\"}";
	static const char none[] = "{\"fingerprint\":\"" THIRD_FP "\",\"version\":0}";
	const struct {
		const char *why;
		int then, status;
		const char *body;
	} rows[] = {
		{"as it stands", FRESH, 200, first},
		{"a version that is not active", FRESH, 409, ahead},
		{"no version", FRESH, 409, none},
		{"another key than the present one", FRESH, 409, after},
		{"the secret was rotated", ROTATED, 409, first},
		{"the secret was rotated: version alone", ROTATED, 409, version},
		{"the secret of now", ROTATED, 200, ahead},
		{"the key was replaced with the same secret", REENCRYPTED, 409, first},
		{"the key was replaced: from alone", REENCRYPTED, 409, from},
		{"the key of now", REENCRYPTED, 200, after},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char path[32], nonce[64];
		(void)snprintf(path, sizeof path, "acme/db/l%zu", i);
		bring(w, path, rows[i].then == REENCRYPTED ? DONE : NONE, nonce);
		if (rows[i].then == ROTATED)
			rotate_once(w, path);
		fixture_pass(w->f, 20);
		const ask_t late = {
			.op = OP_REENCRYPTION_START, .who = &w->n1, .path = path, .body = rows[i].body};
		answer_t a = fixture_ask(w->f, &late);
		if (a.status != rows[i].status)
			fail_msg("%s: %d, not %d", rows[i].why, a.status, rows[i].status);
		answer_free(&a);
		if (rows[i].status == 409) /* and a rotation finds nothing in its way */
			fixture_must(w->f, 200,
				     &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
	}
}

/* --- what is refused whatever the state --- */

/* NOLINTNEXTLINE(readability-function-size): a table */
static void test_refusals(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	caller_t n2 = make_node(f, "acme/db/n2");
	make_service(f, "evil", "db");
	caller_t m1 = make_node(f, "evil/db/n1");
	caller_t maintainer = make_operator(f, "mary", "operator");
	caller_t auditor = make_operator(f, "ann", "auditor");
	fixture_must(f, 201,
		     &(ask_t){.op = OP_VOLUME_PUT, .path = "acme/db/young", .body = "{\"node\":\"n1\"}"});
	static const char good[] = "{\"fingerprint\":\"" OTHER_FP "\"}";
	static const char proof[] = "{\"proof\":\"" ZEROS64 "\"}";
	static const char far[] = "{\"done\":1,\"total\":2}";
	const struct {
		int status;
		const char *slug;
		core_op_t op;
		const caller_t *who; /* NULL: the admin */
		const char *path, *body;
	} rows[] = {
		{404, "not-found", OP_REENCRYPTION_START, &n2, V, good},
		{404, "not-found", OP_REENCRYPTION_START, &m1, V, good},
		{404, "not-found", OP_REENCRYPTION_START, &w->n1, "acme/db/none", good},
		{404, "not-found", OP_REENCRYPTION_START, &w->n1, "evil/db/v1", good},
		{401, "no-certificate", OP_REENCRYPTION_START, &nobody, V, good},
		{403, "denied", OP_REENCRYPTION_START, NULL, V, good},
		{403, "denied", OP_REENCRYPTION_START, &maintainer, V, good},
		{403, "denied", OP_REENCRYPTION_START, &auditor, V, good},
		{409, "conflict", OP_REENCRYPTION_START, &w->n1, "acme/db/young", good},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V, "{}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V, "{\"fingerprint\":\"00\"}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V, "{\"fingerprint\":7}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" OTHER_FP "\",\"x\":1}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" OTHER_FP "\",\"maintenance\":\"m/../x\"}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" OTHER_FP "\",\"maintenance\":7}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V, "{\"fingerprint\":\"" FP_HEX "\"}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" OTHER_FP "\",\"version\":\"1\"}"},
		{400, "bad-request", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" OTHER_FP "\",\"from\":\"00\"}"},
		{409, "conflict", OP_REENCRYPTION_START, &w->n1, V,
		 "{\"fingerprint\":\"" THIRD_FP "\",\"version\":7}"},

		{404, "not-found", OP_REENCRYPTION_PROGRESS, &n2, V, far},
		{404, "not-found", OP_REENCRYPTION_PROGRESS, &m1, V, far},
		{403, "denied", OP_REENCRYPTION_PROGRESS, NULL, V, far},
		{403, "denied", OP_REENCRYPTION_PROGRESS, &maintainer, V, far},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":1}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":3,\"total\":2}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":-1,\"total\":2}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":-2,\"total\":-1}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":1.5,\"total\":2}"},
		{400, "bad-request", OP_REENCRYPTION_PROGRESS, &w->n1, V, "{\"done\":\"1\",\"total\":2}"},

		{404, "not-found", OP_REENCRYPTION_PROMOTE, &n2, V, proof},
		{404, "not-found", OP_REENCRYPTION_PROMOTE, &m1, V, proof},
		{403, "denied", OP_REENCRYPTION_PROMOTE, NULL, V, proof},
		{403, "denied", OP_REENCRYPTION_PROMOTE, &maintainer, V, proof},
		{400, "bad-request", OP_REENCRYPTION_PROMOTE, &w->n1, V, "{}"},
		{400, "bad-request", OP_REENCRYPTION_PROMOTE, &w->n1, V, "{\"proof\":\"00\"}"},
		{403, "denied", OP_REENCRYPTION_PROMOTE, &w->n1, V, proof},

		{404, "not-found", OP_REENCRYPTION_ABORT, &n2, V, "{}"},
		{404, "not-found", OP_REENCRYPTION_ABORT, &m1, V, "{}"},
		{403, "denied", OP_REENCRYPTION_ABORT, &auditor, V, "{}"},
		{409, "conflict", OP_REENCRYPTION_ABORT, NULL, V, "{}"},
		{409, "conflict", OP_REENCRYPTION_ABORT, &maintainer, V, "{}"},
		{400, "bad-request", OP_REENCRYPTION_ABORT, NULL, V, "{\"force\":true}"},
		{400, "bad-request", OP_REENCRYPTION_ABORT, NULL, V, "{\"proof\":\"00\"}"},
		{400, "bad-request", OP_REENCRYPTION_ABORT, NULL, V, "{\"proof\":null}"},
	};
	char nonce[64];
	start(w, V, THIRD_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":5,\"total\":7}"), 200);
	SCOPED(buf_free) buf_t before = BUF_INIT;
	SCOPED(buf_free) buf_t after = BUF_INIT;
	raw_get(f, STORE_VOLUMES, V, &before);
	for (size_t i = 0; i < COUNT(rows); i++) {
		fixture_pass(f, 100);
		fixture_refused(f, rows[i].status, rows[i].slug,
				&(ask_t){.op = rows[i].op,
					 .who = rows[i].who,
					 .path = rows[i].path,
					 .body = rows[i].body});
	}
	raw_get(f, STORE_VOLUMES, V, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
}

/* An operator drops what only was registered. */
static void test_an_operator_aborts(void **state)
{
	world_t *w = *state;
	caller_t maintainer = make_operator(w->f, "mary", "operator");
	char nonce[64];
	start(w, V, OTHER_FP, NULL, nonce);
	fixture_must(w->f, 200, &(ask_t){.op = OP_REENCRYPTION_ABORT, .who = &maintainer, .path = V});
	assert_fingerprints(w, V, FP_HEX, NULL);
}

/* --- proofs --- */

static void test_wrong_proof_changes_nothing(void **state)
{
	world_t *w = *state;
	char nonce[64], good[65];
	start(w, V, OTHER_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":1,\"total\":1}"), 200);
	world_proof_by(OTHER_FP, nonce, good);
	SCOPED(buf_free) buf_t before = BUF_INIT;
	SCOPED(buf_free) buf_t after = BUF_INIT;
	raw_get(w->f, STORE_VOLUMES, V, &before);
	for (unsigned i = 0; i < 64; i++) {
		char body[100], wrong[65];
		memcpy(wrong, good, sizeof wrong);
		wrong[i] = wrong[i] == 'f' ? '0' : wrong[i] == '9' ? 'a' : (char)(wrong[i] + 1);
		(void)snprintf(body, sizeof body, "{\"proof\":\"%s\"}", wrong);
		fixture_pass(w->f, 20);
		fixture_refused(
			w->f, 403, "denied",
			&(ask_t){.op = OP_REENCRYPTION_PROMOTE, .who = &w->n1, .path = V, .body = body});
	}
	raw_get(w->f, STORE_VOLUMES, V, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	assert_int_equal(promote(w, V, nonce, OTHER_FP), 200);
}

/* A proof is for one registration, also of the same key. */
static void test_each_registration_has_its_nonce(void **state)
{
	world_t *w = *state;
	char one[64], again[64], two[64], three[64];
	start(w, V, OTHER_FP, NULL, one);
	start(w, V, OTHER_FP, NULL, again);
	assert_string_not_equal(one, again);
	start(w, V, THIRD_FP, NULL, two);
	assert_string_not_equal(one, two);
	json_t *e = last_event(w->f);
	assert_non_null(strstr(text_at(e, "status_detail"), "replaces"));
	json_decref(e);
	fixture_must(w->f, 200, &(ask_t){.op = OP_REENCRYPTION_ABORT, .who = &w->n1, .path = V});
	start(w, V, OTHER_FP, NULL, three);
	assert_string_not_equal(one, three);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":1}"), 200);
	assert_int_equal(promote(w, V, one, OTHER_FP), 403);
	assert_int_equal(promote(w, V, two, THIRD_FP), 403);
	assert_int_equal(promote(w, V, three, OTHER_FP), 200);
}

/* --- progress --- */

static void test_progress_is_quiet_and_shown(void **state)
{
	world_t *w = *state;
	char nonce[64];
	start(w, V, OTHER_FP, NULL, nonce);
	uint64_t from = log_size(w->f);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":0}"), 200);
	assert_int_equal(events_with(w->f, from, "reencryption.progress", "done"), 1);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	int64_t started = number_at(a.json, "reencryption.started_ms");
	assert_true(json_is_null(json_at(a.json, "reencryption.eta_ms")));
	answer_free(&a);
	fixture_pass(w->f, 1000 - 20);
	assert_int_equal(progress(w, V, "{\"done\":250,\"total\":1000}"), 200);
	assert_int_equal(events_with(w->f, from, "reencryption.progress", NULL), 1);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	assert_int_equal(number_at(a.json, "reencryption.done"), 250);
	assert_int_equal(number_at(a.json, "reencryption.total"), 1000);
	assert_int_equal(number_at(a.json, "reencryption.started_ms"), started);
	assert_int_equal(number_at(a.json, "reencryption.updated_ms"), started + 1000);
	assert_int_equal(number_at(a.json, "reencryption.eta_ms"), started + 4000);
	answer_free(&a);
	assert_int_equal(progress(w, V, "{\"done\":100,\"total\":1000}"), 200); /* after a crash */
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	assert_int_equal(number_at(a.json, "reencryption.done"), 100);
	answer_free(&a);
	assert_int_equal(progress(w, V, "{\"done\":9,\"total\":1}"), 400); /* a refusal is an event */
	assert_int_equal(events_with(w->f, from, "reencryption.progress", NULL), 2);
}

/* The largest numbers: no estimate rather than nonsense, and none that no answer could show. */
static void test_estimates_have_an_end(void **state)
{
	world_t *w = *state;
	char nonce[64];
	start(w, V, OTHER_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":1}"), 200);
	fixture_pass(w->f, DAY_MS);
	assert_int_equal(progress(w, V, "{\"done\":1,\"total\":9007199254740991}"), 200);
	assert_int_equal(progress(w, V, "{\"done\":1,\"total\":9007199254740992}"), 400);
	assert_int_equal(progress(w, V, "{\"done\":1,\"total\":9223372036854775807}"), 400);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	assert_true(json_is_null(json_at(a.json, "reencryption.eta_ms")));
	assert_int_equal(number_at(a.json, "reencryption.total"), INT64_C(9007199254740991));
	answer_free(&a);
}

/* --- with the rest --- */

static void test_suspended(void **state)
{
	world_t *w = *state;
	char nonce[64], other[64];
	make_volume(w->f, &w->n1, "acme/db/v2");
	start(w, V, OTHER_FP, NULL, nonce);
	start(w, "acme/db/v2", OTHER_FP, NULL, other);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":9}"), 200);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = V});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v2"});
	assert_int_equal(progress(w, "acme/db/v2", "{\"done\":0,\"total\":9}"), 409);
	assert_int_equal(progress(w, V, "{\"done\":4,\"total\":9}"), 200);
	assert_int_equal(promote(w, V, nonce, OTHER_FP), 409);
	fixture_refused(w->f, 409, "conflict",
			&(ask_t){.op = OP_REENCRYPTION_START,
				 .who = &w->n1,
				 .path = V,
				 .body = "{\"fingerprint\":\"" OTHER_FP "\"}"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = V});
	assert_int_equal(progress(w, V, "{\"done\":5,\"total\":9}"), 409);
}

static void test_not_during_a_rotation(void **state)
{
	world_t *w = *state;
	char nonce[64];
	const ask_t begin = {.op = OP_REENCRYPTION_START,
			     .who = &w->n1,
			     .path = V,
			     .body = "{\"fingerprint\":\"" OTHER_FP "\"}"};
	fixture_must(w->f, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = V});
	fixture_refused(w->f, 409, "conflict", &begin);
	fixture_must(w->f, 200, &(ask_t){.op = OP_ROTATION_ABORT, .who = &w->n1, .path = V});
	start(w, V, OTHER_FP, NULL, nonce);
}

/* A new lineage has nothing of the old one's. */
static void test_reformat_drops_it(void **state)
{
	world_t *w = *state;
	char nonce[64];
	start(w, V, OTHER_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":9}"), 200);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_REFORMAT, .who = &w->n1, .path = V});
	assert_true(json_is_null(json_at(a.json, "reencryption")));
	assert_int_equal(json_array_size(json_at(a.json, "fingerprints")), 0);
	answer_free(&a);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_VOLUME_COMMIT,
			      .who = &w->n1,
			      .path = V,
			      .body = "{\"luks_uuid\":\"" LUKS_UUID "\",\"fingerprint\":\"" THIRD_FP
				      "\",\"lineage\":2}"});
	assert_fingerprints(w, V, THIRD_FP, NULL);
	assert_int_equal(promote(w, V, nonce, OTHER_FP), 409);
	assert_int_equal(promote(w, V, nonce, THIRD_FP), 409);
}

/* The task of the event is done by the promotion; an event that is not there, or not this volume's, is no
 * reason to keep a re-encrypted volume from being so. */
static void test_the_task_is_done(void **state)
{
	world_t *w = *state;
	char nonce[64], id[64];
	answer_t a =
		fixture_expect(w->f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\"}"});
	(void)snprintf(id, sizeof id, "%s", text_at(a.json, "id"));
	answer_free(&a);
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_TASKS, .who = &w->n1});
	start(w, V, OTHER_FP, "m-0000000000000000", nonce);
	start(w, V, OTHER_FP, id, nonce); /* it goes on for this event */
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":9}"), 200);
	uint64_t from = log_size(w->f);
	assert_int_equal(promote(w, V, nonce, OTHER_FP), 200);
	json_t *e = event_at(w->f, from);
	assert_string_equal(text_at(e, "metadata.correlation_uid"), id);
	json_decref(e);
	char path[80];
	(void)snprintf(path, sizeof path, "//%s", id);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_MAINT_GET, .path = path});
	assert_int_equal(number_at(a.json, "counts.done"), 1);
	assert_string_equal(text_at(a.json, "state"), "closed");
	answer_free(&a);
	start(w, V, THIRD_FP, "m-0000000000000000", nonce);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":9}"), 200);
	assert_int_equal(promote(w, V, nonce, THIRD_FP), 200);
}

/* They go on for ever: the oldest former fingerprints make room, and what was promoted is what counts. */
static void test_many(void **state)
{
	world_t *w = *state;
	char nonce[64], fp[65];
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(fp, sizeof fp, "%064x", i + 1);
		start(w, V, fp, NULL, nonce);
		assert_int_equal(progress(w, V, "{\"done\":0,\"total\":9}"), 200);
		assert_int_equal(promote(w, V, nonce, fp), 200);
		assert_fingerprints(w, V, fp, NULL);
	}
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	json_t *list = json_at(a.json, "fingerprints");
	assert_int_equal(json_array_size(list), VOLUME_FINGERPRINTS_MAX);
	for (size_t i = 0; i + 1 < json_array_size(list); i++)
		assert_string_equal(text_at(json_array_get(list, i), "state"), "former");
	answer_free(&a);
}

/* The server's power goes after each step: what was answered holds. */
static void test_crash_between(void **state)
{
	world_t *w = *state;
	diag_t why = {""};
	char one[64], again[64];
	start(w, V, OTHER_FP, NULL, one);
	fixture_crash(w->f);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	start(w, V, OTHER_FP, NULL, again);
	assert_string_not_equal(one, again);
	assert_int_equal(progress(w, V, "{\"done\":3,\"total\":9}"), 200);
	assert_int_equal(progress(w, V, "{\"done\":4,\"total\":9}"),
			 200); /* without an event: kept all the same */
	fixture_crash(w->f);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V});
	assert_int_equal(number_at(a.json, "reencryption.done"), 4);
	answer_free(&a);
	start(w, V, OTHER_FP, NULL, again);
	assert_string_not_equal(one, again);
	assert_int_equal(promote(w, V, again, OTHER_FP), 200);
	fixture_crash(w->f);
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	assert_int_equal(promote(w, V, again, OTHER_FP), 200); /* the answer was lost */
	assert_fingerprints(w, V, OTHER_FP, NULL);
}

/* What the disk goes to must be in a copy before it goes there, not only before the promotion. */
static void test_waits_for_copies(void **state)
{
	world_t *w = *state;
	char nonce[64], later[64];
	diag_t why = {""};
	fixture_stop(w->f);
	w->f->copies = 1;
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	fixture_mark(w->f, "early", 0);
	start(w, V, OTHER_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":0}"), 503);
	fixture_mark(w->f, "a", 0);
	start(w, V, THIRD_FP, NULL, nonce);
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":0}"), 503);
	fixture_mark(w->f, "a", 0);
	start(w, V, THIRD_FP, NULL, later); /* as it stands: the copy holds it still */
	assert_int_equal(progress(w, V, "{\"done\":0,\"total\":0}"), 200);
	assert_int_equal(promote(w, V, later, THIRD_FP), 200);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_call_in_every_state),
		T(test_a_late_start_changes_nothing),
		T(test_refusals),
		T(test_an_operator_aborts),
		T(test_wrong_proof_changes_nothing),
		T(test_each_registration_has_its_nonce),
		T(test_progress_is_quiet_and_shown),
		T(test_estimates_have_an_end),
		T(test_suspended),
		T(test_not_during_a_rotation),
		T(test_reformat_drops_it),
		T(test_the_task_is_done),
		T(test_many),
		T(test_crash_between),
		T(test_waits_for_copies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
