/* The shipped policies against the table of who may do what: every operation, caller and situation. */
#include "tests/support/access.h"

#include "common/base/scope.h"
#include "policy/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct cell {
	core_op_t op;
	const char *type;
	access_caller_t caller;
	access_situation_t when;
	bool first; /* in the time before a second person, whatever the situation */
} cell_t;

static unsigned hold(const policy_t *p, const cell_t *at)
{
	policy_request_t r = access_request(at->op, at->type, at->caller, at->when);
	policy_decision_t d;
	char want = access_expected(at->op, at->type, at->caller, at->when);
	r.bootstrap = r.bootstrap || at->first;
	policy_decide(p, &r, &d);
	if (access_outcome(&d) == want)
		return 0;
	print_error("%s on %s (%s/%s/%s) by %s, %s%s: '%c' by \"%s\", not '%c'\n", r.action, r.type,
		    r.customer, r.service, r.name, access_caller_name(at->caller),
		    access_situation_name(at->when), at->first ? " while nobody can approve" : "",
		    access_outcome(&d), d.statement, want != 0 ? want : '-');
	return 1;
}

static unsigned hold_row(const policy_t *p, core_op_t op, const char *type)
{
	unsigned wrong = 0;
	for (int c = 0; c < ACCESS_CALLER_COUNT; c++)
		for (int s = 0; s < ACCESS_SITUATION_COUNT; s++) {
			cell_t at = {op, type, (access_caller_t)c, (access_situation_t)s, false};
			wrong += hold(p, &at);
			/* a grant opens no more and no less before the second person comes */
			at.first = s != WHEN_ALONE;
			if (at.first)
				wrong += hold(p, &at);
		}
	return wrong;
}

static void test_every_operation_caller_and_situation(void **state)
{
	(void)state;
	SCOPED(policy_freep) policy_t *p = NULL;
	unsigned wrong = 0;
	assert_int_equal(policy_default(&p), KMS_OK);
	for (int op = 0; op < OP_COUNT; op++)
		wrong += hold_row(p, (core_op_t)op, NULL);
	wrong += hold_row(p, OP_AUDIT_GET, "event") + hold_row(p, OP_AUDIT_PROOF, "event");
	assert_int_equal(wrong, 0);
}

/* A row has a letter for each caller, and no more. */
static void test_the_table_is_whole(void **state)
{
	(void)state;
	for (int op = 0; op < OP_COUNT; op++)
		for (int s = 0; s < ACCESS_SITUATION_COUNT; s++) {
			for (int c = 0; c < ACCESS_CALLER_COUNT; c++) {
				char x = access_expected((core_op_t)op, NULL, (access_caller_t)c,
							 (access_situation_t)s);
				if (x == 0 || strchr("ahdn", x) == NULL)
					fail_msg("%s: no letter for %s", core_op_info((core_op_t)op)->action,
						 access_caller_name((access_caller_t)c));
			}
			assert_int_equal(access_expected((core_op_t)op, NULL, ACCESS_CALLER_COUNT,
							 (access_situation_t)s),
					 0);
		}
}

/* What must hold of any table, also of one that was edited together with the policies. */
static void test_what_no_edit_may_change(void **state)
{
	(void)state;
	for (int i = 0; i < OP_COUNT; i++) {
		core_op_t op = (core_op_t)i;
		for (int s = 0; s < ACCESS_SITUATION_COUNT; s++) {
			access_situation_t when = (access_situation_t)s;
			bool own_business = op == OP_RENEW || op == OP_NODE_RELEASE || op == OP_NODE_TASKS ||
					    op == OP_NODE_REPORT;
			/* another tenant's things are not there */
			if (!own_business)
				assert_int_equal(access_expected(op, NULL, CALLS_OTHER_TENANT, when), 'n');
			/* nobody's certificate opens anything but enrolment */
			if (op != OP_ENROLL && op != OP_OPERATOR_ENROLL)
				assert_int_equal(access_expected(op, NULL, CALLS_ANONYMOUS, when), 'd');
			/* no person gets a secret while the glass is whole */
			if (when != WHEN_GLASS)
				assert_true(op != OP_VOLUME_RELEASE ||
					    access_expected(op, NULL, CALLS_ADMIN, when) == 'd');
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_operation_caller_and_situation),
		cmocka_unit_test(test_the_table_is_whole),
		cmocka_unit_test(test_what_no_edit_may_change),
	};
	return cmocka_run_group_tests_name("policy access", tests, NULL, NULL);
}
