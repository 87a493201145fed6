/* Places in a document's text: of values, of names, and never behind its end. */
#include "policy/locate.h"

#include "tests/unit/policy/policy_support.h"

typedef struct row {
	const char *reason, *text;
	size_t path[3], n;
	bool key;
	size_t at;
} row_t;

static const row_t rows[] = {
	{"the whole", " \t\r\n{}", {0}, 0, false, 4},
	{"the first of an array", "[1,2]", {0}, 1, false, 1},
	{"the second", "[1, 2]", {1}, 1, false, 4},
	{"a comma in a string", "[\",\",2]", {1}, 1, false, 5},
	{"a quote in a string", "[\"\\\",\",2]", {1}, 1, false, 7},
	{"behind an array", "[[1,2],3]", {1}, 1, false, 7},
	{"behind an object", "[{\"a\":1,\"b\":2},3]", {1}, 1, false, 15},
	{"in an inner array", "[[1,2],3]", {0, 1}, 2, false, 4},
	{"a member's value", "{\"a\" : 1}", {0}, 1, false, 7},
	{"a member's name", "{\"a\" : 1}", {0}, 1, true, 1},
	{"the second member's name", "{\"a\":1,\t\"b\":2}", {1}, 1, true, 8},
	{"only the last step is a name", "{\"a\":{\"b\":2}}", {0, 0}, 2, true, 6},
	{"an array's items have no name", "[1,2]", {1}, 1, true, 3},
	{"a bracket in a name", "{\"]}\":1,\"b\":2}", {1}, 1, false, 12},
	/* what nothing leads to ends at the end */
	{"a child too many", "[1]", {2}, 1, false, 3},
	{"in an empty text", "", {1, 1}, 2, false, 0},
	{"in blanks", "  ", {0}, 1, false, 2},
	{"a string that does not end", "[\"a", {1}, 1, false, 3},
	{"an escape at the end", "[\"a\\", {1}, 1, false, 4},
	{"a bracket that does not close", "[[1", {1}, 1, false, 3},
	{"a name that does not end", "{\"a", {0}, 1, false, 3},
	{"in a number", "[1]", {0, 0, 0}, 3, false, 3},
};

static void test_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const row_t *r = &rows[i];
		size_t at = locate(span_str(r->text), r->path, r->n, r->key);
		if (at != r->at)
			fail_msg("%s: %zu, not %zu", r->reason, at, r->at);
	}
}

/* Every beginning of a text, with every path: the place is in it. */
static void test_cut_anywhere(void **state)
{
	(void)state;
	static const char text[] = " {\"a\":[{\"b\\\"\":\"]\"},[1,[2]]] , \"c\" : {} }";
	for (size_t n = 0; n < sizeof text; n++)
		for (size_t p = 0; p < 64; p++) {
			const size_t path[] = {p & 3U, p >> 2 & 3U, p >> 4};
			assert_true(locate(span_of(text, n), path, 3, (p & 1U) != 0) <= n);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_cut_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
