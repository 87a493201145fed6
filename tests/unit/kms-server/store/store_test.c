/* The contract of ports/store.h: the same cases over every implementation. */
#include "kms-server/ports/store.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "kms-server/store/lmdb_store.h"
#include "kms-server/store/memory_store.h"
#include "tests/support/tmpdir.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

typedef struct fixture {
	store_t *s;
	char dir[TMPDIR_CAP];
	bool on_disk;
} fixture_t;

static int open_memory(fixture_t *f)
{
	return memory_store_new(&f->s) == KMS_OK ? 0 : -1;
}

static int open_lmdb(fixture_t *f)
{
	diag_t why = {{0}};
	char db[TMPDIR_CAP];
	f->on_disk = true;
	tmpdir_make(f->dir);
	tmpdir_path(f->dir, "db", db);
	return lmdb_store_open(db, &(lmdb_store_options_t){.create = true}, &f->s, &why) == KMS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	fixture_t *f = *state;
	store_close(f->s);
	if (f->on_disk)
		tmpdir_remove(f->dir);
	free(f);
	return 0;
}

static int set_up(void **state, int (*open_it)(fixture_t *))
{
	fixture_t *f = calloc(1, sizeof(*f));
	*state = f;
	return f == NULL ? -1 : open_it(f);
}

static int set_up_memory(void **state)
{
	return set_up(state, open_memory);
}

static int set_up_lmdb(void **state)
{
	return set_up(state, open_lmdb);
}

static store_t *store_in(void **state)
{
	return ((fixture_t *)*state)->s;
}

static store_txn_t *begin_write(store_t *s, uint64_t log_size)
{
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, log_size, &t), KMS_OK);
	return t;
}

static store_txn_t *begin_read(store_t *s)
{
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_read(s, &t), KMS_OK);
	return t;
}

static void put(store_txn_t *t, store_table_t table, const char *key, const char *value)
{
	assert_int_equal(store_put(t, table, span_str(key), span_str(value)), KMS_OK);
}

static void expect(store_txn_t *t, store_table_t table, const char *key, const char *value)
{
	span_t got = {0};
	kms_err_t e = store_get(t, table, span_str(key), &got);
	assert_int_equal(e, value == NULL ? KMS_E_NOTFOUND : KMS_OK);
	if (value != NULL)
		assert_true(span_eq(got, span_str(value)));
}

static void put_one(store_t *s, store_table_t table, const char *key, const char *value)
{
	store_txn_t *t = begin_write(s, 0);
	put(t, table, key, value);
	assert_int_equal(store_commit(t), KMS_OK);
}

static void an_absent_key_is_not_found_and_leaves_out_alone(void **state)
{
	SCOPED(store_abortp) store_txn_t *t = begin_read(store_in(state));
	span_t out = span_of("x", 1);
	assert_int_equal(store_get(t, STORE_META, span_str("no"), &out), KMS_E_NOTFOUND);
	assert_true(span_eq(out, span_str("x")));
}

static void what_is_put_is_seen_replaced_and_deleted(void **state)
{
	store_txn_t *t = begin_write(store_in(state), 0);
	put(t, STORE_NODES, "k", "one");
	expect(t, STORE_NODES, "k", "one");
	put(t, STORE_NODES, "k", "two");
	expect(t, STORE_NODES, "k", "two");
	assert_int_equal(store_del(t, STORE_NODES, span_str("k")), KMS_OK);
	expect(t, STORE_NODES, "k", NULL);
	assert_int_equal(store_commit(t), KMS_OK);
}

static void deleting_what_is_not_there_is_not_found_and_harmless(void **state)
{
	store_txn_t *t = begin_write(store_in(state), 0);
	put(t, STORE_META, "a", "1");
	assert_int_equal(store_del(t, STORE_META, span_str("b")), KMS_E_NOTFOUND);
	put(t, STORE_META, "c", "3");
	assert_int_equal(store_commit(t), KMS_OK);
	SCOPED(store_abortp) store_txn_t *r = begin_read(store_in(state));
	expect(r, STORE_META, "a", "1");
	expect(r, STORE_META, "c", "3");
}

