#include "kms-server/audit/window.h"

#include "common/base/scope.h"
#include "kms-server/audit/tree.h"
#include "tests/support/allocfail.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

#include <stdio.h>

#define W   POSTINGS_WINDOW
#define END (3 * W + 1) /* events, at most */

/* Which events are about what. The rare ones stand about the windows' borders, or in one place alone. */
typedef struct about {
	const char *text;
	bool (*has)(uint64_t i);
} about_t;

static bool every(uint64_t i)
{
	(void)i;
	return true;
}
static bool third(uint64_t i)
{
	return i % 3 == 1;
}
static bool borders(uint64_t i)
{
	return i % W == 0 || i % W == W - 1;
}
static bool first_only(uint64_t i)
{
	return i < 200;
}
static bool newest_only(uint64_t i)
{
	return i >= 2 * W && i % 64 == 63;
}
static bool last_of_first(uint64_t i)
{
	return i == W - 1;
}
static bool never(uint64_t i)
{
	(void)i;
	return false;
}

static const about_t ABOUT[] = {
	{"key.release", every},
	{"acme", third},
	{"acme/db/edge", borders},
	{"acme/db/old", first_only},
	{"beta/db/new", newest_only},
	{"beta/db/one", last_of_first},
	{"nobody", never},
};
#define LISTS COUNT(ABOUT)

static uint8_t term[LISTS][POSTINGS_TERM_LEN];

static int setup(void **state)
{
	for (size_t k = 0; k < LISTS; k++)
		MUST(postings_term(AUDIT_NODE, ABOUT[k].text, term[k]));
	return log_setup(state);
}

static store_txn_t *write_txn(const log_fixture_t *f)
{
	store_txn_t *t = NULL;
	MUST(store_begin_write(f->store, audit_size(f->audit), &t));
	return t;
}

/* Its terms, the first of them twice. */
static kms_err_t note(store_txn_t *t, uint64_t index)
{
	uint8_t of[AUDIT_TERMS_MAX][POSTINGS_TERM_LEN];
	size_t n = 0;
	for (size_t k = 0; k < LISTS; k++)
		if (ABOUT[k].has(index))
			memcpy(of[n++], term[k], sizeof of[0]);
	if (n > 0)
		memcpy(of[n++], of[0], sizeof of[0]);
	return window_note(t, index, of, n);
}

static void fill(store_txn_t *t, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		MUST(note(t, from));
}

static void lists_at(store_txn_t *t, uint64_t size, postings_t list[LISTS])
{
	memset(list, 0, LISTS * sizeof *list);
	for (size_t k = 0; k < LISTS; k++)
		memcpy(list[k].term, term[k], sizeof term[k]);
	MUST(window_find(t, size, list, LISTS));
}

static kms_err_t expected(bool (*has)(uint64_t), uint64_t size, store_order_t order, uint64_t at,
			  uint64_t *out)
{
	uint64_t i = order == STORE_DOWN && at >= size ? size - 1 : at;
	for (; i < size; i = order == STORE_UP ? i + 1 : i - 1) { /* below 0 is beyond the end */
		if (!has(i))
			continue;
		*out = i;
		return KMS_OK;
	}
	return KMS_E_NOTFOUND;
}

static void check_at(store_txn_t *t, postings_t *list, uint64_t size, uint64_t at)
{
	for (size_t k = 0; k < 2 * LISTS; k++) {
		store_order_t order = k % 2 == 0 ? STORE_UP : STORE_DOWN;
		uint64_t want = 0, got = 0;
		kms_err_t e = size > 0 ? expected(ABOUT[k / 2].has, size, order, at, &want) : KMS_E_NOTFOUND;
		if (postings_next(&list[k / 2], t, order, at, &got) != e || got != want)
			fail_msg("%s of %llu events, %s from %llu: %llu, not %llu", ABOUT[k / 2].text,
				 (unsigned long long)size, order == STORE_UP ? "up" : "down",
				 (unsigned long long)at, (unsigned long long)got, (unsigned long long)want);
	}
}

