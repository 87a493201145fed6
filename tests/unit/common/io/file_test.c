#include "common/io/file.h"

#include "common/base/scope.h"
#include "tests/unit/common/io/faulty_calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <cmocka.h>

typedef struct world {
	char dir[64];
	char path[96]; /* dir/f */
	mode_t mask;
} world_t;

static int set_up(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return 1;
	(void)snprintf(w->dir, sizeof w->dir, "/tmp/claviger-file-XXXXXX");
	if (mkdtemp(w->dir) == NULL)
		return 1;
	(void)snprintf(w->path, sizeof w->path, "%s/f", w->dir);
	w->mask = umask(022);
	calls_forget();
	*state = w;
	return 0;
}

static unsigned entries(const world_t *w, bool remove)
{
	unsigned n = 0;
	DIR *d = opendir(w->dir);
	assert_non_null(d);
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		if (remove)
			(void)unlinkat(dirfd(d), e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0);
	}
	(void)closedir(d);
	return n;
}

static int tear_down(void **state)
{
	world_t *w = *state;
	(void)calls_fail_end();
	(void)umask(w->mask);
	(void)entries(w, true);
	(void)rmdir(w->dir);
	free(w);
	return 0;
}

static mode_t mode_of(const char *path)
{
	struct stat st;
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void put(const char *path, const char *text, mode_t mode)
{
	(void)unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static void assert_content(const char *path, const char *want)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	assert_int_equal(file_read(path, 4096, &b, NULL), KMS_OK);
	assert_true(span_eq(buf_span(&b), span_str(want)));
}

/* The mode at the instant of creation, whatever the umask, is what nobody can undo afterwards. */
static void test_never_wider_than_asked(void **state)
{
	const world_t *w = *state;
	static const mode_t masks[] = {0, 022, 077, 0777, 0400};
	static const unsigned modes[] = {0600, 0644};
	for (size_t m = 0; m < sizeof masks / sizeof *masks; m++)
		for (size_t k = 0; k < 2; k++) {
			(void)umask(masks[m]);
			calls_forget();
			assert_int_equal(file_write(w->path, span_str("x"), modes[k], FILE_REPLACE, NULL),
					 KMS_OK);
			created_t made = calls_created();
			assert_int_equal(made.n, 1);
			assert_int_equal(made.first & ~modes[k], 0);
			assert_false(made.written_before_mode);
			assert_int_equal(made.flags & (O_EXCL | O_NOFOLLOW | O_CLOEXEC),
					 O_EXCL | O_NOFOLLOW | O_CLOEXEC);
			assert_int_equal(mode_of(w->path), modes[k]);
		}
}

typedef struct racer {
	const world_t *w;
	atomic_bool stop;
	atomic_uint wide, looks;
} racer_t;

static void *look_at_modes(void *arg)
{
	racer_t *r = arg;
	while (!atomic_load(&r->stop)) {
		DIR *d = opendir(r->w->dir);
		for (const struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL; e = readdir(d)) {
			struct stat st;
			if (e->d_name[0] == '.' && (e->d_name[1] == '\0' || e->d_name[1] == '.'))
				continue;
			if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
				continue;
			atomic_fetch_add(&r->looks, 1);
			if ((st.st_mode & 077) != 0)
				atomic_fetch_add(&r->wide, 1);
		}
		if (d != NULL)
			(void)closedir(d);
	}
	return NULL;
}

static void test_no_reader_sees_a_wider_mode(void **state)
{
	racer_t r = {.w = *state};
	pthread_t t;
	(void)umask(0);
	assert_int_equal(pthread_create(&t, NULL, look_at_modes, &r), 0);
	for (unsigned i = 0; i < 300 || (atomic_load(&r.looks) < 100 && i < 20000); i++)
		assert_int_equal(file_write(r.w->path, span_str("secret"), 0600, FILE_REPLACE, NULL), KMS_OK);
	atomic_store(&r.stop, true);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_true(atomic_load(&r.looks) > 0);
	assert_int_equal(atomic_load(&r.wide), 0);
}

static void test_create_only_never_replaces(void **state)
{
	const world_t *w = *state;
	diag_t why = {{0}};
	assert_int_equal(file_write(w->path, span_str("one"), 0600, FILE_CREATE_ONLY, &why), KMS_OK);
	assert_int_equal(file_write(w->path, span_str("two"), 0600, FILE_CREATE_ONLY, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, w->path));
	assert_content(w->path, "one");
	assert_int_equal(entries(w, false), 1);
	/* not through a dangling link either */
	char link[96];
	(void)snprintf(link, sizeof link, "%s/l", w->dir);
	assert_int_equal(symlink("nowhere", link), 0);
	assert_int_equal(file_write(link, span_str("two"), 0600, FILE_CREATE_ONLY, &why), KMS_E_CONFLICT);
}

static void test_replace_leaves_a_links_target_alone(void **state)
{
	const world_t *w = *state;
	char link[96];
	(void)snprintf(link, sizeof link, "%s/l", w->dir);
	put(w->path, "target", 0644);
	assert_int_equal(symlink(w->path, link), 0);
	assert_int_equal(file_write(link, span_str("new"), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_content(w->path, "target");
	assert_content(link, "new");
	assert_int_equal(mode_of(link), 0600);
}

/* Every call made to fail in turn: the old content or the new, whole, and nothing left lying about. */
static void test_every_failing_step(void **state)
{
	const world_t *w = *state;
	static const int codes[] = {EIO, ENOSPC};
	for (size_t c = 0; c < 2; c++) {
		unsigned n = 1;
		for (;; n++) {
			diag_t why = {{0}};
			put(w->path, "old", 0600);
			calls_forget();
			(void)umask(077); /* so that 0644 needs its fchmod */
			calls_fail_at(n, codes[c]);
			kms_err_t e = file_write(w->path, span_str("new"), 0644, FILE_REPLACE, &why);
			bool came = calls_fail_end();
			assert_int_equal(entries(w, false), 1);
			if (!came) {
				assert_int_equal(e, KMS_OK);
				break;
			}
			assert_int_equal(e, codes[c] == ENOSPC ? KMS_E_FULL : KMS_E_IO);
			assert_non_null(strstr(why.text, "f"));
			/* the last call is the folder's fsync: the new content is there, but may not last */
			SCOPED(buf_free) buf_t b = BUF_INIT;
			assert_int_equal(file_read(w->path, 16, &b, NULL), KMS_OK);
			assert_true(span_eq(buf_span(&b), span_str("old")) ||
				    span_eq(buf_span(&b), span_str("new")));
		}
		assert_true(n >= 6); /* create, mode, write, sync, rename, sync of the folder */
	}
}

static void test_durable_syncs_file_and_folder(void **state)
{
	const world_t *w = *state;
	assert_int_equal(file_write(w->path, span_str("x"), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(calls_created().fsyncs, 2);
}

static void test_rename_is_atomic_for_readers(void **state)
{
	const world_t *w = *state;
	char a[512], b[512];
	memset(a, 'a', sizeof a);
	memset(b, 'b', sizeof b);
	for (unsigned i = 0; i < 100; i++) {
		span_t content = i % 2 == 0 ? span_of(a, sizeof a) : span_of(b, sizeof b);
		assert_int_equal(file_write(w->path, content, 0600, FILE_REPLACE, NULL), KMS_OK);
		int held = open(w->path, O_RDONLY);
		/* a reader that opened before the next write keeps a whole file */
		assert_int_equal(file_write(w->path, span_str("short"), 0600, FILE_REPLACE, NULL), KMS_OK);
		char got[600];
		assert_int_equal(read(held, got, sizeof got), sizeof a);
		assert_memory_equal(got, content.p, sizeof a);
		(void)close(held);
	}
}

static void test_write_refusals(void **state)
{
	const world_t *w = *state;
	static const struct {
		const char *path;
		unsigned mode;
		kms_err_t e;
	} rows[] = {
		{"", 0600, KMS_E_INVALID},
		{"/tmp/", 0600, KMS_E_INVALID},
		{".", 0600, KMS_E_INVALID},
		{"/tmp/..", 0600, KMS_E_INVALID},
		{"/nonexistent/f", 0600, KMS_E_NOTFOUND},
		{"/dev/null/f", 0600, KMS_E_NOTFOUND},
	};
	static const unsigned modes[] = {0, 0640, 0660, 0666, 0700, 0755, 04600};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(file_write(rows[i].path, span_str("x"), rows[i].mode, FILE_REPLACE, NULL),
				 rows[i].e);
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		assert_int_equal(file_write(w->path, span_str("x"), modes[i], FILE_REPLACE, NULL),
				 KMS_E_INVALID);
	assert_int_equal(entries(w, false), 0);
}

static void test_read_limits(void **state)
{
	const world_t *w = *state;
	diag_t why = {{0}};
	SCOPED(buf_free) buf_t b = BUF_INIT;
	put(w->path, "12345", 0600);
	assert_int_equal(file_read(w->path, 4, &b, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, w->path));
	assert_int_equal(b.n, 0);
	assert_int_equal(file_read(w->path, 5, &b, &why), KMS_OK);
	assert_int_equal(b.n, 5);
	assert_int_equal(file_read("/dev/zero", 100000, &b, &why), KMS_E_INVALID);
	assert_int_equal(b.n, 5);
	assert_int_equal(file_read("/nonexistent", 5, &b, &why), KMS_E_NOTFOUND);
	assert_int_equal(file_read(w->dir, 5, &b, &why), KMS_E_IO);
	put(w->path, "", 0600);
	assert_int_equal(file_read(w->path, 0, &b, &why), KMS_OK);
	assert_int_equal(file_read("/proc/self/stat", 4096, &b, &why), KMS_OK); /* st_size is 0 */
	assert_true(b.n > 5);
}

static void test_secret_mode_table(void **state)
{
	const world_t *w = *state;
	for (mode_t mode = 0; mode <= 0777; mode++) {
		SCOPED(secret_freep) secret_t *s = NULL;
		diag_t why = {{0}};
		put(w->path, "key", mode);
		kms_err_t e = file_read_secret(w->path, &s, &why);
		if ((mode & 077) != 0) {
			assert_true(s == NULL);
			assert_int_equal(e, KMS_E_DENIED);
		} else if ((mode & 0400) != 0 || geteuid() == 0) {
			assert_int_equal(e, KMS_OK);
			assert_true(span_eq(secret_span(s), span_str("key")));
		}
	}
}

static void test_secret_refusals(void **state)
{
	const world_t *w = *state;
	SCOPED(secret_freep) secret_t *s = NULL;
	diag_t why = {{0}};
	char other[96];
	(void)snprintf(other, sizeof other, "%s/o", w->dir);
	put(w->path, "key", 0600);
	assert_int_equal(symlink(w->path, other), 0);
	assert_int_equal(file_read_secret(other, &s, &why), KMS_E_DENIED);
	assert_non_null(strstr(why.text, "symbolic link"));
	assert_int_equal(unlink(other), 0);
	assert_int_equal(mkfifo(other, 0600), 0); /* must not hang */
	assert_int_equal(file_read_secret(other, &s, &why), KMS_E_DENIED);
	assert_int_equal(file_read_secret(w->dir, &s, &why), KMS_E_DENIED);
	assert_int_equal(file_read_secret("/dev/zero", &s, &why), KMS_E_DENIED);
	assert_int_equal(file_read_secret("/nonexistent", &s, &why), KMS_E_NOTFOUND);
	put(w->path, "", 0600);
	assert_int_equal(file_read_secret(w->path, &s, &why), KMS_E_INVALID);
	if (geteuid() == 0) {
		put(w->path, "key", 0600);
		assert_int_equal(chown(w->path, 65534, 65534), 0);
		assert_int_equal(file_read_secret(w->path, &s, &why), KMS_E_DENIED);
		assert_non_null(strstr(why.text, "65534"));
	}
	assert_null(s);
}

static void test_secret_size(void **state)
{
	const world_t *w = *state;
	static const struct {
		size_t n;
		kms_err_t e;
	} rows[] = {
		{1, KMS_OK}, {SECRET_MAX, KMS_OK}, {SECRET_MAX + 1, KMS_E_INVALID}, {100000, KMS_E_INVALID}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(secret_freep) secret_t *s = NULL;
		SCOPED(freep) char *text = calloc(1, rows[i].n + 1);
		memset(text, 'k', rows[i].n);
		put(w->path, text, 0600);
		assert_int_equal(file_read_secret(w->path, &s, NULL), rows[i].e);
		if (rows[i].e == KMS_OK)
			assert_int_equal(secret_len(s), rows[i].n);
	}
}

static void test_dir_ensure(void **state)
{
	const world_t *w = *state;
	char dir[96];
	diag_t why = {{0}};
	static const mode_t refused[] = {0770, 0707, 0777, 01777, 0722, 0702, 0720};
	(void)snprintf(dir, sizeof dir, "%s/d", w->dir);
	(void)umask(0);
	assert_int_equal(dir_ensure(dir, &why), KMS_OK);
	assert_int_equal(mode_of(dir), 0700);
	assert_int_equal(dir_ensure(dir, &why), KMS_OK);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		assert_int_equal(chmod(dir, refused[i]), 0);
		assert_int_equal(dir_ensure(dir, &why), KMS_E_DENIED);
	}
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(dir_ensure(dir, &why), KMS_OK);
	put(w->path, "", 0600);
	assert_int_equal(dir_ensure(w->path, &why), KMS_E_NOTFOUND); /* ENOTDIR */
	assert_int_equal(dir_ensure("/nonexistent/d", &why), KMS_E_NOTFOUND);
	if (geteuid() == 0) {
		assert_int_equal(chown(dir, 65534, 65534), 0);
		assert_int_equal(dir_ensure(dir, &why), KMS_E_DENIED);
	}
}

static void test_path_join(void **state)
{
	(void)state;
	static const struct {
		const char *dir, *name, *want;
	} rows[] = {{"/a", "b", "/a/b"}, {"/a/", "b", "/a/b"}, {"/", "b", "/b"}, {"", "b", "/b"}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(freep) char *got = NULL;
		assert_int_equal(path_join(rows[i].dir, rows[i].name, &got), KMS_OK);
		assert_string_equal(got, rows[i].want);
	}
}

#define WITH_DIR(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(test_never_wider_than_asked),
		WITH_DIR(test_no_reader_sees_a_wider_mode),
		WITH_DIR(test_create_only_never_replaces),
		WITH_DIR(test_replace_leaves_a_links_target_alone),
		WITH_DIR(test_every_failing_step),
		WITH_DIR(test_durable_syncs_file_and_folder),
		WITH_DIR(test_rename_is_atomic_for_readers),
		WITH_DIR(test_write_refusals),
		WITH_DIR(test_read_limits),
		WITH_DIR(test_secret_mode_table),
		WITH_DIR(test_secret_refusals),
		WITH_DIR(test_secret_size),
		WITH_DIR(test_dir_ensure),
		cmocka_unit_test(test_path_join),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
