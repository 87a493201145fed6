#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/proto/json.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <cmocka.h>

#define RUN_ALL(...) run_all((const char *const[]){__VA_ARGS__, NULL})
#define OPENED                                                                                               \
	{                                                                                                    \
		"POST", "/v1/maintenance", NULL, 201, "{\"id\":\"m-1\",\"state\":\"open\"}"                  \
	}
#define LOOK(text)                                                                                           \
	{                                                                                                    \
		"GET", "/v1/maintenance/m-1", NULL, 200, text                                                \
	}

#define DONE_ONE   "{\"volume\":\"a/s/v\",\"node\":\"n\",\"state\":\"done\",\"detail\":null}"
#define TODO_ONE   "{\"volume\":\"a/s/w\",\"node\":\"n\",\"state\":\"todo\",\"detail\":null}"
#define FAILED_ONE "{\"volume\":\"a/s/w\",\"node\":\"n\",\"state\":\"failed\",\"detail\":\"no free keyslot\"}"

#define EVENT(state, todo, running, done, failed, volumes)                                                   \
	"{\"id\":\"m-1\",\"state\":\"" state "\",\"counts\":{\"todo\":" todo ",\"running\":" running         \
	",\"done\":" done ",\"failed\":" failed "},\"volumes\":[" volumes "]}"

static ran_t run_all(const char *const *args)
{
	ran_t r = fake_kms_run(args);
	assert_true(fake_kms_done());
	return r;
}

static void test_all_rotated(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		OPENED,
		LOOK(EVENT("open", "1", "0", "0", "0", "")),
		LOOK(EVENT("open", "0", "1", "0", "0", "")),
		LOOK(EVENT("open", "0", "0", "1", "0", DONE_ONE)),
		END,
	};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait");
	if (r.e != KMS_OK)
		fail_msg("%s", r.why.text);
	assert_string_equal(r.out, "VOLUME  NODE  RESULT   REASON\na/s/v   n     rotated  -\n");
	assert_non_null(strstr(r.err, "maintenance event m-1 is open\n"));
	assert_non_null(strstr(r.err, "1 of 1 rotated"));
}

static void test_what_was_not_rotated_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *last;
		const char *out, *why;
	} rows[] = {
		{EVENT("open", "0", "0", "1", "1", DONE_ONE "," FAILED_ONE), "failed   no free keyslot",
		 "1 of 2 volumes were not rotated (1 failed): a/s/w"},
		{EVENT("halted", "1", "0", "1", "0", DONE_ONE "," TODO_ONE),
		 "not rotated  its node has not begun",
		 "1 of 2 volumes were not rotated (0 failed) because the event was halted: a/s/w"},
		{EVENT("closed", "1", "0", "0", "0", TODO_ONE), "not rotated",
		 "before the event was closed: a/s/w"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const fake_step_t steps[] = {OPENED, LOOK(rows[i].last), END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait");
		assert_int_equal(kms_err_exit(r.e), 1);
		if (strstr(r.out, rows[i].out) == NULL || strstr(r.why.text, rows[i].why) == NULL)
			fail_msg("row %zu: %s\n%s", i, r.why.text, r.out);
	}
}

static void test_time_runs_out(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		LOOK(EVENT("open", "1", "0", "0", "0", TODO_ONE)),
		LOOK(EVENT("open", "1", "0", "0", "0", TODO_ONE)),
		LOOK(EVENT("open", "1", "0", "0", "0", TODO_ONE)),
		END,
	};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("maintenance", "watch", "m-1", "--timeout", "1s");
	assert_int_equal(kms_err_exit(r.e), 1);
	assert_non_null(strstr(r.why.text, "in time: a/s/w"));
	assert_non_null(strstr(r.why.text, "still open"));
	assert_non_null(strstr(r.out, "its node has not begun"));
}

/* The event does not depend on us: a server that restarts meanwhile is waited for; one that was never there
 * is not. */
static void test_a_server_that_is_away(void **state)
{
	(void)state;
	const fake_step_t back[] = {
		LOOK(EVENT("open", "1", "0", "0", "0", TODO_ONE)),
		{"GET", "/v1/maintenance/m-1", NULL, 0, ""},
		{"GET", "/v1/maintenance/m-1", NULL, 503, "{}"},
		LOOK(EVENT("open", "0", "0", "1", "0", DONE_ONE)),
		END,
	};
	const fake_step_t never[] = {{"GET", "/v1/maintenance/m-1", NULL, 0, ""}, END};
	const fake_step_t gone[] = {{"GET", "/v1/maintenance/m-1", NULL, 404, "{}"}, END};
	fake_kms_script(back);
	SCOPED(ran_free) ran_t r = RUN_ALL("maintenance", "watch", "m-1");
	assert_int_equal(r.e, KMS_OK);
	fake_kms_script(never);
	SCOPED(ran_free) ran_t r2 = RUN_ALL("maintenance", "watch", "m-1");
	assert_int_equal(r2.e, KMS_E_UNAVAILABLE);
	fake_kms_script(gone);
	SCOPED(ran_free) ran_t r3 = RUN_ALL("maintenance", "watch", "m-1");
	assert_int_equal(r3.e, KMS_E_NOTFOUND);
}