static void tables_do_not_mix(void **state)
{
	put_one(store_in(state), STORE_META, "k", "meta");
	SCOPED(store_abortp) store_txn_t *t = begin_read(store_in(state));
	for (int i = 0; i < STORE_TABLES; i++) {
		uint64_t n = 99;
		assert_int_equal(store_count(t, (store_table_t)i, &n), KMS_OK);
		assert_int_equal(n, i == STORE_META ? 1 : 0);
		expect(t, (store_table_t)i, "k", i == STORE_META ? "meta" : NULL);
	}
}

static void an_empty_value_is_a_value(void **state)
{
	store_t *s = store_in(state);
	store_txn_t *t = begin_write(s, 0);
	assert_int_equal(store_put(t, STORE_NODE_VOLUMES, span_str("k"), span_of(NULL, 0)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	SCOPED(store_abortp) store_txn_t *r = begin_read(s);
	span_t out = span_of("x", 1);
	assert_int_equal(store_get(r, STORE_NODE_VOLUMES, span_str("k"), &out), KMS_OK);
	assert_int_equal(out.n, 0);
}

static void keys_of_a_wrong_size_are_invalid(void **state)
{
	static const struct {
		size_t n;
		kms_err_t want;
	} rows[] = {
		{0, KMS_E_INVALID}, {1, KMS_OK}, {STORE_KEY_MAX, KMS_OK}, {STORE_KEY_MAX + 1, KMS_E_INVALID}};
	uint8_t key[STORE_KEY_MAX + 1];
	memset(key, 'k', sizeof(key));
	SCOPED(store_abortp) store_txn_t *t = begin_write(store_in(state), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		span_t k = span_of(key, rows[i].n);
		span_t out = {0};
		assert_int_equal(store_put(t, STORE_META, k, span_str("v")), rows[i].want);
		assert_int_equal(store_get(t, STORE_META, k, &out), rows[i].want);
		assert_int_equal(store_del(t, STORE_META, k), rows[i].want);
	}
	store_cursor_t *c = NULL;
	assert_int_equal(store_seek(t, STORE_META, span_of(key, sizeof(key)), STORE_UP, &c), KMS_E_INVALID);
}

static void an_unknown_table_is_invalid(void **state)
{
	SCOPED(store_abortp) store_txn_t *t = begin_write(store_in(state), 0);
	static const store_table_t unknown[] = {STORE_TABLES, (store_table_t)255};
	for (size_t i = 0; i < 2; i++) {
		span_t out = {0};
		uint64_t n = 0;
		store_cursor_t *c = NULL;
		assert_int_equal(store_put(t, unknown[i], span_str("k"), span_str("v")), KMS_E_INVALID);
		assert_int_equal(store_get(t, unknown[i], span_str("k"), &out), KMS_E_INVALID);
		assert_int_equal(store_del(t, unknown[i], span_str("k")), KMS_E_INVALID);
		assert_int_equal(store_count(t, unknown[i], &n), KMS_E_INVALID);
		assert_int_equal(store_seek(t, unknown[i], span_of(NULL, 0), STORE_UP, &c), KMS_E_INVALID);
	}
}

static void a_read_transaction_writes_nothing(void **state)
{
	store_txn_t *t = begin_read(store_in(state));
	assert_int_equal(store_put(t, STORE_META, span_str("k"), span_str("v")), KMS_E_INVALID);
	assert_int_equal(store_del(t, STORE_META, span_str("k")), KMS_E_INVALID);
	assert_int_equal(store_commit(t), KMS_E_INVALID);
	SCOPED(store_abortp) store_txn_t *again = begin_read(store_in(state));
	expect(again, STORE_META, "k", NULL);
}

static void an_abort_drops_the_changes(void **state)
{
	store_t *s = store_in(state);
	put_one(s, STORE_META, "kept", "1");
	store_txn_t *t = begin_write(s, 0);
	put(t, STORE_META, "kept", "2");
	put(t, STORE_META, "new", "1");
	store_abort(t);
	store_abort(NULL);
	SCOPED(store_abortp) store_txn_t *r = begin_read(s);
	expect(r, STORE_META, "kept", "1");
	expect(r, STORE_META, "new", NULL);
}

static void a_reader_keeps_the_state_it_began_with(void **state)
{
	store_t *s = store_in(state);
	put_one(s, STORE_META, "k", "old");
	SCOPED(store_abortp) store_txn_t *before = begin_read(s);
	span_t held = {0};
	assert_int_equal(store_get(before, STORE_META, span_str("k"), &held), KMS_OK);
	store_txn_t *t = begin_write(s, 0);
	put(t, STORE_META, "k", "new");
	SCOPED(store_abortp) store_txn_t *during = begin_read(s);
	assert_int_equal(store_commit(t), KMS_OK);
	for (int i = 0; i < 20; i++)
		put_one(s, STORE_META, "k", "newer");
	SCOPED(store_abortp) store_txn_t *after = begin_read(s);
	expect(before, STORE_META, "k", "old");
	assert_true(span_eq(held, span_str("old")));
	expect(during, STORE_META, "k", "old");
	expect(after, STORE_META, "k", "newer");
}

static void the_log_must_be_where_the_writer_expects_it(void **state)
{
	store_t *s = store_in(state);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 1, &t), KMS_E_CONFLICT);
	t = begin_write(s, 0);
	put(t, STORE_LEAVES, "00000000", "{}");
	put(t, STORE_LEAVES, "00000001", "{}");
	assert_int_equal(store_commit(t), KMS_OK);
	static const uint64_t wrong[] = {0, 1, 3, UINT64_MAX};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		t = NULL;
		assert_int_equal(store_begin_write(s, wrong[i], &t), KMS_E_CONFLICT);
		assert_null(t);
	}
	store_abort(begin_write(s, 2));
}

