#include "common/base/scope.h"
#include "kms-server/audit/retention.h"
#include "tests/unit/kms-server/core/core_fixture.h"

typedef struct world {
	fixture_t *f;
	caller_t n1, m1;
} world_t;

static int setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->f = fixture_new(FIXTURE_KEYFILE);
	w->n1 = make_main(w->f);
	make_service(w->f, "beta", "db");
	w->m1 = make_node(w->f, "beta/db/n1");
	make_volume(w->f, &w->m1, "beta/db/v1");
	fixture_pass(w->f, 1000);
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	assert_true(wait_events_with(w->f, 0, "key.release", "released", 1));
	fixture_pass(w->f, 1000);
	fixture_must(w->f, 404, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->m1, .path = "acme/db/v1"});
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

/* What the filters mean, said a second time and slowly. */
static unsigned by_hand(fixture_t *f, const char *path, const char *value)
{
	unsigned n = 0;
	for (uint64_t i = 0; i < log_size(f); i++) {
		SCOPED(json_freep) json_t *e = event_at(f, i);
		n += strcmp(text_at(e, path), value) == 0 ? 1U : 0U;
	}
	return n;
}

static unsigned found(fixture_t *f, const char *query)
{
	char whole[300];
	(void)snprintf(whole, sizeof whole, "%s&limit=1000", query);
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_AUDIT_LIST, .query = whole});
	unsigned n = (unsigned)json_array_size(json_at(a.json, "events"));
	answer_free(&a);
	return n;
}

static void test_filters(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	assert_int_equal(found(f, "customer=acme"), by_hand(f, "metadata.tenant_uid", "acme"));
	assert_int_equal(found(f, "operation=key.release"), by_hand(f, "api.operation", "key.release"));
	assert_int_equal(found(f, "actor=acme/db/n1"), by_hand(f, "actor.user.name", "acme/db/n1"));
	assert_int_equal(found(f, "customer=acme&operation=key.release"), 2);
	assert_int_equal(found(f, "customer=acme&service=db&operation=key.release"), 3 - 1);
	assert_int_equal(found(f, "customer=beta&operation=key.release"), 1);
	assert_int_equal(found(f, "volume=acme/db/v1&operation=key.release"), 3);
	assert_int_equal(found(f, "volume=v1&operation=key.release"), 3);
	assert_int_equal(found(f, "node=beta/db/n1&operation=key.release"), 1);
	assert_int_equal(found(f, "status=failure&operation=key.release"), 1);
	assert_int_equal(found(f, "status=success&operation=key.release"), 2);
	assert_int_equal(found(f, "operation=key"), 0);
	assert_int_equal(found(f, "customer=acm"), 0);
	assert_int_equal(found(f, "operation=key.release&from=1700000002000"), 1);
	assert_true(found(f, "to=1700000000999") > 5);
	assert_int_equal(found(f, "operation=key.release&to=1700000000999"), 0);
}

static void test_order_and_pages(void **state)
{
	world_t *w = *state;
	static const char *const orders[] = {"asc", "desc"};
	uint64_t size = log_size(w->f);
	for (size_t k = 0; k < 2; k++) {
		char query[100];
		uint64_t seen = 0;
		(void)snprintf(query, sizeof query, "order=%s&limit=4&to=1700000002000", orders[k]);
		for (;;) {
			answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_AUDIT_LIST, .query = query});
			json_t *list = json_at(a.json, "events");
			for (size_t i = 0; i < json_array_size(list); i++, seen++) {
				const json_t *e = json_array_get(list, i);
				int64_t index = number_at(e, "index");
				SCOPED(json_freep) json_t *stored = event_at(w->f, (uint64_t)index);
				assert_true(json_equal(json_at(e, "event"), stored));
				if (k == 0)
					assert_int_equal(index, seen);
			}
			bool more = json_at(a.json, "next_cursor") != NULL;
			(void)snprintf(query, sizeof query, "order=%s&limit=4&to=1700000002000&cursor=%s",
				       orders[k], text_at(a.json, "next_cursor"));
			answer_free(&a);
			if (!more)
				break;
		}
		assert_true(seen >= size);
	}
}

static void test_one_event(void **state)
{
	world_t *w = *state;
	for (uint64_t i = 0; i < 3; i++) {
		answer_t a = fixture_expect(w->f, 200, &(ask_t){.op = OP_AUDIT_GET, .index = i});
		SCOPED(json_freep) json_t *stored = event_at(w->f, i);
		assert_int_equal(number_at(a.json, "index"), i);
		assert_true(json_equal(json_at(a.json, "event"), stored));
		answer_free(&a);
	}
	fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_AUDIT_GET, .index = 1U << 30});
	fixture_refused(w->f, 404, "not-found", &(ask_t){.op = OP_AUDIT_GET, .index = UINT64_MAX});
}

