#include "common/tlog/witnessing.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HASH "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"

static void test_round(void **state)
{
	(void)state;
	static const char text[] =
		"old 20852014\n" HASH HASH "\nexample.com/behind-the-sofa\n1\n" HASH "\nsig\n";
	add_checkpoint_t a;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	assert_int_equal(add_checkpoint_parse(span_str(text), &a, NULL), KMS_OK);
	assert_true(a.old_size == 20852014);
	assert_int_equal(a.n, 2);
	assert_memory_equal(a.checkpoint.p, "example.com/", 12);
	assert_int_equal(add_checkpoint_format(&a, &b), KMS_OK);
	assert_true(span_eq(buf_span(&b), span_str(text)));
	assert_int_equal(add_checkpoint_parse(span_str("old 0\n\nx\n"), &a, NULL), KMS_OK);
	assert_int_equal(a.n, 0);
}

static kms_err_t with_hashes(size_t n)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	add_checkpoint_t a;
	buf_str(&b, "old 1\n");
	for (size_t i = 0; i < n; i++)
		buf_str(&b, HASH);
	buf_str(&b, "\nx\n");
	return add_checkpoint_parse(buf_span(&b), &a, NULL);
}

static void test_refusals(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  "old 1",
					  "old 1\n",
					  "old 1\n\n", /* no checkpoint */
					  "old\n\nx\n",
					  "old \n\nx\n",
					  "old 01\n\nx\n",
					  "old -1\n\nx\n",
					  "old  1\n\nx\n",
					  "old 1 \n\nx\n",
					  "old 1\r\n\r\nx\n",
					  "old 18446744073709551616\n\nx\n",
					  "Old 1\n\nx\n",
					  "1\n\nx\n",
					  "\nold 1\n\nx\n",
					  "old 1\nAAAA\n\nx\n",
					  "old 1\n" HASH,
					  "old 1\n" HASH "x\n"};
	add_checkpoint_t a = {.old_size = 77};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		diag_t why = {{0}};
		if (add_checkpoint_parse(span_str(bad[i]), &a, &why) != KMS_E_INVALID)
			fail_msg("taken: row %zu", i);
		assert_true(a.old_size == 77 && why.text[0] != '\0');
	}
	assert_int_equal(with_hashes(ADD_CHECKPOINT_PROOF), KMS_OK);
	assert_int_equal(with_hashes(ADD_CHECKPOINT_PROOF + 1), KMS_E_INVALID);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	a = (add_checkpoint_t){.n = ADD_CHECKPOINT_PROOF + 1, .checkpoint = span_str("x\n")};
	assert_int_equal(add_checkpoint_format(&a, &b), KMS_E_INVALID);
	a = (add_checkpoint_t){.old_size = 1};
	assert_int_equal(add_checkpoint_format(&a, &b), KMS_E_INVALID);
	uint8_t *at = buf_reserve(&b, ADD_CHECKPOINT_MAX + 1);
	assert_non_null(at);
	memset(at, 'x', ADD_CHECKPOINT_MAX + 1);
	memcpy(at, "old 1\n\n", 7);
	assert_int_equal(add_checkpoint_parse(buf_span(&b), &a, NULL), KMS_E_INVALID);
	assert_int_equal(add_checkpoint_parse(span_of(at, ADD_CHECKPOINT_MAX), &a, NULL), KMS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_round), cmocka_unit_test(test_refusals)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
