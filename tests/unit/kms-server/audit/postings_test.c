#include "kms-server/audit/postings.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

/* Long enough for several full blocks, with steps of one, two and three bytes. */
#define ENTRIES 300U

static uint64_t entry(unsigned i)
{
	return i == 0 ? 3 : entry(i - 1) + (i % 64 == 40 ? 70000 : i % 7 == 0 ? 300 : i % 3 + 1);
}

static store_txn_t *write_txn(const log_fixture_t *f)
{
	store_txn_t *t = NULL;
	MUST(store_begin_write(f->store, audit_size(f->audit), &t));
	return t;
}

static void term_of(const char *text, uint8_t out[POSTINGS_TERM_LEN])
{
	MUST(postings_term(AUDIT_NODE, text, out));
}

/* What the list should answer, by looking at all entries. */
static bool expected(unsigned n, store_order_t order, uint64_t at, uint64_t *out)
{
	bool any = false;
	for (unsigned i = 0; i < n; i++) {
		uint64_t v = entry(i);
		if (order == STORE_UP ? v < at : v > at)
			continue;
		if (!any || order == STORE_DOWN)
			*out = v;
		any = true;
	}
	return any;
}

static void check_at(store_txn_t *t, postings_t *p, unsigned n, uint64_t at)
{
	for (int k = 0; k < 2; k++) {
		store_order_t order = k == 0 ? STORE_UP : STORE_DOWN;
		uint64_t want = 0, got = 0;
		bool any = expected(n, order, at, &want);
		assert_int_equal(postings_next(p, t, order, at, &got), any ? KMS_OK : KMS_E_NOTFOUND);
		assert_int_equal(got, want);
	}
}

static void check_list(store_txn_t *t, unsigned n)
{
	postings_t p = {.loaded = false};
	term_of("acme/db/n1", p.term);
	for (unsigned i = 0; i < n; i++) {
		uint64_t near[] = {entry(i) - 1, entry(i), entry(i) + 1, entry((i * 89) % n)};
		for (size_t k = 0; k < COUNT(near); k++) {
			postings_t fresh = {.loaded = false};
			memcpy(fresh.term, p.term, sizeof p.term);
			check_at(t, &fresh, n, near[k]);
			check_at(t, &p, n, near[k]);
		}
	}
	check_at(t, &p, n, 0);
	check_at(t, &p, n, UINT64_MAX);
}

static void test_next_to_every_place(void **state)
{
	static const unsigned sizes[] = {0, 1, 2, 63, 64, 65, 128, 129, ENTRIES};
	SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
	uint8_t term[POSTINGS_TERM_LEN], before[POSTINGS_TERM_LEN], after[POSTINGS_TERM_LEN];
	unsigned n = 0;
	term_of("acme/db/n1", term);
	/* neighbours on both sides, whose entries are not this list's */
	memcpy(before, term, sizeof term);
	memcpy(after, term, sizeof term);
	before[sizeof before - 1]--;
	after[sizeof after - 1]++;
	for (size_t k = 0; k < COUNT(sizes); k++) {
		for (; n < sizes[k]; n++) {
			MUST(postings_put(t, term, entry(n)));
			MUST(postings_put(t, before, entry(n) + 1));
			MUST(postings_put(t, after, entry(n) + 1));
		}
		check_list(t, n);
	}
}

static void test_order_and_repeats(void **state)
{
	SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
	uint8_t term[POSTINGS_TERM_LEN];
	uint64_t got = 0;
	postings_t p = {.loaded = false};
	term_of("acme/db/n1", term);
	memcpy(p.term, term, sizeof term);
	MUST(postings_put(t, term, 7));
	MUST(postings_put(t, term, 7));
	assert_int_equal(postings_put(t, term, 6), KMS_E_INTEGRITY);
	MUST(postings_next(&p, t, STORE_UP, 0, &got));
	assert_int_equal(got, 7);
	assert_int_equal(postings_next(&p, t, STORE_UP, 8, &got), KMS_E_NOTFOUND);
	assert_int_equal(p.newest.n, 1);
}

static void test_damaged_rows(void **state)
{
	static const struct {
		const char *what;
		const char *bytes;
		size_t n;
	} rows_[] = {
		{"an empty row", "", 0},
		{"a number without its end", "\x05\x80", 2},
		{"a step of nothing", "\x05\x00", 2},
		{"a number of eleven bytes", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
		{"a step beyond the last index", "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
		{"65 entries",
		 "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
		 "\1\1"
		 "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1",
		 65},
	};
	for (size_t i = 0; i < COUNT(rows_); i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		uint8_t key[1 + POSTINGS_TERM_LEN] = {0};
		uint64_t got = 0;
		postings_t p = {.loaded = false};
		term_of("acme/db/n1", key + 1);
		memcpy(p.term, key + 1, POSTINGS_TERM_LEN);
		MUST(store_put(t, STORE_INDEX, span_of(key, sizeof key),
			       span_of(rows_[i].bytes, rows_[i].n)));
		if (postings_next(&p, t, STORE_UP, 0, &got) != KMS_E_INTEGRITY ||
		    postings_put(t, p.term, 1000) != KMS_E_INTEGRITY)
			fail_msg("%s passes", rows_[i].what);
	}
}

/* Terms of one service stand together; kinds and texts are told apart. */
static void test_terms(void **state)
{
	static const char *const together[] = {"acme/db", "acme/db/n1", "acme/db/n1-data"};
	static const char *const apart[] = {"acme", "acme/web", "beta/db", "admin", "", "acmedb"};
	uint8_t a[POSTINGS_TERM_LEN], b[POSTINGS_TERM_LEN];
	(void)state;
	term_of("acme/db/x", a);
	for (size_t i = 0; i < COUNT(together); i++) {
		term_of(together[i], b);
		assert_memory_equal(a, b, 4);
		assert_memory_not_equal(a, b, sizeof a);
	}
	for (size_t i = 0; i < COUNT(apart); i++) {
		term_of(apart[i], b);
		assert_memory_not_equal(a, b, 4);
	}
	MUST(postings_term(AUDIT_VOLUME, "acme/db/x", b));
	assert_memory_not_equal(a, b, sizeof a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_next_to_every_place, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_order_and_repeats, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_rows, log_setup, log_teardown),
		cmocka_unit_test(test_terms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
