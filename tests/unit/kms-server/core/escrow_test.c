#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

#include <time.h>

#define V1      "acme/db/v1"
#define DIGEST  "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f"
#define DIGEST2 "8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f8f"

#define PROOF(version, fp, digest)                                                                           \
	"{\"version\":" version ",\"fingerprint\":\"" fp "\",\"digest\":\"" digest "\"}"
#define HEADER(version, fp, digest, copy)                                                                    \
	"{\"version\":" version ",\"fingerprint\":\"" fp "\",\"digest\":\"" digest "\",\"copy\":\"" copy "\"}"

static ask_t by_node(const world_t *w, core_op_t op, const char *body)
{
	return (ask_t){.op = op, .who = &w->n1, .path = V1, .body = body};
}

static void must(world_t *w, core_op_t op, const char *body)
{
	ask_t a = by_node(w, op, body);
	fixture_must(w->f, 200, &a);
}

/* The text of a field of the volume, or of an act's answer. */
static void field(world_t *w, const ask_t *ask, const char *name, char out[300])
{
	answer_t a = fixture_expect(w->f, 200, ask);
	(void)snprintf(out, 300, "%s", text_at(a.json, name));
	answer_free(&a);
}

static int64_t volume_number(world_t *w, const char *name)
{
	answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = V1});
	int64_t n = number_at(a.json, name);
	answer_free(&a);
	return n;
}

static uint64_t stored_headers(fixture_t *f)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t n = 0;
	assert_int_equal(store_begin_read(f->store, &t), KMS_OK);
	assert_int_equal(store_count(t, STORE_HEADERS, &n), KMS_OK);
	return n;
}

static int64_t health_of(fixture_t *f, const char *path)
{
	core_reply_t r = {0};
	SCOPED(json_freep) json_t *j = NULL;
	core_health(f->core, &r);
	assert_int_equal(json_parse(buf_span(&r.body), 1U << 16, &j, NULL), KMS_OK);
	core_reply_free(&r);
	return number_at(j, path);
}

static void wait_health(fixture_t *f, const char *path, int64_t want)
{
	for (int i = 0; i < 300 && health_of(f, path) != want; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(health_of(f, path), want);
}

/* --- proofs --- */

static void test_a_proof_is_on_the_volume(void **state)
{
	world_t *w = *state;
	char text[300];
	assert_int_equal(volume_number(w, "escrow.proven_ms"), START_MS); /* by :commit */
	fixture_pass(w->f, HOUR_MS);
	ask_t prove = by_node(w, OP_VOLUME_PROVE, PROOF("1", FP_HEX, DIGEST));
	field(w, &prove, "header", text);
	assert_string_equal(text, "wanted");
	assert_int_equal(volume_number(w, "escrow.proven_ms"), START_MS + HOUR_MS);
	assert_int_equal(volume_number(w, "escrow.version"), 1);
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	field(w, &prove, "header", text);
	assert_string_equal(text, "stored");
	/* somebody has changed the header since */
	prove.body = PROOF("1", FP_HEX, DIGEST2);
	field(w, &prove, "header", text);
	assert_string_equal(text, "wanted");
}

/* NOLINTNEXTLINE(readability-function-size): a table */
static void test_what_is_no_proof(void **state)
{
	world_t *w = *state;
	static const struct {
		int status;
		const char *slug;
		core_op_t op;
		const char *body;
	} rows[] = {
		{409, "conflict", OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST)}, /* there is no such secret */
		{409, "conflict", OP_VOLUME_PROVE, PROOF("0", FP_HEX, DIGEST)},
		{403, "denied", OP_VOLUME_PROVE, PROOF("1", OTHER_FP, DIGEST)}, /* another disk */
		{400, "bad-request", OP_VOLUME_PROVE, "{\"version\":1}"},
		{400, "bad-request", OP_VOLUME_PROVE, PROOF("1", "5f", DIGEST)},
		{400, "bad-request", OP_VOLUME_PROVE, PROOF("1", FP_HEX, "xy")},
		{409, "conflict", OP_HEADER_PUT, HEADER("2", FP_HEX, DIGEST, "AAAA")},
		{403, "denied", OP_HEADER_PUT, HEADER("1", OTHER_FP, DIGEST, "AAAA")},
		{400, "bad-request", OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "")},
		{400, "bad-request", OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAA")}, /* not base64 */
		{400, "bad-request", OP_HEADER_PUT, PROOF("1", FP_HEX, DIGEST)},         /* no copy */
		{404, "not-found", OP_HEADER_GET, NULL},                                 /* none yet */
	};
	int64_t proven = volume_number(w, "escrow.proven_ms");
	fixture_pass(w->f, HOUR_MS);
	for (size_t i = 0; i < COUNT(rows); i++) {
		ask_t a = by_node(w, rows[i].op, rows[i].body);
		fixture_refused(w->f, rows[i].status, rows[i].slug, &a);
	}
	/* a version that is not the active one any more, or not yet */
	ask_t stage = by_node(w, OP_ROTATION_STAGE, "{}");
	fixture_must(w->f, 200, &stage);
	ask_t early = by_node(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST));
	fixture_refused(w->f, 409, "conflict", &early);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = V1});
	ask_t suspended = by_node(w, OP_VOLUME_PROVE, PROOF("1", FP_HEX, DIGEST));
	fixture_refused(w->f, 409, "conflict", &suspended);
	assert_int_equal(volume_number(w, "escrow.proven_ms"), proven);
	assert_int_equal(stored_headers(w->f), 0);
}

