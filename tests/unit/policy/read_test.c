/* Reading by rows, beyond what documents of today come to: depths, long paths, many names. */
#include "policy/read.h"

#include "common/base/scope.h"
#include "tests/unit/policy/policy_support.h"

#include <stdio.h>

#define LONG_NAME "a-name-of-sixty-letters-that-no-document-has-anywhere-in-it-"

static kms_err_t read_inner(read_t *r, const json_t *v, void *into);

static const read_field_t field = {LONG_NAME, read_inner, 0, false};

/* The field in itself, to the bottom, which holds a number. */
static kms_err_t read_inner(read_t *r, const json_t *v, void *into)
{
	return json_is_integer(v) ? read_fail(r, "is the bottom") : read_object(r, v, &field, 1, into);
}

static kms_err_t read_array(read_t *r, const json_t *v, void *into)
{
	return json_is_integer(v) ? read_fail(r, "is the bottom") : read_each(r, v, 0, 1, read_array, into);
}

static json_t *nested(size_t depth, bool array)
{
	json_t *v = json_integer(1);
	for (size_t i = 0; i < depth; i++)
		v = array ? json_pack("[o]", v) : json_pack("{s:o}", LONG_NAME, v);
	assert_non_null(v);
	return v;
}

/* JSON that deep is refused before it comes here; this end holds by itself. */
static void test_depth(void **state)
{
	(void)state;
	for (size_t depth = 1; depth < READ_DEPTH + 3; depth++)
		for (unsigned array = 0; array < 2; array++) {
			SCOPED(json_freep) json_t *v = nested(depth, array != 0);
			policy_error_t why = {0};
			read_t r = {.why = &why};
			assert_int_equal((array != 0 ? read_array : read_inner)(&r, v, &why), KMS_E_INVALID);
			assert_non_null(strstr(why.why.text, array == 0 && depth > 3 ? LONG_NAME "." LONG_NAME
							     : depth <= READ_DEPTH   ? "is the bottom"
										     : "nested too deep"));
			assert_true(strlen(why.why.text) < sizeof why.why.text);
		}
}

static void test_fail_at_the_bottom(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *v = json_pack("{s:i,s:i}", "a", 1, "b", 2);
	policy_error_t why = {0};
	read_t r = {.text = span_str("{\"a\":1,\n\"b\":2}"), .why = &why};
	assert_int_equal(read_fail_at(&r, v, "b", "is bad"), KMS_E_INVALID);
	assert_string_equal(why.why.text, "b: is bad");
	assert_true(why.line == 2 && why.column == 1);
	r.depth = 0;
	assert_int_equal(read_fail_at(&r, v, "c", "is not there"), KMS_E_INVALID);
	assert_true(why.line == 2 && why.column > 1); /* behind the last */
	for (r.depth = 0; r.depth < READ_DEPTH;) {
		r.child[r.depth] = 0;
		r.name[r.depth++] = NULL;
	}
	assert_int_equal(read_fail_at(&r, v, "b", "is bad"), KMS_E_INVALID);
	assert_non_null(strstr(why.why.text, "nested too deep"));
}

/* The list of what there is may be longer than a message. */
static void test_many_names(void **state)
{
	(void)state;
	static const read_field_t fields[] = {
		{LONG_NAME "1", read_name, 0, false}, {LONG_NAME "2", read_name, 0, false},
		{LONG_NAME "3", read_name, 0, false}, {LONG_NAME "4", read_name, 0, false},
		{LONG_NAME "5", read_name, 0, false}, {LONG_NAME "6", read_name, 0, false}};
	SCOPED(json_freep) json_t *v = json_pack("{s:i}", "x\n", 1);
	policy_error_t why = {0};
	read_t r = {.why = &why};
	assert_int_equal(read_object(&r, v, fields, COUNT(fields), &why), KMS_E_INVALID);
	assert_non_null(strstr(why.why.text, "x?: \"x?\" is not known here: there is " LONG_NAME "1"));
	assert_null(strstr(why.why.text, LONG_NAME "6"));
	assert_int_equal(r.depth, 0);
}

typedef enum kind { STRING, BOOL, NUMBER } kind_t;

typedef struct value_row {
	const char *reason, *text;
	kind_t kind;
	const char *says; /* NULL: accepted */
} value_row_t;

static const value_row_t values[] = {
	{"a string", "\"abc\"", STRING, NULL},
	{"an empty one", "\"\"", STRING, NULL},
	{"one too long", "\"abcd\"", STRING, "longer than 3 bytes"},
	{"bytes are counted, not letters", "\"\xc3\xa4\xc3\xa4\"", STRING, "longer than 3 bytes"},
	{"a number is no string", "1", STRING, "must be a string"},
	{"null is no string", "null", STRING, "must be a string"},
	{"true", "true", BOOL, NULL},
	{"false", "false", BOOL, NULL},
	{"null is not false", "null", BOOL, "true or false"},
	{"0 is not false", "0", BOOL, "true or false"},
	{"\"true\" is not true", "\"true\"", BOOL, "true or false"},
	{"the least", "2", NUMBER, NULL},
	{"the most", "5", NUMBER, NULL},
	{"less", "1", NUMBER, "from 2 to 5"},
	{"more", "6", NUMBER, "from 2 to 5"},
	{"negative", "-2", NUMBER, "from 2 to 5"},
	{"it would come around to 3", "4294967299", NUMBER, "from 2 to 5"},
	{"a fraction", "3.0", NUMBER, "whole number"},
	{"a string", "\"3\"", NUMBER, "whole number"},
};

static kms_err_t read_value(read_t *r, kind_t kind, const json_t *v)
{
	span_t text = {NULL, 0};
	uint32_t number = 0;
	bool yes = false;
	switch (kind) {
	case STRING:
		return read_string(r, v, 3, &text);
	case BOOL:
		KMS_TRY(read_bool(r, v, &yes));
		assert_int_equal(yes, json_is_true(v));
		return KMS_OK;
	case NUMBER:
		KMS_TRY(read_number(r, v, 2, 5, &number));
		assert_int_equal(number, json_integer_value(v));
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

static void test_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		const value_row_t *row = &values[i];
		SCOPED(json_freep) json_t *v = json_loads(row->text, JSON_DECODE_ANY, NULL);
		policy_error_t why = {0};
		read_t r = {.text = span_str(row->text), .why = &why};
		kms_err_t e = read_value(&r, row->kind, v);
		if ((e == KMS_OK) != (row->says == NULL) ||
		    (row->says != NULL && strstr(why.why.text, row->says) == NULL))
			fail_msg("%s: %s", row->reason, why.why.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_fail_at_the_bottom),
		cmocka_unit_test(test_many_names),
		cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
