#include "kms-server/core/budget.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW INT64_C(1700000000000)

static const uint8_t alice[32] = {1}, bob[32] = {2};

static unsigned taken(budget_t *b, const uint8_t id[32], int64_t now, unsigned tries)
{
	unsigned n = 0;
	for (unsigned i = 0; i < tries; i++)
		n += budget_take(b, id, now) ? 1U : 0U;
	return n;
}

static void test_burst_then_rate(void **state)
{
	(void)state;
	SCOPED(budget_freep) budget_t *b = NULL;
	assert_int_equal(budget_new(10, 50, &b), KMS_OK);
	assert_int_equal(taken(b, alice, NOW, 100), 50);
	assert_int_equal(taken(b, alice, NOW + 99, 100), 0);
	assert_int_equal(taken(b, alice, NOW + 200, 100), 2);
	assert_int_equal(taken(b, alice, NOW + 1200, 100), 10);
	assert_int_equal(taken(b, alice, NOW + 1000000, 100), 50); /* never more than the burst */
}

static void test_identities_are_apart(void **state)
{
	(void)state;
	SCOPED(budget_freep) budget_t *b = NULL;
	assert_int_equal(budget_new(10, 50, &b), KMS_OK);
	assert_int_equal(taken(b, alice, NOW, 100), 50);
	assert_int_equal(taken(b, bob, NOW, 100), 50);
}

/* A clock that is set back gives nothing. */
static void test_clock_goes_back(void **state)
{
	(void)state;
	SCOPED(budget_freep) budget_t *b = NULL;
	assert_int_equal(budget_new(10, 50, &b), KMS_OK);
	assert_int_equal(taken(b, alice, NOW, 100), 50);
	assert_int_equal(taken(b, alice, NOW - 3600000, 100), 0);
	assert_int_equal(taken(b, alice, NOW - 3600000 + 500, 100), 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_rate),
		cmocka_unit_test(test_identities_are_apart),
		cmocka_unit_test(test_clock_goes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
