#include "kms-server/audit/retention.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

#include <stdio.h>
#include <stdatomic.h>
#include <time.h>

#define NOW_MS INT64_C(10000000)

static int64_t now(void *ctx)
{
	(void)ctx;
	return NOW_MS;
}

/* Event i is of second i: older than the limit are those before `seconds`. */
static retention_options_t options(log_fixture_t *f, int64_t seconds)
{
	return (retention_options_t){.audit = f->audit,
				     .store = f->store,
				     .archive_dir = f->dir,
				     .keep_ms = NOW_MS - seconds * 1000,
				     .clock = {.now_ms = now}};
}

static void forget(log_fixture_t *f, uint64_t upto, uint64_t most, uint64_t want_from, uint64_t want_to)
{
	store_txn_t *t = NULL;
	uint64_t from = 99, to = 99;
	MUST(store_begin_write(f->store, f->n, &t));
	MUST(audit_forget(f->audit, t, upto, most, &from, &to));
	MUST(store_commit(t));
	assert_int_equal(from, want_from);
	assert_int_equal(to, want_to);
}

static void expect_event(log_fixture_t *f, uint64_t index, kms_err_t e)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	char want[32];
	(void)snprintf(want, sizeof want, "event %llu", (unsigned long long)index);
	MUST(store_begin_read(f->store, &t));
	assert_int_equal(audit_read(f->audit, t, index, &out), e);
	if (e == KMS_OK)
		assert_true(span_eq(buf_span(&out), span_str(want)));
}

static uint64_t stored(log_fixture_t *f)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t n = 0;
	MUST(store_begin_read(f->store, &t));
	MUST(store_count(t, STORE_EVENTS, &n));
	return n;
}

/* Only whole bundles, and only those that are old enough. */
static void test_what_is_due(void **state)
{
	log_fixture_t *f = *state;
	static const struct {
		int64_t seconds;
		uint64_t from;
		kms_err_t e;
		uint64_t upto;
	} rows[] = {
		{0, 0, KMS_E_NOTFOUND, 0},     {200, 0, KMS_E_NOTFOUND, 0}, {320, 0, KMS_OK, 256},
		{320, 256, KMS_E_NOTFOUND, 0}, {900, 256, KMS_OK, 512},     {900, 512, KMS_OK, 768},
		{900, 768, KMS_E_NOTFOUND, 0}, {9000, 768, KMS_OK, 1024},   {9000, 1024, KMS_E_NOTFOUND, 0},
	};
	diag_t why = {""};
	log_grow(f, 1100, 50);
	for (size_t i = 0; i < COUNT(rows); i++) {
		retention_options_t o = options(f, rows[i].seconds);
		uint64_t upto = 0;
		assert_int_equal(retention_step(&o, rows[i].from, &upto, &why), rows[i].e);
		assert_int_equal(upto, rows[i].upto);
	}
}

/* However the clock stepped, a bundle goes when each of its events is old enough, and no bundle before the
 * one in front of it. The limit is second 630. */
