/* Conditions by themselves, to the millisecond and the person: what holds, what fails for good, and what a
 * grant could still bring. */
#include "policy/condition.h"

#include "tests/unit/policy/policy_support.h"

#define DAY INT64_C(86400000)
#define NOW (20000 * DAY)

#define V4(a, b, c, d)                                                                                       \
	{                                                                                                    \
		[10] = 0xff, [11] = 0xff, [12] = (a), [13] = (b), [14] = (c), [15] = (d)                     \
	}
#define V6(last)                                                                                             \
	{                                                                                                    \
		0x20, 0x01, 0x0d, 0xb8, [15] = (last)                                                        \
	}
#define FROM(...) .has_address = true, .address = __VA_ARGS__
#define NODE      .who = POLICY_NODE
#define BY(who)                                                                                              \
	{                                                                                                    \
		.name = (who), .role = "admin"                                                               \
	}

static const network_t ten_8 = {.addr = V4(10, 0, 0, 0), .bits = 104};
static const network_t host = {.addr = V6(1), .bits = 128};
static const network_t all_v6 = {.addr = {0}, .bits = 0};
static const network_t all_v4 = {.addr = V4(0, 0, 0, 0), .bits = 96};
static const hours_t always_monday = {.days = 1};
static const char *const incident[] = {"incident", "test"};
static const principal_t admins = {.kind = PRINCIPAL_ROLE, .segment = {"admin", "", ""}};

#define IN(n)                                                                                                \
	{                                                                                                    \
		.set = {[PART_NETWORKS] = true}, .networks = &(n), .n_networks = 1                           \
	}
#define AGE(d)                                                                                               \
	{                                                                                                    \
		.set = {[PART_CERTIFICATE_AGE] = true}, .certificate_days = (d)                              \
	}
#define UNSEEN(d)                                                                                            \
	{                                                                                                    \
		.set = {[PART_NODE_UNSEEN] = true}, .unseen_days = (d)                                       \
	}
#define HOURS                                                                                                \
	{                                                                                                    \
		.set = {[PART_HOURS] = true}, .hours = &always_monday, .n_hours = 1                          \
	}
#define REASONS                                                                                              \
	{                                                                                                    \
		.set = {[PART_REASONS] = true}, .reasons = incident, .n_reasons = 2                          \
	}
#define TICKET                                                                                               \
	{                                                                                                    \
		.set = {[PART_TICKET] = true}, .ticket = "OPS-*"                                             \
	}
#define TWO                                                                                                  \
	{                                                                                                    \
		.set = {[PART_APPROVALS] = true}, .approvals = 2, .from = { &admins, 1 }                     \
	}
#define NEW                                                                                                  \
	{                                                                                                    \
		.set = { [PART_NODE_NEW_ADDRESS] = true }                                                    \
	}
#define GLASS(b)                                                                                             \
	{                                                                                                    \
		.set = {[PART_BREAK_GLASS] = true}, .break_glass = (b)                                       \
	}
#define GLASS_2                                                                                              \
	{                                                                                                    \
		.set = {[PART_BREAK_GLASS] = true, [PART_APPROVALS] = true}, .break_glass = true,            \
		.approvals = 2                                                                               \
	}
#define MONDAY     (4 * DAY)
#define GRANT(...) .grant = {.present = true, __VA_ARGS__}

typedef struct row {
	const char *reason;
	condition_t condition;
	policy_request_t request;
	verdict_t verdict;
	const char *why;
} row_t;

