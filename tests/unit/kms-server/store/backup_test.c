#include "kms-server/store/backup.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/store/backup_format.h"
#include "kms-server/store/lmdb_store.h"
#include "kms-server/store/memory_store.h"
#include "tests/support/allocfail.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define EXTRA        "how to unseal: {\"type\":\"shamir\"}"
#define START        12U /* magic, version, length of header_extra */
#define SEALED_CHUNK (65536U + 16U)
#define MARKER       "a marker that must not stand in the file"

typedef struct fixture {
	char dir[TMPDIR_CAP]; /* holds db, and nothing else between the tests' steps but `file` */
	char out[TMPDIR_CAP];
	char file[TMPDIR_CAP];
	char target[TMPDIR_CAP];
	store_t *s;
	secret_t *key;
	secret_t *given; /* what the provider yields */
	kms_err_t provider;
	unsigned asked;
} fixture_t;

static kms_err_t add_event(store_t *s, uint64_t i)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t key[8] = {0};
	uint8_t value[3000];
	memset(value, (int)i, sizeof(value));
	memcpy(value, MARKER, sizeof(MARKER));
	be64_encode(i, key);
	KMS_TRY(store_begin_write(s, i, &t));
	KMS_TRY(store_put(t, STORE_LEAVES, span_of(key, 8), span_of(value, sizeof(value))));
	KMS_TRY(store_put(t, STORE_META, span_of(key, 8), span_of(key, 8)));
	return store_commit(TAKE(t));
}

static int set_up(void **state)
{
	fixture_t *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -1;
	*state = f;
	char db[TMPDIR_CAP];
	diag_t why = {{0}};
	tmpdir_make(f->dir);
	tmpdir_path(f->dir, "db", db);
	tmpdir_path(f->dir, "out", f->out);
	tmpdir_path(f->out, "backup", f->file);
	tmpdir_path(f->out, "restored", f->target);
	if (mkdir(f->out, 0700) != 0 ||
	    lmdb_store_open(db, &(lmdb_store_options_t){.create = true}, &f->s, &why) != KMS_OK)
		return -1;
	for (uint64_t i = 0; i < 100; i++)
		if (add_event(f->s, i) != KMS_OK)
			return -1;
	return crypto_random_secret(32, &f->key) == KMS_OK && crypto_random_secret(32, &f->given) == KMS_OK
		       ? 0
		       : -1;
}

static int tear_down(void **state)
{
	fixture_t *f = *state;
	iofail_disarm();
	allocfail_arm(0);
	store_close(f->s);
	secret_free(f->key);
	secret_free(f->given);
	tmpdir_remove(f->dir);
	free(f);
	return 0;
}

static kms_err_t provide(void *ctx, span_t header_extra, secret_t **key, diag_t *why)
{
	fixture_t *f = ctx;
	f->asked++;
	if (f->provider != KMS_OK)
		return diag_fail(why, f->provider, "the provider refuses");
	if (!span_eq(header_extra, span_str(EXTRA)))
		return diag_fail(why, KMS_E_INTEGRITY, "not the header that was given");
	return secret_from(secret_span(f->key), key);
}

static kms_err_t provide_for_any(void *ctx, span_t header_extra, secret_t **key, diag_t *why)
{
	(void)header_extra;
	(void)why;
	return secret_from(secret_span(ctx), key);
}

