/* kmsctl's table of acts against the server's routes, and what it makes of paths. */
#include "tools/kmsctl/act.h"

#include "kms-server/core/ops.h"
#include "kms-server/http/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* "{c}" as kmsctl has it: "{}"; a tile's number "{*}". */
static void plain_pattern(const char *pattern, char out[256])
{
	size_t n = 0;
	for (const char *p = pattern; *p != '\0'; p++) {
		out[n++] = *p;
		if (*p != '{')
			continue;
		if (p[1] == 't')
			out[n++] = '*';
		p += 1;
	}
	out[n] = '\0';
}

static void test_every_route(void **state)
{
	(void)state;
	size_t n = 0, m = 0, k = 0;
	const route_t *routes = route_table(&n);
	const act_row_t *acts = act_rows(&m);
	for (size_t i = 0; i < n; i++) {
		char pattern[256];
		if (routes[i].op == OP_UNKNOWN) /* health: everybody's */
			continue;
		bool found = false;
		plain_pattern(routes[i].pattern, pattern);
		for (k = 0; k < m && !found; k++)
			found = strcmp(acts[k].method, routes[i].method) == 0 &&
				strcmp(acts[k].pattern, pattern) == 0 &&
				strcmp(acts[k].action, core_op_info(routes[i].op)->action) == 0;
		if (!found)
			fail_msg("kmsctl does not know %s %s as %s", routes[i].method, pattern,
				 core_op_info(routes[i].op)->action);
	}
	assert_int_equal(m, n - 1);
}

static const struct {
	const char *method, *path, *action, *type, *resource;
} good[] = {
	{"GET", "/v1/customers?limit=5", "customer.list", "customer", "*"},
	{"GET", "/v1/customers/acme/services", "service.list", "service", "acme/*"},
	{"POST", "/v1/customers/acme/services/db/nodes/n1:invite", "node.invite", "node", "acme/db/n1"},
	{"GET", "/v1/customers/acme/services/db/nodes", "node.list", "node", "acme/db/*"},
	{"POST", "/v1/customers/acme/services/db/volumes/v1/rotation:abort", "rotation.abort", "volume",
	 "acme/db/v1"},
	{"POST", "/v1/customers/acme/services/db/volumes/v1/reencryption", "reencryption.start", "volume",
	 "acme/db/v1"},
	{"POST", "/v1/customers/acme/services/db/volumes/v1/reencryption:abort", "reencryption.abort",
	 "volume", "acme/db/v1"},
	{"PUT", "/v1/policies/mine", "policy.put", "policy", "mine"},
	{"GET", "/v1/audit/events/12/proof", "audit.proof", "log", ""},
	{"GET", "/v1/audit/log/tile/0/x001/234.p/7", "log.tile", "log", ""},
	{"GET", "/v1/audit/log/tile/entries/000", "log.entries", "log", ""},
	{"POST", "/v1/grants/g-1:approve", "grant.approve", "grant", "g-1"},
};

static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		act_t a;
		assert_int_equal(act_of(good[i].method, good[i].path, &a), KMS_OK);
		assert_string_equal(a.action, good[i].action);
		assert_string_equal(a.type, good[i].type);
		assert_string_equal(a.resource, good[i].resource);
	}
}

static void test_no_route(void **state)
{
	(void)state;
	static const struct {
		const char *method, *path, *why;
	} bad[] = {
		{"GET", "/v1/sys/health", "health is nobody's to decide"},
		{"PATCH", "/v1/customers/a", "no such method"},
		{"GET", "/v1/customers/", "an empty name"},
		{"GET", "/v1/customers/a/", "a slash too many"},
		{"POST", "/v1/customers/a/services/s/nodes/n:fly", "no such act"},
		{"POST", "/v1/customers/a/services/s/nodes/n", "no act at all"},
		{"GET", "/v2/customers", "another version"},
		{"GET", "", "nothing"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		act_t a = {.action = "untouched"};
		if (act_of(bad[i].method, bad[i].path, &a) != KMS_E_NOTFOUND)
			fail_msg("%s", bad[i].why);
		assert_string_equal(a.action, "untouched");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_route),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_no_route),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
