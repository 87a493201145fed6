/* LMDB's own part of the contract: what is refused at opening, and a map that grows. */
#include "kms-server/store/lmdb_store.h"

#include "common/base/scope.h"
#include "tests/support/tmpdir.h"

#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <sys/stat.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

typedef struct fixture {
	char dir[TMPDIR_CAP];
	char db[TMPDIR_CAP];
	char data[TMPDIR_CAP];
} fixture_t;

static int set_up(void **state)
{
	fixture_t *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -1;
	tmpdir_make(f->dir);
	tmpdir_path(f->dir, "db", f->db);
	tmpdir_path(f->db, "data.mdb", f->data);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	fixture_t *f = *state;
	tmpdir_remove(f->dir);
	free(f);
	return 0;
}

static store_t *open_ok(const fixture_t *f, lmdb_store_options_t o)
{
	store_t *s = NULL;
	diag_t why = {{0}};
	if (lmdb_store_open(f->db, &o, &s, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return s;
}

static void open_fails(const char *dir, lmdb_store_options_t o, kms_err_t want)
{
	store_t *s = NULL;
	diag_t why = {{0}};
	kms_err_t e = lmdb_store_open(dir, &o, &s, &why);
	if (e != want)
		fail_msg("%s instead of %s: %s", kms_err_name(e), kms_err_name(want), why.text);
	assert_null(s);
	assert_true(why.text[0] != '\0');
}

static void put_n(store_txn_t *t, unsigned i, span_t value, kms_err_t want)
{
	uint8_t key[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
	assert_int_equal(store_put(t, STORE_META, span_of(key, 4), value), want);
}

static void put_one(store_t *s, const char *key, const char *value)
{
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	assert_int_equal(store_put(t, STORE_META, span_str(key), span_str(value)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
}

static void expect(store_t *s, const char *key, const char *value)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t got = {0};
	assert_int_equal(store_begin_read(s, &t), KMS_OK);
	assert_int_equal(store_get(t, STORE_META, span_str(key), &got), KMS_OK);
	assert_true(span_eq(got, span_str(value)));
}

static void create_with(const fixture_t *f, const char *key, const char *value)
{
	store_t *s = open_ok(f, (lmdb_store_options_t){.create = true});
	put_one(s, key, value);
	store_close(s);
}

static void what_was_committed_is_there_at_the_next_open(void **state)
{
	fixture_t *f = *state;
	create_with(f, "k", "v");
	SCOPED(store_closep) store_t *s = open_ok(f, (lmdb_store_options_t){0});
	expect(s, "k", "v");
}

static void files_are_their_owners_alone(void **state)
{
	fixture_t *f = *state;
	mode_t before = umask(0);
	create_with(f, "k", "v");
	(void)umask(before);
	char lock[TMPDIR_CAP];
	tmpdir_path(f->db, "lock.mdb", lock);
	struct stat st;
	assert_int_equal(stat(f->db, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(f->data, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(lock, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_database_is_never_made_by_the_way(void **state)
{
	fixture_t *f = *state;
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_NOTFOUND);
	assert_int_equal(mkdir(f->db, 0700), 0);
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_NOTFOUND);
	open_fails(f->db, (lmdb_store_options_t){.read_only = true}, KMS_E_NOTFOUND);
	assert_int_equal(tmpdir_entries(f->db), 0);
}

static void creating_over_a_database_is_refused(void **state)
{
	fixture_t *f = *state;
	create_with(f, "k", "v");
	open_fails(f->db, (lmdb_store_options_t){.create = true}, KMS_E_CONFLICT);
	open_fails(f->db, (lmdb_store_options_t){.create = true, .read_only = true}, KMS_E_INVALID);
	SCOPED(store_closep) store_t *s = open_ok(f, (lmdb_store_options_t){0});
	expect(s, "k", "v");
}

static void wider_modes_and_links_are_refused(void **state)
{
	fixture_t *f = *state;
	create_with(f, "k", "v");
	static const mode_t folder_modes[] = {0701, 0750, 0770, 0777};
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(chmod(f->db, folder_modes[i]), 0);
		open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_DENIED);
	}
	assert_int_equal(chmod(f->db, 0700), 0);
	static const mode_t file_modes[] = {0604, 0620, 0640, 0666};
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(chmod(f->data, file_modes[i]), 0);
		open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_DENIED);
	}
	assert_int_equal(chmod(f->data, 0600), 0);
	char other[TMPDIR_CAP];
	tmpdir_path(f->dir, "other", other);
	assert_int_equal(symlink(f->db, other), 0);
	open_fails(other, (lmdb_store_options_t){0}, KMS_E_DENIED);
	open_fails(f->data, (lmdb_store_options_t){0}, KMS_E_DENIED);
	assert_int_equal(rename(f->data, other), 0);
	assert_int_equal(symlink(other, f->data), 0);
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_DENIED);
}

static void make_file(const char *path, const void *content, size_t n)
{
	SCOPED(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, content, n), (ssize_t)n);
}

static void what_is_no_database_is_refused(void **state)
{
	fixture_t *f = *state;
	static const char garbage[16384] = "this is no LMDB file";
	assert_int_equal(mkdir(f->db, 0700), 0);
	make_file(f->data, garbage, sizeof(garbage));
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
	open_fails(f->db, (lmdb_store_options_t){.create = true}, KMS_E_INTEGRITY);
	make_file(f->data, garbage, 0);
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
}

static void a_file_that_was_cut_off_is_refused(void **state)
{
	fixture_t *f = *state;
	store_t *s = open_ok(f, (lmdb_store_options_t){.create = true});
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	static const uint8_t value[1000] = {1};
	for (unsigned i = 0; i < 500; i++)
		put_n(t, i, span_of(value, sizeof(value)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	store_close(s);
	struct stat st;
	assert_int_equal(stat(f->data, &st), 0);
	assert_int_equal(truncate(f->data, st.st_size - 4096), 0);
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
	assert_int_equal(truncate(f->data, 3 * 4096), 0);
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
}

/* LMDB by its own calls, to make databases that the store would not make. */
static void with_raw(const fixture_t *f, const char *drop, const char *db, span_t schema)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_dbi dbi = 0;
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 32), 0);
	assert_int_equal(mdb_env_open(env, f->db, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	if (drop != NULL) {
		assert_int_equal(mdb_dbi_open(txn, drop, 0, &dbi), 0);
		assert_int_equal(mdb_drop(txn, dbi, 1), 0);
	}
	if (db != NULL) {
		MDB_val key = {.mv_size = 6, .mv_data = "schema"};
		MDB_val value = {.mv_size = schema.n, .mv_data = (void *)(uintptr_t)schema.p};
		assert_int_equal(mdb_dbi_open(txn, db, MDB_CREATE, &dbi), 0);
		if (schema.n > 0)
			assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
		else
			assert_int_equal(mdb_del(txn, dbi, &key, NULL), 0);
	}
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void a_database_without_one_of_the_tables_is_refused(void **state)
{
	fixture_t *f = *state;
	for (int i = 0; i < STORE_TABLES; i++) {
		create_with(f, "k", "v");
		with_raw(f, lmdb_store_table_name((store_table_t)i), NULL, span_of(NULL, 0));
		open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
		open_fails(f->db, (lmdb_store_options_t){.create = true}, KMS_E_CONFLICT);
		tmpdir_remove(f->db);
	}
}

static void an_unknown_schema_is_refused(void **state)
{
	static const struct {
		uint8_t v[5];
		size_t n;
	} rows[] = {{{0, 0, 0, 1}, 4},
		    {{0, 0, 0, LMDB_STORE_SCHEMA - 1}, 4},
		    {{0, 0, 0, LMDB_STORE_SCHEMA + 1}, 4},
		    {{0, 0, 0, 0}, 4},
		    {{1, 0, 0, LMDB_STORE_SCHEMA}, 4},
		    {{0, 0, 1}, 3},
		    {{0, 0, 0, LMDB_STORE_SCHEMA, 0}, 5},
		    {{0}, 0}};
	fixture_t *f = *state;
	create_with(f, "k", "v");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		with_raw(f, NULL, "store", span_of(rows[i].v, rows[i].n));
		open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
		if (rows[i].n == 0)
			break;
		with_raw(f, NULL, "store", span_of((const uint8_t[]){0, 0, 0, LMDB_STORE_SCHEMA}, 4));
		store_close(open_ok(f, (lmdb_store_options_t){0}));
	}
	with_raw(f, "store", NULL, span_of(NULL, 0));
	open_fails(f->db, (lmdb_store_options_t){0}, KMS_E_INTEGRITY);
}

static void read_only_is_read_only(void **state)
{
	fixture_t *f = *state;
	create_with(f, "k", "v");
	SCOPED(store_closep) store_t *s = open_ok(f, (lmdb_store_options_t){.read_only = true});
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_E_INVALID);
	expect(s, "k", "v");
}

/* --- the map --- */

static store_t *open_small(const fixture_t *f, uint64_t most)
{
	return open_ok(f, (lmdb_store_options_t){.create = true, .map_size = MIB, .map_size_max = most});
}

static uint8_t filler[65536];

static void check_filled(store_t *s, unsigned n)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	assert_int_equal(store_begin_read(s, &t), KMS_OK);
	uint64_t count = 0;
	assert_int_equal(store_count(t, STORE_META, &count), KMS_OK);
	assert_int_equal(count, n);
	assert_int_equal(store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
	span_t key = {0};
	span_t value = {0};
	while (store_next(c, &key, &value) == KMS_OK)
		assert_true(span_eq(value, span_of(filler, sizeof(filler))));
}

static void one_transaction_outgrows_the_map_several_times(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 64 * MIB);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	put_n(t, 1000, span_of("x", 1), KMS_OK);
	assert_int_equal(store_del(t, STORE_META, span_str("absent")), KMS_E_NOTFOUND);
	for (unsigned i = 0; i < 300; i++) {
		put_n(t, i, span_of(filler, sizeof(filler)), KMS_OK);
		if (i == 2)
			assert_int_equal(store_del(t, STORE_META, span_of("\0\0\3\xe8", 4)), KMS_OK);
	}
	assert_int_equal(store_del(t, STORE_META, span_str("absent")), KMS_E_NOTFOUND);
	assert_int_equal(store_commit(t), KMS_OK);
	check_filled(s, 300);
}

