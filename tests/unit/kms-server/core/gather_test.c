#include "kms-server/core/gather.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MINUTE   INT64_C(60000)
#define NOW      (INT64_C(28333333) * MINUTE)

static void test_prefixes(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{"192.0.2.77", "192.0.2.0/24"},
		{"0.0.0.0", "0.0.0.0/24"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8::1", "2001:db8::/64"},
		{"::1", "::/64"},
		{"2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222::/64"},
		{"", "other"},
		{"192.0.2", "other"},
		{"192.0.2.1 ", "other"},
		{"fe80::1%eth0", "other"},
		{"no address", "other"},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[48];
		gather_prefix(rows[i][0], out);
		assert_string_equal(out, rows[i][1]);
	}
	char out[48];
	gather_prefix("::ffff:192.0.2.1", out);
	assert_non_null(strstr(out, "/64"));
}

static void test_first_then_counted(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	gather_row_t row;
	assert_int_equal(gather_new(&g), KMS_OK);
	assert_int_equal(gather_add(g, "192.0.2.1", OP_NODE_RELEASE, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(gather_add(g, "192.0.2.200", OP_NODE_RELEASE, "no-certificate", NOW + 1),
			 GATHER_COUNTED);
	assert_int_equal(gather_add(g, "192.0.2.3", OP_NODE_RELEASE, "no-certificate", NOW + MINUTE - 1),
			 GATHER_COUNTED);
	/* another network, operation or reason is another row */
	assert_int_equal(gather_add(g, "192.0.3.1", OP_NODE_RELEASE, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(gather_add(g, "192.0.2.1", OP_ENROLL, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(gather_add(g, "192.0.2.1", OP_NODE_RELEASE, "bad-certificate", NOW), GATHER_FIRST);
	assert_false(gather_take(g, NOW + MINUTE - 1, false, &row));
	assert_true(gather_take(g, NOW + MINUTE, false, &row));
	assert_int_equal(row.count, 2);
	assert_string_equal(row.prefix, "192.0.2.0/24");
	assert_string_equal(row.slug, "no-certificate");
	assert_int_equal(row.op, OP_NODE_RELEASE);
	assert_false(gather_take(g, NOW + MINUTE, false, &row));
	assert_int_equal(gather_add(g, "192.0.2.1", OP_NODE_RELEASE, "no-certificate", NOW + MINUTE),
			 GATHER_FIRST);
}

/* What was counted in a minute that nobody has taken yet must not be lost by the next one. */
static void test_counts_are_not_lost_between_minutes(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	gather_row_t row;
	uint32_t firsts = 0, counted = 0;
	assert_int_equal(gather_new(&g), KMS_OK);
	for (int i = 0; i < 10; i++)
		firsts +=
			gather_add(g, "192.0.2.1", OP_ENROLL, "denied", NOW + i * MINUTE / 4) == GATHER_FIRST
				? 1U
				: 0U;
	while (gather_take(g, NOW, true, &row))
		counted += row.count;
	assert_int_equal(firsts + counted, 10);
}

/* From everywhere at once: the number of events a minute has a bound, and everything is in some count. */
static void test_flood_is_bounded(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	gather_row_t row;
	uint32_t firsts = 0, counted = 0, rows = 0;
	const uint32_t sent = 20000;
	assert_int_equal(gather_new(&g), KMS_OK);
	for (uint32_t i = 0; i < sent; i++) {
		char ip[46];
		(void)snprintf(ip, sizeof ip, "10.%u.%u.1", i / 200 % 250, i % 200);
		firsts += gather_add(g, ip, OP_ENROLL, "denied", NOW) == GATHER_FIRST ? 1U : 0U;
	}
	while (gather_take(g, NOW, true, &row)) {
		counted += row.count;
		rows++;
	}
	assert_true(firsts <= 600);
	assert_true(firsts > 100);
	assert_true(rows <= 1025);
	assert_int_equal(firsts + counted, sent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_first_then_counted),
		cmocka_unit_test(test_counts_are_not_lost_between_minutes),
		cmocka_unit_test(test_flood_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