static void there_is_one_writer(void **state)
{
	store_t *s = store_in(state);
	store_txn_t *first = begin_write(s, 0);
	store_txn_t *second = NULL;
	assert_int_equal(store_begin_write(s, 0, &second), KMS_E_CONFLICT);
	assert_null(second);
	put(first, STORE_META, "k", "v");
	assert_int_equal(store_commit(first), KMS_OK);
	store_abort(begin_write(s, 0));
}

/* --- cursors --- */

typedef struct walk_row {
	const char *why;
	const char *from;
	store_order_t order;
	const char *want; /* the keys, joined by commas */
} walk_row_t;

static const walk_row_t WALKS[] = {
	{"up from the start", "", STORE_UP, "b,d,da,f"},
	{"up from before the first", "a", STORE_UP, "b,d,da,f"},
	{"up from a key", "d", STORE_UP, "d,da,f"},
	{"up from between", "c", STORE_UP, "d,da,f"},
	{"up from a prefix's continuation", "d0", STORE_UP, "da,f"},
	{"up from the last", "f", STORE_UP, "f"},
	{"up from behind the last", "g", STORE_UP, ""},
	{"down from the end", "", STORE_DOWN, "f,da,d,b"},
	{"down from behind the last", "g", STORE_DOWN, "f,da,d,b"},
	{"down from the last", "f", STORE_DOWN, "f,da,d,b"},
	{"down from between", "e", STORE_DOWN, "da,d,b"},
	{"down from a key", "d", STORE_DOWN, "d,b"},
	{"down from a prefix's continuation", "d0", STORE_DOWN, "d,b"},
	{"down from the first", "b", STORE_DOWN, "b"},
	{"down from before the first", "a", STORE_DOWN, ""},
};

static void check_walk(store_txn_t *t, const walk_row_t *row)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	assert_int_equal(store_seek(t, STORE_NODES, span_str(row->from), row->order, &c), KMS_OK);
	char got[64] = "";
	span_t key = {0};
	span_t value = {0};
	kms_err_t e = KMS_OK;
	size_t n = 0;
	while ((e = store_next(c, &key, &value)) == KMS_OK && n + key.n + 2 < sizeof(got)) {
		if (n > 0)
			got[n++] = ',';
		memcpy(got + n, key.p, key.n);
		n += key.n;
		got[n] = '\0';
		assert_true(span_eq(value, key));
	}
	if (strcmp(got, row->want) != 0)
		fail_msg("%s: %s, not %s", row->why, got, row->want);
	assert_int_equal(e, KMS_E_NOTFOUND);
	assert_int_equal(store_next(c, &key, &value), KMS_E_NOTFOUND);
}

static void fill_walk(store_txn_t *t)
{
	put(t, STORE_NODES, "f", "f");
	put(t, STORE_NODES, "b", "b");
	put(t, STORE_NODES, "da", "da");
	put(t, STORE_NODES, "d", "d");
}

