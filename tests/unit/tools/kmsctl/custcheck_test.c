#include "tools/kmsctl/custcheck.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define EVENTS 3U

typedef struct step {
	uint64_t index;
	const char *tenant, *sequence, *previous; /* JSON of the numbers */
} step_t;

static const struct {
	const char *why;
	uint64_t begin;
	step_t steps[EVENTS];
	size_t bad; /* the step that is refused; EVENTS: none */
} rows[] = {
	{"a chain", 0, {{4, "acme", "1", "null"}, {9, "acme", "2", "4"}, {10, "acme", "3", "9"}}, EVENTS},
	{"from the middle",
	 5,
	 {{7, "acme", "12", "4"}, {9, "acme", "13", "7"}, {10, "acme", "14", "9"}},
	 EVENTS},
	{"its first event there",
	 5,
	 {{7, "acme", "1", "null"}, {9, "acme", "2", "7"}, {10, "acme", "3", "9"}},
	 EVENTS},
	{"the first is missing", 0, {{9, "acme", "2", "4"}}, 0},
	{"the first says nothing of the one before", 0, {{9, "acme", "2", "null"}}, 0},
	{"number 1 with one before", 0, {{9, "acme", "1", "4"}}, 0},
	{"number 1 with one before, from the middle", 5, {{9, "acme", "1", "4"}}, 0},
	{"number 0", 5, {{9, "acme", "0", "4"}}, 0},
	{"from the middle, and one is missing there", 5, {{9, "acme", "3", "7"}}, 0},
	{"from the middle, and it is the first", 5, {{9, "acme", "3", "null"}}, 0},
	{"one is missing", 0, {{4, "acme", "1", "null"}, {10, "acme", "3", "9"}}, 1},
	{"the number is right, the one before is another",
	 0,
	 {{4, "acme", "1", "null"}, {10, "acme", "2", "5"}},
	 1},
	{"the one before is right, the number is not",
	 0,
	 {{4, "acme", "1", "null"}, {10, "acme", "3", "4"}},
	 1},
	{"a number twice", 0, {{4, "acme", "1", "null"}, {10, "acme", "1", "null"}}, 1},
	{"backwards", 0, {{4, "acme", "1", "null"}, {3, "acme", "2", "4"}}, 1},
	{"an index twice", 0, {{4, "acme", "1", "null"}, {4, "acme", "2", "4"}}, 1},
	{"another customer's", 0, {{4, "acme", "1", "null"}, {9, "beta", "2", "4"}}, 1},
	{"nobody's", 0, {{4, "", "1", "null"}}, 0},
	{"a text for a number", 0, {{4, "acme", "\"1\"", "null"}}, 0},
	{"a negative number", 0, {{4, "acme", "-1", "null"}}, 0},
	{"a negative index", 0, {{4, "acme", "1", "null"}, {9, "acme", "2", "-4"}}, 1},
	{"a text for an index", 0, {{4, "acme", "1", "null"}, {9, "acme", "2", "\"4\""}}, 1},
	{"a broken number", 0, {{4, "acme", "1.0", "null"}}, 0},
};

static kms_err_t take(custcheck_t *c, const step_t *s, diag_t *why)
{
	SCOPED(json_freep) json_t *event = NULL;
	char text[256];
	(void)snprintf(text, sizeof text,
		       "{\"metadata\":{\"tenant_uid\":\"%s\",\"sequence\":%s},\"unmapped\":{\"claviger\":{"
		       "\"previous\":%s}}}",
		       s->tenant, s->sequence, s->previous);
	assert_int_equal(json_parse(span_str(text), sizeof text, &event, NULL), KMS_OK);
	return custcheck_event(c, s->index, event, why);
}

static void test_chains(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		custcheck_t c = {.customer = "acme", .begin = rows[i].begin};
		size_t last = rows[i].bad < EVENTS ? rows[i].bad : EVENTS - 1;
		for (size_t k = 0; k <= last; k++) {
			diag_t why = {{0}};
			kms_err_t e = take(&c, &rows[i].steps[k], &why);
			if (e != (k == rows[i].bad ? KMS_E_INTEGRITY : KMS_OK))
				fail_msg("%s, event %zu: %s %s", rows[i].why, k, kms_err_name(e), why.text);
		}
		assert_int_equal(c.n, rows[i].bad);
	}
}

static void test_fields_that_are_not_there(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{}",
		"{\"metadata\":{\"tenant_uid\":\"acme\",\"sequence\":1}}",
		"{\"metadata\":{\"tenant_uid\":\"acme\",\"sequence\":1},\"unmapped\":{\"claviger\":{}}}",
		"{\"metadata\":{\"tenant_uid\":\"acme\"},\"unmapped\":{\"claviger\":{\"previous\":null}}}",
		"{\"metadata\":{\"sequence\":1},\"unmapped\":{\"claviger\":{\"previous\":null}}}",
		"{\"metadata\":[],\"unmapped\":[]}",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		SCOPED(json_freep) json_t *event = NULL;
		custcheck_t c = {.customer = "acme"};
		assert_int_equal(json_parse(span_str(texts[i]), 4096, &event, NULL), KMS_OK);
		assert_int_equal(custcheck_event(&c, 0, event, NULL), KMS_E_INTEGRITY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_fields_that_are_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