static void test_clock_that_stepped(void **state)
{
	static const struct {
		unsigned at, n; /* these events are of second `second`, all others of second 100 */
		int64_t second;
		uint64_t from;
		kms_err_t e;
		const char *why;
	} rows[] = {
		{0, 0, 0, 0, KMS_OK, "all are old"},
		{0, 1, 700, 0, KMS_E_NOTFOUND, "the first is young, and the clock was set back behind it"},
		{255, 1, 630, 0, KMS_E_NOTFOUND, "the last is just as old as the limit"},
		{100, 3, 86400, 0, KMS_E_NOTFOUND, "the clock was a day ahead for three events"},
		{100, 3, 600, 0, KMS_E_NOTFOUND, "older, and of the same minute"},
		{100, 3, 599, 0, KMS_OK, "in the one before it"},
		{100, 3, -5, 0, KMS_OK, "the clock was lost for a while"},
		{256, 1, 86400, 0, KMS_OK, "the next bundle's first event is none of this one's"},
		{255, 1, 86400, 256, KMS_OK, "this one's last is none of the next one's"},
		{511, 1, 700, 256, KMS_E_NOTFOUND, "the next one's last is"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		int64_t times[600];
		uint64_t upto = 0;
		diag_t why = {""};
		assert_int_equal(log_setup(state), 0);
		for (unsigned k = 0; k < COUNT(times); k++)
			times[k] = (k - rows[i].at < rows[i].n ? rows[i].second : 100) * 1000;
		log_add_at(*state, times, COUNT(times));
		retention_options_t o = options(*state, 630);
		if (retention_step(&o, rows[i].from, &upto, &why) != rows[i].e ||
		    upto != (rows[i].e == KMS_OK ? rows[i].from + 256 : 0))
			fail_msg("%s", rows[i].why);
		(void)log_teardown(state);
	}
}

static void test_empty_log(void **state)
{
	retention_options_t o = options(*state, 630);
	uint64_t upto = 0;
	diag_t why = {""};
	assert_int_equal(retention_step(&o, 0, &upto, &why), KMS_E_NOTFOUND);
}

static void test_moved_and_still_good(void **state)
{
	log_fixture_t *f = *state;
	retention_options_t o = options(f, 9000);
	const tile_t bundle = {TILE_ENTRIES, 1, 256}, part = {TILE_ENTRIES, 0, 3}, tile = {0, 1, 256};
	uint64_t upto = 0;
	diag_t why = {""};
	log_grow(f, 1100, 100);
	while (retention_step(&o, upto, &upto, &why) == KMS_OK)
		continue;
	assert_int_equal(upto, 1024);
	forget(f, upto, 512, 0, 512);
	forget(f, upto, 100000, 512, 1024);
	forget(f, upto, 100000, 1024, 1024);
	assert_int_equal(stored(f), 76);
	MUST(log_reopen(f, &why));
	for (uint64_t i = 0; i < 1100; i += 31)
		expect_event(f, i, KMS_OK);
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t a = BUF_INIT;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	SCOPED(buf_free) buf_t c = BUF_INIT;
	MUST(store_begin_read(f->store, &t));
	MUST(audit_read_tile(f->audit, t, &bundle, &a));
	MUST(audit_read_tile(f->audit, t, &part, &b));
	MUST(audit_read_tile(f->audit, t, &tile, &c));
	assert_int_equal(a.n, 256 * (2 + strlen("event 300")));
	assert_int_equal(b.n, 3 * (2 + strlen("event 0")));
	assert_int_equal(c.n, 256 * 32);
	log_grow(f, 10, 1);
}

/* The archive is where it says it is, or nothing is forgotten; what was changed there is not shown. */
static void test_archive_lost_or_changed(void **state)
{
	log_fixture_t *f = *state;
	char path[TMPDIR_CAP + 32];
	uint64_t upto = 0;
	diag_t why = {""};
	log_grow(f, 300, 100);
	retention_options_t o = options(f, 9000);
	MUST(retention_step(&o, 0, &upto, &why));
	forget(f, upto, 1000, 0, 256);
	(void)snprintf(path, sizeof path, "%s/tile/entries/000", f->dir);
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 5, SEEK_SET), 0);
	(void)fputc('X', file);
	(void)fclose(file);
	expect_event(f, 0, KMS_E_INTEGRITY);
	expect_event(f, 1, KMS_OK);
	assert_int_equal(remove(path), 0);
	expect_event(f, 1, KMS_E_UNAVAILABLE);
	expect_event(f, 256, KMS_OK);
	MUST(log_reopen(f, &why));
}

static void test_unwritable_archive_keeps_the_events(void **state)
{
	log_fixture_t *f = *state;
	char path[TMPDIR_CAP + 8];
	uint64_t upto = 0;
	diag_t why = {""};
	log_grow(f, 300, 100);
	(void)snprintf(path, sizeof path, "%s/file", f->dir);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	(void)fclose(file);
	retention_options_t o = options(f, 9000);
	o.archive_dir = path;
	assert_int_not_equal(retention_step(&o, 0, &upto, &why), KMS_OK);
	assert_true(why.text[0] != '\0');
	assert_int_equal(upto, 0);
	assert_int_equal(stored(f), 300);
}

/* An event that is not what its leaf says is not archived as if it were. */
static void test_damage_is_not_archived(void **state)
{
	log_fixture_t *f = *state;
	static const uint8_t key[8] = {0, 0, 0, 0, 0, 0, 0, 9};
	store_txn_t *t = NULL;
	uint64_t upto = 0;
	diag_t why = {""};
	log_grow(f, 300, 100);
	MUST(store_begin_write(f->store, 300, &t));
	MUST(store_put(t, STORE_EVENTS, span_of(key, 8), span_str("other")));
	MUST(store_commit(t));
	retention_options_t o = options(f, 9000);
	assert_int_equal(retention_step(&o, 0, &upto, &why), KMS_E_INTEGRITY);
}

static void on_archived(void *ctx, uint64_t upto)
{
	atomic_store((atomic_uint *)ctx, (unsigned)upto);
}

static void test_thread(void **state)
{
	log_fixture_t *f = *state;
	retention_t *r = NULL;
	atomic_uint seen = 0;
	diag_t why = {""};
	log_grow(f, 600, 100);
	retention_options_t o = options(f, 9000);
	o.archived = on_archived;
	o.ctx = &seen;
	MUST(retention_start(&o, &r, &why));
	for (unsigned i = 0; i < 500 && atomic_load(&seen) < 512; i++) {
		const struct timespec ms = {.tv_nsec = 10000000};
		(void)nanosleep(&ms, NULL);
	}
	assert_int_equal(atomic_load(&seen), 512);
	retention_stop(&r);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, log_setup, log_teardown)
	const struct CMUnitTest tests[] = {
		T(test_what_is_due),
		cmocka_unit_test(test_clock_that_stepped),
		T(test_empty_log),
		T(test_moved_and_still_good),
		T(test_archive_lost_or_changed),
		T(test_unwritable_archive_keeps_the_events),
		T(test_damage_is_not_archived),
		T(test_thread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
