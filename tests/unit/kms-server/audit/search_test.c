#include "common/base/scope.h"
#include "kms-server/audit/postings.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS 600U

/* What an event of the test is about. The terms repeat with different periods, so that all combinations are
 * there, frequent and rare. */
typedef struct row {
	char customer[16], operation[16], actor[16];
	bool failure;
	int64_t time_ms;
} row_t;

static row_t rows[EVENTS];
static uint64_t before; /* events before these, about nothing */

static int64_t time_of(unsigned i)
{
	int64_t t = INT64_C(1700000000000) + (int64_t)i * 7000;
	if (i % 97 == 50)
		t -= 200000; /* the clock stepped back for one event */
	if (i >= 300 && i < 330)
		t -= 1800000; /* and for a while */
	return t;
}

static int fill(void **state, uint64_t n)
{
	assert_int_equal(log_setup(state), 0);
	log_fixture_t *f = *state;
	before = n;
	log_grow(f, n, 1024);
	for (unsigned i = 0; i < EVENTS; i++) {
		row_t *r = &rows[i];
		char text[32];
		(void)snprintf(r->customer, sizeof r->customer, "c%u", i % 5);
		(void)snprintf(r->operation, sizeof r->operation, "op%u", i % 7);
		(void)snprintf(r->actor, sizeof r->actor, "a%u", i % 211);
		r->failure = i % 31 == 0;
		r->time_ms = time_of(i);
		const audit_term_t terms[] = {{AUDIT_CUSTOMER, r->customer},
					      {AUDIT_OPERATION, r->operation},
					      {AUDIT_ACTOR, r->actor},
					      {AUDIT_GRANT, ""},
					      {AUDIT_FAILURE, ""}};
		(void)snprintf(text, sizeof text, "%u", i);
		log_add(f, text, r->time_ms, terms, r->failure ? 5 : 4);
	}
	return 0;
}

static int setup(void **state)
{
	return fill(state, 0);
}

/* The first half of the events is in the index's lists, the second in its window. */
static int setup_halves(void **state)
{
	return fill(state, POSTINGS_WINDOW - EVENTS / 2);
}

typedef struct found {
	uint64_t index[EVENTS];
	size_t n, stop_at;
} found_t;

static kms_err_t take(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	found_t *f = ctx;
	char want[32];
	assert_true(index >= before);
	index -= before;
	(void)snprintf(want, sizeof want, "%llu", (unsigned long long)index);
	assert_true(span_eq(bytes, span_str(want)));
	if (f->n == f->stop_at) {
		*go_on = false;
		return KMS_OK;
	}
	assert_true(f->n < EVENTS);
	f->index[f->n++] = index;
	return KMS_OK;
}

static bool asks(const audit_search_t *s, const row_t *r)
{
	for (size_t i = 0; i < s->n_filters; i++) {
		const audit_filter_t *f = &s->filter[i];
		bool any = false;
		for (size_t k = 0; k < f->n; k++) {
			const char *v = f->kind == AUDIT_CUSTOMER    ? r->customer
					: f->kind == AUDIT_OPERATION ? r->operation
								     : r->actor;
			any |= f->kind == AUDIT_FAILURE ? r->failure : strcmp(v, f->any_of[k]) == 0;
		}
		if (!any)
			return false;
	}
	return true;
}

/* Every event in [begin, end) that fits must be found, in order, and none that does not fit the terms; the
 * time index is coarse, so that events around the times may come too. */
static void check(const audit_search_t *s, const found_t *got)
{
	size_t at = 0;
	for (uint64_t k = 0; k < s->end - s->begin; k++) {
		uint64_t i = s->ascending ? s->begin + k : s->end - 1 - k;
		bool fits = asks(s, &rows[i]);
		bool in_time = rows[i].time_ms >= s->from_ms && rows[i].time_ms <= s->to_ms;
		if (at < got->n && got->index[at] == i) {
			assert_true(fits);
			at++;
		} else {
			assert_false(fits && in_time);
		}
	}
	assert_int_equal(at, got->n);
}

/* Page by page, with a budget and a page size that make many. */
static void run(log_fixture_t *f, audit_search_t s, uint32_t examine, size_t page)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	const audit_search_t whole = s;
	static found_t got;
	got = (found_t){.stop_at = SIZE_MAX};
	bool more = true;
	s.examine = examine;
	s.begin += before;
	s.end += before;
	MUST(store_begin_read(f->store, &t));
	for (unsigned pages = 0; more; pages++) {
		uint64_t next = 0;
		got.stop_at = got.n + page;
		MUST(audit_search(f->audit, t, &s, take, &got, &next, &more));
		assert_true(pages < 4 * EVENTS);
		if (more && s.ascending)
			s.begin = next;
		else if (more)
			s.end = next + 1;
	}
	check(&whole, &got);
}

static audit_filter_t one(audit_term_kind_t kind, const char *value)
{
	return (audit_filter_t){.kind = kind, .n = 1, .any_of = {value}};
}

