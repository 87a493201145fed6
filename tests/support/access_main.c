/* access table          every route, caller and situation: METHOD PATTERN ACTION CALLER SITUATION LETTER
 * STATEMENT, tabs between. The letter is the table's (tests/support/access.h), the statement the shipped
 * policies'. access routes         METHOD PATTERN ACTION of each route access send PORT DIR  requests from
 * stdin, see tests/support/access_send.h */
#include "kms-server/http/route.h"
#include "policy/document.h"
#include "tests/support/access.h"
#include "tests/support/access_send.h"

#include "common/base/scope.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static char decide(const policy_t *p, core_op_t op, const char *type, access_caller_t c, access_situation_t s,
		   policy_decision_t *d)
{
	policy_request_t r = access_request(op, type, c, s);
	policy_decide(p, &r, d);
	return access_expected(op, type, c, s);
}

static void print_row(const policy_t *p, const route_t *route, access_caller_t c, access_situation_t s)
{
	policy_decision_t d;
	char letter = decide(p, route->op, NULL, c, s, &d);
	/* an event is decided on twice: as a number, and then as what stands there */
	if (letter == 'a' && access_expected(route->op, "event", c, s) != 0)
		letter = decide(p, route->op, "event", c, s, &d);
	(void)printf("%s\t%s\t%s\t%s\t%s\t%c\t%s\n", route->method, route->pattern,
		     core_op_info(route->op)->action, access_caller_name(c), access_situation_name(s), letter,
		     d.statement);
}

static int print_table(void)
{
	SCOPED(policy_freep) policy_t *p = NULL;
	size_t n;
	const route_t *table = route_table(&n);
	if (policy_default(&p) != KMS_OK)
		return 1;
	for (size_t i = 0; i < n; i++)
		for (int c = 0; table[i].need != NEED_HEALTH && c < ACCESS_CALLER_COUNT; c++)
			for (int s = 0; s < ACCESS_SITUATION_COUNT; s++)
				print_row(p, &table[i], (access_caller_t)c, (access_situation_t)s);
	return 0;
}

static int print_routes(void)
{
	size_t n;
	const route_t *table = route_table(&n);
	for (size_t i = 0; i < n; i++)
		(void)printf("%s\t%s\t%s\n", table[i].method, table[i].pattern,
			     core_op_info(table[i].op)->action);
	return 0;
}

int main(int argc, char **argv)
{
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "table") == 0)
		return print_table();
	if (argc == 2 && strcmp(argv[1], "routes") == 0)
		return print_routes();
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		return access_send((uint16_t)strtoul(argv[2], NULL, 10), argv[3], stdin, stdout);
	(void)fputs("access table | access routes | access send PORT DIR\n", stderr);
	return 2;
}
