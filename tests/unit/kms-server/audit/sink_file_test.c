#include "kms-server/audit/sink_file.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>

typedef struct world {
	char dir[TMPDIR_CAP], path[TMPDIR_CAP];
	sink_t *sink;
} world_t;

static void open_sink(world_t *w, uint64_t size, unsigned keep)
{
	diag_t why = {{0}};
	const sink_file_options_t o = {.path = w->path, .size = size, .keep = keep};
	sink_closep(&w->sink);
	if (sink_file_new(&o, &w->sink, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void open_world(world_t *w)
{
	*w = (world_t){.sink = NULL};
	tmpdir_make(w->dir);
	tmpdir_path(w->dir, "events.ndjson", w->path);
	open_sink(w, 1U << 20, 3);
}

static void close_world(world_t *w)
{
	sink_closep(&w->sink);
	tmpdir_remove(w->dir);
}

/* Events first to end - 1, {"n":INDEX} each. */
static kms_err_t take(world_t *w, uint64_t first, uint64_t end, diag_t *why)
{
	char text[64][32];
	sink_event_t e[64];
	size_t n = (size_t)(end - first);
	assert_true(n <= 64);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(text[i], sizeof text[i], "{\"n\":%u}", (unsigned)(first + i));
		e[i] = (sink_event_t){.index = first + i, .bytes = span_str(text[i])};
	}
	return w->sink->ops->take(w->sink, e, n, why);
}

static kms_err_t settle(world_t *w)
{
	return w->sink->ops->settle(w->sink, NULL);
}

static void lines(uint64_t first, uint64_t end, buf_t *out)
{
	for (uint64_t i = first; i < end; i++)
		buf_printf(out, "{\"index\":%u,\"event\":{\"n\":%u}}\n", (unsigned)i, (unsigned)i);
}

static void assert_file(const char *path, const char *before, uint64_t first, uint64_t end)
{
	SCOPED(buf_free) buf_t have = BUF_INIT;
	SCOPED(buf_free) buf_t want = BUF_INIT;
	buf_str(&want, before);
	lines(first, end, &want);
	assert_int_equal(file_read(path, 1U << 20, &have, NULL), KMS_OK);
	if (!span_eq(buf_span(&have), buf_span(&want)))
		fail_msg("%s: %.*s", path, (int)have.n, (const char *)have.p);
}

static void assert_number(const world_t *w, unsigned i, uint64_t first, uint64_t end)
{
	char path[TMPDIR_CAP + 8];
	(void)snprintf(path, sizeof path, i > 0 ? "%s.%u" : "%s", w->path, i);
	assert_file(path, "", first, end);
}

static void put(const char *path, span_t text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text.p, text.n), text.n);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static void test_lines(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	struct stat st;
	open_world(&w);
	assert_int_equal(tmpdir_entries(w.dir), 0);
	assert_int_equal(take(&w, 0, 3, NULL), KMS_OK);
	assert_int_equal(take(&w, 3, 4, NULL), KMS_OK);
	assert_int_equal(settle(&w), KMS_OK);
	assert_file(w.path, "", 0, 4);
	assert_int_equal(stat(w.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* the same file by another run */
	open_sink(&w, 1U << 20, 3);
	assert_int_equal(take(&w, 4, 6, NULL), KMS_OK);
	assert_file(w.path, "", 0, 6);
}

static void test_rotation(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w);
	open_sink(&w, 64, 2); /* two lines of 29 bytes */
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(take(&w, i, i + 1, NULL), KMS_OK);
	assert_int_equal(tmpdir_entries(w.dir), 3);
	assert_number(&w, 0, 6, 8);
	assert_number(&w, 1, 4, 6);
	assert_number(&w, 2, 2, 4);
	/* a batch over the limit is not torn */
	assert_int_equal(take(&w, 8, 40, NULL), KMS_OK);
	assert_number(&w, 0, 8, 40);
	assert_number(&w, 1, 6, 8);
}

/* What a crash in the middle of the renames leaves: the number that is missing is filled, nothing is dropped.
 */
static void test_a_chain_with_a_gap(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	char name[TMPDIR_CAP + 8];
	char to[TMPDIR_CAP + 8];
	open_world(&w);
	open_sink(&w, 30, 3);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(take(&w, i, i + 1, NULL), KMS_OK);
	sink_closep(&w.sink);
	(void)snprintf(name, sizeof name, "%s.1", w.path);
	(void)snprintf(to, sizeof to, "%s.kept", w.path);
	assert_int_equal(rename(name, to), 0);
	open_sink(&w, 30, 3);
	assert_int_equal(take(&w, 4, 5, NULL), KMS_OK);
	assert_number(&w, 3, 0, 1);
	assert_number(&w, 2, 1, 2);
	assert_number(&w, 1, 3, 4);
	assert_number(&w, 0, 4, 5);
}

static void test_logrotate(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	char moved[TMPDIR_CAP];
	open_world(&w);
	tmpdir_path(w.dir, "moved", moved);
	assert_int_equal(take(&w, 0, 2, NULL), KMS_OK);
	assert_int_equal(rename(w.path, moved), 0);
	iofail_disarm();
	assert_int_equal(take(&w, 2, 4, NULL), KMS_OK);
	assert_true(iofail_seen(IOFAIL_FDATASYNC) >= 1); /* what was moved away was not settled yet */
	assert_file(moved, "", 0, 2);
	assert_file(w.path, "", 2, 4);
	assert_int_equal(unlink(w.path), 0);
	assert_int_equal(take(&w, 4, 5, NULL), KMS_OK);
	assert_file(w.path, "", 4, 5);
	/* copytruncate */
	assert_int_equal(truncate(w.path, 0), 0);
	assert_int_equal(take(&w, 5, 6, NULL), KMS_OK);
	assert_file(w.path, "", 5, 6);
	/* another file was moved into its place */
	put(moved, span_str(""), 0600);
	assert_int_equal(rename(moved, w.path), 0);
	assert_int_equal(take(&w, 6, 7, NULL), KMS_OK);
	assert_file(w.path, "", 6, 7);
}

/* The last line cut at each of its bytes, and what of it a file system may leave as zeros. */
static void test_a_torn_last_line_is_cut(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	SCOPED(buf_free) buf_t whole = BUF_INIT;
	open_world(&w);
	lines(0, 3, &whole);
	size_t two = whole.n / 3 * 2;
	for (size_t n = 0; n <= whole.n; n++) {
		sink_closep(&w.sink);
		put(w.path, span_of(whole.p, n), 0600);
		open_sink(&w, 1U << 20, 3);
		assert_int_equal(take(&w, 7, 8, NULL), KMS_OK);
		SCOPED(buf_free) buf_t before = BUF_INIT;
		const char *text = "";
		lines(0, n / (whole.n / 3), &before);
		assert_int_equal(buf_cstr(&before, &text), KMS_OK);
		assert_file(w.path, text, 7, 8);
	}
	for (size_t n = two; n < whole.n; n++) {
		sink_closep(&w.sink);
		whole.p[n] = '\0';
		for (size_t i = n; i < whole.n; i++)
			whole.p[i] = '\0';
		put(w.path, buf_span(&whole), 0600);
		open_sink(&w, 1U << 20, 3);
		assert_int_equal(take(&w, 2, 3, NULL), KMS_OK);
		assert_file(w.path, "", 0, 3);
		buf_clear(&whole);
		lines(0, 3, &whole);
	}
}

static void test_files_that_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		mode_t mode;
		kms_err_t e;
		const char *says;
	} rows[] = {
		{"root:x:0:0\n", 0600, KMS_E_INVALID, "something else"},
		{"{\"inde", 0600, KMS_OK, ""},
		{"{\"indes", 0600, KMS_E_INVALID, "something else"},
		{"\n", 0600, KMS_E_INVALID, "something else"},
		{"", 0622, KMS_E_DENIED, "others"},
		{"", 0602, KMS_E_DENIED, "others"},
		{"", 0644, KMS_OK, ""},
	};
	SCOPED(close_world) world_t w;
	open_world(&w);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		sink_closep(&w.sink);
		put(w.path, span_str(rows[i].text), rows[i].mode);
		open_sink(&w, 1U << 20, 3);
		assert_int_equal(take(&w, 0, 1, &why), rows[i].e);
		assert_non_null(strstr(why.text, rows[i].says));
		if (rows[i].e == KMS_OK)
			continue;
		SCOPED(buf_free) buf_t same = BUF_INIT;
		assert_int_equal(file_read(w.path, 1000, &same, NULL), KMS_OK);
		assert_true(span_eq(buf_span(&same), span_str(rows[i].text)));
	}
}

