#include "kms-server/audit/lane.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "kms-server/store/memory_store.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/kms-server/audit/fake_log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#define MOST 100000U

/* A sink that does what it is told to. */
typedef struct fake_sink {
	sink_t sink;
	pthread_mutex_t lock;
	uint64_t taken[MOST]; /* indexes, in order */
	size_t n, takes, largest, largest_bytes;
	unsigned fail, fail_settles; /* so many from now */
	uint32_t retry_after;
	bool wrong; /* bytes that are not the log's */
	const audit_t *log;
	atomic_bool block, hang; /* waits for `stop`; waits without an end but its own */
	atomic_bool closed;
} fake_sink_t;

static void note_event(fake_sink_t *f, const sink_event_t *e)
{
	SCOPED(buf_free) buf_t want = BUF_INIT;
	fake_log_event(f->log, e->index, &want);
	f->wrong = f->wrong || !span_eq(buf_span(&want), e->bytes);
	if (f->n < MOST)
		f->taken[f->n++] = e->index;
}

static kms_err_t fake_take(sink_t *s, const sink_event_t *e, size_t n, diag_t *why)
{
	fake_sink_t *f = (fake_sink_t *)s;
	size_t bytes = 0;
	while (atomic_load(&f->hang) || (atomic_load(&f->block) && !atomic_load(s->stop)))
		steady_pause(5);
	if (atomic_load(&f->block))
		return diag_fail(why, KMS_E_UNAVAILABLE, "blocked");
	(void)pthread_mutex_lock(&f->lock);
	bool fails = f->fail > 0;
	f->fail -= fails ? 1 : 0;
	f->takes++;
	for (size_t i = 0; i < n; i++) {
		bytes += e[i].bytes.n;
		if (!fails)
			note_event(f, &e[i]);
	}
	f->largest = n > f->largest ? n : f->largest;
	f->largest_bytes = bytes > f->largest_bytes ? bytes : f->largest_bytes;
	s->retry_after = f->retry_after;
	(void)pthread_mutex_unlock(&f->lock);
	return fails ? diag_fail(why, KMS_E_UNAVAILABLE, "told to fail") : KMS_OK;
}

static kms_err_t fake_settle(sink_t *s, diag_t *why)
{
	fake_sink_t *f = (fake_sink_t *)s;
	(void)pthread_mutex_lock(&f->lock);
	bool fails = f->fail_settles > 0;
	f->fail_settles -= fails ? 1 : 0;
	(void)pthread_mutex_unlock(&f->lock);
	s->lost = fails;
	return fails ? diag_fail(why, KMS_E_IO, "lost") : KMS_OK;
}

static void fake_close(sink_t *s)
{
	atomic_store(&((fake_sink_t *)s)->closed, true);
}

typedef struct world {
	char dir[TMPDIR_CAP];
	store_t *store;
	audit_t *log;
	fake_sink_t *f; /* outlives its lane */
	lane_t *lane;
	char position[TMPDIR_CAP];
	uint32_t backoff_ms;
} world_t;

static void fresh_sink(world_t *w)
{
	static const sink_ops_t ops = {.take = fake_take, .settle = fake_settle, .close = fake_close};
	free(w->f);
	w->f = calloc(1, sizeof *w->f);
	assert_non_null(w->f);
	w->f->sink = (sink_t){.ops = &ops, .name = "fake"};
	w->f->log = w->log;
	assert_int_equal(pthread_mutex_init(&w->f->lock, NULL), 0);
}

static void open_world(world_t *w, size_t bulk)
{
	*w = (world_t){.backoff_ms = 20};
	tmpdir_make(w->dir);
	tmpdir_path(w->dir, "fake.position", w->position);
	assert_int_equal(memory_store_new(&w->store), KMS_OK);
	w->log = fake_log_new("log.example", 1, bulk);
	fresh_sink(w);
}

