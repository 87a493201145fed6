#include "common/base/scope.h"
#include "tests/unit/kms-server/core/world.h"

#include <time.h>

/* A housekeeping run has ended when one that was asked for after this call has. */
static void let_it_sweep(fixture_t *f)
{
	fixture_pass(f, 600001);
	(void)nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 200000000}, NULL);
}

static const char *state_of(fixture_t *f, char out[32])
{
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_VOLUME_GET, .path = "acme/db/v1"});
	(void)snprintf(out, 32, "%s %s", text_at(a.json, "secrets.0.state"),
		       text_at(a.json, "secrets.1.state"));
	answer_free(&a);
	return out;
}

static void test_deactivated_secrets_after_seven_days(void **state)
{
	world_t *w = *state;
	char text[32];
	world_rotate(w, 1);
	fixture_pass(w->f, 7 * DAY_MS - HOUR_MS);
	let_it_sweep(w->f);
	assert_string_equal(state_of(w->f, text), "active deactivated");
	fixture_pass(w->f, HOUR_MS);
	assert_true(wait_events_with(w->f, 0, "key.destroy", "done", 1));
	assert_string_equal(state_of(w->f, text), "active destroyed");
	fixture_must(w->f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &w->n1});
	for (uint64_t i = 0; i < log_size(w->f); i++) {
		SCOPED(json_freep) json_t *e = event_at(w->f, i);
		if (strcmp(text_at(e, "api.operation"), "key.destroy") != 0)
			continue;
		assert_string_equal(text_at(e, "metadata.tenant_uid"), "acme");
		assert_string_equal(text_at(e, "resources.0.uid"), "acme/db/v1");
		assert_string_equal(text_at(e, "actor.user.type"), "system");
	}
}

static void test_restored_in_time_is_not_destroyed(void **state)
{
	world_t *w = *state;
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1"});
	fixture_pass(w->f, 7 * DAY_MS - HOUR_MS);
	let_it_sweep(w->f);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RESTORE, .path = "acme/db/v1"});
	fixture_pass(w->f, 7 * DAY_MS);
	let_it_sweep(w->f);
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_RELEASE, .who = &w->n1, .path = "acme/db/v1"});
	assert_int_equal(events_with(w->f, 0, "key.destroy", NULL), 0);
}

static uint64_t count(fixture_t *f, store_table_t table)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t n = 0;
	assert_int_equal(store_begin_read(f->store, &t), KMS_OK);
	assert_int_equal(store_count(t, table, &n), KMS_OK);
	return n;
}

static void test_old_records_go(void **state)
{
	world_t *w = *state;
	for (int i = 0; i < 5; i++) {
		char key[16];
		(void)snprintf(key, sizeof key, "key-%d", i);
		fixture_must(w->f, 200, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme", .idem = key});
	}
	fixture_must(w->f, 201,
		     &(ask_t){.op = OP_MAINT_CREATE, .body = "{\"customer\":\"acme\",\"window_s\":60}"});
	assert_int_equal(count(w->f, STORE_IDEMPOTENCY), 5);
	assert_int_equal(count(w->f, STORE_TASKS), 3); /* the task, its node's key, that it is open */
	let_it_sweep(w->f);
	assert_int_equal(count(w->f, STORE_TASKS), 1); /* the window has ended */
	assert_int_equal(count(w->f, STORE_IDEMPOTENCY), 5);
	fixture_pass(w->f, DAY_MS);
	let_it_sweep(w->f);
	assert_int_equal(count(w->f, STORE_IDEMPOTENCY), 0);
}

static void test_a_sealed_server_destroys_nothing(void **state)
{
	world_t *w = *state;
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1"});
	fixture_must(w->f, 200, &(ask_t){.op = OP_SEAL});
	fixture_pass(w->f, 8 * DAY_MS);
	let_it_sweep(w->f);
	assert_int_equal(events_with(w->f, 0, "key.destroy", NULL), 0);
	fixture_must(w->f, 200, &(ask_t){.op = OP_UNSEAL});
	fixture_pass(w->f, 600001);
	assert_true(wait_events_with(w->f, 0, "key.destroy", "done", 1));
}

/* A damaged record keeps neither the others' destruction nor the refusals of strangers out of the log. */
static void test_a_damaged_record_stops_nothing_else(void **state)
{
	world_t *w = *state;
	make_volume(w->f, &w->n1, "acme/db/a0"); /* before v1 in the table */
	SCOPED(buf_free) buf_t raw = BUF_INIT;
	raw_get(w->f, STORE_VOLUMES, "acme/db/a0", &raw);
	raw.p[3] ^= 1;
	raw_put(w->f, STORE_VOLUMES, "acme/db/a0", buf_span(&raw));
	fixture_must(w->f, 200, &(ask_t){.op = OP_VOLUME_DELETE, .path = "acme/db/v1"});
	for (int i = 0; i < 3; i++)
		fixture_refused(w->f, 401, "no-certificate",
				&(ask_t){.op = OP_CUSTOMER_LIST, .who = &nobody});
	fixture_pass(w->f, 8 * DAY_MS);
	assert_true(wait_events_with(w->f, 0, "key.destroy", "done", 1));
	assert_true(
		wait_events_with(w->f, 0, "customer.list", "no-certificate", 2)); /* the first, the rest */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		T(test_deactivated_secrets_after_seven_days),
		T(test_restored_in_time_is_not_destroyed),
		T(test_old_records_go),
		T(test_a_sealed_server_destroys_nothing),
		T(test_a_damaged_record_stops_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