static void backup_ok(fixture_t *f)
{
	diag_t why = {{0}};
	if (backup_write(f->s, span_str(EXTRA), f->key, f->file, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void backup_fails(fixture_t *f, const char *path, kms_err_t want)
{
	diag_t why = {{0}};
	kms_err_t e = backup_write(f->s, span_str(EXTRA), f->key, path, &why);
	if (e != want)
		fail_msg("%s instead of %s: %s", kms_err_name(e), kms_err_name(want), why.text);
	assert_true(why.text[0] != '\0');
}

static void restore_fails(fixture_t *f, const char *what, kms_err_t want)
{
	size_t before = tmpdir_entries(f->out);
	diag_t why = {{0}};
	kms_err_t e = backup_read(f->file, provide, f, f->target, &why);
	if (e != want)
		fail_msg("%s: %s instead of %s: %s", what, kms_err_name(e), kms_err_name(want), why.text);
	assert_true(why.text[0] != '\0');
	assert_int_equal(tmpdir_entries(f->out), before);
}

/* That every table of a and b holds the same. */
static void assert_same(store_t *a, store_t *b)
{
	SCOPED(store_abortp) store_txn_t *ta = NULL;
	SCOPED(store_abortp) store_txn_t *tb = NULL;
	assert_int_equal(store_begin_read(a, &ta), KMS_OK);
	assert_int_equal(store_begin_read(b, &tb), KMS_OK);
	for (int i = 0; i < STORE_TABLES; i++) {
		SCOPED(store_cursor_freep) store_cursor_t *ca = NULL;
		SCOPED(store_cursor_freep) store_cursor_t *cb = NULL;
		assert_int_equal(store_seek(ta, (store_table_t)i, span_of(NULL, 0), STORE_UP, &ca), KMS_OK);
		assert_int_equal(store_seek(tb, (store_table_t)i, span_of(NULL, 0), STORE_UP, &cb), KMS_OK);
		span_t ka = {0}, va = {0}, kb = {0}, vb = {0};
		kms_err_t e = KMS_OK;
		while ((e = store_next(ca, &ka, &va)) == KMS_OK) {
			assert_int_equal(store_next(cb, &kb, &vb), KMS_OK);
			assert_true(span_eq(ka, kb) && span_eq(va, vb));
		}
		assert_int_equal(e, KMS_E_NOTFOUND);
		assert_int_equal(store_next(cb, &kb, &vb), KMS_E_NOTFOUND);
	}
}

static void a_backup_restores_to_the_same_tables(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	struct stat st;
	assert_int_equal(stat(f->file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(tmpdir_entries(f->out), 1);
	diag_t why = {{0}};
	assert_int_equal(backup_read(f->file, provide, f, f->target, &why), KMS_OK);
	assert_int_equal(f->asked, 1);
	assert_int_equal(tmpdir_entries(f->out), 2);
	assert_int_equal(tmpdir_entries(f->target), 1);
	assert_int_equal(stat(f->target, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	SCOPED(store_closep) store_t *r = NULL;
	assert_int_equal(lmdb_store_open(f->target, &(lmdb_store_options_t){0}, &r, &why), KMS_OK);
	assert_same(f->s, r);
	assert_int_equal(add_event(r, 100), KMS_OK);
}

static size_t read_file(const char *path, uint8_t **out)
{
	SCOPED(closep) int fd = open(path, O_RDONLY);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	*out = malloc((size_t)st.st_size);
	assert_non_null(*out);
	assert_int_equal(read(fd, *out, (size_t)st.st_size), st.st_size);
	return (size_t)st.st_size;
}

static void write_file(const char *path, const uint8_t *p, size_t n)
{
	SCOPED(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, p, n), (ssize_t)n);
}

static void nothing_stands_in_the_file_in_clear(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	SCOPED(freep) uint8_t *p = NULL;
	size_t n = read_file(f->file, &p);
	assert_null(memmem(p, n, MARKER, sizeof(MARKER) - 1));
	assert_non_null(memmem(p, START + sizeof(EXTRA), EXTRA, sizeof(EXTRA) - 1));
}

static void two_backups_share_no_chunk(void **state)
{
	fixture_t *f = *state;
	SCOPED(freep) uint8_t *a = NULL;
	SCOPED(freep) uint8_t *b = NULL;
	backup_ok(f);
	size_t na = read_file(f->file, &a);
	backup_ok(f); /* over the first */
	size_t nb = read_file(f->file, &b);
	assert_int_equal(na, nb);
	size_t body = START + sizeof(EXTRA) - 1 + 32;
	assert_memory_not_equal(a + body - 32, b + body - 32, 32);
	assert_memory_not_equal(a + body, b + body, 64);
}

static void every_changed_byte_is_found(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	SCOPED(freep) uint8_t *p = NULL;
	size_t n = read_file(f->file, &p);
	size_t body = START + sizeof(EXTRA) - 1 + 32;
	const struct {
		const char *what;
		size_t at;
	} rows[] = {{"magic", 0},
		    {"version", 9},
		    {"length of the extra", 10},
		    {"length, low byte", 11},
		    {"extra", START + 3},
		    {"salt", body - 1},
		    {"manifest", body + 2},
		    {"first chunk", body + 5000},
		    {"its tag", body + SEALED_CHUNK - 1},
		    {"second chunk", body + SEALED_CHUNK},
		    {"last tag", n - 1},
		    {"last chunk", n - 17}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		p[rows[i].at] ^= 1;
		write_file(f->file, p, n);
		restore_fails(f, rows[i].what, KMS_E_INTEGRITY);
		/* a changed header_extra must be found by the key as well, not only by this test's provider
		 */
		diag_t why = {{0}};
		assert_int_equal(backup_read(f->file, provide_for_any, f->key, f->target, &why),
				 KMS_E_INTEGRITY);
		p[rows[i].at] ^= 1;
	}
	write_file(f->file, p, n);
	diag_t why = {{0}};
	assert_int_equal(backup_read(f->file, provide, f, f->target, &why), KMS_OK);
}

static void a_file_that_was_cut_off_or_extended_is_found(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	SCOPED(freep) uint8_t *p = NULL;
	size_t n = read_file(f->file, &p);
	size_t body = START + sizeof(EXTRA) - 1 + 32;
	const size_t lengths[] = {0,
				  1,
				  START - 1,
				  START,
				  body - 1,
				  body,
				  body + 1,
				  body + 15,
				  body + 16,
				  body + SEALED_CHUNK - 1,
				  body + SEALED_CHUNK,
				  body + SEALED_CHUNK + 1,
				  body + 2 * SEALED_CHUNK,
				  n - 16,
				  n - 1};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		write_file(f->file, p, lengths[i]);
		restore_fails(f, "cut off", KMS_E_INTEGRITY);
	}
	SCOPED(freep) uint8_t *longer = calloc(1, n + SEALED_CHUNK);
	assert_non_null(longer);
	memcpy(longer, p, n);
	write_file(f->file, longer, n + 1);
	restore_fails(f, "one byte more", KMS_E_INTEGRITY);
	write_file(f->file, longer, n + SEALED_CHUNK);
	restore_fails(f, "a chunk more", KMS_E_INTEGRITY);
}

static void moved_chunks_are_found(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	SCOPED(freep) uint8_t *p = NULL;
	size_t n = read_file(f->file, &p);
	SCOPED(freep) uint8_t *q = malloc(n);
	assert_non_null(q);
	uint8_t *body = q + START + sizeof(EXTRA) - 1 + 32;
	memcpy(q, p, n);
	memcpy(body, p + (body - q) + SEALED_CHUNK, SEALED_CHUNK);
	memcpy(body + SEALED_CHUNK, p + (body - q), SEALED_CHUNK);
	write_file(f->file, q, n);
	restore_fails(f, "exchanged", KMS_E_INTEGRITY);
	memcpy(q, p, n);
	memcpy(body + SEALED_CHUNK, body, SEALED_CHUNK);
	write_file(f->file, q, n);
	restore_fails(f, "repeated", KMS_E_INTEGRITY);
	memcpy(q, p, n);
	memmove(body + SEALED_CHUNK, body + 2 * SEALED_CHUNK, n - (size_t)(body - q) - 2 * SEALED_CHUNK);
	write_file(f->file, q, n - SEALED_CHUNK);
	restore_fails(f, "left out", KMS_E_INTEGRITY);
}

static void another_key_does_not_open_it(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	diag_t why = {{0}};
	assert_int_equal(backup_read(f->file, provide_for_any, f->given, f->target, &why), KMS_E_INTEGRITY);
	f->provider = KMS_E_UNAVAILABLE;
	restore_fails(f, "no key", KMS_E_UNAVAILABLE);
	assert_int_equal(unlink(f->file), 0);
	restore_fails(f, "no file", KMS_E_NOTFOUND);
}

/* A genuine file around the store's copy, whose manifest names this many entries for each table. */
static void seal_with(fixture_t *f, const uint64_t counts[STORE_TABLES])
{
	SCOPED(backup_sealer_freep) backup_sealer_t *s = NULL;
	SCOPED(buf_free) buf_t manifest = BUF_INIT;
	SCOPED(freep) uint8_t *copy = NULL;
	char path[TMPDIR_CAP];
	diag_t why = {{0}};
	tmpdir_path(f->dir, "copy", path);
	SCOPED(closep) int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(store_copy(f->s, to, &why), KMS_OK);
	size_t n = read_file(path, &copy);
	SCOPED(closep) int fd = open(f->file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(backup_sealer_new(fd, span_str(EXTRA), f->key, &s), KMS_OK);
	assert_int_equal(backup_manifest_put(counts, &manifest), KMS_OK);
	assert_int_equal(backup_sealer_put(s, buf_span(&manifest)), KMS_OK);
	assert_int_equal(backup_sealer_put(s, span_of(copy, n)), KMS_OK);
	assert_int_equal(backup_sealer_end(s), KMS_OK);
}

static void a_table_with_another_number_of_entries_is_found(void **state)
{
	fixture_t *f = *state;
	uint64_t counts[STORE_TABLES] = {[STORE_LEAVES] = 100, [STORE_META] = 100};
	diag_t why = {{0}};
	for (int i = 0; i < STORE_TABLES; i++) {
		counts[i]++;
		seal_with(f, counts);
		restore_fails(f, lmdb_store_table_name((store_table_t)i), KMS_E_INTEGRITY);
		counts[i]--;
	}
	seal_with(f, counts);
	assert_int_equal(backup_read(f->file, provide, f, f->target, &why), KMS_OK);
}

static void what_is_at_the_target_is_never_touched(void **state)
{
	fixture_t *f = *state;
	backup_ok(f);
	assert_int_equal(mkdir(f->target, 0700), 0);
	restore_fails(f, "an empty folder", KMS_E_CONFLICT);
	assert_int_equal(rmdir(f->target), 0);
	write_file(f->target, (const uint8_t *)"x", 1);
	restore_fails(f, "a file", KMS_E_CONFLICT);
	assert_int_equal(unlink(f->target), 0);
	assert_int_equal(symlink("nowhere", f->target), 0);
	restore_fails(f, "a dangling link", KMS_E_CONFLICT);
	assert_int_equal(f->asked, 0);
}

static void wrong_destinations_are_refused(void **state)
{
	fixture_t *f = *state;
	char path[TMPDIR_CAP];
	backup_fails(f, f->out, KMS_E_CONFLICT);
	tmpdir_path(f->out, "no/such/folder", path);
	backup_fails(f, path, KMS_E_IO);
	assert_int_equal(symlink("elsewhere", f->file), 0);
	backup_fails(f, f->file, KMS_E_CONFLICT);
	SCOPED(store_closep) store_t *memory = NULL;
	assert_int_equal(memory_store_new(&memory), KMS_OK);
	diag_t why = {{0}};
	tmpdir_path(f->out, "new", path);
	assert_int_equal(backup_write(memory, span_str(EXTRA), f->key, path, &why), KMS_E_INVALID);
	SCOPED(freep) uint8_t *big = calloc(1, 16385);
	assert_int_equal(backup_write(f->s, span_of(big, 16385), f->key, path, &why), KMS_E_INVALID);
	assert_int_equal(tmpdir_entries(f->out), 1);
}

static void a_disk_that_fails_leaves_no_half_backup(void **state)
{
	static const struct {
		iofail_call_t call;
		int err;
		kms_err_t want;
	} rows[] = {{IOFAIL_WRITE, EIO, KMS_E_IO},
		    {IOFAIL_WRITE, ENOSPC, KMS_E_FULL},
		    {IOFAIL_FSYNC, EIO, KMS_E_IO}};
	fixture_t *f = *state;
	write_file(f->file, (const uint8_t *)"the one before", 14);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* every call of that kind in turn, until none failed */
		for (unsigned n = 1;; n++) {
			assert_true(n < 500);
			iofail_arm(rows[i].call, n, rows[i].err);
			diag_t why = {{0}};
			kms_err_t e = backup_write(f->s, span_str(EXTRA), f->key, f->file, &why);
			bool failed = iofail_seen(rows[i].call) >= n;
			bool renamed = rows[i].call == IOFAIL_FSYNC && n == iofail_seen(rows[i].call);
			iofail_disarm();
			assert_int_equal(tmpdir_entries(f->out), 1);
			if (!failed) {
				assert_int_equal(e, KMS_OK);
				break;
			}
			assert_int_equal(e, rows[i].want);
			struct stat st;
			assert_int_equal(stat(f->file, &st), 0);
			/* only the folder's flush comes after the rename */
			assert_true(renamed || st.st_size == 14);
			if (renamed)
				write_file(f->file, (const uint8_t *)"the one before", 14);
		}
		write_file(f->file, (const uint8_t *)"the one before", 14);
	}
}

static void a_full_disk_leaves_no_half_backup(void **state)
{
	fixture_t *f = *state;
	char path[TMPDIR_CAP];
	if (mount("tmpfs", f->out, "tmpfs", 0, "size=200k,mode=0700") != 0) {
		print_message("a_full_disk_leaves_no_half_backup: no permission to mount a tmpfs\n");
		skip();
	}
	tmpdir_path(f->out, "b", path);
	backup_fails(f, path, KMS_E_FULL);
	assert_int_equal(tmpdir_entries(f->out), 0);
	/* room for the file, and not for the copy that it is verified by */
	assert_int_equal(mount("tmpfs", f->out, "tmpfs", MS_REMOUNT, "size=700k"), 0);
	backup_fails(f, path, KMS_E_FULL);
	assert_int_equal(tmpdir_entries(f->out), 0);
	assert_int_equal(umount(f->out), 0);
}

/* Every allocation of writing and of reading in turn: an error, nothing left behind, and the next try works.
 */
static void each_allocation_may_fail(void **state)
{
	fixture_t *f = *state;
	if (!allocfail_supported()) {
		print_message(
			"each_allocation_may_fail: the sanitizer or valgrind brings its own allocator\n");
		skip();
	}
	unsigned writing = 0;
	unsigned reading = 0;
	diag_t why = {{0}};
	for (bool failed = true; failed; writing++) {
		allocfail_arm(writing + 1);
		kms_err_t e = backup_write(f->s, span_str(EXTRA), f->key, f->file, &why);
		failed = allocfail_happened();
		allocfail_arm(0);
		assert_true(failed || e == KMS_OK);
		assert_int_equal(tmpdir_entries(f->out), e == KMS_OK ? 1 : 0);
		(void)unlink(f->file);
	}
	backup_ok(f);
	for (bool failed = true; failed; reading++) {
		allocfail_arm(reading + 1);
		kms_err_t e = backup_read(f->file, provide, f, f->target, &why);
		failed = allocfail_happened();
		allocfail_arm(0);
		assert_true(failed || e == KMS_OK);
		assert_int_equal(tmpdir_entries(f->out), e == KMS_OK ? 2 : 1);
		if (e == KMS_OK)
			tmpdir_remove(f->target);
	}
	assert_true(writing > 40 && reading > 20);
}

typedef struct work {
	store_t *s;
	atomic_bool stop;
	bool failed;
	uint64_t n;
} work_t;

static void *keep_writing(void *arg)
{
	work_t *w = arg;
	for (; !atomic_load(&w->stop) && !w->failed; w->n++)
		w->failed = add_event(w->s, w->n) != KMS_OK;
	return NULL;
}

static void a_backup_is_made_while_the_store_is_written(void **state)
{
	fixture_t *f = *state;
	work_t w = {.s = f->s, .n = 100};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, keep_writing, &w), 0);
	for (int i = 0; i < 10; i++)
		backup_ok(f);
	atomic_store(&w.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(w.failed);
	assert_true(w.n > 100);
	diag_t why = {{0}};
	assert_int_equal(backup_read(f->file, provide, f, f->target, &why), KMS_OK);
}

static void commit_for_ever(const char *db, int ready)
{
	store_t *s = NULL;
	diag_t why = {{0}};
	if (lmdb_store_open(db, &(lmdb_store_options_t){0}, &s, &why) != KMS_OK)
		_exit(1);
	for (uint64_t i = 100; add_event(s, i) == KMS_OK; i++) {
		if (i == 110)
			(void)!write(ready, "y", 1);
		(void)usleep(20000); /* a try must fit between two commits, under a sanitizer too */
	}
	_exit(1);
}

/* As `kms-server backup` does beside a running server. */
static void a_backup_is_made_while_another_process_writes(void **state)
{
	fixture_t *f = *state;
	char db[TMPDIR_CAP];
	int ready[2];
	char answer = 0;
	diag_t why = {{0}};
	tmpdir_path(f->dir, "db", db);
	store_closep(&f->s);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		commit_for_ever(db, ready[1]);
	}
	assert_int_equal(read(ready[0], &answer, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	assert_int_equal(lmdb_store_open(db, &(lmdb_store_options_t){.read_only = true}, &f->s, &why),
			 KMS_OK);
	for (int i = 0; i < 6; i++)
		backup_ok(f);
	assert_int_equal(kill(pid, SIGKILL), 0);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status)); /* it wrote to the end */
	assert_int_equal(backup_read(f->file, provide, f, f->target, &why), KMS_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_backup_restores_to_the_same_tables),
		T(nothing_stands_in_the_file_in_clear),
		T(two_backups_share_no_chunk),
		T(every_changed_byte_is_found),
		T(a_file_that_was_cut_off_or_extended_is_found),
		T(moved_chunks_are_found),
		T(another_key_does_not_open_it),
		T(a_table_with_another_number_of_entries_is_found),
		T(what_is_at_the_target_is_never_touched),
		T(wrong_destinations_are_refused),
		T(a_disk_that_fails_leaves_no_half_backup),
		T(a_full_disk_leaves_no_half_backup),
		T(each_allocation_may_fail),
		T(a_backup_is_made_while_the_store_is_written),
		T(a_backup_is_made_while_another_process_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
