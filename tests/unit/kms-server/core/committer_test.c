#include "common/base/scope.h"
#include "common/base/steady.h"
#include "tests/unit/kms-server/core/world.h"

static pending_t *submit(fixture_t *f, const ask_t *a)
{
	kms_err_t e;
	pending_t *p = fixture_submit(f, a, &e);
	assert_non_null(p);
	return p;
}

static int finish(fixture_t *f, pending_t *p)
{
	assert_true(fixture_done(p, 10000));
	answer_t a = fixture_wait(f, p);
	int status = a.status;
	answer_free(&a);
	return status;
}

#define MANY        100U
#define OVER_BUDGET 1100U

/* Holds the committer in a commit, lets n requests wait, and counts the commits that they then took. */
static unsigned commits_of_waiting(world_t *w, const ask_t *a, unsigned n)
{
	pending_t *first, *p[MANY];
	fixture_t *f = w->f;
	watch_hold(f->store);
	first = submit(f, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	watch_held(f->store);
	unsigned before = watch_commits(f->store);
	for (unsigned i = 0; i < n; i++)
		p[i] = submit(f, a);
	watch_release(f->store);
	assert_int_equal(finish(f, first), 200);
	for (unsigned i = 0; i < n; i++)
		assert_true(fixture_done(p[i], 10000));
	unsigned commits = watch_commits(f->store) - before - 1;
	for (unsigned i = 0; i < n; i++) {
		answer_t r = fixture_wait(f, p[i]);
		assert_int_equal(r.status, 200);
		answer_free(&r);
	}
	return commits;
}

static void test_group_commit(void **state)
{
	world_t *w = *state;
	const ask_t release = {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"};
	uint64_t before = log_size(w->f);
	assert_int_equal(commits_of_waiting(w, &release, MANY), 1);
	assert_int_equal(events_with(w->f, before, "key.release", "intent"), MANY);
	assert_true(wait_events_with(w->f, before, "key.release", "released", MANY));
}

static void test_commit_each_is_the_baseline(void **state)
{
	world_t *w = *state;
	diag_t why;
	fixture_stop(w->f);
	w->f->commit_each = true;
	assert_int_equal(fixture_start(w->f, &why), KMS_OK);
	const ask_t read = {.op = OP_CUSTOMER_GET, .path = "acme"};
	assert_int_equal(commits_of_waiting(w, &read, 10), 10);
}

/* The outcomes of a hundred releases ride along: far fewer commits than one each. */
static void test_outcomes_ride_along(void **state)
{
	world_t *w = *state;
	const ask_t release = {.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"};
	unsigned before = watch_commits(w->f->store);
	assert_true(commits_of_waiting(w, &release, MANY) == 1);
	assert_true(wait_events_with(w->f, 0, "key.release", "released", MANY));
	assert_true(watch_commits(w->f->store) - before < 20);
}

/* One request that cannot be carried out is refused and recorded; what waited with it is done. */
static void test_poison_request(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	pending_t *first, *good[8], *bad;
	make_volume(f, &w->n1, "acme/db/v2");
	uint64_t size = log_size(f);
	watch_poison(f->store, STORE_VOLUMES, "acme/db/v2", KMS_E_NOMEM);
	watch_hold(f->store);
	first = submit(f, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	watch_held(f->store);
	for (unsigned i = 0; i < 4; i++)
		good[i] = submit(f, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	bad = submit(f, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v2"});
	for (unsigned i = 4; i < 8; i++)
		good[i] = submit(f, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	watch_release(f->store);
	assert_int_equal(finish(f, first), 200);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(finish(f, good[i]), 200);
	assert_true(fixture_done(bad, 10000));
	answer_t a = fixture_wait(f, bad);
	assert_int_equal(a.status, 500);
	assert_null(memmem(a.text.p, a.text.n, "\"secrets\"", 9));
	answer_free(&a);
	assert_int_equal(events_with(f, size, "key.release", "intent"), 8);
	assert_int_equal(events_with(f, size, "key.release", "internal"), 1);
	assert_false(core_failed(f->core));
	watch_poison(f->store, STORE_VOLUMES, "", KMS_OK);
	fixture_must(f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v2"});
}

/* A failed allocation at the start of a transaction is no reason to end the process. */
static void test_no_memory_to_begin(void **state)
{
	world_t *w = *state;
	watch_fail_begins(w->f->store, KMS_E_NOMEM, 1);
	answer_t a = fixture_ask(w->f, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_true(a.status >= 500);
	assert_null(memmem(a.text.p, a.text.n, "\"secrets\"", 9));
	answer_free(&a);
	assert_false(core_failed(w->f->core));
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

/* --- long polls --- */

static ask_t poll_for(const caller_t *who, const char *wait)
{
	return (ask_t){.op = OP_NODE_TASKS, .who = who, .query = wait};
}

static void test_poll_parks_and_wakes(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t ask = poll_for(&w->n1, "wait=60");
	uint64_t before = log_size(f);
	pending_t *p = submit(f, &ask);
	assert_false(fixture_done(p, 200));
	assert_int_equal(log_size(f), before); /* nothing found: nothing to record */
	fixture_must(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\"}"});
	assert_true(fixture_done(p, 1000));
	answer_t a = fixture_wait(f, p);
	assert_int_equal(a.status, 200);
	assert_string_equal(text_at(a.json, "tasks.0.volume"), "acme/db/v1");
	assert_int_equal(events_with(f, before, "node.tasks", "done"), 1);
	answer_free(&a);
}

static void test_poll_ends_by_its_own_deadline(void **state)
{
	world_t *w = *state;
	const ask_t ask = poll_for(&w->n1, "wait=5");
	pending_t *p = submit(w->f, &ask);
	assert_false(fixture_done(p, 200)); /* parked by now: its time runs from there */
	fixture_pass(w->f, 4400);
	assert_false(fixture_done(p, 700));
	fixture_pass(w->f, 600);
	assert_true(fixture_done(p, 2000));
	answer_t a = fixture_wait(w->f, p);
	assert_int_equal(a.status, 200);
	assert_int_equal(json_array_size(json_at(a.json, "tasks")), 0);
	answer_free(&a);
}

static void test_polls_are_limited(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why;
	caller_t n2 = make_node(f, "acme/db/n2"), n3 = make_node(f, "acme/db/n3");
	fixture_stop(f);
	f->max_polls = 3;
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	const ask_t one = poll_for(&w->n1, "wait=60"), two = poll_for(&n2, "wait=60"),
		    three = poll_for(&n3, "wait=60");
	pending_t *p[3] = {submit(f, &one), submit(f, &one), NULL};
	assert_false(fixture_done(p[1], 200));
	fixture_refused(f, 429, "too-many-requests", &one); /* two a node */
	p[2] = submit(f, &two);
	assert_false(fixture_done(p[2], 200));
	fixture_refused(f, 429, "too-many-requests", &three); /* three in all */
	fixture_must(f, 201, &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\"}"});
	assert_int_equal(finish(f, p[0]), 200);
	assert_int_equal(finish(f, p[1]), 200);
	const ask_t now = poll_for(&n3, "wait=0"); /* the places are free again */
	fixture_must(f, 200, &now);
	pending_t *again = submit(f, &three);
	assert_false(fixture_done(again, 200));
	core_stop(f->core); /* parked ones are answered at the end */
	assert_int_equal(finish(f, again), 503);
	assert_int_equal(finish(f, p[2]), 503);
}

/* Three of one node that come in one batch, while a commit is held up before them. */
static void test_polls_are_limited_within_a_batch(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	const ask_t poll = poll_for(&w->n1, "wait=60"), other = {.op = OP_CUSTOMER_LIST};
	watch_hold(f->store);
	pending_t *first = submit(f, &other);
	watch_held(f->store);
	pending_t *p[3];
	for (size_t i = 0; i < 3; i++)
		p[i] = submit(f, &poll);
	watch_release(f->store);
	assert_int_equal(finish(f, first), 200);
	assert_int_equal(finish(f, p[2]), 429);
	assert_false(fixture_done(p[0], 100));
	assert_false(fixture_done(p[1], 100));
	core_stop(f->core);
	assert_int_equal(finish(f, p[0]), 503);
	assert_int_equal(finish(f, p[1]), 503);
}

/* --- limits and the end --- */

static void test_queue_is_limited(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	diag_t why;
	kms_err_t e;
	fixture_stop(f);
	f->max_waiting = 5;
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	const ask_t read = {.op = OP_CUSTOMER_GET, .path = "acme"};
	pending_t *p[6];
	watch_hold(f->store);
	p[0] = submit(f, &read);
	watch_held(f->store);
	for (unsigned i = 1; i < 6; i++)
		p[i] = submit(f, &read);
	assert_null(fixture_submit(f, &read, &e));
	assert_int_equal(e, KMS_E_FULL);
	watch_release(f->store);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(finish(f, p[i]), 200);
}

static void test_budget(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	unsigned refused = 0;
	uint64_t before = log_size(f);
	for (unsigned i = 0; i < OVER_BUDGET; i++) {
		answer_t a = fixture_ask(f, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
		assert_true(a.status == 200 || a.status == 429);
		if (a.status == 429) {
			refused++;
			assert_true(a.retry_after > 0);
		}
		answer_free(&a);
	}
	assert_true(refused > 0);
	/* the many refusals are one event, and others are served */
	assert_int_equal(events_with(f, before, "key.release", "too-many-requests"), 1);
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	fixture_pass(f, 60000);
	assert_true(wait_events_with(f, before, "key.release", "too-many-requests", 2));
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
}

/* Strangers without a certificate: one event, then one number. */
static void test_refusals_are_gathered(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	uint64_t before = log_size(f);
	for (int i = 0; i < 50; i++)
		fixture_refused(f, 401, "no-certificate", &(ask_t){.op = OP_NODE_RELEASE, .who = &nobody});
	assert_int_equal(log_size(f), before + 1);
	fixture_pass(f, 60000);
	assert_true(wait_events_with(f, before, "key.release", "no-certificate", 2));
	SCOPED(json_freep) json_t *first = event_at(f, before);
	SCOPED(json_freep) json_t *sum = event_at(f, before + 1);
	assert_int_equal(number_at(first, "unmapped.claviger.count"), 1);
	assert_string_equal(text_at(first, "src_endpoint.ip"), "203.0.113.9");
	assert_int_equal(number_at(sum, "unmapped.claviger.count"), 49);
	assert_string_equal(text_at(sum, "src_endpoint.ip"), "203.0.113.0/24");
}

static void test_stop_answers_what_waits(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	kms_err_t e;
	const ask_t ask = poll_for(&w->n1, "wait=60");
	pending_t *p = submit(f, &ask);
	steady_pause(100);
	core_stop(f->core);
	assert_true(fixture_done(p, 0));
	answer_t a = fixture_wait(f, p);
	assert_int_equal(a.status, 503);
	assert_string_equal(text_at(a.json, "type"), "urn:claviger:problem:stopping");
	answer_free(&a);
	assert_null(fixture_submit(f, &ask, &e));
	assert_int_equal(e, KMS_E_UNAVAILABLE);
	fixture_stop(f);
	SCOPED(json_freep) json_t *last = last_event(f);
	assert_string_equal(text_at(last, "api.operation"), "server.stop");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_group_commit),
		T(test_commit_each_is_the_baseline),
		T(test_outcomes_ride_along),
		T(test_poison_request),
		T(test_no_memory_to_begin),
		T(test_poll_parks_and_wakes),
		T(test_poll_ends_by_its_own_deadline),
		T(test_polls_are_limited),
		T(test_polls_are_limited_within_a_batch),
		T(test_queue_is_limited),
		T(test_budget),
		T(test_refusals_are_gathered),
		T(test_stop_answers_what_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
