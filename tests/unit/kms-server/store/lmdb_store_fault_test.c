/* What a failing disk, a full one, missing memory and SIGKILL do to the store. */
#include "kms-server/store/lmdb_store.h"

#include "common/base/scope.h"
#include "tests/support/allocfail.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

typedef struct fixture {
	char dir[TMPDIR_CAP];
	char db[TMPDIR_CAP];
	store_t *s;
} fixture_t;

static void reopen(fixture_t *f)
{
	diag_t why = {{0}};
	store_closep(&f->s);
	if (lmdb_store_open(f->db, &(lmdb_store_options_t){0}, &f->s, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static int set_up(void **state)
{
	fixture_t *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -1;
	diag_t why = {{0}};
	tmpdir_make(f->dir);
	tmpdir_path(f->dir, "db", f->db);
	*state = f;
	return lmdb_store_open(f->db, &(lmdb_store_options_t){.create = true}, &f->s, &why) == KMS_OK ? 0
												      : -1;
}

static int tear_down(void **state)
{
	fixture_t *f = *state;
	iofail_disarm();
	allocfail_arm(0);
	store_close(f->s);
	char small[TMPDIR_CAP];
	tmpdir_path(f->dir, "small", small);
	(void)umount2(small, MNT_DETACH); /* mounted only where a test of it failed */
	tmpdir_remove(f->dir);
	free(f);
	return 0;
}

/* Sets k in one table and the same in another, so that half a commit would show. */
static kms_err_t set_both(store_t *s, const char *value)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_write(s, 0, &t));
	KMS_TRY(store_put(t, STORE_META, span_str("k"), span_str(value)));
	KMS_TRY(store_put(t, STORE_VOLUMES, span_str("k"), span_str(value)));
	return store_commit(TAKE(t));
}

static bool has(store_t *s, store_table_t table, const char *value)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t got = {0};
	return store_begin_read(s, &t) == KMS_OK && store_get(t, table, span_str("k"), &got) == KMS_OK &&
	       span_eq(got, span_str(value));
}

static bool both_are(store_t *s, const char *value)
{
	return has(s, STORE_META, value) && has(s, STORE_VOLUMES, value);
}

static void refuses_for_ever(store_t *s)
{
	for (int i = 0; i < 3; i++) {
		store_txn_t *t = NULL;
		assert_int_equal(store_begin_write(s, 0, &t), KMS_E_IO);
		assert_int_equal(store_begin_read(s, &t), KMS_E_IO);
		assert_null(t);
	}
	diag_t why = {{0}};
	assert_int_equal(store_copy(s, 1, &why), KMS_E_IO);
}

static void a_failed_flush_or_write_ends_the_store(void **state)
{
	static const struct {
		const char *why;
		iofail_call_t call;
		int err;
	} rows[] = {
		{"the data's flush", IOFAIL_FDATASYNC, EIO},
		{"the data's write", IOFAIL_WRITE, EIO},
		{"the meta page's write", IOFAIL_SYNC_WRITE, EIO},
		/* no space for the meta page: LMDB has given the environment up */
		{"space for the meta page", IOFAIL_SYNC_WRITE, ENOSPC},
		{"quota for the meta page", IOFAIL_SYNC_WRITE, EDQUOT},
	};
	fixture_t *f = *state;
	assert_int_equal(set_both(f->s, "old"), KMS_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		iofail_arm(rows[i].call, 1, rows[i].err);
		kms_err_t e = set_both(f->s, "new");
		assert_int_equal(iofail_seen(rows[i].call), 1);
		iofail_disarm();
		if (e != KMS_E_IO)
			fail_msg("%s: %s", rows[i].why, kms_err_name(e));
		refuses_for_ever(f->s);
		reopen(f);
		if (!both_are(f->s, "old"))
			fail_msg("%s: not the old state", rows[i].why);
	}
	assert_int_equal(set_both(f->s, "new"), KMS_OK);
	assert_true(both_are(f->s, "new"));
}

static void no_space_before_the_meta_page_is_full_and_goes_on(void **state)
{
	static const struct {
		iofail_call_t call;
		int err;
	} rows[] = {{IOFAIL_WRITE, ENOSPC},
		    {IOFAIL_WRITE, EDQUOT},
		    {IOFAIL_FDATASYNC, ENOSPC},
		    {IOFAIL_FDATASYNC, EDQUOT}};
	fixture_t *f = *state;
	assert_int_equal(set_both(f->s, "old"), KMS_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		iofail_arm(rows[i].call, 1, rows[i].err);
		assert_int_equal(set_both(f->s, "new"), KMS_E_FULL);
		iofail_disarm();
		assert_true(both_are(f->s, "old"));
		assert_int_equal(set_both(f->s, "newer"), KMS_OK);
		assert_true(both_are(f->s, "newer"));
		assert_int_equal(set_both(f->s, "old"), KMS_OK);
	}
	reopen(f);
	assert_true(both_are(f->s, "old"));
}

