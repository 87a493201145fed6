#include "kms-server/audit/times.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS    (1440 * MINUTE_MS)
#define BEGIN_MS  INT64_C(1700000000000)

static void put_u64(uint64_t v, uint8_t out[8])
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (8 * (7 - i)));
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

/* --- rows, as docs/STORAGE.md has them --- */

typedef struct step {
	int64_t time_ms;
	bool row;
	uint64_t segment, minute; /* of the row */
	const char *why;
} step_t;

static const step_t steps[] = {
	{-5 * DAY_MS, true, 0, 0, "the first event begins a segment, before 1970 too"},
	{10 * MINUTE_MS, true, 0, 10, "forward"},
	{10 * MINUTE_MS + 59999, false, 0, 0, "the same minute"},
	{9 * MINUTE_MS, false, 0, 0, "one minute back is in order"},
	{10 * MINUTE_MS, false, 0, 0, "and back in it"},
	{9 * MINUTE_MS - 1, true, 5, 8, "two are not"},
	{10 * MINUTE_MS, true, 5, 10, "the new segment goes on from where it is"},
	{10 * DAY_MS, true, 5, 14400, "a step ahead is no new one"},
	{11 * MINUTE_MS, true, 8, 11, "set right again"},
	{0, true, 9, 0, "and the clock lost"},
	{MINUTE_MS, true, 9, 1, "goes on from nothing"},
};

static void expect_rows(store_txn_t *t, size_t n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	MUST(store_seek(t, STORE_TIMES, span_of(NULL, 0), STORE_UP, &c));
	for (size_t i = 0; i < n; i++) {
		if (!steps[i].row)
			continue;
		MUST(store_next(c, &key, &value));
		if (key.n != 16 || value.n != 8 || u64_at(key.p) != steps[i].segment ||
		    u64_at(key.p + 8) != steps[i].minute || u64_at(value.p) != i)
			fail_msg("event %zu: %s", i, steps[i].why);
	}
	assert_int_equal(store_next(c, &key, &value), KMS_E_NOTFOUND);
}

static void test_rows(void **state)
{
	const log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	times_t at = {.any = false};
	MUST(store_begin_write(f->store, 0, &t));
	for (size_t i = 0; i < COUNT(steps); i++) {
		times_t loaded = {.any = true};
		MUST(times_load(t, &loaded));
		if (loaded.any != at.any || loaded.segment != at.segment || loaded.minute != at.minute)
			fail_msg("before event %zu: not what a restart would find", i);
		MUST(times_note(&at, t, i, steps[i].time_ms));
		expect_rows(t, i + 1);
	}
}

static void put_row(store_txn_t *t, uint64_t segment, uint64_t minute, uint64_t event, size_t key_n,
		    size_t value_n)
{
	uint8_t key[17] = {0}, value[9] = {0};
	put_u64(segment, key);
	put_u64(minute, key + 8);
	put_u64(event, value);
	MUST(store_put(t, STORE_TIMES, span_of(key, key_n), span_of(value, value_n)));
}

static void test_damaged_rows(void **state)
{
	static const struct {
		uint64_t segment, minute, event;
		size_t key_n, value_n;
		const char *what;
	} damage[] = {
		{10, 5, 10, 8, 8, "a key that is one number"},
		{10, 5, 10, 17, 8, "a key that is longer"},
		{10, 5, 10, 16, 7, "an index that is cut off"},
		{10, 5, 10, 16, 0, "a row of nothing"},
		{10, 5, 10, 16, 9, "an index and more"},
		{10, 5, 9, 16, 8, "an event before its segment"},
		{10, 5, 20, 16, 8, "an event behind its segment"},
		{10, 5, 99, 16, 8, "one far behind it"},
		{1, 5, 10, 16, 8, "no segment for event 0"},
	};
	const log_fixture_t *f = *state;
	for (size_t i = 0; i < COUNT(damage); i++) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		times_part_t p = {.first = 77};
		uint64_t young = 77;
		MUST(store_begin_write(f->store, 0, &t));
		put_row(t, damage[i].segment, damage[i].minute, damage[i].event, damage[i].key_n,
			damage[i].value_n);
		put_row(t, 20, 1, 20, 16, 8);
		uint64_t at = damage[i].segment == 1 ? 0 : 12;
		if (times_part(t, at, 3 * MINUTE_MS, INT64_MAX, &p) != KMS_E_INTEGRITY ||
		    times_part(t, at, 0, MINUTE_MS, &p) != KMS_E_INTEGRITY ||
		    times_first(t, at, 30, 3 * MINUTE_MS, &young) != KMS_E_INTEGRITY)
			fail_msg("%s passes", damage[i].what);
		assert_int_equal(p.first, 77);
		assert_int_equal(young, 77);
	}
}

