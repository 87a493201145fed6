/* Eight threads that submit, finish and search at once: for the thread sanitizer, and for the chains. */
#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

#include <pthread.h>

#define THREADS 8
#define ROUNDS  40

typedef struct worker {
	fixture_t *f;
	caller_t node;
	char volume[32];
	int wrong;
} worker_t;

static void expect(worker_t *w, int status, const ask_t *a)
{
	answer_t r = fixture_ask(w->f, a);
	w->wrong += r.status != status;
	answer_free(&r);
}

static void *work(void *arg)
{
	worker_t *w = arg;
	core_reply_t health;
	for (int i = 0; i < ROUNDS; i++) {
		expect(w, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->node});
		expect(w, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->node, .path = w->volume});
		expect(w, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->node, .path = w->volume});
		expect(w, 200, &(ask_t){.op = OP_ROTATION_ABORT, .who = &w->node, .path = w->volume});
		expect(w, 200, &(ask_t){.op = OP_AUDIT_LIST, .query = "limit=3"});
		expect(w, 401, &(ask_t){.op = OP_NODE_RELEASE, .who = &nobody});
		core_health(w->f->core, &health);
		w->wrong += health.status != 200;
		core_reply_free(&health);
		fixture_pass(w->f, 20);
	}
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	static worker_t workers[THREADS];
	pthread_t thread[THREADS];
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	make_service(f, "acme", "db");
	for (int i = 0; i < THREADS; i++) {
		char path[32];
		(void)snprintf(path, sizeof path, "acme/db/n%d", i);
		workers[i] = (worker_t){.f = f, .node = make_node(f, path)};
		(void)snprintf(workers[i].volume, sizeof workers[i].volume, "acme/db/v%d", i);
		make_volume(f, &workers[i].node, workers[i].volume);
	}
	uint64_t before = log_size(f);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, &workers[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(workers[i].wrong, 0);
	}
	fixture_stop(f);
	const unsigned releases = THREADS * ROUNDS * 2, stages = THREADS * ROUNDS;
	assert_int_equal(events_with(f, before, "key.release", "intent"), releases);
	assert_int_equal(events_with(f, before, "key.release", "released"), releases);
	assert_int_equal(events_with(f, before, "rotation.stage", "intent"), stages);
	assert_int_equal(events_with(f, before, "rotation.stage", "released"), stages);
	int64_t sequence = 0;
	for (uint64_t i = 0; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		if (strcmp(text_at(e, "metadata.tenant_uid"), "acme") == 0)
			assert_int_equal(number_at(e, "metadata.sequence"), ++sequence);
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
