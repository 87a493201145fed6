/* The memory of a document: zeroed, aligned, of nobody else, and an error where there is none. */
#include "policy/pool.h"

#include "tests/support/allocfail.h"
#include "tests/unit/policy/policy_support.h"

#include <stdalign.h>

/* Blocks of every size around a block's own, all filled: none may reach into another. */
static void test_nothing_is_shared(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 15, 16, 17, 4064, 4095, 4096, 4097, 100000, 1, 0};
	uint8_t *at[COUNT(sizes)];
	pool_t p = {NULL};
	for (size_t i = 0; i < COUNT(sizes); i++) {
		void *out = NULL;
		assert_int_equal(pool_array(&p, sizes[i], 1, &out), KMS_OK);
		assert_non_null(out);
		assert_int_equal((uintptr_t)out % alignof(max_align_t), 0);
		at[i] = out;
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(at[i][k], 0);
		memset(at[i], (int)i + 1, sizes[i]);
	}
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t k = 0; k < sizes[i]; k++)
			assert_int_equal(at[i][k], (int)i + 1);
	pool_free(&p);
	pool_free(&p); /* empty again */
}

static void test_too_much(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		size_t n, size;
	} rows[] = {{"the product is more than there are addresses", SIZE_MAX / 2, 3},
		    {"it would come around to a small one", SIZE_MAX / 16 + 2, 16},
		    {"one thing of that size", 1, SIZE_MAX}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		pool_t p = {NULL};
		void *out = NULL;
		if (pool_array(&p, rows[i].n, rows[i].size, &out) != KMS_E_NOMEM || out != NULL)
			fail_msg("%s", rows[i].reason);
		assert_null(p.last);
	}
}

static void test_nothing_of_no_size(void **state)
{
	(void)state;
	pool_t p = {NULL};
	void *a = NULL, *b = NULL;
	assert_int_equal(pool_array(&p, SIZE_MAX, 0, &a), KMS_OK);
	assert_int_equal(pool_array(&p, 0, 8, &b), KMS_OK);
	assert_true(a != NULL && b != NULL && a != b);
	pool_free(&p);
}

static void test_text(void **state)
{
	(void)state;
	pool_t p = {NULL};
	const char *a = NULL, *none = NULL;
	assert_int_equal(pool_text(&p, span_str("abc"), &a), KMS_OK);
	assert_int_equal(pool_text(&p, span_of(NULL, 0), &none), KMS_OK);
	assert_string_equal(a, "abc");
	assert_string_equal(none, "");
	pool_free(&p);
}

static void test_no_memory(void **state)
{
	(void)state;
	if (!allocfail_supported())
		skip();
	pool_t p = {NULL};
	const char *text = NULL, *before = NULL;
	assert_int_equal(pool_text(&p, span_str("before"), &before), KMS_OK);
	allocfail_arm(1);
	kms_err_t small = pool_text(&p, span_str("fits"), &text); /* needs no new block */
	void *large = NULL;
	kms_err_t e = pool_array(&p, 5000, 1, &large);
	allocfail_arm(0);
	assert_int_equal(small, KMS_OK);
	assert_int_equal(e, KMS_E_NOMEM);
	assert_null(large);
	assert_string_equal(before, "before");
	pool_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_shared),  cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_nothing_of_no_size), cmocka_unit_test(test_text),
		cmocka_unit_test(test_no_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