static const row_t rows[] = {
	{"nothing asked", {.approvals = 0}, {NODE}, VERDICT_HOLDS, ""},

	{"in the network", IN(ten_8), {FROM(V4(10, 255, 255, 255))}, VERDICT_HOLDS, ""},
	{"just behind it",
	 IN(ten_8),
	 {FROM(V4(11, 0, 0, 0))},
	 VERDICT_FAILS,
	 "networks: 11.0.0.0 is in none"},
	{"just before it",
	 IN(ten_8),
	 {FROM(V4(9, 255, 255, 255))},
	 VERDICT_FAILS,
	 "9.255.255.255 is in none"},
	{"not known is in none", IN(ten_8), {.address = V4(10, 0, 0, 1)}, VERDICT_FAILS, "is not known"},
	{"not known is not in ::/0 either", IN(all_v6), {NODE}, VERDICT_FAILS, "is not known"},
	{"one address", IN(host), {FROM(V6(1))}, VERDICT_HOLDS, ""},
	{"its neighbour", IN(host), {FROM(V6(2))}, VERDICT_FAILS, "2001:db8::2 is in none"},
	{"all of IPv6", IN(all_v6), {FROM(V6(9))}, VERDICT_HOLDS, ""},
	{"all of IPv6 is no IPv4", IN(all_v6), {FROM(V4(10, 0, 0, 1))}, VERDICT_FAILS, "is in none"},
	{"all of IPv4", IN(all_v4), {FROM(V4(192, 0, 2, 1))}, VERDICT_HOLDS, ""},
	{"all of IPv4 is no IPv6", IN(all_v4), {FROM(V6(9))}, VERDICT_FAILS, "is in none"},

	{"its day", HOURS, {.now_ms = MONDAY}, VERDICT_HOLDS, ""},
	{"just before", HOURS, {.now_ms = MONDAY - 1}, VERDICT_FAILS, "hours: Sun 23:59 UTC is in none"},
	{"the last moment there is", HOURS, {.now_ms = INT64_MAX}, VERDICT_FAILS, " UTC is in none"},
	{"the first moment there is", HOURS, {.now_ms = INT64_MIN}, VERDICT_FAILS, " UTC is in none"},

	{"of today", AGE(1), {.now_ms = NOW, .certificate_from_ms = NOW}, VERDICT_HOLDS, ""},
	{"at most so old",
	 AGE(30),
	 {.now_ms = NOW, .certificate_from_ms = NOW - 30 * DAY},
	 VERDICT_HOLDS,
	 ""},
	{"a millisecond older",
	 AGE(30),
	 {.now_ms = NOW, .certificate_from_ms = NOW - 30 * DAY - 1},
	 VERDICT_FAILS,
	 "more than 30 days old"},
	{"of tomorrow, where clocks differ",
	 AGE(1),
	 {.now_ms = NOW, .certificate_from_ms = NOW + DAY},
	 VERDICT_HOLDS,
	 ""},
	{"of no time", AGE(36500), {.now_ms = NOW}, VERDICT_FAILS, "is not known"},
	{"before there was time", AGE(36500), {.now_ms = NOW, .certificate_from_ms = -1}, VERDICT_FAILS, ""},

	{"never seen", UNSEEN(30), {NODE, .now_ms = NOW}, VERDICT_HOLDS, ""},
	{"just so long ago", UNSEEN(30), {NODE, .now_ms = NOW, .seen_ms = NOW - 30 * DAY}, VERDICT_HOLDS, ""},
	{"a millisecond less",
	 UNSEEN(30),
	 {NODE, .now_ms = NOW, .seen_ms = NOW - 30 * DAY + 1},
	 VERDICT_FAILS,
	 "seen in the last 30 days"},
	{"seen in what is to come", UNSEEN(1), {NODE, .now_ms = NOW, .seen_ms = NOW + 1}, VERDICT_FAILS, ""},
	{"a person is no unseen node", UNSEEN(1), {.who = POLICY_OPERATOR, .now_ms = NOW}, VERDICT_FAILS, ""},

	{"a new address", NEW, {NODE}, VERDICT_HOLDS, ""},
	{"an old one", NEW, {NODE, .known_address = true}, VERDICT_FAILS, "from this address before"},
	{"a person's", NEW, {.who = POLICY_OPERATOR}, VERDICT_FAILS, "the caller is no node"},

	{"no grant, no reason", REASONS, {NODE}, VERDICT_LACKS, "names no grant"},
	{"the second reason", REASONS, {GRANT(.reason = "test")}, VERDICT_HOLDS, ""},
	{"another reason", REASONS, {GRANT(.reason = "tes")}, VERDICT_FAILS, "is none of them"},
	{"a reason without a grant", REASONS, {.grant = {.reason = "test"}}, VERDICT_LACKS, ""},
	{"no grant, no ticket", TICKET, {NODE}, VERDICT_LACKS, "names no grant"},
	{"a ticket", TICKET, {GRANT(.ticket = "OPS-1")}, VERDICT_HOLDS, ""},
	{"another ticket", TICKET, {GRANT(.ticket = "OP-1")}, VERDICT_FAILS, "is not \"OPS-*\""},
	{"a grant without a ticket", TICKET, {GRANT(.ticket = "")}, VERDICT_FAILS, "is not \"OPS-*\""},
	{"the glass broken", GLASS(true), {GRANT(.break_glass = true)}, VERDICT_HOLDS, ""},
	{"another grant", GLASS(true), {GRANT(.break_glass = false)}, VERDICT_FAILS, "names no break-glass"},
	{"the glass, but no grant", GLASS(true), {.grant = {.break_glass = true}}, VERDICT_FAILS, ""},
	{"not broken", GLASS(false), {NODE}, VERDICT_HOLDS, ""},
	{"broken where it must not be", GLASS(false), {GRANT(.break_glass = true)}, VERDICT_FAILS, ""},

	{"two people", TWO, {GRANT(.approvers = {BY("a"), BY("b")}, .n_approvers = 2)}, VERDICT_HOLDS, ""},
	{"one of them twice",
	 TWO,
	 {GRANT(.approvers = {BY("a"), BY("a")}, .n_approvers = 2)},
	 VERDICT_LACKS,
	 "1 of the 2"},
	{"one of them is the caller",
	 TWO,
	 {.who = POLICY_OPERATOR,
	  .person = BY("b"),
	  GRANT(.approvers = {BY("a"), BY("b")}, .n_approvers = 2)},
	 VERDICT_LACKS,
	 "1 of the 2"},
	{"who is confined is the caller too",
	 TWO,
	 {.who = POLICY_SCOPED, .person = BY("b"), GRANT(.approvers = {BY("a"), BY("b")}, .n_approvers = 2)},
	 VERDICT_LACKS,
	 "1 of the 2"},
	{"a node called like one of them is not",
	 TWO,
	 {NODE, .person = BY("b"), GRANT(.approvers = {BY("a"), BY("b")}, .n_approvers = 2)},
	 VERDICT_HOLDS,
	 ""},
	{"one in another role",
	 TWO,
	 {GRANT(.approvers = {BY("a"), {.name = "b", .role = "auditor"}}, .n_approvers = 2)},
	 VERDICT_LACKS,
	 "1 of the 2"},
	{"approvals of no grant",
	 TWO,
	 {.grant = {.approvers = {BY("a"), BY("b")}, .n_approvers = 2}},
	 VERDICT_LACKS,
	 "0 of the 2"},
	/* a failing part outweighs a lacking one: no approval could mend it */
	{"it fails, whatever it lacks", GLASS_2, {NODE}, VERDICT_FAILS, "break_glass: "},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		diag_t why = {""};
		policy_request_t r = request_of(&rows[i].request);
		verdict_t v = condition_check(&rows[i].condition, &r, &why);
		if (v != rows[i].verdict || strstr(why.text, rows[i].why) == NULL)
			fail_msg("%s: %d, %s", rows[i].reason, (int)v, why.text);
		assert_int_equal(condition_check(&rows[i].condition, &r, NULL), v);
		assert_int_equal(v == VERDICT_HOLDS, why.text[0] == '\0');
	}
}