static void cursors_go_both_ways_from_anywhere(void **state)
{
	store_t *s = store_in(state);
	store_txn_t *w = begin_write(s, 0);
	fill_walk(w);
	for (size_t i = 0; i < sizeof(WALKS) / sizeof(WALKS[0]); i++)
		check_walk(w, &WALKS[i]);
	assert_int_equal(store_commit(w), KMS_OK);
	SCOPED(store_abortp) store_txn_t *r = begin_read(s);
	for (size_t i = 0; i < sizeof(WALKS) / sizeof(WALKS[0]); i++)
		check_walk(r, &WALKS[i]);
}

static void a_cursor_of_an_empty_table_is_at_its_end(void **state)
{
	SCOPED(store_abortp) store_txn_t *t = begin_read(store_in(state));
	static const walk_row_t rows[] = {{"up", "", STORE_UP, ""},
					  {"down", "", STORE_DOWN, ""},
					  {"up from a key", "k", STORE_UP, ""},
					  {"down from a key", "k", STORE_DOWN, ""}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_walk(t, &rows[i]);
}

static void keys_are_bytes(void **state)
{
	static const struct {
		uint8_t key[3];
		size_t n;
	} order[] = {{{0x00}, 1}, {{0x00, 0x00}, 2}, {{0x00, 0xff}, 2},
		     {{0x7f}, 1}, {{0x80}, 1},       {{0xff, 0xff}, 2}};
	const size_t n = sizeof(order) / sizeof(order[0]);
	SCOPED(store_abortp) store_txn_t *t = begin_write(store_in(state), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(store_put(t, STORE_META, span_of(order[n - 1 - i].key, order[n - 1 - i].n),
					   span_str("v")),
				 KMS_OK);
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	assert_int_equal(store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
	for (size_t i = 0; i < n; i++) {
		span_t key = {0};
		span_t value = {0};
		assert_int_equal(store_next(c, &key, &value), KMS_OK);
		assert_true(span_eq(key, span_of(order[i].key, order[i].n)));
	}
}

static void a_write_ends_the_cursors(void **state)
{
	store_txn_t *t = begin_write(store_in(state), 0);
	fill_walk(t);
	store_cursor_t *c = NULL;
	store_cursor_t *d = NULL;
	span_t key = {0};
	span_t value = {0};
	assert_int_equal(store_seek(t, STORE_NODES, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
	assert_int_equal(store_seek(t, STORE_NODES, span_of(NULL, 0), STORE_DOWN, &d), KMS_OK);
	assert_int_equal(store_next(c, &key, &value), KMS_OK);
	put(t, STORE_NODES, "z", "z");
	assert_int_equal(store_next(c, &key, &value), KMS_E_INVALID);
	store_cursor_freep(&c);
	assert_int_equal(store_del(t, STORE_NODES, span_str("z")), KMS_OK);
	assert_int_equal(store_next(d, &key, &value), KMS_E_INVALID);
	assert_int_equal(store_commit(t), KMS_OK);
	assert_int_equal(store_next(d, &key, &value), KMS_E_INVALID);
	store_cursor_freep(&d);
}

static void a_cursor_may_be_freed_after_its_transaction(void **state)
{
	store_t *s = store_in(state);
	store_txn_t *t = begin_read(s);
	store_cursor_t *c[3] = {NULL, NULL, NULL};
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c[i]), KMS_OK);
	store_cursor_freep(&c[1]);
	store_abort(t);
	span_t key = {0};
	span_t value = {0};
	assert_int_equal(store_next(c[0], &key, &value), KMS_E_INVALID);
	store_cursor_freep(&c[0]);
	store_cursor_freep(&c[2]);
	store_cursor_freep(&c[1]);
}

/* --- size --- */

static void a_long_log_is_counted_and_found(void **state)
{
	enum { N = 5000 };
	store_t *s = store_in(state);
	uint8_t key[8];
	store_txn_t *t = begin_write(s, 0);
	for (uint64_t i = 0; i < N; i++) {
		be64_encode(i, key);
		assert_int_equal(store_put(t, STORE_LEAVES, span_of(key, 8), span_of(key, 8)), KMS_OK);
	}
	assert_int_equal(store_commit(t), KMS_OK);
	SCOPED(store_abortp) store_txn_t *r = begin_read(s);
	uint64_t n = 0;
	assert_int_equal(store_count(r, STORE_LEAVES, &n), KMS_OK);
	assert_int_equal(n, N);
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	be64_encode(4000, key);
	assert_int_equal(store_seek(r, STORE_LEAVES, span_of(key, 8), STORE_DOWN, &c), KMS_OK);
	span_t k = {0};
	span_t v = {0};
	for (uint64_t i = 4001; i-- > 0;) {
		be64_encode(i, key);
		assert_int_equal(store_next(c, &k, &v), KMS_OK);
		assert_true(span_eq(k, span_of(key, 8)) && span_eq(v, k));
	}
	assert_int_equal(store_next(c, &k, &v), KMS_E_NOTFOUND);
}

static void values_of_any_length_come_back_whole(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 65535, 65536, 1U << 20};
	SCOPED(freep) uint8_t *v = malloc(1U << 20);
	assert_non_null(v);
	for (size_t i = 0; i < 1U << 20; i++)
		v[i] = (uint8_t)(i * 31U);
	store_t *s = store_in(state);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		store_txn_t *t = begin_write(s, 0);
		assert_int_equal(store_put(t, STORE_META, span_str("k"), span_of(v, sizes[i])), KMS_OK);
		assert_int_equal(store_commit(t), KMS_OK);
		SCOPED(store_abortp) store_txn_t *r = begin_read(s);
		span_t got = {0};
		assert_int_equal(store_get(r, STORE_META, span_str("k"), &got), KMS_OK);
		assert_true(span_eq(got, span_of(v, sizes[i])));
	}
}

/* --- the twin's failures on demand --- */

static void a_full_commit_of_the_twin_changes_nothing(void **state)
{
	store_t *s = store_in(state);
	memory_store_fail_commits(s, KMS_E_FULL, 2);
	for (int i = 0; i < 3; i++) {
		store_txn_t *t = begin_write(s, 0);
		put(t, STORE_META, "k", "v");
		assert_int_equal(store_commit(t), i < 2 ? KMS_E_FULL : KMS_OK);
		SCOPED(store_abortp) store_txn_t *r = begin_read(s);
		expect(r, STORE_META, "k", i < 2 ? NULL : "v");
	}
}

static void a_failed_commit_of_the_twin_is_the_last(void **state)
{
	store_t *s = store_in(state);
	memory_store_fail_commits(s, KMS_E_IO, 1);
	store_txn_t *t = begin_write(s, 0);
	assert_int_equal(store_commit(t), KMS_E_IO);
	t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_E_IO);
	assert_int_equal(store_begin_read(s, &t), KMS_E_IO);
	diag_t why = {{0}};
	assert_int_equal(store_copy(s, 1, &why), KMS_E_INVALID);
	assert_true(why.text[0] != '\0');
}