static void cursors_and_spans_end_when_the_map_moves(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 64 * MIB);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	put_n(t, 0, span_of(filler, sizeof(filler)), KMS_OK);
	for (unsigned i = 1; i < 40; i++) {
		SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
		span_t key = {0};
		span_t value = {0};
		assert_int_equal(store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
		assert_int_equal(store_next(c, &key, &value), KMS_OK);
		put_n(t, i, span_of(filler, sizeof(filler)), KMS_OK);
		assert_int_equal(store_next(c, &key, &value), KMS_E_INVALID);
	}
	assert_int_equal(store_commit(t), KMS_OK);
	check_filled(s, 40);
}

static unsigned fill_until_full(store_t *s)
{
	for (unsigned i = 0; i < 100000; i++) {
		store_txn_t *t = NULL;
		assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
		uint8_t key[4] = {0, 0, (uint8_t)(i >> 8), (uint8_t)i};
		kms_err_t e = store_put(t, STORE_META, span_of(key, 4), span_of(filler, sizeof(filler)));
		kms_err_t c = store_commit(t);
		assert_int_equal(c == KMS_OK ? KMS_OK : KMS_E_FULL, c);
		assert_true(e == KMS_OK || c == e);
		if (c == KMS_E_FULL)
			return i;
	}
	fail_msg("never full");
	return 0;
}