static void test_no_line_end_far_and_wide(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	open_world(&w);
	buf_str(&text, "{\"index\":");
	for (unsigned i = 0; i < 200000; i++)
		buf_u8(&text, '1');
	put(w.path, buf_span(&text), 0600);
	assert_int_equal(take(&w, 0, 1, NULL), KMS_E_INVALID);
}

static void test_names_that_are_no_files(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	char other[TMPDIR_CAP];
	open_world(&w);
	tmpdir_path(w.dir, "other", other);
	put(other, span_str(""), 0600);
	assert_int_equal(symlink(other, w.path), 0);
	assert_int_not_equal(take(&w, 0, 1, NULL), KMS_OK);
	assert_file(other, "", 0, 0);
	assert_int_equal(unlink(w.path), 0);
	assert_int_equal(mkfifo(w.path, 0600), 0);
	assert_int_equal(take(&w, 0, 1, NULL), KMS_E_INVALID);
	assert_int_equal(unlink(w.path), 0);
	assert_int_equal(mkdir(w.path, 0700), 0);
	assert_int_not_equal(take(&w, 0, 1, NULL), KMS_OK);
	assert_int_equal(rmdir(w.path), 0);
	assert_int_equal(take(&w, 0, 1, NULL), KMS_OK);
}

static void test_settings(void **state)
{
	(void)state;
	static const char *const rows[] = {"",      "events",          "./events", "/nonexistent/events",
					   "/tmp/", "/dev/null/events"};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		sink_t *s = NULL;
		diag_t why = {{0}};
		const sink_file_options_t o = {.path = rows[i], .size = 1, .keep = 1};
		assert_int_equal(sink_file_new(&o, &s, &why), KMS_E_INVALID);
		assert_non_null(strstr(why.text, "export-file"));
		assert_null(s);
	}
}