#define BOTH(f)                                                                                              \
	{"memory: " #f, f, set_up_memory, tear_down, NULL},                                                  \
	{                                                                                                    \
		"lmdb: " #f, f, set_up_lmdb, tear_down, NULL                                                 \
	}
#define MEMORY(f)                                                                                            \
	{                                                                                                    \
		"memory: " #f, f, set_up_memory, tear_down, NULL                                             \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(an_absent_key_is_not_found_and_leaves_out_alone),
		BOTH(what_is_put_is_seen_replaced_and_deleted),
		BOTH(deleting_what_is_not_there_is_not_found_and_harmless),
		BOTH(tables_do_not_mix),
		BOTH(an_empty_value_is_a_value),
		BOTH(keys_of_a_wrong_size_are_invalid),
		BOTH(an_unknown_table_is_invalid),
		BOTH(a_read_transaction_writes_nothing),
		BOTH(an_abort_drops_the_changes),
		BOTH(a_reader_keeps_the_state_it_began_with),
		BOTH(the_log_must_be_where_the_writer_expects_it),
		BOTH(there_is_one_writer),
		BOTH(cursors_go_both_ways_from_anywhere),
		BOTH(a_cursor_of_an_empty_table_is_at_its_end),
		BOTH(keys_are_bytes),
		BOTH(a_write_ends_the_cursors),
		BOTH(a_cursor_may_be_freed_after_its_transaction),
		BOTH(a_long_log_is_counted_and_found),
		BOTH(values_of_any_length_come_back_whole),
		MEMORY(a_full_commit_of_the_twin_changes_nothing),
		MEMORY(a_failed_commit_of_the_twin_is_the_last),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