static void check_size(store_txn_t *t, uint64_t size)
{
	static postings_t list[LISTS];
	static const uint64_t far[] = {0,         W - 1, W,   2 * W - 1,      2 * W,
				       3 * W - 1, 3 * W, END, UINT64_MAX - 1, UINT64_MAX};
	lists_at(t, size, list);
	for (uint64_t at = 0; at < size + 70; at += 61)
		check_at(t, list, size, at);
	for (size_t i = 0; i < COUNT(far); i++)
		check_at(t, list, size, far[i]);
	for (uint64_t at = size > 70 ? size - 70 : 0; at < size + 2; at++)
		check_at(t, list, size, at);
}

/* How many rows the window has. */
static uint64_t rows_of(store_txn_t *t)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	uint64_t n = 0;
	MUST(store_seek(t, STORE_INDEX, span_str("\2"), STORE_UP, &c));
	while (store_next(c, &key, &value) == KMS_OK)
		n++;
	return n;
}

static void test_sizes(void **state)
{
	static const uint64_t sizes[] = {0, 1,     2,         63,    64,        65,    W - 1,
					 W, W + 1, 2 * W - 1, 2 * W, 2 * W + 1, 3 * W, END};
	SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
	uint64_t n = 0;
	for (size_t i = 0; i < COUNT(sizes); n = sizes[i++]) {
		fill(t, n, sizes[i]);
		check_size(t, sizes[i]);
		assert_int_equal(rows_of(t), sizes[i] > 0 ? (sizes[i] - 1) % W + 1 : 0);
	}
}

/* The merge is of the transaction that makes it. */
static void test_a_merge_dropped(void **state)
{
	const log_fixture_t *f = *state;
	store_txn_t *t = write_txn(f);
	fill(t, 0, W);
	MUST(store_commit(t));
	for (int i = 0; i < 2; i++) {
		t = write_txn(f);
		check_size(t, W);
		fill(t, W, W + 5);
		check_size(t, W + 5);
		if (i == 0)
			store_abort(t);
	}
	MUST(store_commit(t));
	MUST(store_begin_read(f->store, &t));
	check_size(t, W + 5);
	store_abort(t);
}

static void key_of(uint64_t index, uint8_t out[9])
{
	out[0] = 2;
	tree_key(index, out + 1);
}

static void test_damaged_rows(void **state)
{
	static const struct {
		const char *why;
		uint64_t del; /* UINT64_MAX: none */
		uint64_t put;
		size_t n;
	} rows[] = {
		{"the first is missing", 0, UINT64_MAX, 0},
		{"one is missing", 700, UINT64_MAX, 0},
		{"the last is missing", W - 1, UINT64_MAX, 0},
		{"one has another index", W - 1, W, 12},
		{"one is beyond the end", UINT64_MAX, W, 12},
		{"half a term", UINT64_MAX, 5, 6},
		{"a term and a byte", UINT64_MAX, 5, 13},
		{"more terms than an event has", UINT64_MAX, 5,
		 (AUDIT_TERMS_MAX + 1) * (size_t)POSTINGS_TERM_LEN},
	};
	static const uint8_t zeros[(AUDIT_TERMS_MAX + 1) * POSTINGS_TERM_LEN];
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		uint8_t key[9];
		postings_t p = {.loaded = false};
		fill(t, 0, W);
		key_of(rows[i].del, key);
		if (rows[i].del != UINT64_MAX)
			MUST(store_del(t, STORE_INDEX, span_of(key, sizeof key)));
		key_of(rows[i].put, key);
		if (rows[i].put != UINT64_MAX)
			MUST(store_put(t, STORE_INDEX, span_of(key, sizeof key), span_of(zeros, rows[i].n)));
		if (window_find(t, W, &p, 1) != KMS_E_INTEGRITY || note(t, W) != KMS_E_INTEGRITY)
			fail_msg("%s: passes", rows[i].why);
	}
}

