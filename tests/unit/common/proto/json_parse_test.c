#include "common/proto/json.h"

#include "common/base/scope.h"
#include "tests/unit/common/proto/json_support.h"

#define COUNT(a)       (sizeof(a) / sizeof *(a))
#define BYTES(literal) (literal), sizeof(literal) - 1

typedef struct refusal {
	const char *reason;
	const char *text;
	size_t n;
	const char *says; /* a part of the message */
} refusal_t;

static const refusal_t refusals[] = {
	{"nothing", BYTES(""), "empty"},
	{"white space only", BYTES(" \n"), "ends too early"},
	{"a bare string is no body", BYTES("\"a\""), "line 1, column 1: a JSON object or array is expected"},
	{"a bare number", BYTES("1"), "a JSON object or array"},
	{"byte order mark", BYTES("\xef\xbb\xbf{}"), "line 1, column 1: a JSON object or array"},
	{"cut off in an object", BYTES("{\"a\":1"), "line 1, column 7: the text ends too early"},
	{"cut off in a string", BYTES("{\"a\":\"b"), "ends too early"},
	{"cut off in an array", BYTES("[1,"), "ends too early"},
	{"a second value", BYTES("{} {}"), "line 1, column 5: there is something after the value"},
	{"one letter after", BYTES("{}x"), "something after the value"},
	{"closing bracket after", BYTES("[]]"), "something after the value"},
	{"NUL byte after", BYTES("{}\0"), "line 1, column 3: a NUL byte"},
	{"NUL byte in a string", BYTES("{\n\"a\":\"b\0\"}"), "line 2, column 7: a NUL byte"},
	{"NUL byte alone", BYTES("\0"), "a NUL byte"},
	{"escaped NUL in a value", BYTES("{\"a\":\"\\u0000\"}"), "a string holds a NUL character"},
	{"escaped NUL in a name", BYTES("{\"a\\u0000\":1}"), "a string holds a NUL character"},
	{"the same name twice", BYTES("{\"a\":1,\"a\":1}"), "line 1, column 11: a name stands twice"},
	{"the same name, once escaped", BYTES("{\"a\":1,\n\"\\u0061\":2}"),
	 "line 2, column 9: a name stands twice"},
	{"twice, further down", BYTES("{\"x\":[{\"b\":1,\"b\":null}]}"), "stands twice"},
	{"byte that starts no character", BYTES("{\"a\":\"\xff\"}"), "line 1, column 7: not valid UTF-8"},
	{"continuation byte alone", BYTES("{\"a\":\"\x80\"}"), "not valid UTF-8"},
	{"overlong slash", BYTES("{\"a\":\"\xc0\xaf\"}"), "not valid UTF-8"},
	{"overlong, three bytes", BYTES("{\"a\":\"\xe0\x80\xaf\"}"), "not valid UTF-8"},
	{"surrogate in UTF-8", BYTES("{\"a\":\"\xed\xa0\x80\"}"), "not valid UTF-8"},
	{"above U+10FFFF", BYTES("{\"a\":\"\xf4\x90\x80\x80\"}"), "not valid UTF-8"},
	{"cut character", BYTES("{\"a\":\"\xe2\x82\"}"), "not valid UTF-8"},
	{"invalid UTF-8 in a name", BYTES("{\"\xff\":1}"), "not valid UTF-8"},
	{"invalid UTF-8 outside strings", BYTES("{\xff}"), "not valid UTF-8"},
	{"lone surrogate escape", BYTES("{\"a\":\"\\ud800\"}"), "not valid JSON"},
	{"low surrogate first", BYTES("{\"a\":\"\\udc00\\ud800\"}"), "not valid JSON"},
	{"integer over 64 bits", BYTES("{\"a\":9223372036854775808}"), "a number is out of range"},
	{"integer far over", BYTES("{\"a\":-99999999999999999999999999}"), "a number is out of range"},
	{"real over a double", BYTES("{\"a\":1e999}"), "a number is out of range"},
	{"leading zero", BYTES("{\"a\":01}"), "not valid JSON"},
	{"plus sign", BYTES("{\"a\":+1}"), "not valid JSON"},
	{"hexadecimal", BYTES("{\"a\":0x10}"), "not valid JSON"},
	{"not a number", BYTES("{\"a\":NaN}"), "not valid JSON"},
	{"infinite", BYTES("{\"a\":Infinity}"), "not valid JSON"},
	{"True", BYTES("{\"a\":True}"), "not valid JSON"},
	{"comma at the end of an object", BYTES("{\"a\":1,}"), "not valid JSON"},
	{"comma at the end of an array", BYTES("[1,]"), "not valid JSON"},
	{"name without quotes", BYTES("{a:1}"), "not valid JSON"},
	{"single quotes", BYTES("{'a':1}"), "not valid JSON"},
	{"comment", BYTES("{/**/}"), "not valid JSON"},
	{"newline in a string", BYTES("{\"a\":\"b\nc\"}"), "not valid JSON"},
	{"unknown escape", BYTES("{\"a\":\"\\x41\"}"), "not valid JSON"},
	{"17 levels of array", BYTES("[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]"),
	 "line 1, column 17: nested deeper than 16 levels"},
	{"17 levels never closed", BYTES("[[[[[[[[[[[[[[[[["), "nested deeper"},
	{"17 levels, mixed", BYTES("{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{\"a\":[{"),
	 "nested deeper"},
	{"brackets after an escaped quote", BYTES("[\"\\\"\",[[[[[[[[[[[[[[[[[]]"), "nested deeper"},
	{"closing first", BYTES("]]]]]["), "a JSON object or array"},
	{"high surrogate and one past the low ones", BYTES("[\"\\ud800\\ue000\"]"), "not valid JSON"},
	{"two high surrogates", BYTES("[\"\\ud800\\ud800\"]"), "not valid JSON"},
	{"high surrogate and a letter", BYTES("[\"\\ud800x\"]"), "not valid JSON"},
	{"high surrogate and another escape", BYTES("[\"\\ud800\\n\"]"), "not valid JSON"},
	{"high surrogate and a cut escape", BYTES("[\"\\ud800\\u12\"]"), "not valid JSON"},
	{"escape cut off", BYTES("[\"\\"), "not valid JSON"},
	{"NUL after a backslash", BYTES("[\"\\\0\"]"), "a NUL byte"},
	{"fraction without digits", BYTES("[1.]"), "not valid JSON"},
	{"exponent without digits", BYTES("[1e+]"), "not valid JSON"},
	{"minus alone", BYTES("[-]"), "not valid JSON"},
	{"point first", BYTES("[.5]"), "not valid JSON"},
	{"a word cut off", BYTES("[tru"), "not valid JSON"},
	{"a word that goes on", BYTES("[nullx]"), "not valid JSON"},
	{"comma first", BYTES("[,1]"), "not valid JSON"},
	{"two commas", BYTES("[1,,1]"), "not valid JSON"},
	{"no comma", BYTES("[1 1]"), "not valid JSON"},
	{"no colon", BYTES("{\"a\" 1}"), "not valid JSON"},
	{"a number for a name", BYTES("{1:1}"), "not valid JSON"},
	{"vertical tab as white space", BYTES("[\v]"), "not valid JSON"},
	{"no-break space as white space", BYTES("[\xc2\xa0]"), "not valid JSON"},
	{"wrong bracket", BYTES("[}"), "not valid JSON"},
	{"one below the smallest", BYTES("[-9223372036854775809]"), "a number is out of range"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refusals); i++) {
		const refusal_t *r = &refusals[i];
		json_t *j = (json_t *)state;
		diag_t why = {""};
		kms_err_t e = json_parse(span_of(r->text, r->n), JSON_BODY_LIMIT, &j, &why);
		if (e != KMS_E_INVALID || j != (json_t *)state || strstr(why.text, r->says) == NULL)
			fail_msg("%s: %s, \"%s\", wanted \"%s\"", r->reason, kms_err_name(e), why.text,
				 r->says);
	}
}

