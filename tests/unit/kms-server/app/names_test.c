#include "kms-server/app/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct row {
	const char *args[6];
	const char *reason;
} row_t;

static const row_t bad[] = {
	{{"--name"}, "no value"},
	{{"--name", "--dir", "x"}, "a flag in place of the value"},
	{{"--name", ""}, "empty"},
	{{"--name="}, "empty"},
	{{"--dir", "x", "--name"}, "no value at the end"},
};

static int count(char **argv, const char *const *args)
{
	int n = 0;
	for (; n < 6 && args[n] != NULL; n++)
		argv[n] = (char *)(uintptr_t)args[n];
	return n;
}

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char *argv[6];
		int argc = count(argv, bad[i].args);
		names_t names = {.n = 99};
		diag_t why = {.text = ""};
		if (names_take(&argc, argv, &names, &why) != KMS_E_INVALID || names.n != 99 ||
		    why.text[0] == '\0')
			fail_msg("%s", bad[i].reason);
	}
}

static void test_taken_out(void **state)
{
	(void)state;
	const char *const args[6] = {"--dir", "x", "--name", "kms.example", "--name=192.0.2.1", "w"};
	char *argv[6];
	int argc = count(argv, args);
	names_t names;
	assert_int_equal(names_take(&argc, argv, &names, NULL), KMS_OK);
	assert_int_equal(argc, 3);
	assert_string_equal(argv[2], "w");
	assert_int_equal(names.n, 5);
	assert_string_equal(names.at[0], "localhost");
	assert_string_equal(names.at[3], "kms.example");
	assert_string_equal(names.at[4], "192.0.2.1");
}

static void test_no_doubles_and_end_of_flags(void **state)
{
	(void)state;
	const char *const args[6] = {"--name", "127.0.0.1", "--", "--name", "x"};
	char *argv[6];
	int argc = count(argv, args);
	names_t names;
	assert_int_equal(names_take(&argc, argv, &names, NULL), KMS_OK);
	assert_int_equal(names.n, 3);
	assert_int_equal(argc, 3);
	assert_string_equal(argv[1], "--name");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken_out),
		cmocka_unit_test(test_no_doubles_and_end_of_flags),
	};
	return cmocka_run_group_tests_name("app/names", tests, NULL, NULL);
}