static void test_refusals(void **state)
{
	world_t *w = *state;
	static const char *const queries[] = {
		"customer=",
		"status=good",
		"order=up",
		"from=x",
		"from=-1",
		"to=1.5",
		"limit=0",
		"limit=1001",
		"cursor=x",
		"cursor=-1",
		"customers=acme",
		"limit=",
		"from=99999999999999999999",
		"cursor=0x10",
		"volume=db/v1",
		"volume=a/b/c/d",
		"node=Acme",
		"service=acme/",
		"service=a/b/c",
		"customer=..",
		"wait=5",
		"wait=61&order=asc",
		"grant=",
	};
	for (size_t i = 0; i < COUNT(queries); i++)
		fixture_refused(w->f, 400, "bad-request", &(ask_t){.op = OP_AUDIT_LIST, .query = queries[i]});
	assert_int_equal(found(w->f, "cursor=999999999"), 0);
	caller_t adam = make_operator(w->f, "adam", "auditor");
	fixture_must(w->f, 200, &(ask_t){.op = OP_AUDIT_LIST, .who = &adam});
	fixture_must(w->f, 200, &(ask_t){.op = OP_AUDIT_GET, .who = &adam});
	const caller_t *const nodes[] = {&w->n1, &w->m1};
	for (size_t i = 0; i < COUNT(nodes); i++) {
		answer_t a = fixture_ask(w->f, &(ask_t){.op = OP_AUDIT_LIST, .who = nodes[i]});
		assert_true(a.status == 403 || a.status == 404);
		answer_free(&a);
		a = fixture_ask(w->f, &(ask_t){.op = OP_AUDIT_GET, .who = nodes[i]});
		assert_true(a.status == 403 || a.status == 404);
		answer_free(&a);
	}
	fixture_refused(w->f, 401, "no-certificate", &(ask_t){.op = OP_AUDIT_LIST, .who = &nobody});
}

/* --- the tail --- */

static ask_t tail_from(char *query, size_t cap, uint64_t cursor, const char *more)
{
	(void)snprintf(query, cap, "order=asc&wait=30&cursor=%llu%s", (unsigned long long)cursor, more);
	return (ask_t){.op = OP_AUDIT_LIST, .query = query};
}

/* A poll waits, wakes for what it asked for, shows it, and says where to go on. */
static void test_tail(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	char query[200];
	kms_err_t e = KMS_OK;
	uint64_t size = log_size(f);
	ask_t ask = tail_from(query, sizeof query, size, "&operation=key.release&status=success");
	pending_t *p = fixture_submit(f, &ask, &e);
	assert_non_null(p);
	assert_false(fixture_done(p, 700));
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"}); /* not what it waits for */
	fixture_pass(f, 1000);
	assert_false(fixture_done(p, 700));
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	fixture_pass(f, 1000);
	assert_true(fixture_done(p, 5000));
	answer_t a = fixture_wait(f, p);
	assert_int_equal(a.status, 200);
	assert_true(json_array_size(json_at(a.json, "events")) >= 1);
	assert_string_equal(text_at(a.json, "events.0.event.api.operation"), "key.release");
	assert_true(strlen(text_at(a.json, "next_cursor")) > 0);
	answer_free(&a);
}

/* Its own reading is recorded, and must not be what it wakes up for. */
static void test_tail_does_not_feed_itself(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	char query[200];
	kms_err_t e = KMS_OK;
	ask_t ask = tail_from(query, sizeof query, 0, "");
	answer_t a = fixture_expect(f, 200, &ask); /* there is something: answered at once, and recorded */
	uint64_t cursor = strtoull(text_at(a.json, "next_cursor"), NULL, 10);
	assert_int_equal(json_array_size(json_at(a.json, "events")), cursor);
	answer_free(&a);
	assert_int_equal(log_size(f), cursor + 1);
	ask = tail_from(query, sizeof query, cursor, "");
	pending_t *p = fixture_submit(f, &ask, &e);
	assert_non_null(p);
	for (int i = 0; i < 3; i++) {
		fixture_pass(f, 1000);
		assert_false(fixture_done(p, 300));
	}
	fixture_pass(f, 31000);
	assert_true(fixture_done(p, 5000));
	a = fixture_wait(f, p);
	assert_int_equal(json_array_size(json_at(a.json, "events")),
			 1); /* its own, which nobody recorded twice */
	answer_free(&a);
	assert_int_equal(log_size(f), cursor + 1);
}

/* What is in the archive leaves the store, some at a time and on record, and is shown as before. */
static void test_archived(void **state)
{
	world_t *w = *state;
	fixture_t *f = w->f;
	uint64_t upto = 0;
	diag_t why = {""};
	while (log_size(f) < 600) /* below the budget of requests a second */
		fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	unsigned acme = found(f, "customer=acme");
	fixture_pass(f, DAY_MS);
	const retention_options_t o = {.audit = f->audit,
				       .store = f->store,
				       .archive_dir = f->dir,
				       .keep_ms = HOUR_MS,
				       .clock = fixture_clock(f)};
	while (retention_step(&o, upto, &upto, &why) == KMS_OK)
		continue;
	assert_int_equal(upto, 512);
	core_archived(f->core, upto);
	fixture_pass(f, 1000);
	assert_true(wait_events_with(f, 512, "log.archive", "done", 1));
	fixture_refused(f, 404, "not-found", &(ask_t){.op = OP_CUSTOMER_GET, .path = "nobody"});
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_AUDIT_GET, .index = 17});
	assert_int_equal(number_at(a.json, "index"), 17);
	answer_free(&a);
	assert_int_equal(found(f, "customer=acme"), acme);
	fixture_stop(f);
	assert_int_equal(fixture_start(f, &why), KMS_OK);
	assert_int_equal(found(f, "customer=acme"), acme);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_filters),
		T(test_order_and_pages),
		T(test_one_event),
		T(test_refusals),
		T(test_archived),
		T(test_tail),
		T(test_tail_does_not_feed_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
