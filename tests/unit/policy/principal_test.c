/* Principals by themselves: written as they were read, compared whole, and nobody where there is doubt. */
#include "policy/principal.h"

#include "tests/unit/policy/policy_support.h"

static principal_t principal(pool_t *pool, const char *text)
{
	principal_t p = {.segment = {"", "", ""}};
	diag_t why = {""};
	if (principal_parse(pool, span_str(text), &p, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return p;
}

static const char *const texts[] = {"anonymous",      "node:*/*/*",   "node:acme/db/n1", "node:acme/db/n2",
				    "node:acme/x/n1", "node:b/db/n1", "operator:*",      "operator:bob",
				    "operator:admin", "role:admin",   "group:admin",     "scoped:admin",
				    "scoped:*"};

static void test_written_as_read(void **state)
{
	(void)state;
	pool_t pool = {NULL};
	for (size_t i = 0; i < COUNT(texts); i++) {
		char out[PRINCIPAL_TEXT_CAP];
		principal_t p = principal(&pool, texts[i]);
		principal_format(&p, out);
		assert_string_equal(out, texts[i]);
	}
	pool_free(&pool);
}

/* Two lists are equal when they read alike, and only then: needs of one decision are told apart by it. */
static void test_lists_equal(void **state)
{
	(void)state;
	pool_t pool = {NULL};
	principal_t item[COUNT(texts)];
	for (size_t i = 0; i < COUNT(texts); i++)
		item[i] = principal(&pool, texts[i]);
	for (size_t i = 0; i < COUNT(texts); i++)
		for (size_t k = 0; k < COUNT(texts); k++) {
			policy_list_t a = {&item[i], 1}, b = {&item[k], 1};
			assert_int_equal(policy_list_equal(&a, &b), i == k);
		}
	policy_list_t one = {item, 1}, two = {item, 2};
	assert_false(policy_list_equal(&one, &two));
	assert_false(policy_list_equal(&one, NULL));
	assert_false(policy_list_equal(NULL, &one));
	assert_true(policy_list_equal(NULL, NULL));
	pool_free(&pool);
}

typedef struct names_row {
	const char *reason, *principal;
	policy_person_t person;
	bool names;
} names_row_t;

static const names_row_t names[] = {
	{"by name", "operator:bob", {.name = "bob", .role = "admin"}, true},
	{"by any name", "operator:*", {.name = "bob", .role = "admin"}, true},
	{"by role", "role:admin", {.name = "bob", .role = "admin"}, true},
	{"by its second group", "group:g", {"bob", "admin", {"f", "g"}, 2}, true},
	{"another name", "operator:bo", {.name = "bob", .role = "admin"}, false},
	{"another role", "role:admin", {.name = "admin", .role = "auditor"}, false},
	{"of no group", "group:g", {.name = "g", .role = "g"}, false},
	{"a group that is not counted any more", "group:g", {"bob", "admin", {"f", "g"}, 1}, false},
	{"a person is no node", "node:*", {.name = "bob", .role = "admin"}, false},
	{"nor nobody", "anonymous", {.name = "bob", .role = "admin"}, false},
	{"who is confined approves nothing", "scoped:*", {.name = "bob", .role = "admin"}, false},
};

static void test_names(void **state)
{
	(void)state;
	pool_t pool = {NULL};
	for (size_t i = 0; i < COUNT(names); i++) {
		principal_t p = principal(&pool, names[i].principal);
		if (principal_names(&p, &names[i].person) != names[i].names)
			fail_msg("%s", names[i].reason);
	}
	pool_free(&pool);
}

/* A count beyond the array reads no further than the array. */
static void test_too_many_groups(void **state)
{
	(void)state;
	pool_t pool = {NULL};
	policy_person_t p = {.name = "bob", .role = "admin", .n_groups = POLICY_GROUPS_MAX + 1};
	for (size_t i = 0; i < POLICY_GROUPS_MAX; i++)
		p.groups[i] = i + 1 < POLICY_GROUPS_MAX ? "f" : "last";
	principal_t last = principal(&pool, "group:last"), none = principal(&pool, "group:g");
	assert_true(principal_names(&last, &p));
	assert_false(principal_names(&none, &p));
	pool_free(&pool);
}

/* What was never read, and callers of a kind that nobody knows: nobody. */
static void test_no_kind(void **state)
{
	(void)state;
	pool_t pool = {NULL};
	const principal_t unread = {.segment = {"*", "*", "*"}};
	policy_request_t r = request_of(&(policy_request_t){.person = {.name = "bob", .role = "admin"}});
	assert_false(principal_names(&unread, &r.person));
	for (unsigned who = POLICY_ANONYMOUS; who <= POLICY_SCOPED; who++) {
		r.who = (policy_who_t)who;
		assert_false(principal_matches(&unread, &r));
	}
	r.who = (policy_who_t)99;
	for (size_t i = 0; i < COUNT(texts); i++) {
		principal_t p = principal(&pool, texts[i]);
		assert_false(principal_matches(&p, &r));
	}
	pool_free(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_as_read), cmocka_unit_test(test_lists_equal),
		cmocka_unit_test(test_names),           cmocka_unit_test(test_too_many_groups),
		cmocka_unit_test(test_no_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