static void at_its_greatest_size_it_is_full_and_goes_on(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 5 * MIB);
	unsigned n = fill_until_full(s);
	assert_true(n > 60 && n < 80); /* it did grow to 5 MiB: 64 KiB a value */
	check_filled(s, n);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	for (unsigned i = 0; i < 20; i++) {
		uint8_t key[4] = {0, 0, 0, (uint8_t)i};
		assert_int_equal(store_del(t, STORE_META, span_of(key, 4)), KMS_OK);
	}
	assert_int_equal(store_commit(t), KMS_OK);
	check_filled(s, n - 20);
	put_one(s, "k", "there is room again");
	expect(s, "k", "there is room again");
}

static void after_full_a_transaction_can_only_be_dropped(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 2 * MIB);
	put_one(s, "k", "v");
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	kms_err_t e = KMS_OK;
	for (unsigned i = 0; i < 100 && e == KMS_OK; i++)
		e = store_put(t, STORE_META, span_of((const uint8_t[]){0, 0, 0, (uint8_t)i}, 4),
			      span_of(filler, sizeof(filler)));
	assert_int_equal(e, KMS_E_FULL);
	span_t out = {0};
	uint64_t n = 0;
	store_cursor_t *c = NULL;
	assert_int_equal(store_put(t, STORE_META, span_str("l"), span_str("w")), KMS_E_FULL);
	assert_int_equal(store_del(t, STORE_META, span_str("k")), KMS_E_FULL);
	kms_err_t got = store_get(t, STORE_META, span_str("k"), &out);
	assert_true(got == KMS_OK || got == KMS_E_FULL);
	got = store_count(t, STORE_META, &n);
	assert_true(got == KMS_OK || got == KMS_E_FULL);
	got = store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c);
	assert_true(got == KMS_OK || got == KMS_E_FULL);
	assert_int_equal(store_commit(t), KMS_E_FULL);
	store_cursor_freep(&c);
	expect(s, "k", "v");
}