static void test_size_limit(void **state)
{
	(void)state;
	diag_t why = {""};
	json_t *j = NULL;
	assert_int_equal(json_parse(span_str("[1]"), 2, &j, &why), KMS_E_INVALID);
	assert_string_equal(why.text, "longer than 2 bytes");
	assert_int_equal(json_parse(span_str("[1]"), 3, &j, NULL), KMS_OK);
	json_freep(&j);
	assert_null(j);
	assert_int_equal(json_parse(span_of(NULL, 0), 3, &j, NULL), KMS_E_INVALID);
}

/* A body that is as wide as the limit allows is read; one byte more is not. */
static void test_wide(void **state)
{
	(void)state;
	SCOPED(freep) char *text = malloc(JSON_BODY_LIMIT + 1);
	assert_non_null(text);
	text[0] = '[';
	for (size_t i = 1; i < JSON_BODY_LIMIT; i++)
		text[i] = i % 2 == 1 ? '1' : ',';
	text[JSON_BODY_LIMIT - 1] = ']';
	SCOPED(json_freep) json_t *j = NULL;
	assert_int_equal(json_parse(span_of(text, JSON_BODY_LIMIT + 1), JSON_BODY_LIMIT, &j, NULL),
			 KMS_E_INVALID);
	text[JSON_BODY_LIMIT - 2] = ' ';
	text[JSON_BODY_LIMIT - 3] = '1';
	assert_int_equal(json_parse(span_of(text, JSON_BODY_LIMIT), JSON_BODY_LIMIT, &j, NULL), KMS_OK);
	assert_int_equal(json_array_size(j), (JSON_BODY_LIMIT - 2) / 2);
}

static void test_message_never_quotes_a_value(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{\"secret\":\"hunter2\" \"x\":1}",
		"{\"secret\":hunter2}",
		"{\"secret\":\"hunter2\",\"secret\":\"hunter2\"}",
		"{\"secret\":\"hunter2",
		"{\"secret\":\"hunter2\xff\"}",
		"{\"secret\":\"hunter2\\ud800\"}",
		"{} \"hunter2\"",
	};
	for (size_t i = 0; i < COUNT(texts); i++) {
		json_t *j = NULL;
		diag_t why = {""};
		assert_int_equal(json_parse(span_str(texts[i]), JSON_BODY_LIMIT, &j, &why), KMS_E_INVALID);
		assert_true(why.text[0] != '\0');
		assert_null(strstr(why.text, "hunter2"));
	}
}

static void test_16_levels_are_read(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *a = parsed("[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]");
	SCOPED(json_freep) json_t *b = parsed("[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[]]");
	SCOPED(json_freep) json_t *c = parsed("[\"[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[[[[\\\\\",[]]");
	assert_int_equal(json_array_size(a), 1);
	assert_int_equal(json_array_size(b), 18);
	assert_int_equal(json_array_size(c), 2);
}

int main(void)
{
	json_wipe_on_free();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_size_limit),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_message_never_quotes_a_value),
		cmocka_unit_test(test_16_levels_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