static void a_commit_is_two_flushes_in_that_order(void **state)
{
	fixture_t *f = *state;
	iofail_disarm();
	assert_int_equal(set_both(f->s, "v"), KMS_OK);
	assert_int_equal(iofail_seen(IOFAIL_FDATASYNC), 1);
	assert_int_equal(iofail_seen(IOFAIL_SYNC_WRITE), 1);
	iofail_arm(IOFAIL_FDATASYNC, 1, EIO);
	assert_int_equal(set_both(f->s, "w"), KMS_E_IO);
	assert_int_equal(iofail_seen(IOFAIL_SYNC_WRITE), 0);
}

/* --- a full disk --- */

static kms_err_t add(store_t *s, unsigned i, span_t value)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
	KMS_TRY(store_begin_write(s, 0, &t));
	KMS_TRY(store_put(t, STORE_LEAVES, span_of(key, 2), value));
	KMS_TRY(store_del(t, STORE_LEAVES, span_of(key, 2)));
	KMS_TRY(store_put(t, STORE_META, span_of(key, 2), value));
	return store_commit(TAKE(t));
}

static unsigned count_meta(store_t *s)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint64_t n = 0;
	assert_int_equal(store_begin_read(s, &t), KMS_OK);
	assert_int_equal(store_count(t, STORE_META, &n), KMS_OK);
	return (unsigned)n;
}

static void fill_and_recover(fixture_t *f, const char *small)
{
	static uint8_t value[20000];
	char db[TMPDIR_CAP];
	diag_t why = {{0}};
	tmpdir_path(small, "db", db);
	store_closep(&f->s);
	assert_int_equal(lmdb_store_open(db, &(lmdb_store_options_t){.create = true}, &f->s, &why), KMS_OK);
	unsigned n = 0;
	kms_err_t e = KMS_OK;
	while (n < 1000 && (e = add(f->s, n, span_of(value, sizeof(value)))) == KMS_OK)
		n++;
	assert_int_equal(e, KMS_E_FULL);
	assert_int_equal(count_meta(f->s), n);
	for (int i = 0; i < 20; i++)
		assert_int_equal(add(f->s, n, span_of(value, sizeof(value))), KMS_E_FULL);
	assert_int_equal(mount("tmpfs", small, "tmpfs", MS_REMOUNT, "size=8m"), 0);
	assert_int_equal(add(f->s, n, span_of(value, sizeof(value))), KMS_OK);
	assert_int_equal(count_meta(f->s), n + 1);
	store_closep(&f->s);
	assert_int_equal(lmdb_store_open(db, &(lmdb_store_options_t){0}, &f->s, &why), KMS_OK);
	assert_int_equal(count_meta(f->s), n + 1);
	store_closep(&f->s);
}

static void a_full_disk_refuses_and_recovers(void **state)
{
	fixture_t *f = *state;
	char small[TMPDIR_CAP];
	tmpdir_path(f->dir, "small", small);
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("tmpfs", small, "tmpfs", 0, "size=2m") != 0) {
		print_message("a_full_disk_refuses_and_recovers: no permission to mount a tmpfs\n");
		skip();
	}
	fill_and_recover(f, small);
	assert_int_equal(umount(small), 0);
}

/* --- missing memory --- */

typedef kms_err_t (*act_fn)(fixture_t *f);

static kms_err_t act_open(fixture_t *f)
{
	diag_t why = {{0}};
	store_closep(&f->s);
	return lmdb_store_open(f->db, &(lmdb_store_options_t){0}, &f->s, &why);
}

static kms_err_t act_write(fixture_t *f)
{
	return set_both(f->s, "new");
}

static kms_err_t act_read(fixture_t *f)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0};
	span_t value = {0};
	uint64_t n = 0;
	KMS_TRY(store_begin_read(f->s, &t));
	KMS_TRY(store_get(t, STORE_META, span_str("k"), &value));
	KMS_TRY(store_count(t, STORE_META, &n));
	KMS_TRY(store_seek(t, STORE_META, span_of(NULL, 0), STORE_UP, &c));
	return store_next(c, &key, &value);
}

static kms_err_t act_copy(fixture_t *f)
{
	SCOPED(closep) int fd = open("/dev/null", O_WRONLY);
	diag_t why = {{0}};
	return store_copy(f->s, fd, &why);
}