static void run(world_t *w)
{
	diag_t why = {{0}};
	const lane_options_t o = {.store = w->store,
				  .audit = w->log,
				  .clock = clock_system(),
				  .folder = w->dir,
				  .backoff_ms = w->backoff_ms,
				  .backoff_max_ms = 100};
	sink_t *s = &w->f->sink;
	if (lane_start(&o, &s, &w->lane, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_null(s);
}

static void halt(world_t *w)
{
	lanes_stop(w->log, &w->lane, 1);
	assert_null(w->lane);
}

static void close_world(world_t *w)
{
	if (w->lane != NULL)
		halt(w);
	fake_log_free(w->log);
	store_closep(&w->store);
	free(w->f);
	tmpdir_remove(w->dir);
}

/* The log as another start of the server finds it. */
static void reopen(world_t *w, const char *origin, unsigned history, uint64_t size)
{
	fake_log_free(w->log);
	w->log = fake_log_new(origin, history, 0);
	fake_log_grow(w->log, size);
	fresh_sink(w);
}

static size_t taken(world_t *w)
{
	(void)pthread_mutex_lock(&w->f->lock);
	size_t n = w->f->n;
	(void)pthread_mutex_unlock(&w->f->lock);
	return n;
}

static void await(world_t *w, size_t n)
{
	for (int i = 0; i < 1000 && taken(w) < n; i++)
		steady_pause(10);
	assert_true(taken(w) >= n);
}

static void assert_run(const fake_sink_t *f, uint64_t from, uint64_t end)
{
	assert_false(f->wrong);
	assert_int_equal(f->n, end - from);
	for (uint64_t i = from; i < end; i++)
		assert_int_equal(f->taken[i - from], i);
}

static bool position_is(world_t *w, const char *start)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	const char *s = NULL;
	if (file_read(w->position, 1000, &text, NULL) != KMS_OK || buf_cstr(&text, &s) != KMS_OK)
		return false;
	return text.n > 0 && strncmp(s, start, strlen(start)) == 0 && s[text.n - 1] == '\n';
}

static void test_all_in_order_and_the_position(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	struct stat st;
	open_world(&w, 0);
	fake_log_grow(w.log, 1000);
	run(&w);
	await(&w, 1000);
	fake_log_grow(w.log, 5);
	await(&w, 1005);
	halt(&w);
	assert_run(w.f, 0, 1005);
	assert_int_equal(w.f->largest, LANE_BATCH_EVENTS);
	assert_true(atomic_load(&w.f->closed));
	assert_true(position_is(&w, "claviger-export 1 log.example 1005 "));
	assert_int_equal(stat(w.position, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	audit_party_t p = fake_log_party(w.log, "fake");
	assert_true(p.ok);
	assert_int_equal(p.kind, AUDIT_SINK);
	assert_int_equal(p.size, 1005);
}

static void test_goes_on_where_it_was(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	fake_log_grow(w.log, 100);
	run(&w);
	await(&w, 100);
	halt(&w);
	reopen(&w, "log.example", 1, 130);
	run(&w);
	await(&w, 30);
	halt(&w);
	assert_run(w.f, 100, 130);
}

static void test_batches_are_bounded(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 60000);
	fake_log_grow(w.log, 100);
	run(&w);
	await(&w, 100);
	halt(&w);
	assert_run(w.f, 0, 100);
	assert_true(w.f->largest < LANE_BATCH_EVENTS);
	assert_true(w.f->largest_bytes < LANE_BATCH_BYTES + 65536);
}

/* What waits at the stop is taken too, when it goes well. */
static void test_the_end_is_delivered(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	fake_log_grow(w.log, 2000);
	run(&w);
	halt(&w);
	assert_run(w.f, 0, 2000);
	assert_true(position_is(&w, "claviger-export 1 log.example 2000 "));
}

static void test_failures_are_tried_again(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.backoff_ms = 60;
	w.f->fail = 3;
	fake_log_grow(w.log, 100);
	int64_t began = steady_ms();
	run(&w);
	while (fake_log_party(w.log, "fake").ok || fake_log_party(w.log, "fake").error[0] == '\0') {
		assert_true(steady_ms() - began < 5000);
		steady_pause(2);
	}
	assert_string_equal(fake_log_party(w.log, "fake").error, "told to fail");
	assert_int_equal(fake_log_party(w.log, "fake").size, 0);
	await(&w, 100);
	/* 60, 100 (its most), 100; three quarters of it at least */
	assert_true(steady_ms() - began >= 195);
	halt(&w);
	assert_run(w.f, 0, 100);
	assert_true(fake_log_party(w.log, "fake").ok);
}

static void test_retry_after_is_kept(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.f->fail = 1;
	w.f->retry_after = 1;
	fake_log_grow(w.log, 1);
	int64_t began = steady_ms();
	run(&w);
	await(&w, 1);
	assert_true(steady_ms() - began >= 1000);
	assert_true(steady_ms() - began < 3000);
}

/* Break-glass does not wait for the time that a sink asked for. */
static void test_a_log_in_a_hurry(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.f->fail = 1;
	w.f->retry_after = 60;
	fake_log_grow(w.log, 1);
	run(&w);
	while (fake_log_party(w.log, "fake").error[0] == '\0')
		steady_pause(2);
	steady_pause(300);
	assert_int_equal(fake_log_party(w.log, "fake").size, 0);
	int64_t began = steady_ms();
	audit_hurry(w.log);
	await(&w, 1);
	assert_true(steady_ms() - began < 2000);
	/* and what it took is made durable at once, not within the second */
	began = steady_ms();
	fake_log_grow(w.log, 1);
	audit_hurry(w.log);
	await(&w, 2);
	while (access(w.position, F_OK) != 0 && steady_ms() - began < 900)
		steady_pause(2);
	assert_int_equal(access(w.position, F_OK), 0);
}

static void test_a_sink_that_repeats(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.f->sink.repeats = true;
	fake_log_grow(w.log, 128);
	run(&w);
	await(&w, 128);
	(void)pthread_mutex_lock(&w.f->lock);
	w.f->fail = 1;
	(void)pthread_mutex_unlock(&w.f->lock);
	fake_log_grow(w.log, 1);
	await(&w, 128 + 129); /* all of it again: it was sent less than 30 s ago */
	halt(&w);
	for (uint64_t i = 0; i < 129; i++)
		assert_int_equal(w.f->taken[128 + i], i);
	assert_int_equal(tmpdir_entries(w.dir), 0); /* still 0, as without a file */
	/* after many batches the position is 16 of them behind */
	reopen(&w, "log.example", 1, 64 * 40);
	w.f->sink.repeats = true;
	run(&w);
	await(&w, 64 * 40);
	halt(&w);
	assert_run(w.f, 0, 64 * 40);
	assert_true(position_is(&w, "claviger-export 1 log.example 1536 "));
}

static void test_what_was_lost_comes_again(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.f->fail_settles = 1;
	fake_log_grow(w.log, 64);
	run(&w);
	await(&w, 128);
	halt(&w);
	assert_int_equal(w.f->n, 128);
	assert_int_equal(w.f->taken[64], 0);
	assert_true(position_is(&w, "claviger-export 1 log.example 64 "));
}

static void test_at_most_one_position_a_second(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	iofail_disarm();
	run(&w);
	for (unsigned i = 0; i < 100; i++) {
		fake_log_grow(w.log, 64);
		steady_pause(10);
	}
	unsigned syncs = iofail_seen(IOFAIL_FSYNC);
	assert_true(syncs >= 2 && syncs <= 6); /* two a file: it and its folder */
	halt(&w);
}

static void test_a_position_that_cannot_be_written(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	iofail_arm(IOFAIL_FSYNC, 1, ENOSPC);
	fake_log_grow(w.log, 64);
	run(&w);
	await(&w, 64);
	for (int i = 0; i < 500 && fake_log_party(w.log, "fake").ok; i++)
		steady_pause(2);
	assert_false(fake_log_party(w.log, "fake").ok);
	assert_non_null(strstr(fake_log_party(w.log, "fake").error, "fake.position"));
	fake_log_grow(w.log, 64);
	await(&w, 128);
	halt(&w);
	assert_run(w.f, 0, 128);
	assert_true(position_is(&w, "claviger-export 1 log.example 128 "));
	iofail_disarm();
}

static void test_an_event_that_cannot_be_read(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	fake_log_grow(w.log, 70);
	fake_log_spoil(w.log, 66);
	run(&w);
	await(&w, 64);
	for (int i = 0; i < 500 && fake_log_party(w.log, "fake").ok; i++)
		steady_pause(2);
	assert_non_null(strstr(fake_log_party(w.log, "fake").error, "event 66"));
	halt(&w);
	assert_run(w.f, 0, 64);
}

#define D64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Of each the sink stands still, says why, and leaves the file as it is. */
static void test_positions_that_do_not_fit(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"claviger-export 1 log.example 11 " D64 "\n", "11 events were sent"},
		{"claviger-export 1 log.example 18446744073709551615 " D64 "\n", "older database"},
		{"claviger-export 1 other.example 5 " D64 "\n", "other.example"},
		{"claviger-export 1 log.example 5 " D64 "\n", "event 4 is not the one"},
		{"claviger-export 1 log.example 0 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example 5 -\n", "damaged"},
		{"claviger-export 1 log.example 5 " D64, "damaged"},
		{"claviger-export 1 log.example 5 " D64 "\n\n", "damaged"},
		{"claviger-export 1 log.example 5 " D64 "0\n", "damaged"},
		{"claviger-export 1 log.example 05 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example -5 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example +5 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example 18446744073709551616 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example  5 " D64 "\n", "damaged"},
		{"claviger-export 2 log.example 5 " D64 "\n", "damaged"},
		{"claviger-export 1 log.example\n", "damaged"},
		{"", "damaged"},
	};
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		reopen(&w, "log.example", 1, 10);
		assert_int_equal(file_write(w.position, span_str(rows[i].text), 0600, FILE_REPLACE, NULL),
				 KMS_OK);
		run(&w);
		steady_pause(20);
		audit_party_t p = fake_log_party(w.log, "fake");
		if (p.ok || strstr(p.error, rows[i].says) == NULL)
			fail_msg("%s: %s", rows[i].text, p.error);
		halt(&w);
		assert_int_equal(w.f->n, 0);
		SCOPED(buf_free) buf_t same = BUF_INIT;
		assert_int_equal(file_read(w.position, 1000, &same, NULL), KMS_OK);
		assert_true(span_eq(buf_span(&same), span_str(rows[i].text)));
	}
}