static void test_strange_keys(void **state)
{
	static const struct {
		const char *why;
		const char *key;
		size_t n;
	} rows[] = {
		{"shorter", "\2", 1},
		{"longer", "\2\0\0\0\0\0\0\0\0\0", 10},
		{"of another kind", "\3\0\0\0\0\0\0\0\0", 9},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		postings_t p = {.loaded = false};
		fill(t, 0, W);
		MUST(store_put(t, STORE_INDEX, span_of(rows[i].key, rows[i].n), span_of(NULL, 0)));
		if (window_find(t, W, &p, 1) != KMS_E_INTEGRITY || note(t, W) != KMS_E_INTEGRITY)
			fail_msg("a key that is %s: passes", rows[i].why);
	}
}

/* Rows that a merge has left behind, and lists that are ahead of it. */
static void test_stale(void **state)
{
	for (int i = 0; i < 2; i++) {
		SCOPED(store_abortp) store_txn_t *t = write_txn(*state);
		uint8_t key[9];
		uint64_t ahead = W + 3;
		postings_t p = {.loaded = false};
		fill(t, 0, 2 * W);
		key_of(W - 1, key);
		if (i == 0) {
			MUST(store_put(t, STORE_INDEX, span_of(key, sizeof key), span_of(NULL, 0)));
			assert_int_equal(window_find(t, 2 * W, &p, 1), KMS_E_INTEGRITY);
		} else {
			MUST(postings_append(t, term[1], &ahead, 1));
		}
		assert_int_equal(note(t, 2 * W), KMS_E_INTEGRITY);
	}
}

static void test_too_many_terms(void **state)
{
	static const uint8_t terms[AUDIT_TERMS_MAX + 1][POSTINGS_TERM_LEN];
	const log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = write_txn(f);
	audit_term_t named[AUDIT_TERMS_MAX + 1];
	uint64_t index = 0;
	for (size_t i = 0; i < COUNT(named); i++)
		named[i] = (audit_term_t){AUDIT_CUSTOMER, "acme"};
	assert_int_equal(audit_append(f->audit, t, span_str("x"), named, COUNT(named), 0, &index),
			 KMS_E_INVALID);
	assert_int_equal(window_note(t, 0, terms, AUDIT_TERMS_MAX + 1), KMS_E_INVALID);
	assert_int_equal(rows_of(t), 0);
	MUST(window_note(t, 0, terms, AUDIT_TERMS_MAX));
}

/* Whatever allocation of a merge fails, the transaction before it stands. Not every one has to be reported:
 * the C library sorts without memory too. */
static void test_no_memory(void **state)
{
	const log_fixture_t *f = *state;
	if (!allocfail_supported())
		skip();
	store_txn_t *t = write_txn(f);
	fill(t, 0, W);
	MUST(store_commit(t));
	bool first = true;
	for (unsigned nth = 1;; nth++) {
		SCOPED(store_abortp) store_txn_t *w = write_txn(f);
		allocfail_arm(nth);
		kms_err_t e = note(w, W);
		bool happened = allocfail_happened();
		allocfail_arm(0);
		assert_true(e == KMS_OK || (happened && e == KMS_E_NOMEM));
		assert_true(!first || e == KMS_E_NOMEM);
		first = false;
		if (e == KMS_OK)
			check_size(w, W + 1);
		if (!happened)
			break;
		store_abort(TAKE(w));
		MUST(store_begin_read(f->store, &w));
		assert_int_equal(rows_of(w), W);
		nth += nth > 40 ? 97 : 0; /* thousands are of the store's rows */
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, log_teardown)
	const struct CMUnitTest tests[] = {
		T(test_sizes), T(test_a_merge_dropped), T(test_damaged_rows), T(test_strange_keys),
		T(test_stale), T(test_too_many_terms),  T(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