static void test_json_at_the_end(void **state)
{
	(void)state;
	const fake_step_t steps[] = {OPENED, LOOK(EVENT("open", "0", "0", "1", "0", DONE_ONE)), END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait", "-o", "json");
	assert_int_equal(r.e, KMS_OK);
	SCOPED(json_freep) json_t *j = NULL;
	assert_int_equal(json_parse(span_str(r.out), 65536, &j, NULL), KMS_OK);
	assert_string_equal(json_string_value(json_object_get(j, "id")), "m-1");
}

/* For programs: a line for each change, and one at the end. */
static void test_lines_of_changes(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		OPENED,
		LOOK(EVENT("open", "2", "0", "0", "0", TODO_ONE)),
		LOOK(EVENT("open", "2", "0", "0", "0", TODO_ONE)),
		LOOK(EVENT("open", "0", "0", "1", "1", DONE_ONE "," FAILED_ONE)),
		END,
	};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait", "-o", "ndjson");
	assert_int_equal(kms_err_exit(r.e), 1);
	static const char *const lines[] = {"\"type\":\"event\"", "\"type\":\"volume\",\"volume\":\"a/s/v\"",
					    "\"state\":\"failed\",\"detail\":\"no free", "\"type\":\"event\"",
					    "\"type\":\"end\""};
	const char *at = r.out;
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		const char *end = strchr(at, '\n');
		assert_non_null(end);
		const char *found = strstr(at, lines[i]);
		if (found == NULL || found > end)
			fail_msg("line %zu: %s", i, r.out);
		at = end + 1;
	}
	assert_string_equal(at, "");
}

static void test_skipped_and_away(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		LOOK("{\"id\":\"m-1\",\"state\":\"aborted\",\"waves\":3,\"current_wave\":2,\"counts\":{"
		     "\"todo\":0,\"running\":1,"
		     "\"done\":0,\"failed\":0,\"skipped\":1,\"away\":1},\"volumes\":[{\"volume\":\"a/s/"
		     "v\",\"node\":\"n\",\"state\":"
		     "\"running\",\"away\":true,\"wave\":1,\"detail\":\"\"},{\"volume\":\"a/s/"
		     "w\",\"node\":\"n\",\"state\":"
		     "\"skipped\",\"away\":false,\"wave\":2,\"detail\":\"the event was aborted before its "
		     "turn\"}]}"),
		END,
	};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("maintenance", "watch", "m-1");
	assert_int_equal(kms_err_exit(r.e), 1);
	assert_non_null(strstr(r.why.text,
			       "2 of 2 volumes were not rotated (0 failed) because the event was aborted"));
	assert_non_null(strstr(r.out, "its node is away"));
	assert_non_null(strstr(r.out, "aborted before its turn"));
	assert_non_null(
		strstr(r.err, "0 of 2 rotated, 1 running, 0 failed, wave 2 of 3, 1 away, 1 skipped, "));
}

static void test_a_plan(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"POST", "/v1/maintenance:plan", NULL, 200,
		 "{\"waves\":1,\"volumes\":[{\"volume\":\"a/s/"
		 "v\",\"node\":\"n\",\"will\":\"rotate\",\"wave\":1,\"reason\":\"\"},"
		 "{\"volume\":\"a/s/w\",\"node\":\"m\",\"will\":\"skip\",\"wave\":0,\"reason\":\"the volume "
		 "is suspended\"}]}"},
		END,
	};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--dry-run", "--compromised");
	assert_int_equal(r.e, KMS_OK);
	assert_string_equal(r.out, "VOLUME  NODE  WAVE  WOULD    REASON\n"
				   "a/s/v   n     1     rotate   -\n"
				   "a/s/w   m     -     nothing  the volume is suspended\n");
	assert_non_null(strstr(r.err, "1 of 2 volumes in 1 waves; nothing was done"));
	assert_non_null(strstr(r.err, "add --reencrypt"));
}

/* Ctrl-C: the event goes on, the reader is told how to find it again, and the process lives on to say so. */
static void test_interrupt_detaches(void **state)
{
	(void)state;
	const fake_step_t steps[] = {LOOK(EVENT("open", "1", "0", "0", "0", TODO_ONE)), END};
	sigset_t set, before;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, &before), 0);
	assert_int_equal(raise(SIGINT), 0); /* pending: found at the first wait */
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("maintenance", "watch", "m-1");
	assert_int_equal(kms_err_exit(r.e), 1);
	assert_non_null(strstr(r.why.text, "the event goes on"));
	assert_non_null(strstr(r.why.text, "kmsctl maintenance watch m-1"));
	assert_int_equal(sigpending(&set), 0);
	assert_int_equal(sigismember(&set, SIGINT), 0);
	assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
}

static void test_a_servers_bad_id_goes_nowhere(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"POST", "/v1/maintenance", NULL, 201, "{\"id\":\"../sys/seal\"}"}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait");
	assert_int_equal(r.e, KMS_E_INVALID);
}

static void test_nothing_to_rotate(void **state)
{
	(void)state;
	const fake_step_t steps[] = {OPENED, LOOK(EVENT("open", "0", "0", "0", "0", "")), END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN_ALL("rotate", "--customer", "a", "--wait");
	assert_int_equal(r.e, KMS_OK);
	assert_non_null(strstr(r.err, "no active volume"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_rotated),
		cmocka_unit_test(test_what_was_not_rotated_is_named),
		cmocka_unit_test(test_time_runs_out),
		cmocka_unit_test(test_a_server_that_is_away),
		cmocka_unit_test(test_json_at_the_end),
		cmocka_unit_test(test_lines_of_changes),
		cmocka_unit_test(test_skipped_and_away),
		cmocka_unit_test(test_a_plan),
		cmocka_unit_test(test_interrupt_detaches),
		cmocka_unit_test(test_a_servers_bad_id_goes_nowhere),
		cmocka_unit_test(test_nothing_to_rotate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