/* A log does not open over a last row that is none. */
static void test_damaged_end(void **state)
{
	log_fixture_t *f = *state;
	store_txn_t *t = NULL;
	diag_t why = {""};
	log_grow(f, 3, 3);
	MUST(store_begin_write(f->store, f->n, &t));
	put_row(t, 9, 9, 3, 16, 8);
	MUST(store_commit(t));
	assert_int_equal(log_reopen(f, &why), KMS_E_INTEGRITY);
}

/* --- random clocks, against looking at all events --- */

#define EVENTS  240U
#define SEEDS   40U
#define QUERIES 60U

typedef struct world {
	uint64_t random;
	int64_t time[EVENTS];
	audit_search_t asked;
	size_t page;
	uint64_t found[EVENTS];
	size_t n, page_n;
} world_t;

/* xorshift64*: the same clocks on every run. */
static unsigned below(world_t *w, unsigned n)
{
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (unsigned)((w->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

/* One clock in four never jumps, one hardly does anything else. */
static void make_clock(world_t *w, unsigned seed)
{
	static const int64_t jumps[] = {
		-1,      -59999,       -MINUTE_MS,    -MINUTE_MS - 1, -2 * MINUTE_MS, -MINUTE_MS * 7,
		-DAY_MS, -DAY_MS * 90, MINUTE_MS * 9, DAY_MS,         DAY_MS * 90};
	static const unsigned often[] = {0, 2, 10, 90}; /* of 100 */
	int64_t now = BEGIN_MS;
	for (unsigned i = 0; i < EVENTS; i++) {
		if (below(w, 100) < often[seed % COUNT(often)])
			now += jumps[below(w, COUNT(jumps))];
		else
			now += below(w, 3) > 0 ? below(w, 20000) : below(w, 150000);
		w->time[i] = now;
	}
}

/* In commits of several events, some of which fail and are done again, and restarts between them. */
static void write_log(world_t *w, log_fixture_t *f)
{
	diag_t why = {""};
	while (f->n < EVENTS) {
		unsigned n = below(w, 9) + 1, left = EVENTS - (unsigned)f->n, what = below(w, 6);
		if (what == 0) {
			store_txn_t *t = NULL;
			uint64_t index = 0;
			MUST(store_begin_write(f->store, f->n, &t));
			MUST(audit_append(f->audit, t, span_str("lost"), NULL, 0, w->time[f->n], &index));
			store_abort(t);
			audit_rolled_back(f->audit);
		} else if (what == 1) {
			MUST(log_reopen(f, &why));
		}
		log_add_at(f, w->time + f->n, n < left ? n : left);
	}
}

static int64_t some_time(world_t *w)
{
	int64_t t = w->time[below(w, EVENTS)];
	switch (below(w, 4)) {
	case 0:
		return t / MINUTE_MS * MINUTE_MS - below(w, 2);
	case 1:
		return t + (int64_t)below(w, 240000) - 120000;
	default:
		return t;
	}
}

static void ask(world_t *w)
{
	static const uint32_t budgets[] = {2, 3, 17, 100000};
	audit_search_t s = {.to_ms = INT64_MAX, .ascending = below(w, 2) == 0, .end = EVENTS};
	s.examine = budgets[below(w, COUNT(budgets))];
	if (below(w, 3) > 0)
		s.from_ms = some_time(w);
	if (below(w, 3) > 0)
		s.to_ms = below(w, 3) > 0 ? s.from_ms + (int64_t)below(w, 30) * MINUTE_MS : some_time(w);
	if (below(w, 3) == 0) {
		s.begin = below(w, EVENTS);
		s.end = s.begin + below(w, EVENTS + 3 - (unsigned)s.begin);
	}
	w->asked = s;
	w->page = below(w, 20) + 1;
}

static kms_err_t take(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	world_t *w = ctx;
	(void)bytes;
	*go_on = w->page_n < w->page;
	if (!*go_on)
		return KMS_OK;
	assert_true(w->n < EVENTS);
	w->found[w->n++] = index;
	w->page_n++;
	return KMS_OK;
}

/* Follows the cursors; each goes on from the one before it. */
static void find(world_t *w, const log_fixture_t *f)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	audit_search_t s = w->asked;
	bool more = true;
	MUST(store_begin_read(f->store, &t));
	for (w->n = 0; more;) {
		uint64_t next = 0;
		w->page_n = 0;
		MUST(audit_search(f->audit, t, &s, take, w, &next, &more));
		if (!more)
			break;
		assert_true(next < EVENTS && (s.ascending ? next > s.begin : next + 1 < s.end));
		if (s.ascending)
			s.begin = next;
		else
			s.end = next + 1;
	}
}

static int64_t minute(int64_t ms)
{
	return ms > 0 ? ms / MINUTE_MS : 0;
}

/* All that lie within the times, in order; besides these only such as do so nearly. */
static void check_found(const world_t *w)
{
	const audit_search_t *s = &w->asked;
	uint64_t end = s->end < EVENTS ? s->end : EVENTS;
	size_t at = 0;
	for (uint64_t k = s->begin; k < end; k++) {
		uint64_t i = s->ascending ? k : end - 1 - (k - s->begin);
		int64_t time = w->time[i];
		bool fits = time >= s->from_ms && time <= s->to_ms;
		bool nearly = (s->from_ms <= 0 || minute(time) + 1 >= minute(s->from_ms)) &&
			      (s->to_ms == INT64_MAX || minute(time) <= minute(s->to_ms) + 1);
		bool found = at < w->n && w->found[at] == i;
		if (found ? !nearly : fits)
			fail_msg("event %u is %s", (unsigned)i, found ? "not asked for" : "not found");
		at += found ? 1 : 0;
	}
	assert_int_equal(at, w->n);
}

static void check_young(world_t *w, const log_fixture_t *f)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t begin = below(w, EVENTS), end = begin + below(w, EVENTS + 1 - (unsigned)begin), got = 0;
	int64_t limit = some_time(w);
	uint64_t want = begin;
	MUST(store_begin_read(f->store, &t));
	MUST(times_first(t, begin, end, limit, &got));
	while (want < end && minute(w->time[want]) < minute(limit))
		want++;
	/* none that is as young is passed; the first may be one that only follows such a one */
	assert_true(got <= want && got >= begin);
	assert_true(got == want || (got == begin && minute(w->time[got]) + 1 >= minute(limit)));
}

static void test_random_clocks(void **state)
{
	static world_t w;
	for (unsigned seed = 0; seed < SEEDS; seed++) {
		w = (world_t){.random = UINT64_C(0x9E3779B97F4A7C15) + seed};
		assert_int_equal(log_setup(state), 0);
		make_clock(&w, seed);
		write_log(&w, *state);
		for (unsigned i = 0; i < QUERIES; i++) {
			ask(&w);
			find(&w, *state);
			check_found(&w);
			check_young(&w, *state);
		}
		(void)log_teardown(state);
	}
}

/* --- a clock that jumps with every event --- */

#define JUMPS 1000U

/* From second 0 on, every other event a day later; the first and the last are about something. */
static void write_jumps(log_fixture_t *f)
{
	static const audit_term_t rare = {AUDIT_CUSTOMER, "rare"};
	static int64_t times[2 * JUMPS];
	for (size_t i = 0; i < COUNT(times); i++)
		times[i] = BEGIN_MS + (i % 2 == 0 ? 0 : DAY_MS) + (int64_t)i * 1000;
	log_add(f, "first", times[0], &rare, 1);
	log_add_at(f, times + 1, COUNT(times) - 2);
	log_add(f, "last", times[COUNT(times) - 1], &rare, 1);
}

static kms_err_t count(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	(void)index;
	(void)bytes;
	(void)go_on;
	++*(unsigned *)ctx;
	return KMS_OK;
}

/* Where each segment has nothing to show, a page still ends, and the next goes on behind it. */
static void test_many_segments(void **state)
{
	log_fixture_t *f = *state;
	write_jumps(f);
	for (int up = 0; up < 2; up++) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		audit_search_t s = {.from_ms = BEGIN_MS + DAY_MS / 2,
				    .to_ms = BEGIN_MS + DAY_MS / 2 + MINUTE_MS,
				    .ascending = up == 1,
				    .end = (uint64_t)2 * JUMPS,
				    .examine = 64};
		unsigned pages = 0, found = 0;
		MUST(store_begin_read(f->store, &t));
		for (bool more = true; more; pages++) {
			uint64_t next = 0;
			MUST(audit_search(f->audit, t, &s, count, &found, &next, &more));
			if (more && up == 1)
				s.begin = next;
			else if (more)
				s.end = next + 1;
		}
		assert_int_equal(found, 0);
		assert_int_equal(pages, (JUMPS + 63) / 64);
	}
}

/* A list that has nothing for long leaps over the segments too. */
static void test_leap_over_segments(void **state)
{
	log_fixture_t *f = *state;
	write_jumps(f);
	for (int up = 0; up < 2; up++) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		audit_search_t s = {.n_filters = 1,
				    .from_ms = 1,
				    .to_ms = INT64_MAX,
				    .ascending = up == 1,
				    .end = (uint64_t)2 * JUMPS,
				    .examine = 12};
		uint64_t next = 0;
		unsigned found = 0;
		bool more = true;
		s.filter[0] = (audit_filter_t){.kind = AUDIT_CUSTOMER, .n = 1, .any_of = {"rare"}};
		MUST(store_begin_read(f->store, &t));
		MUST(audit_search(f->audit, t, &s, count, &found, &next, &more));
		assert_int_equal(found, 2);
		assert_false(more);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_rows, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_end, log_setup, log_teardown),
		cmocka_unit_test(test_random_clocks),
		cmocka_unit_test_setup_teardown(test_many_segments, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_leap_over_segments, log_setup, log_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
