/* The Nth allocation fails, whoever makes it, for every N that a request comes to: the answer is an answer,
 * no secret is in one that was not committed, and afterwards everything is as it was or as it should be. */
#include "common/base/scope.h"
#include "tests/support/allocfail.h"
#include "tests/unit/kms-server/core/world.h"

/* A store whose commit found no memory does not know what it did; such a run ends and starts again. */
static void start_again_if_failed(fixture_t *f)
{
	diag_t why = {""};
	if (!core_failed(f->core))
		return;
	fixture_stop(f);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
}

static bool holds(const answer_t *a, const char *text)
{
	return a->text.n > 0 && memmem(a->text.p, a->text.n, text, strlen(text)) != NULL;
}

/* Every event index from 0 on is there, and every chain is whole. */
static void assert_log_whole(fixture_t *f)
{
	int64_t acme = 0, own = 0;
	for (uint64_t i = 0; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		bool is_acme = strcmp(text_at(e, "metadata.tenant_uid"), "acme") == 0;
		bool is_own = text_at(e, "metadata.tenant_uid")[0] == '\0';
		if (is_acme)
			assert_int_equal(number_at(e, "metadata.sequence"), ++acme);
		if (is_own)
			assert_int_equal(number_at(e, "metadata.sequence"), ++own);
	}
}

/* Runs the request with each allocation failing in turn, until one run needs fewer. done: what must hold
 * afterwards, whether it was carried out or not. */
static void fail_each(world_t *w, const ask_t *ask, int good)
{
	fixture_t *f = w->f;
	bool failed = true;
	unsigned refused = 0;
	for (unsigned n = 1; failed && n < 3000; n++) {
		uint64_t before = log_size(f);
		fixture_pass(f, 20);
		allocfail_arm(n);
		answer_t a = fixture_ask(f, ask);
		failed = allocfail_happened();
		allocfail_arm(0);
		bool secret = holds(&a, "\"secret\":");
		if (secret) { /* then its intent is on record */
			assert_int_equal(a.status, 200);
			assert_true(events_with(f, before, NULL, "intent") > 0);
		}
		if (a.status != good)
			refused++;
		if (a.status != good && a.status != 0 && a.status < 500)
			fail_msg("%s, allocation %u: status %d", core_op_info(ask->op)->action, n, a.status);
		answer_free(&a);
		start_again_if_failed(f);
		if (n % 50 == 0)
			assert_log_whole(f);
	}
	assert_false(failed);
	assert_true(refused > 10);
	assert_log_whole(f);
	fixture_pass(f, 1000);
	fixture_must(f, good, ask);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

static void skip_unless_supported(void)
{
	if (!allocfail_supported())
		skip();
}

static void test_release(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	fail_each(w, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1", .body = "{}"},
		  200);
}

static void test_batch_release(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	make_volume(w->f, &w->n1, "acme/db/v2");
	fail_each(
		w,
		&(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1, .body = "{\"volumes\":[\"v1\",\"v2\",\"x\"]}"},
		200);
}

static void test_stage(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	fail_each(w, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = "acme/db/v1"}, 200);
}

static void test_reading(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	fail_each(w, &(ask_t){.op = OP_VOLUME_LIST, .path = "acme/db"}, 200);
	fail_each(w, &(ask_t){.op = OP_AUDIT_LIST, .query = "limit=3"}, 200);
	fail_each(w, &(ask_t){.op = OP_AUDIT_GET, .index = 3}, 200);
	fixture_must(w->f, 404, &(ask_t){.op = OP_CUSTOMER_LIST, .who = &w->n1}); /* opens a review */
	fail_each(w, &(ask_t){.op = OP_REVIEW_LIST, .query = "state=open"}, 200);
}

static void test_reading_the_log(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	fail_each(w, &(ask_t){.op = OP_AUDIT_PROOF, .index = 3}, 200);
	fail_each(w, &(ask_t){.op = OP_LOG_CHECKPOINT}, 200);
	fail_each(w, &(ask_t){.op = OP_LOG_VKEY}, 200);
	fail_each(w, &(ask_t){.op = OP_LOG_TILE, .tile = {0, 0, 5}}, 200);
	fail_each(w, &(ask_t){.op = OP_LOG_ENTRIES, .tile = {TILE_ENTRIES, 0, 5}}, 200);
}

static void test_writing(void **state)
{
	world_t *w = *state;
	skip_unless_supported();
	fail_each(w, &(ask_t){.op = OP_NODE_INVITE, .path = "acme/db/n2"}, 201);
	fail_each(w, &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\"}"}, 201);
	fail_each(w, &(ask_t){.op = OP_VOLUME_SUSPEND, .path = "acme/db/v1", .idem = "key-1"}, 200);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RESUME, .path = "acme/db/v1"});
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_release), T(test_batch_release),   T(test_stage),
		T(test_reading), T(test_reading_the_log), T(test_writing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