/* The former secret is the last way back: it ends with a proof an hour later, and not before the new header
 * is in safety too. */
static void test_a_later_proof_ends_the_former_secret(void **state)
{
	world_t *w = *state;
	char text[300];
	const ask_t get = {.op = OP_VOLUME_GET, .path = V1};
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	world_rotate(w, 1);
	assert_int_equal(volume_number(w, "escrow.version"), 2);
	must(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST2));
	fixture_pass(w->f, HOUR_MS);
	must(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST2)); /* late enough, and no copy */
	field(w, &get, "secrets.1.state", text);
	assert_string_equal(text, "deactivated");
	assert_int_equal(volume_number(w, "headers.0.version"), 1);
	must(w, OP_HEADER_PUT, HEADER("2", FP_HEX, DIGEST2, "BBBB"));
	assert_int_equal(stored_headers(w->f), 2);
	uint64_t from = log_size(w->f);
	must(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST2));
	field(w, &get, "secrets.1.state", text);
	assert_string_equal(text, "destroyed");
	assert_int_equal(volume_number(w, "headers.0.version"), 2);
	assert_int_equal(volume_number(w, "headers.1.version"), -1);
	assert_int_equal(stored_headers(w->f), 1);
	SCOPED(json_freep) json_t *e = event_at(w->f, from);
	assert_string_equal(text_at(e, "status_detail"),
			    "1 former secret versions destroyed: this one opens the volume");
}

static void test_too_soon_after_a_rotation(void **state)
{
	world_t *w = *state;
	char text[300];
	const ask_t get = {.op = OP_VOLUME_GET, .path = V1};
	world_rotate(w, 1);
	must(w, OP_HEADER_PUT, HEADER("2", FP_HEX, DIGEST2, "BBBB"));
	fixture_pass(w->f, HOUR_MS - 1);
	must(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST2));
	field(w, &get, "secrets.1.state", text);
	assert_string_equal(text, "deactivated");
	fixture_pass(w->f, 1);
	must(w, OP_VOLUME_PROVE, PROOF("2", FP_HEX, DIGEST2));
	field(w, &get, "secrets.1.state", text);
	assert_string_equal(text, "destroyed");
}

/* --- headers --- */

static void test_generations(void **state)
{
	world_t *w = *state;
	char body[400], text[300];
	for (unsigned i = 1; i <= 6; i++) {
		(void)snprintf(body, sizeof body,
			       "{\"version\":1,\"fingerprint\":\"" FP_HEX "\",\"digest\":\"%064u\",\"copy\":"
			       "\"AAA%u\"}",
			       i, i);
		must(w, OP_HEADER_PUT, body);
		must(w, OP_HEADER_PUT, body); /* the same once more is the same */
	}
	assert_int_equal(volume_number(w, "headers.0.generation"), 6);
	assert_int_equal(volume_number(w, "headers.3.generation"), 3);
	assert_int_equal(stored_headers(w->f), 4);
	ask_t get = by_node(w, OP_HEADER_GET, NULL);
	field(w, &get, "copy", text);
	assert_string_equal(text, "AAA6");
	get.query = "generation=4";
	field(w, &get, "copy", text);
	assert_string_equal(text, "AAA4");
	get.query = "generation=2";
	fixture_refused(w->f, 404, "not-found", &get);
	get.query = "generation=0";
	fixture_refused(w->f, 400, "bad-request", &get);
	get.query = "version=1";
	fixture_refused(w->f, 400, "bad-request", &get);
}

/* After a re-encryption an old header would lead to nothing but noise; while it runs, any would. */
static void test_a_new_volume_key_ends_the_copies(void **state)
{
	world_t *w = *state;
	char body[160], hex[65];
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	must(w, OP_REENCRYPTION_START, "{\"fingerprint\":\"" OTHER_FP "\"}");
	must(w, OP_REENCRYPTION_PROGRESS, "{\"done\":0,\"total\":9}");
	ask_t running = by_node(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST2, "AAAA"));
	fixture_refused(w->f, 409, "conflict", &running);
	assert_int_equal(stored_headers(w->f), 1);
	/* the proof is by the new key: OTHER_FP */
	ask_t start = by_node(w, OP_REENCRYPTION_START, "{\"fingerprint\":\"" OTHER_FP "\"}");
	answer_t a = fixture_expect(w->f, 200, &start);
	world_proof_by(OTHER_FP, text_at(a.json, "nonce"), hex);
	answer_free(&a);
	(void)snprintf(body, sizeof body, "{\"proof\":\"%s\"}", hex);
	must(w, OP_REENCRYPTION_PROMOTE, body);
	assert_int_equal(stored_headers(w->f), 0);
	must(w, OP_HEADER_PUT, HEADER("1", OTHER_FP, DIGEST2, "BBBB"));
	assert_int_equal(stored_headers(w->f), 1);
	must(w, OP_VOLUME_REFORMAT, "{}");
	assert_int_equal(stored_headers(w->f), 0);
	assert_int_equal(volume_number(w, "escrow.proven_ms"), -1);
}