static void test_combinations(void **state)
{
	log_fixture_t *f = *state;
	const audit_filter_t filters[] = {one(AUDIT_CUSTOMER, "c3"), one(AUDIT_OPERATION, "op2"),
					  one(AUDIT_ACTOR, "a17"), one(AUDIT_FAILURE, ""),
					  one(AUDIT_CUSTOMER, "nobody")};
	static const int64_t from[] = {0, INT64_C(1700001000000), INT64_C(1700003600000)};
	static const int64_t to[] = {INT64_MAX, INT64_C(1700002400000), INT64_C(1700003599999)};
	static const struct {
		uint32_t examine;
		size_t page;
	} pages[] = {{100000, 1000}, {100000, 3}, {25, 1000}, {12, 2}};
	for (unsigned set = 0; set < 1U << COUNT(filters); set++)
		for (size_t k = 0; k < COUNT(from) * 2 * COUNT(pages); k++) {
			size_t when = k % COUNT(from), page = k / COUNT(from) / 2;
			audit_search_t s = {.from_ms = from[when], .to_ms = to[when], .end = EVENTS};
			s.ascending = k / COUNT(from) % 2 == 0;
			for (size_t i = 0; i < COUNT(filters); i++)
				if ((set >> i & 1U) != 0)
					s.filter[s.n_filters++] = filters[i];
			run(f, s, pages[page].examine, pages[page].page);
		}
}

static void test_any_of(void **state)
{
	log_fixture_t *f = *state;
	audit_search_t s = {.to_ms = INT64_MAX, .end = EVENTS, .begin = 17};
	s.filter[0] = (audit_filter_t){.kind = AUDIT_CUSTOMER, .n = 3, .any_of = {"c1", "nobody", "c4"}};
	s.filter[1] = one(AUDIT_OPERATION, "op6");
	s.n_filters = 2;
	run(f, s, 100000, 1000);
	s.ascending = true;
	run(f, s, 30, 7);
}

static void test_bounds(void **state)
{
	log_fixture_t *f = *state;
	static const uint64_t bounds[][2] = {{0, 0}, {5, 5}, {0, 1}, {599, 600}, {100, 200}, {600, 600}};
	for (size_t i = 0; i < COUNT(bounds); i++)
		for (int up = 0; up < 2; up++) {
			audit_search_t s = {.to_ms = INT64_MAX, .begin = bounds[i][0], .end = bounds[i][1]};
			s.ascending = up == 1;
			run(f, s, 100000, 1000);
			s.filter[s.n_filters++] = one(AUDIT_CUSTOMER, "c0");
			run(f, s, 100000, 1000);
		}
}

/* A rare combination costs what the budget says, and goes on where it ended. */
static void test_budget(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	audit_search_t s = {.to_ms = INT64_MAX,
			    .begin = before,
			    .end = before + EVENTS,
			    .ascending = true,
			    .examine = 20};
	static found_t got;
	uint64_t next = 0;
	bool more = false;
	got = (found_t){.stop_at = SIZE_MAX};
	s.filter[0] = one(AUDIT_CUSTOMER, "c4");
	s.filter[1] = one(AUDIT_ACTOR, "a210"); /* 210, 421: of c0 and c1 */
	s.filter[2] = one(AUDIT_OPERATION, "op1");
	s.n_filters = 2;
	MUST(store_begin_read(f->store, &t));
	MUST(audit_search(f->audit, t, &s, take, &got, &next, &more));
	assert_int_equal(got.n, 0);
	assert_false(more); /* leaps over all that cannot fit */
	s.filter[1] = s.filter[2];
	s.filter[2] = one(AUDIT_FAILURE, "");
	s.n_filters = 3;
	MUST(audit_search(f->audit, t, &s, take, &got, &next, &more));
	assert_true(more && next > before && next < before + EVENTS);
}

/* The coarse time index survives a restart, and the step back that it has seen. */
static void test_reopened(void **state)
{
	log_fixture_t *f = *state;
	diag_t why = {""};
	MUST(log_reopen(f, &why));
	audit_search_t s = {.from_ms = time_of(310), .to_ms = time_of(310), .end = EVENTS, .ascending = true};
	run(f, s, 100000, 1000);
}

/* A clock that was two weeks ahead for 300 events, was set right, and has gone on since. */
#define DAY_MS   INT64_C(86400000)
#define STEP_MS  INT64_C(60000)
#define RIGHT_MS INT64_C(1700000000000)

static int64_t corrected(uint64_t i)
{
	return RIGHT_MS + (int64_t)i * STEP_MS + (i < 300 ? 14 * DAY_MS : 0);
}

typedef struct shown {
	int64_t to_ms;
	size_t n;
	uint64_t first;
} shown_t;

/* As core does: what is not asked for costs, and is not shown. */
static kms_err_t show_asked(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	shown_t *s = ctx;
	(void)bytes;
	if (corrected(index) > s->to_ms)
		return KMS_OK;
	if (s->n++ == 0)
		s->first = index;
	*go_on = s->n < 50;
	return KMS_OK;
}

static void test_pages_are_full_after_a_correction(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	int64_t times[2000];
	shown_t shown = {.to_ms = corrected(600)};
	audit_search_t s = {.to_ms = shown.to_ms, .end = COUNT(times), .examine = 100};
	uint64_t next = 0;
	bool more = false;
	for (uint64_t i = 0; i < COUNT(times); i++)
		times[i] = corrected(i);
	log_add_at(f, times, COUNT(times));
	MUST(store_begin_read(f->store, &t));
	MUST(audit_search(f->audit, t, &s, show_asked, &shown, &next, &more));
	assert_int_equal(shown.n, 50);
	assert_int_equal(shown.first, 600);
}

int main(void)
{
#define T(f)                                                                                                 \
	cmocka_unit_test_setup_teardown(f, setup, log_teardown),                                             \
	{                                                                                                    \
#f " in lists and window", f, setup_halves, log_teardown, NULL                               \
	}
	const struct CMUnitTest tests[] = {
		T(test_combinations),
		T(test_any_of),
		T(test_bounds),
		T(test_budget),
		T(test_reopened),
		cmocka_unit_test_setup_teardown(test_pages_are_full_after_a_correction, log_setup,
						log_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
