#include "node-agent/app/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void waits_double_up_to_the_most(void **state)
{
	(void)state;
	backoff_t b = {.most_ms = 4000};
	static const uint32_t steps[] = {500, 1000, 2000, 4000, 4000, 4000};
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		assert_in_range(backoff_next(&b, 0), steps[i] / 2, steps[i] / 2 + steps[i]);
	backoff_reset(&b);
	assert_in_range(backoff_next(&b, 0), 250, 750);
}

static void the_servers_wish_is_the_least(void **state)
{
	(void)state;
	backoff_t b = {.most_ms = 4000};
	for (unsigned i = 0; i < 50; i++)
		assert_in_range(backoff_next(&b, 20), 20000, 30000);
	/* an absurd wish is cut to an hour */
	assert_in_range(backoff_next(&b, UINT32_MAX), 3600000, 5400000);
}

static void two_agents_do_not_wait_alike(void **state)
{
	(void)state;
	unsigned same = 0;
	for (unsigned i = 0; i < 20; i++) {
		backoff_t one = {.next_ms = 100000, .most_ms = 100000};
		backoff_t two = one;
		same += backoff_next(&one, 0) == backoff_next(&two, 0) ? 1 : 0;
	}
	assert_in_range(same, 0, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_double_up_to_the_most),
		cmocka_unit_test(the_servers_wish_is_the_least),
		cmocka_unit_test(two_agents_do_not_wait_alike),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