static void test_another_history_of_the_same_name(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	fake_log_grow(w.log, 10);
	run(&w);
	await(&w, 10);
	halt(&w);
	reopen(&w, "log.example", 2, 50);
	run(&w);
	steady_pause(50);
	halt(&w);
	assert_int_equal(w.f->n, 0);
	assert_false(fake_log_party(w.log, "fake").ok);
}

static void test_a_black_hole_does_not_hold_the_stop_up(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	atomic_store(&w.f->block, true);
	fake_log_grow(w.log, 10);
	run(&w);
	steady_pause(100);
	int64_t began = steady_ms();
	halt(&w);
	assert_true(steady_ms() - began < 2000);
	assert_true(atomic_load(&w.f->closed));
	assert_int_equal(tmpdir_entries(w.dir), 0);
}

static void test_nor_does_a_long_backoff(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	w.f->fail = 1000;
	w.f->retry_after = 3600;
	fake_log_grow(w.log, 10);
	run(&w);
	steady_pause(100);
	int64_t began = steady_ms();
	halt(&w);
	assert_true(steady_ms() - began < 400);
}

/* A thread that hangs in the kernel: it is left behind, and touches neither log nor store when it comes back.
 */
static void test_a_thread_that_hangs_is_left_behind(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w, 0);
	atomic_store(&w.f->hang, true);
	fake_log_grow(w.log, 10);
	run(&w);
	steady_pause(100);
	int64_t began = steady_ms();
	halt(&w);
	assert_true(steady_ms() - began < 2200);
	assert_false(atomic_load(&w.f->closed));
	fake_log_close(w.log);
	store_closep(&w.store);
	atomic_store(&w.f->hang, false);
	for (int i = 0; i < 1000 && !atomic_load(&w.f->closed); i++)
		steady_pause(10);
	assert_true(atomic_load(&w.f->closed));
	steady_pause(50); /* for the lane's own memory */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_in_order_and_the_position),
		cmocka_unit_test(test_goes_on_where_it_was),
		cmocka_unit_test(test_batches_are_bounded),
		cmocka_unit_test(test_the_end_is_delivered),
		cmocka_unit_test(test_failures_are_tried_again),
		cmocka_unit_test(test_retry_after_is_kept),
		cmocka_unit_test(test_a_log_in_a_hurry),
		cmocka_unit_test(test_a_sink_that_repeats),
		cmocka_unit_test(test_what_was_lost_comes_again),
		cmocka_unit_test(test_at_most_one_position_a_second),
		cmocka_unit_test(test_a_position_that_cannot_be_written),
		cmocka_unit_test(test_an_event_that_cannot_be_read),
		cmocka_unit_test(test_positions_that_do_not_fit),
		cmocka_unit_test(test_another_history_of_the_same_name),
		cmocka_unit_test(test_a_black_hole_does_not_hold_the_stop_up),
		cmocka_unit_test(test_nor_does_a_long_backoff),
		cmocka_unit_test(test_a_thread_that_hangs_is_left_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
