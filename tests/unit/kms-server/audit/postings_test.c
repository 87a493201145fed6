#include "kms-server/audit/postings.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

/* Long enough for several full blocks, with steps of one, two and three bytes. */
#define ENTRIES (4 * POSTINGS_BLOCK + 44)

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

static void append_one(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], uint64_t index)
{
	MUST(postings_append(t, term, &index, 1));
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
	static const unsigned sizes[] = {0,
					 1,
					 2,
					 POSTINGS_BLOCK - 1,
					 POSTINGS_BLOCK,
					 POSTINGS_BLOCK + 1,
					 2 * POSTINGS_BLOCK,
					 2 * POSTINGS_BLOCK + 1,
					 ENTRIES};
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
			append_one(t, term, entry(n));
			append_one(t, before, entry(n) + 1);
			append_one(t, after, entry(n) + 1);
		}
		check_list(t, n);
	}
}

/* However the entries come, the rows are the same. */
static void test_many_at_once(void **state)
{
	static const unsigned runs[] = {1,
					POSTINGS_BLOCK - 1,
					POSTINGS_BLOCK,
					POSTINGS_BLOCK + 1,
					2 * POSTINGS_BLOCK,
					3 * POSTINGS_BLOCK + 7,
					ENTRIES};
	uint8_t term[POSTINGS_TERM_LEN];
	uint64_t all[ENTRIES];
	term_of("acme/db/n1", term);
	for (unsigned i = 0; i < ENTRIES; i++)
		all[i] = entry(i);
	for (size_t k = 0; k < COUNT(runs); k++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		uint64_t rows = 0;
		for (unsigned i = 0; i < ENTRIES; i += runs[k])
			MUST(postings_append(t, term, &all[i],
					     runs[k] < ENTRIES - i ? runs[k] : ENTRIES - i));
		check_list(t, ENTRIES);
		MUST(store_count(t, STORE_INDEX, &rows));
		assert_int_equal(rows, (ENTRIES + POSTINGS_BLOCK - 1) / POSTINGS_BLOCK);
	}
}

static void test_order(void **state)
{
	static const struct {
		const char *why;
		uint64_t index[3];
		size_t n;
	} refused[] = {
		{"the list has it", {7}, 1},
		{"before the list's last", {6}, 1},
		{"the same twice", {8, 8}, 2},
		{"falling", {8, 10, 9}, 3},
	};
	uint8_t term[POSTINGS_TERM_LEN];
	term_of("acme/db/n1", term);
	for (size_t i = 0; i < COUNT(refused); i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		postings_t p = {.loaded = false};
		uint64_t got = 0;
		memcpy(p.term, term, sizeof term);
		append_one(t, term, 7);
		if (postings_append(t, term, refused[i].index, refused[i].n) != KMS_E_INTEGRITY)
			fail_msg("%s: passes", refused[i].why);
		MUST(postings_next(&p, t, STORE_UP, 0, &got));
		assert_int_equal(got, 7);
		assert_int_equal(postings_next(&p, t, STORE_UP, 8, &got), KMS_E_NOTFOUND);
		assert_int_equal(p.newest.n, 1);
	}
}

static void test_damaged_rows(void **state)
{
	static uint8_t ones[POSTINGS_BLOCK + 1];
	const struct {
		const char *what;
		const char *bytes;
		size_t n;
	} rows_[] = {
		{"an empty row", "", 0},
		{"a number without its end", "\x05\x80", 2},
		{"a step of nothing", "\x05\x00", 2},
		{"a number of eleven bytes", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11},
		{"a step beyond the last index", "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
		{"an entry more than a block has", (const char *)ones, sizeof ones},
	};
	memset(ones, 1, sizeof ones);
	for (size_t i = 0; i < COUNT(rows_); i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		uint8_t key[1 + POSTINGS_TERM_LEN] = {0};
		uint64_t got = 0, next = 1000;
		postings_t p = {.loaded = false};
		term_of("acme/db/n1", key + 1);
		memcpy(p.term, key + 1, POSTINGS_TERM_LEN);
		MUST(store_put(t, STORE_INDEX, span_of(key, sizeof key),
			       span_of(rows_[i].bytes, rows_[i].n)));
		if (postings_next(&p, t, STORE_UP, 0, &got) != KMS_E_INTEGRITY ||
		    postings_append(t, p.term, &next, 1) != KMS_E_INTEGRITY)
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
		cmocka_unit_test_setup_teardown(test_many_at_once, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_order, log_setup, log_teardown),
		cmocka_unit_test_setup_teardown(test_damaged_rows, log_setup, log_teardown),
		cmocka_unit_test(test_terms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