static void test_copies_end_with_the_volume(void **state)
{
	world_t *w = *state;
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = V1});
	fixture_pass(w->f, 7 * DAY_MS);
	assert_true(wait_events_with(w->f, 0, "key.destroy", "done", 1));
	assert_int_equal(stored_headers(w->f), 0);
}

/* A record that promises a copy which is not there is damage, and said. */
static void test_a_copy_that_is_gone(void **state)
{
	world_t *w = *state;
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	raw_del(w->f, STORE_HEADERS, V1 "/0000000001");
	ask_t get = by_node(w, OP_HEADER_GET, NULL);
	fixture_refused(w->f, 500, "integrity", &get);
}

/* --- what health says --- */

static void test_counts(void **state)
{
	world_t *w = *state;
	char text[300];
	fixture_pass(w->f, 601000);
	wait_health(w->f, "escrow.without_header", 1);
	assert_int_equal(health_of(w->f, "escrow.overdue"), 0);
	assert_int_equal(health_of(w->f, "escrow.failed"), 0);
	must(w, OP_VOLUME_REFUSED, "{\"detail\":\"null cipher\"}");
	field(w, &(ask_t){.op = OP_VOLUME_GET, .path = V1}, "escrow.reason", text);
	assert_string_equal(text, "null cipher");
	must(w, OP_HEADER_PUT, HEADER("1", FP_HEX, DIGEST, "AAAA"));
	fixture_pass(w->f, 3 * DAY_MS);
	wait_health(w->f, "escrow.failed", 1);
	wait_health(w->f, "escrow.overdue", 1);
	wait_health(w->f, "escrow.without_header", 0);
	must(w, OP_VOLUME_PROVE, PROOF("1", FP_HEX, DIGEST));
	assert_int_equal(volume_number(w, "escrow.failed_ms"), -1);
	fixture_pass(w->f, 601000);
	wait_health(w->f, "escrow.failed", 0);
	wait_health(w->f, "escrow.overdue", 0);
	/* one that is given up needs no proof */
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = V1});
	fixture_pass(w->f, 4 * DAY_MS);
	wait_health(w->f, "escrow.without_header", 0);
	assert_int_equal(health_of(w->f, "escrow.overdue"), 0);
}

/* --- releases for it --- */

#define HOLD                                                                                                 \
	"{\"version\":1,\"statements\":[{\"name\":\"held\",\"effect\":\"deny\",\"principals\":[\"node:*\"]," \
	"\"actions\":[\"key.release\"],\"resources\":[\"volume:acme/db/*\"],\"unless\":{\"approvals\":"      \
	"{\"count\":1,\"from\":[\"role:admin\"]}}}]}"

static void test_a_proof_asks_nobody(void **state)
{
	world_t *w = *state;
	uint64_t from = log_size(w->f);
	const ask_t release = {.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"proof\":true}"};
	answer_t a = fixture_expect(w->f, 200, &release);
	assert_string_equal(text_at(a.json, "volumes.0.status"), "released");
	assert_int_equal(strlen(text_at(a.json, "volumes.0.secrets.0.secret")), 44);
	answer_free(&a);
	assert_int_equal(volume_number(w, "last_released_ms"), -1);
	SCOPED(json_freep) json_t *e = event_at(w->f, from);
	assert_string_equal(text_at(e, "status_detail"), "for a proof of escrow");
	allow_alone(w->f);
	fixture_must(w->f, 200, &(ask_t){.op = OP_POLICY_PUT, .path = "//held", .body = HOLD});
	a = fixture_expect(w->f, 200, &release);
	assert_string_equal(text_at(a.json, "volumes.0.status"), "denied");
	answer_free(&a);
	a = fixture_expect(w->f, 200, &(ask_t){.op = OP_GRANT_LIST});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 0);
	answer_free(&a);
	fixture_must(w->f, 202, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{}"});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_proof_is_on_the_volume, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_proof, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_a_later_proof_ends_the_former_secret, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_too_soon_after_a_rotation, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_generations, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_a_new_volume_key_ends_the_copies, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_copies_end_with_the_volume, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_a_copy_that_is_gone, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_counts, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_a_proof_asks_nobody, world_setup, world_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
