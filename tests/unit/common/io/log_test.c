#include "common/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static int kept = -1;
static FILE *sink;

/* Standard error becomes a file for as long as a test runs. */
static int set_up(void **state)
{
	(void)state;
	sink = tmpfile();
	kept = dup(STDERR_FILENO);
	return sink != NULL && dup2(fileno(sink), STDERR_FILENO) == STDERR_FILENO ? 0 : 1;
}

static int tear_down(void **state)
{
	(void)state;
	(void)dup2(kept, STDERR_FILENO);
	(void)close(kept);
	(void)unsetenv("JOURNAL_STREAM");
	return fclose(sink);
}

static void taken(char *out, size_t cap)
{
	ssize_t n = pread(fileno(sink), out, cap - 1, 0);
	assert_true(n >= 0);
	out[n] = '\0';
}

static void test_line_form(void **state)
{
	(void)state;
	char text[512];
	log_init("prog", LOG_INFO_);
	log_warn("disk %d is full", 3);
	taken(text, sizeof text);
	/* 2026-11-23T16:40:02.123Z prog: warning: disk 3 is full */
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[19], '.');
	assert_string_equal(text + 23, "Z prog: warning: disk 3 is full\n");
}

static void test_levels(void **state)
{
	(void)state;
	char text[512];
	log_init("prog", LOG_NOTICE_);
	log_debug("one");
	log_info("two");
	taken(text, sizeof text);
	assert_string_equal(text, "");
	log_notice("three");
	log_error("four");
	taken(text, sizeof text);
	assert_non_null(strstr(text, "notice: three\n"));
	assert_non_null(strstr(text, "error: four\n"));
}

static void test_journal_prefix(void **state)
{
	(void)state;
	char text[512], stream[64];
	struct stat st;
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	(void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
	log_init("prog", LOG_INFO_);
	log_error("x");
	taken(text, sizeof text);
	assert_string_equal(text, "<3>x\n");
	/* another stream's name: standard error was redirected */
	assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
	log_init("prog", LOG_INFO_);
	log_error("y");
	taken(text, sizeof text);
	assert_non_null(strstr(text, "prog: error: y\n"));
}

static void test_no_line_can_be_forged(void **state)
{
	(void)state;
	char text[512];
	log_init("prog", LOG_INFO_);
	log_info("%s", "a\n<0>forged\r\x1b[2J\x7f");
	taken(text, sizeof text);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_null(strpbrk(text, "\r\x1b\x7f"));
}

static void test_long_lines_are_cut(void **state)
{
	(void)state;
	static char text[8192], longer[6000];
	memset(longer, 'x', sizeof longer - 1);
	log_init("prog", LOG_INFO_);
	log_info("%s", longer);
	log_info("next");
	taken(text, sizeof text);
	char *end = strchr(text, '\n');
	assert_non_null(end);
	assert_true(end - text < 2048);
	assert_non_null(strstr(end, "info: next\n"));
}

static void *many(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 200; i++)
		log_info("abcdefghijklmnopqrstuvwxyz");
	return NULL;
}

static void test_threads_do_not_mix_lines(void **state)
{
	(void)state;
	static char text[200000];
	pthread_t t[4];
	log_init("prog", LOG_INFO_);
	/* O_APPEND as of a real log: the file's position is shared anyway */
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, many, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	taken(text, sizeof text);
	unsigned lines = 0;
	char *save = NULL;
	for (char *l = strtok_r(text, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save), lines++)
		assert_string_equal(l + 23, "Z prog: info: abcdefghijklmnopqrstuvwxyz");
	assert_int_equal(lines, 800);
}

#define WITH_SINK(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SINK(test_line_form),          WITH_SINK(test_levels),
		WITH_SINK(test_journal_prefix),     WITH_SINK(test_no_line_can_be_forged),
		WITH_SINK(test_long_lines_are_cut), WITH_SINK(test_threads_do_not_mix_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