typedef struct reading {
	store_txn_t *t;
	unsigned ms;
} reading_t;

static void *end_later(void *arg)
{
	reading_t *r = arg;
	(void)usleep(r->ms * 1000);
	span_t v = {0};
	kms_err_t e = store_get(r->t, STORE_META, span_str("k"), &v);
	bool same = e == KMS_OK && span_eq(v, span_str("v"));
	store_abort(r->t);
	return same ? arg : NULL;
}

static void growing_waits_for_readers(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 64 * MIB);
	put_one(s, "k", "v");
	reading_t r = {.ms = 200};
	assert_int_equal(store_begin_read(s, &r.t), KMS_OK);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, end_later, &r), 0);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	for (unsigned i = 0; i < 40; i++)
		put_n(t, i, span_of(filler, sizeof(filler)), KMS_OK);
	assert_int_equal(store_del(t, STORE_META, span_str("k")), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	void *same = NULL;
	assert_int_equal(pthread_join(thread, &same), 0);
	assert_ptr_equal(same, &r);
	check_filled(s, 40);
}

/* A reader that never leaves (or is the writer's own thread) must not stop the server for ever. */
static void a_reader_that_stays_makes_it_full_not_stuck(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 64 * MIB);
	put_one(s, "k", "v");
	store_txn_t *r = NULL;
	assert_int_equal(store_begin_read(s, &r), KMS_OK);
	assert_true(fill_until_full(s) < 16);
	span_t v = {0};
	assert_int_equal(store_get(r, STORE_META, span_str("k"), &v), KMS_OK);
	assert_true(span_eq(v, span_str("v")));
	store_abort(r);
	put_one(s, "k", "w");
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	for (unsigned i = 0; i < 40; i++)
		put_n(t, i, span_of(filler, sizeof(filler)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	expect(s, "k", "w");
}

static void one_thread_may_hold_several_readers(void **state)
{
	SCOPED(store_closep) store_t *s = open_small(*state, 64 * MIB);
	put_one(s, "k", "v");
	store_txn_t *r[200] = {NULL};
	for (size_t i = 0; i < 200; i++)
		assert_int_equal(store_begin_read(s, &r[i]), KMS_OK);
	for (size_t i = 0; i < 200; i++)
		store_abort(r[i]);
}

static void a_copy_opens_as_a_database(void **state)
{
	fixture_t *f = *state;
	SCOPED(store_closep) store_t *s = open_small(f, 64 * MIB);
	store_txn_t *t = NULL;
	assert_int_equal(store_begin_write(s, 0, &t), KMS_OK);
	for (unsigned i = 0; i < 100; i++)
		put_n(t, i, span_of(filler, sizeof(filler)), KMS_OK);
	assert_int_equal(store_commit(t), KMS_OK);
	fixture_t copy = {.dir = ""};
	tmpdir_path(f->dir, "copy", copy.db);
	tmpdir_path(copy.db, "data.mdb", copy.data);
	assert_int_equal(mkdir(copy.db, 0700), 0);
	SCOPED(closep) int fd = open(copy.data, O_WRONLY | O_CREAT | O_EXCL, 0600);
	diag_t why = {{0}};
	assert_int_equal(store_copy(s, fd, &why), KMS_OK);
	SCOPED(store_closep) store_t *c = open_ok(&copy, (lmdb_store_options_t){.read_only = true});
	check_filled(c, 100);
	assert_int_equal(store_copy(s, -1, &why), KMS_E_IO);
	assert_true(why.text[0] != '\0');
	put_one(s, "k", "the store goes on");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	memset(filler, 'f', sizeof(filler));
	const struct CMUnitTest tests[] = {
		T(what_was_committed_is_there_at_the_next_open),
		T(files_are_their_owners_alone),
		T(a_database_is_never_made_by_the_way),
		T(creating_over_a_database_is_refused),
		T(wider_modes_and_links_are_refused),
		T(what_is_no_database_is_refused),
		T(a_file_that_was_cut_off_is_refused),
		T(a_database_without_one_of_the_tables_is_refused),
		T(an_unknown_schema_is_refused),
		T(read_only_is_read_only),
		T(one_transaction_outgrows_the_map_several_times),
		T(cursors_and_spans_end_when_the_map_moves),
		T(at_its_greatest_size_it_is_full_and_goes_on),
		T(after_full_a_transaction_can_only_be_dropped),
		T(growing_waits_for_readers),
		T(a_reader_that_stays_makes_it_full_not_stuck),
		T(one_thread_may_hold_several_readers),
		T(a_copy_opens_as_a_database),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
