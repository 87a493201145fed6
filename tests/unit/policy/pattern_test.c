/* Patterns of actions and tickets, and the tables of actions and types behind them. */
#include "policy/pattern.h"

#include "tests/unit/policy/policy_support.h"

typedef struct ticket_row {
	const char *reason, *pattern, *ticket;
	bool matches;
} ticket_row_t;

static const ticket_row_t tickets[] = {
	{"the same", "OPS-1", "OPS-1", true},
	{"case counts", "OPS-1", "ops-1", false},
	{"longer", "OPS-1", "OPS-12", false},
	{"shorter", "OPS-12", "OPS-1", false},
	{"a run", "OPS-*", "OPS-12", true},
	{"an empty run", "OPS-*", "OPS-", true},
	{"several empty runs", "OPS-***", "OPS-", true},
	{"the run does not reach back", "OPS-*", "XOPS-1", false},
	{"anything", "*", "x", true},
	{"no ticket is not anything", "*", "", false},
	{"no ticket is not nothing", "", "", false},
	{"a run in the middle", "A*Z", "AbcZ", true},
	{"that begins again", "A*Z", "AZbZ", true},
	{"what comes after it is missing", "A*Z", "AbZc", false},
	{"two runs", "*-*", "a-b", true},
	{"two runs and no sign between", "*-*", "ab", false},
	{"something is left of the pattern", "a*b", "a", false},
	{"a ticket called *", "a", "*", false},
};

static void test_tickets(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(tickets); i++)
		if (pattern_ticket_matches(tickets[i].pattern, tickets[i].ticket) != tickets[i].matches)
			fail_msg("%s", tickets[i].reason);
}

typedef struct action_row {
	const char *reason, *pattern, *has, *has_not; /* NULL: the pattern is refused */
} action_row_t;

static const action_row_t actions[] = {
	{"one", "key.release", "key.release", "volume.read"},
	{"a noun's", "volume.*", "volume.read", "node.read"},
	{"a verb's", "*.read", "node.read", "node.list"},
	{"all but the noun", "*.unknown", "api.unknown", "sys.seal-status"},
	{"no dot", "key", NULL, NULL},
	{"nothing", "", NULL, NULL},
	{"a star alone", "*", NULL, NULL},
	{"no verb", "key.", NULL, NULL},
	{"no noun", ".release", NULL, NULL},
	{"part of a verb", "key.rel*", NULL, NULL},
	{"two dots", "key..release", NULL, NULL},
};

static void test_actions(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(actions); i++) {
		const action_row_t *a = &actions[i];
		const action_set_t none = {{0}};
		action_set_t set = none;
		diag_t why = {""};
		kms_err_t e = pattern_actions(span_str(a->pattern), &set, &why);
		if (a->has == NULL ? e != KMS_E_INVALID || memcmp(&set, &none, sizeof set) != 0
				   : e != KMS_OK || !action_set_has(&set, policy_action(a->has)) ||
					     action_set_has(&set, policy_action(a->has_not)))
			fail_msg("%s: %s", a->reason, why.text);
	}
}

/* Every name of the table has a type of the other one; nothing else has. */
static void test_tables(void **state)
{
	(void)state;
	static const char *const no_types[] = {"", "*", "volum", "volumes", "Volume"};
	static const char *const no_actions[] = {"", "*.*", "key.burn", "key", "Key.release"};
	size_t n;
	const policy_action_t *all = policy_actions(&n);
	assert_in_range(n, 1, ACTION_SET_MAX);
	for (size_t i = 0; i < n; i++) {
		assert_ptr_equal(policy_action(all[i].name), &all[i]);
		assert_non_null(policy_type(all[i].type));
	}
	for (size_t i = 0; i < COUNT(no_types); i++)
		assert_null(policy_type(no_types[i]));
	for (size_t i = 0; i < COUNT(no_actions); i++)
		assert_null(policy_action(no_actions[i]));
}

/* Bad input in a message must neither move a terminal's cursor nor fill it. */
static void test_shown(void **state)
{
	(void)state;
	static const struct {
		const char *text, *shown;
	} rows[] = {{"", ""}, {" ~", " ~"}, {"a\x1b[2J", "a?[2J"}, {"\x7f\x1f\n", "???"}, {"\xc3\xa4", "??"}};
	char many[200];
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(pattern_shown(span_str(rows[i].text)).text, rows[i].shown);
	memset(many, 'a', sizeof many);
	for (size_t n = 70; n < sizeof many; n++) {
		shown_t s = pattern_shown(span_of(many, n));
		assert_int_equal(strlen(s.text), n < 80 ? n : n == 80 ? 80 : 83);
		assert_true((strstr(s.text, "...") != NULL) == (n > 80));
	}
}

static void test_ticket_patterns(void **state)
{
	(void)state;
	char many[PATTERN_TICKET_MAX + 1];
	diag_t why;
	memset(many, 'a', sizeof many);
	assert_int_equal(pattern_ticket(span_of(many, PATTERN_TICKET_MAX), &why), KMS_OK);
	assert_int_equal(pattern_ticket(span_of(many, PATTERN_TICKET_MAX + 1), &why), KMS_E_INVALID);
	assert_int_equal(pattern_ticket(span_str(""), &why), KMS_E_INVALID);
	assert_int_equal(pattern_ticket(span_str("a\tb"), &why), KMS_E_INVALID);
	assert_int_equal(pattern_ticket(span_str("a\x7f"), &why), KMS_E_INVALID);
	assert_int_equal(pattern_ticket(span_str("\xc3\xa4*"), &why), KMS_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tickets),         cmocka_unit_test(test_actions),
		cmocka_unit_test(test_tables),          cmocka_unit_test(test_shown),
		cmocka_unit_test(test_ticket_patterns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