/* The disk fills up at each write: what is there stays whole, and the batch comes again. */
static void test_no_space(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	diag_t why = {{0}};
	open_world(&w);
	assert_int_equal(take(&w, 0, 5, NULL), KMS_OK);
	iofail_arm(IOFAIL_WRITE, 1, ENOSPC);
	assert_int_equal(take(&w, 5, 9, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, w.path));
	assert_file(w.path, "", 0, 5);
	iofail_disarm();
	assert_int_equal(take(&w, 5, 9, NULL), KMS_OK);
	assert_file(w.path, "", 0, 9);
}

/* A write that stops in the middle of a line, and the next one that fails: at each length. */
static void test_a_batch_that_fits_in_part(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	SCOPED(buf_free) buf_t five = BUF_INIT;
	struct rlimit old;
	open_world(&w);
	lines(0, 5, &five);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	for (size_t more = 0; more < 60; more++) {
		const struct rlimit low = {.rlim_cur = five.n + more, .rlim_max = old.rlim_max};
		(void)unlink(w.path);
		assert_int_equal(take(&w, 0, 5, NULL), KMS_OK);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
		assert_int_equal(take(&w, 5, 9, NULL), KMS_E_IO);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
		assert_file(w.path, "", 0, 5);
		assert_int_equal(take(&w, 5, 9, NULL), KMS_OK);
		assert_file(w.path, "", 0, 9);
	}
}

static void test_a_flush_that_fails(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w);
	assert_int_equal(take(&w, 0, 5, NULL), KMS_OK);
	iofail_arm(IOFAIL_FDATASYNC, 1, EIO);
	assert_int_equal(settle(&w), KMS_E_IO);
	assert_true(w.sink->lost);
	iofail_disarm();
	/* and when the flush is one before a rotation */
	w.sink->lost = false;
	open_sink(&w, 64, 3);
	assert_int_equal(take(&w, 5, 6, NULL), KMS_OK);
	iofail_arm(IOFAIL_FDATASYNC, 1, EIO);
	assert_int_equal(take(&w, 6, 9, NULL), KMS_E_IO);
	assert_true(w.sink->lost);
	iofail_disarm();
	assert_int_equal(take(&w, 6, 9, NULL), KMS_OK);
}

int main(void)
{
	(void)signal(SIGXFSZ, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_a_chain_with_a_gap),
		cmocka_unit_test(test_logrotate),
		cmocka_unit_test(test_a_torn_last_line_is_cut),
		cmocka_unit_test(test_files_that_are_refused),
		cmocka_unit_test(test_no_line_end_far_and_wide),
		cmocka_unit_test(test_names_that_are_no_files),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_a_batch_that_fits_in_part),
		cmocka_unit_test(test_a_flush_that_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
