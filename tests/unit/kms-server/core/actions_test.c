/* The operations of the API against the actions that policies may name: neither list has what the other
 * lacks. */
#include "policy/actions.h"

#include "kms-server/core/ops.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static void test_every_operation_is_an_action(void **state)
{
	(void)state;
	for (core_op_t op = 0; op < OP_COUNT; op++)
		if (policy_action(core_op_info(op)->action) == NULL)
			fail_msg("policies cannot name %s", core_op_info(op)->action);
}

static void test_every_action_is_an_operation(void **state)
{
	(void)state;
	size_t n;
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++) {
		bool there = false;
		for (core_op_t op = 0; op < OP_COUNT; op++)
			there = there || strcmp(core_op_info(op)->action, all[i].name) == 0;
		if (!there)
			fail_msg("no operation is %s", all[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_operation_is_an_action),
		cmocka_unit_test(test_every_action_is_an_operation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
