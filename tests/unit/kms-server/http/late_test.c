#include "kms-server/http/late.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#define MANY 200

typedef struct answer {
	late_place_t place;
	atomic_uint *count, *order;
	unsigned number; /* when it was let go, from 1 */
} answer_t;

static void on_go(void *ctx)
{
	answer_t *a = ctx;
	a->number = atomic_fetch_add(a->order, 1) + 1;
	atomic_fetch_add(a->count, 1);
}

static void add_all(late_t *l, answer_t *a, size_t n, atomic_uint *count, atomic_uint *order)
{
	for (size_t i = 0; i < n; i++) {
		a[i] = (answer_t){.count = count, .order = order};
		a[i].place.go = on_go;
		a[i].place.ctx = &a[i];
		late_wait(l, &a[i].place);
	}
}

static bool reaches(atomic_uint *count, unsigned n, int64_t ms)
{
	for (int64_t until = steady_ms() + ms; steady_ms() < until; steady_pause(5))
		if (atomic_load(count) >= n)
			return true;
	return atomic_load(count) >= n;
}

static void test_as_many_as_the_rate_pass(void **state)
{
	(void)state;
	SCOPED(late_freep) late_t *l = NULL;
	unsigned passed = 0;
	assert_int_equal(late_new(20, 60000, &l, NULL), KMS_OK);
	for (unsigned i = 0; i < 100; i++)
		passed += late_pass(l) ? 1 : 0;
	assert_in_range(passed, 20, 40); /* 20, and what a busy machine lets grow again */
	steady_pause(300);
	passed = 0;
	for (unsigned i = 0; i < 100; i++)
		passed += late_pass(l) ? 1 : 0;
	assert_in_range(passed, 4, 40);
}

static void test_in_turn_at_the_rate(void **state)
{
	(void)state;
	SCOPED(late_freep) late_t *l = NULL;
	static answer_t a[40];
	atomic_uint count = 0, order = 0;
	assert_int_equal(late_new(40, 60000, &l, NULL), KMS_OK);
	while (late_pass(l)) {
	}
	int64_t from = steady_ms();
	add_all(l, a, 40, &count, &order);
	assert_false(late_pass(l)); /* nobody overtakes */
	assert_true(reaches(&count, 40, 5000));
	assert_in_range(steady_ms() - from, 700, 8000);
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(a[i].number, i + 1);
}

static void test_none_waits_longer(void **state)
{
	(void)state;
	SCOPED(late_freep) late_t *l = NULL;
	static answer_t a[MANY];
	atomic_uint count = 0, order = 0;
	assert_int_equal(late_new(1, 300, &l, NULL), KMS_OK);
	while (late_pass(l)) {
	}
	int64_t from = steady_ms();
	add_all(l, a, MANY, &count, &order);
	assert_true(reaches(&count, MANY, 5000));
	assert_in_range(steady_ms() - from, 250, 8000);
}

static void test_stop_lets_all_go(void **state)
{
	(void)state;
	SCOPED(late_freep) late_t *l = NULL;
	static answer_t a[MANY], later;
	atomic_uint count = 0, order = 0;
	assert_int_equal(late_new(1, 60000, &l, NULL), KMS_OK);
	while (late_pass(l)) {
	}
	add_all(l, a, MANY, &count, &order);
	late_stop(l);
	assert_int_equal(atomic_load(&count), MANY);
	assert_true(late_pass(l));
	add_all(l, &later, 1, &count, &order);
	assert_int_equal(atomic_load(&count), MANY + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_many_as_the_rate_pass),
		cmocka_unit_test(test_in_turn_at_the_rate),
		cmocka_unit_test(test_none_waits_longer),
		cmocka_unit_test(test_stop_lets_all_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
