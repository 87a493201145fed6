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

static gather_verdict_t refused(gather_t *g, const char *ip, core_op_t op, const char *slug, int64_t now)
{
	const gather_key_t k = {ip, "", "anonymous", op, slug, "default-deny", ""};
	return gather_add(g, &k, now);
}

static gather_verdict_t reads(gather_t *g, const char *who, const char *ip, core_op_t op, int64_t now)
{
	const gather_key_t k = {ip, who, "operator", op, "", "auditor-read", ""};
	return gather_add(g, &k, now);
}

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
	assert_int_equal(refused(g, "192.0.2.1", OP_NODE_RELEASE, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(refused(g, "192.0.2.200", OP_NODE_RELEASE, "no-certificate", NOW + 1),
			 GATHER_COUNTED);
	assert_int_equal(refused(g, "192.0.2.3", OP_NODE_RELEASE, "no-certificate", NOW + MINUTE - 1),
			 GATHER_COUNTED);
	/* another network, operation or reason is another row */
	assert_int_equal(refused(g, "192.0.3.1", OP_NODE_RELEASE, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(refused(g, "192.0.2.1", OP_ENROLL, "no-certificate", NOW), GATHER_FIRST);
	assert_int_equal(refused(g, "192.0.2.1", OP_NODE_RELEASE, "bad-certificate", NOW), GATHER_FIRST);
	assert_false(gather_take(g, NOW + MINUTE - 1, false, &row));
	assert_true(gather_take(g, NOW + MINUTE, false, &row));
	assert_int_equal(row.count, 2);
	assert_string_equal(row.where, "192.0.2.0/24");
	assert_string_equal(row.slug, "no-certificate");
	assert_int_equal(row.op, OP_NODE_RELEASE);
	assert_false(gather_take(g, NOW + MINUTE, false, &row));
	assert_int_equal(refused(g, "192.0.2.1", OP_NODE_RELEASE, "no-certificate", NOW + MINUTE),
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
		firsts += refused(g, "192.0.2.1", OP_ENROLL, "denied", NOW + i * MINUTE / 4) == GATHER_FIRST
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
		firsts += refused(g, ip, OP_ENROLL, "denied", NOW) == GATHER_FIRST ? 1U : 0U;
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

/* Reads are told apart by whom, from where and what: no /24 here. */
static void test_reads_of_identities(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	gather_row_t row;
	assert_int_equal(gather_new(&g), KMS_OK);
	assert_int_equal(reads(g, "alice", "192.0.2.1", OP_AUDIT_GET, NOW), GATHER_FIRST);
	assert_int_equal(reads(g, "alice", "192.0.2.1", OP_AUDIT_GET, NOW + 9), GATHER_COUNTED);
	assert_int_equal(reads(g, "alice", "192.0.2.2", OP_AUDIT_GET, NOW), GATHER_FIRST);
	assert_int_equal(reads(g, "bob", "192.0.2.1", OP_AUDIT_GET, NOW), GATHER_FIRST);
	assert_int_equal(reads(g, "alice", "192.0.2.1", OP_AUDIT_LIST, NOW), GATHER_FIRST);
	assert_false(gather_take(g, NOW + MINUTE - 1, false, &row));
	assert_true(gather_take(g, NOW + MINUTE, false, &row));
	assert_int_equal(row.count, 1);
	assert_string_equal(row.actor, "alice");
	assert_string_equal(row.actor_type, "operator");
	assert_string_equal(row.where, "192.0.2.1");
	assert_string_equal(row.slug, "");
	assert_string_equal(row.statement, "auditor-read");
	assert_false(gather_take(g, NOW + MINUTE, true, &row));
	assert_int_equal(reads(g, "alice", "192.0.2.1", OP_AUDIT_GET, NOW + MINUTE), GATHER_FIRST);
}

/* More readers than rows: each is recorded or counted under its own name, and strangers take no row from
 * them. */
static void test_reads_are_never_others(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	gather_row_t row;
	uint32_t firsts = 0, counted = 0;
	const uint32_t readers = 5000, each = 3;
	assert_int_equal(gather_new(&g), KMS_OK);
	for (uint32_t i = 0; i < 20000; i++) {
		char ip[46];
		(void)snprintf(ip, sizeof ip, "10.%u.%u.1", i / 200 % 250, i % 200);
		(void)refused(g, ip, OP_ENROLL, "denied", NOW);
	}
	while (gather_take(g, NOW, true, &row))
		continue;
	for (uint32_t i = 0; i < readers * each; i++) {
		char who[32];
		(void)snprintf(who, sizeof who, "o%u", i % readers);
		firsts += reads(g, who, "192.0.2.1", OP_AUDIT_GET, NOW) == GATHER_FIRST ? 1U : 0U;
	}
	while (gather_take(g, NOW, true, &row)) {
		assert_true(row.actor[0] == 'o');
		counted += row.count;
	}
	assert_int_equal(firsts + counted, readers * each);
	assert_true(firsts >= readers);
	assert_true(counted > 500);
}

/* What a row cannot hold is recorded by itself: a cut name is another's. */
static void test_too_long_is_not_gathered(void **state)
{
	(void)state;
	SCOPED(gather_freep) gather_t *g = NULL;
	char text[256];
	assert_int_equal(gather_new(&g), KMS_OK);
	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = '\0';
	const gather_key_t good = {"192.0.2.1", "o", "operator", OP_AUDIT_GET, "", "s", "c"};
	for (size_t i = 0; i < 6; i++) {
		gather_key_t k = good;
		const char **texts[] = {&k.ip, &k.actor, &k.actor_type, &k.slug, &k.statement, &k.customer};
		*texts[i] = text;
		assert_int_equal(gather_add(g, &k, NOW), GATHER_FIRST);
		assert_int_equal(gather_add(g, &k, NOW), GATHER_FIRST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_first_then_counted),
		cmocka_unit_test(test_counts_are_not_lost_between_minutes),
		cmocka_unit_test(test_flood_is_bounded),
		cmocka_unit_test(test_reads_of_identities),
		cmocka_unit_test(test_reads_are_never_others),
		cmocka_unit_test(test_too_long_is_not_gathered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
