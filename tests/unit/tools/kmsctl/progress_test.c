#include "tools/kmsctl/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static void test_lines_only_for_changes(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	progress_t p;
	progress_init(&p, out, false, 1000);
	progress_show(&p, &(progress_counts_t){.todo = 3, .running = 0, .done = 0, .failed = 0}, 1000, NULL);
	progress_show(&p, &(progress_counts_t){.todo = 3, .running = 0, .done = 0, .failed = 0}, 2000, NULL);
	progress_show(&p, &(progress_counts_t){.todo = 1, .running = 1, .done = 1, .failed = 0}, 62000,
		      "ignored");
	progress_show(&p, &(progress_counts_t){.todo = 0, .running = 0, .done = 2, .failed = 1},
		      3661000 + 1000, NULL);
	progress_end(&p);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "0 of 3 rotated, 0 running, 0 failed, 0:00\n"
				  "1 of 3 rotated, 1 running, 0 failed, 1:01\n"
				  "2 of 3 rotated, 0 running, 1 failed, 1:01:01\n");
	free(text);
}

static void test_bar_on_a_terminal(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	progress_t p;
	progress_init(&p, out, true, 0);
	progress_show(&p, &(progress_counts_t){.todo = 1, .running = 0, .done = 1, .failed = 0}, 5000, NULL);
	progress_show(&p, &(progress_counts_t){.todo = 1, .running = 0, .done = 1, .failed = 0}, 6000,
		      "no answer");
	progress_show(&p, &(progress_counts_t){.todo = 0, .running = 0, .done = 0, .failed = 0}, 7000,
		      NULL); /* nothing to do is full, not 0/0 */
	progress_end(&p);
	progress_end(&p);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text,
			    "\r[############............] 1/2  0 running, 0 failed  0:05\033[K"
			    "\r[############............] 1/2  0 running, 0 failed  0:06  no answer\033[K"
			    "\r[########################] 0/0  0 running, 0 failed  0:07\033[K\n");
	free(text);
}

static void test_a_share_of_a_whole(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	progress_t p;
	progress_init(&p, out, false, 0);
	progress_share(&p, 1, 2, "events", 1000); /* not on a terminal: nothing */
	progress_init(&p, out, true, 0);
	progress_share(&p, 12, 24, "events", 2000);
	progress_share(&p, 13, 24, "events", 2100); /* too soon */
	progress_share(&p, 24, 24, "events", 2150); /* the end always shows */
	progress_share(&p, 0, 0, "events", 9000);
	progress_end(&p);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "\r[############............] 12/24 events  6/s  0:02\033[K"
				  "\r[########################] 24/24 events  11/s  0:02\033[K"
				  "\r[########################] 0/0 events  0/s  0:09\033[K\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_share_of_a_whole),
		cmocka_unit_test(test_lines_only_for_changes),
		cmocka_unit_test(test_bar_on_a_terminal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
