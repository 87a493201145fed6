#include "common/base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_exit_codes_of_the_contract(void **state)
{
	(void)state;
	static const struct {
		kms_err_t e;
		int code;
	} rows[] = {{KMS_OK, 0},       {KMS_E_INVALID, 2},     {KMS_E_NOMEM, 1},     {KMS_E_NOTFOUND, 4},
		    {KMS_E_DENIED, 3}, {KMS_E_CONFLICT, 1},    {KMS_E_INTEGRITY, 6}, {KMS_E_FULL, 1},
		    {KMS_E_IO, 1},     {KMS_E_UNAVAILABLE, 5}, {KMS_E_PENDING, 7}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(kms_err_exit(rows[i].e), rows[i].code);
}

static void test_names_differ(void **state)
{
	(void)state;
	for (int a = KMS_OK; a <= KMS_E_PENDING; a++)
		for (int b = KMS_OK; b < a; b++)
			assert_string_not_equal(kms_err_name((kms_err_t)a), kms_err_name((kms_err_t)b));
}

static void test_diag_is_cut_not_overrun(void **state)
{
	(void)state;
	diag_t d;
	assert_int_equal(diag_fail(&d, KMS_E_IO, "%0600d", 1), KMS_E_IO);
	assert_int_equal(strlen(d.text), sizeof d.text - 1);
	assert_int_equal(diag_fail(NULL, KMS_E_DENIED, "%s", "nobody listens"), KMS_E_DENIED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes_of_the_contract),
		cmocka_unit_test(test_names_differ),
		cmocka_unit_test(test_diag_is_cut_not_overrun),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