/* A count beyond the array reads no further than the array. */
static void test_too_many_approvers(void **state)
{
	(void)state;
	static const char *const name[] = {"a", "b", "c", "d", "e", "f", "g", "h",
					   "i", "j", "k", "l", "m", "n", "o", "p"};
	condition_t c = {.set = {[PART_APPROVALS] = true}, .approvals = 16, .from = {&admins, 1}};
	policy_request_t r = request_of(&(policy_request_t){NODE});
	r.grant.present = true;
	r.grant.n_approvers = POLICY_APPROVERS_MAX + 1;
	assert_int_equal(COUNT(name), POLICY_APPROVERS_MAX);
	for (size_t i = 0; i < COUNT(name); i++)
		r.grant.approvers[i] = (policy_person_t)BY(name[i]);
	assert_int_equal(condition_check(&c, &r, NULL), VERDICT_HOLDS);
	c.approvals = 17;
	assert_int_equal(condition_check(&c, &r, NULL), VERDICT_LACKS);
}

/* Documents and explanations name a part alike. */
static void test_part_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < PART_COUNT; i++) {
		assert_non_null(condition_part_name((part_t)i));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(condition_part_name((part_t)i),
						condition_part_name((part_t)k));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_too_many_approvers),
		cmocka_unit_test(test_part_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