/* Every allocation in turn: an error and never a crash, a half state or a store that is stuck. */
static void survive_missing_memory(fixture_t *f, const char *what, act_fn act, unsigned least)
{
	unsigned n = 1;
	for (bool failed = true; failed; n++) {
		assert_true(n < 2000);
		assert_int_equal(set_both(f->s, "old"), KMS_OK);
		allocfail_arm(n);
		kms_err_t e = act(f);
		failed = allocfail_happened();
		allocfail_arm(0);
		if (failed && e != KMS_OK && e != KMS_E_NOMEM && e != KMS_E_IO)
			fail_msg("%s, allocation %u: %s", what, n, kms_err_name(e));
		if (!failed)
			assert_int_equal(e, KMS_OK);
		if (f->s == NULL || e == KMS_E_IO)
			reopen(f);
		assert_true(both_are(f->s, e == KMS_OK && act == act_write ? "new" : "old"));
	}
	assert_true(n > least);
}

static void each_allocation_may_fail(void **state)
{
	fixture_t *f = *state;
	if (!allocfail_supported()) {
		print_message(
			"each_allocation_may_fail: the sanitizer or valgrind brings its own allocator\n");
		skip();
	}
	survive_missing_memory(f, "open", act_open, 4);
	survive_missing_memory(f, "write", act_write, 2);
	survive_missing_memory(f, "read", act_read, 3);
	survive_missing_memory(f, "copy", act_copy, 2);
}

/* --- SIGKILL --- */

/* LMDB is never taken across a fork: the child opens the database itself. */
static void die_in_commit(const char *db, iofail_call_t call)
{
	store_t *s = NULL;
	diag_t why = {{0}};
	if (lmdb_store_open(db, &(lmdb_store_options_t){0}, &s, &why) != KMS_OK)
		_exit(1);
	iofail_kill(call, 1);
	_exit(set_both(s, "new") == KMS_OK ? 2 : 3);
}

static void killed_in_a_commit_it_leaves_the_old_state(void **state)
{
	static const iofail_call_t calls[] = {IOFAIL_WRITE, IOFAIL_FDATASYNC, IOFAIL_SYNC_WRITE};
	fixture_t *f = *state;
	assert_int_equal(set_both(f->s, "old"), KMS_OK);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		store_closep(&f->s);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			die_in_commit(f->db, calls[i]);
		int status = 0;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		reopen(f);
		assert_true(both_are(f->s, "old"));
		assert_int_equal(set_both(f->s, "between"), KMS_OK);
		assert_int_equal(set_both(f->s, "old"), KMS_OK);
	}
}

/* Opens the database in a child of its own, with a read transaction or without, and leaves it there. */
static pid_t leave_open(fixture_t *f, bool reading)
{
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		store_txn_t *t = NULL;
		reopen(f);
		bool ok = !reading || store_begin_read(f->s, &t) == KMS_OK;
		(void)!write(ready[1], ok ? "y" : "n", 1);
		(void)pause();
		_exit(0);
	}
	char answer = 0;
	assert_int_equal(read(ready[0], &answer, 1), 1);
	assert_int_equal(answer, 'y');
	(void)close(ready[0]);
	(void)close(ready[1]);
	return pid;
}

static void end_child(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A reader's slot in the lock file outlives its process; left there, it would keep every later page from
 * reuse. (When nobody else has the database open, LMDB makes the lock file anew, and there is nothing to
 * clear.) */
static void slots_of_dead_readers_are_cleared_at_open(void **state)
{
	fixture_t *f = *state;
	assert_int_equal(set_both(f->s, "old"), KMS_OK);
	store_closep(&f->s);
	pid_t other = leave_open(f, false);
	end_child(leave_open(f, true));
	reopen(f);
	static uint8_t value[100000];
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(add(f->s, 1, span_of(value, sizeof(value))), KMS_OK);
	end_child(other);
	char data[TMPDIR_CAP];
	struct stat st;
	tmpdir_path(f->db, "data.mdb", data);
	assert_int_equal(stat(data, &st), 0);
	assert_true(st.st_size < 2000000); /* 60 generations of 200 kB without reuse are 12 MB */
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_failed_flush_or_write_ends_the_store),
		T(no_space_before_the_meta_page_is_full_and_goes_on),
		T(a_commit_is_two_flushes_in_that_order),
		T(a_full_disk_refuses_and_recovers),
		T(each_allocation_may_fail),
		T(killed_in_a_commit_it_leaves_the_old_state),
		T(slots_of_dead_readers_are_cleared_at_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
