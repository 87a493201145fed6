#include "common/proto/json.h"

#include "common/base/scope.h"
#include "tests/unit/common/proto/alloc_fail.h"
#include "tests/unit/common/proto/json_support.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct body {
	char text[8];
	char name[NAME_CAP];
	path3_t path;
	uint32_t u;
	int64_t i;
	bool b;
	uint8_t hex[32];
	json_t *raw;
} body_t;

#define FIELD(n, t) .name = #n, .type = t, .offset = offsetof(body_t, n)

static const json_field_t optional_fields[] = {
	{FIELD(text, JF_STRING), .cap = 8, .optional = true},
	{FIELD(name, JF_NAME), .optional = true},
	{FIELD(path, JF_PATH3), .optional = true},
	{FIELD(u, JF_U32), .optional = true},
	{FIELD(i, JF_I64), .optional = true},
	{FIELD(b, JF_BOOL), .optional = true},
	{FIELD(hex, JF_HEX32), .optional = true},
	{FIELD(raw, JF_RAW), .optional = true},
};
static const json_field_t required_fields[] = {{FIELD(u, JF_U32)}, {FIELD(name, JF_NAME)}};

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void test_read_all(void **state)
{
	(void)state;
	SCOPED(json_freep)
	json_t *j =
		parsed("{\"text\":\"1234567\",\"name\":\"a-1\",\"path\":\"c/s/n\",\"u\":4294967295,"
		       "\"i\":-9223372036854775808,\"b\":true,\"hex\":\"" HEX64 "\",\"raw\":{\"z\":null}}");
	body_t b = {.u = 1};
	assert_int_equal(json_read(j, optional_fields, COUNT(optional_fields), true, &b, NULL), KMS_OK);
	assert_string_equal(b.text, "1234567");
	assert_string_equal(b.name, "a-1");
	assert_string_equal(b.path.customer, "c");
	assert_string_equal(b.path.service, "s");
	assert_string_equal(b.path.name, "n");
	assert_int_equal(b.u, UINT32_MAX);
	assert_true(b.i == INT64_MIN);
	assert_true(b.b);
	assert_int_equal(b.hex[1], 0x11);
	assert_int_equal(b.hex[31], 0xff);
	assert_ptr_equal(b.raw, json_object_get(j, "raw"));
}

static void test_absent_leaves_untouched(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *j = parsed("{}");
	body_t b, before;
	memset(&b, 0x5a, sizeof b);
	memcpy(&before, &b, sizeof b);
	assert_int_equal(json_read(j, optional_fields, COUNT(optional_fields), true, &b, NULL), KMS_OK);
	assert_memory_equal(&b, &before, sizeof b);
}

typedef struct row {
	const char *reason, *json, *says;
} row_t;

static const row_t wrong[] = {
	{"an array is no object", "[]", "a JSON object is expected"},
	{"unknown field", "{\"u\":1,\"user\":1}", "\"user\" is not a known field"},
	{"unknown field, case", "{\"U\":1}", "\"U\" is not a known field"},
	{"unknown field, space", "{\"u \":1}", "\"u \" is not a known field"},
	{"unknown field, not printable", "{\"\\u001b[2J\xc3\xa4\":1}", "\"?[2J??\" is not a known field"},
	{"unknown field, empty", "{\"\":1}", "\"\" is not a known field"},
	{"unknown field, long", "{\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\":1}",
	 "\"abcdefghijklmnopqrstuvwxyzabcdefghijklmn...\" is not a known field"},
	{"string too long", "{\"text\":\"12345678\"}", "\"text\" must be a string of at most 7 bytes"},
	{"string too long in bytes", "{\"text\":\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"}",
	 "of at most 7 bytes"},
	{"number for a string", "{\"text\":1}", "\"text\" must be a string"},
	{"null for a string", "{\"text\":null}", "\"text\" must be a string"},
	{"number for a name", "{\"name\":1}", "\"name\" must be a string that is a name"},
	{"null for a name", "{\"name\":null}", "\"name\" must be"},
	{"empty name", "{\"name\":\"\"}", "name \"\" is not a valid name"},
	{"upper case name", "{\"name\":\"A\"}", "name \"A\" is not a valid name"},
	{"name with a slash", "{\"name\":\"a/b\"}", "not a valid name"},
	{"name with a percent sign", "{\"name\":\"a%2eb\"}", "not a valid name"},
	{"name with a star", "{\"name\":\"*\"}", "not a valid name"},
	{"name with dots", "{\"name\":\"..\"}", "not a valid name"},
	{"name not in ASCII", "{\"name\":\"\xd0\xb0\"}", "not a valid name"},
	{"name of 64", "{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
	 "not a valid name"},
	{"path of two parts", "{\"path\":\"c/s\"}", "path is written customer/service/name"},
	{"path of four parts", "{\"path\":\"c/s/n/x\"}", "not a valid name"},
	{"path with an empty part", "{\"path\":\"c//n\"}", "service \"\" is not a valid name"},
	{"number for a path", "{\"path\":1}", "\"path\" must be a string customer/service/name"},
	{"negative for u32", "{\"u\":-1}", "\"u\" must be an integer from 0 to 4294967295"},
	{"too large for u32", "{\"u\":4294967296}", "\"u\" must be an integer from 0"},
	{"real for u32", "{\"u\":1.0}", "\"u\" must be an integer"},
	{"text for u32", "{\"u\":\"1\"}", "\"u\" must be an integer"},
	{"true for u32", "{\"u\":true}", "\"u\" must be an integer"},
	{"real for i64", "{\"i\":1e3}", "\"i\" must be an integer"},
	{"text for i64", "{\"i\":\"1\"}", "\"i\" must be an integer"},
	{"number for bool", "{\"b\":1}", "\"b\" must be true or false"},
	{"text for bool", "{\"b\":\"true\"}", "\"b\" must be true or false"},
	{"null for bool", "{\"b\":null}", "\"b\" must be true or false"},
	{"hex too short", "{\"hex\":\"00\"}", "\"hex\" must be 64 lower-case hexadecimal digits"},
	{"hex too long", "{\"hex\":\"" HEX64 "00\"}", "\"hex\" must be 64"},
	{"hex in upper case",
	 "{\"hex\":\"AA112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"}",
	 "\"hex\" must be 64"},
	{"number for hex", "{\"hex\":0}", "\"hex\" must be 64"},
};

static void assert_refused(const row_t *r, const json_field_t *fields, size_t n)
{
	SCOPED(json_freep) json_t *j = parsed(r->json);
	diag_t why = {""};
	body_t b, before;
	memset(&b, 0x5a, sizeof b);
	memcpy(&before, &b, sizeof b);
	kms_err_t e = json_read(j, fields, n, true, &b, &why);
	if (e != KMS_E_INVALID || strstr(why.text, r->says) == NULL)
		fail_msg("%s: %s, \"%s\"", r->reason, kms_err_name(e), why.text);
	assert_memory_equal(&b, &before, sizeof b);
}

static void test_read_refusals(void **state)
{
	(void)state;
	static const row_t missing[] = {
		{"both missing", "{}", "\"u\" is missing"},
		{"the second missing", "{\"u\":1}", "\"name\" is missing"},
		{"null is not there", "{\"u\":1,\"name\":null}", "\"name\" must be"},
		{"the second wrong: the first is not stored", "{\"u\":1,\"name\":\"A\"}", "not a valid name"},
	};
	for (size_t i = 0; i < COUNT(wrong); i++)
		assert_refused(&wrong[i], optional_fields, COUNT(optional_fields));
	for (size_t i = 0; i < COUNT(missing); i++)
		assert_refused(&missing[i], required_fields, COUNT(required_fields));
}

static void test_read_odd_callers(void **state)
{
	(void)state;
	body_t b = {.u = 7};
	diag_t why = {""};
	SCOPED(json_freep) json_t *nul = json_object();
	assert_int_equal(json_object_set_new(nul, "text", json_stringn("a\0b", 3)), 0);
	assert_int_equal(json_read(NULL, optional_fields, 1, true, &b, &why), KMS_E_INVALID);
	assert_int_equal(json_read(nul, optional_fields, 1, true, &b, &why), KMS_E_INVALID);
	assert_string_equal(why.text, "\"text\" must be a string without NUL");
	static const json_field_t broken[] = {{.name = "text", .type = (json_field_type_t)99}};
	assert_int_equal(json_read(nul, broken, 1, true, &b, NULL), KMS_E_INVALID);
	assert_int_equal(b.u, 7);
}

static void test_clients_are_lenient(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *j = parsed("{\"u\":null,\"name\":\"n\",\"new\":[1],\"raw\":null}");
	body_t b = {.u = 7};
	assert_int_equal(json_read(j, optional_fields, COUNT(optional_fields), false, &b, NULL), KMS_OK);
	assert_int_equal(b.u, 7);
	assert_string_equal(b.name, "n");
	assert_true(json_is_null(b.raw));
	diag_t why = {""};
	assert_int_equal(json_read(j, required_fields, COUNT(required_fields), false, &b, &why),
			 KMS_E_INVALID);
	assert_non_null(strstr(why.text, "\"u\" must be an integer"));
}

/* --- building, memory --- */

void __wrap_free(void *p);

static void test_build(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *j = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	assert_int_equal(json_build(&j, "{s:s,s:[I,b]}", "b", "x", "a", (json_int_t)5, 1), KMS_OK);
	assert_int_equal(json_write(j, &out), KMS_OK);
	assert_true(span_eq(buf_span(&out), span_str("{\"a\":[5,true],\"b\":\"x\"}")));
	json_t *none = NULL;
	assert_int_equal(json_build(&none, "{s:s}", "a", "\xff"), KMS_E_INVALID);
	assert_int_equal(json_build(&none, "{s", "a"), KMS_E_INVALID);
	assert_int_equal(json_build(&none, "{s:o}", "a", NULL), KMS_E_NOMEM);
	assert_null(none);
}

static void assert_parse_allocations(const char *text)
{
	bool more = true;
	for (unsigned i = 1; more; i++) {
		json_t *j = NULL;
		diag_t why = {""};
		alloc_fail_at(i);
		kms_err_t e = json_parse(span_str(text), JSON_BODY_LIMIT, &j, &why);
		more = alloc_fail_end();
		assert_int_equal(e, more ? KMS_E_NOMEM : KMS_OK);
		assert_true((j == NULL) == more);
		json_freep(&j);
	}
}

#define WORD "abcdefghijklmnop" /* as long as jansson's token buffer before its first growth */

/* Each text makes the token buffer grow at a place where jansson would lose a byte: in a name, at the closing
 * quote, in an escape, in a number, in a word. */
static void test_token_buffer_cannot_grow(void **state)
{
	(void)state;
	assert_parse_allocations("{\"" WORD WORD WORD WORD "\":\"" WORD WORD WORD WORD WORD WORD WORD WORD
				 "\"}");
	assert_parse_allocations("[\"abcdefghijklmn\",\"abcdefghijklmno\",\"" WORD "\"]");
	assert_parse_allocations("[\"" WORD "abcdefghijklmn\"]");
	assert_parse_allocations("[\"abcdefghijklmn\xe2\x82\xac\xe2\x82\xac\"]");
	assert_parse_allocations("[\"abcdefghijklm\\u20ac\\ud83d\\ude00\"]");
	assert_parse_allocations(
		"[123456789012345678,-1.2345678901234e+5,1.2345678901234567890123456789012e1]");
	assert_parse_allocations("[123456789012345]"); /* the byte that would be lost is the one behind it */
	assert_parse_allocations("[[[[]]],{\"a\":[true,false,null]}]");
}

/* A failure in one parse must not be left to the next, nor to what builds values. */
static void test_failure_is_forgotten(void **state)
{
	(void)state;
	json_t *j = NULL;
	alloc_fail_at(3);
	assert_int_equal(json_parse(span_str("[\"" WORD "\"]"), JSON_BODY_LIMIT, &j, NULL), KMS_E_NOMEM);
	assert_true(alloc_fail_end());
	alloc_fail_at(1);
	assert_int_equal(json_build(&j, "[s]", "a"), KMS_E_NOMEM);
	assert_true(alloc_fail_end());
	assert_int_equal(json_build(&j, "[s]", "a"), KMS_OK);
	json_freep(&j);
	assert_int_equal(json_parse(span_str("[\"" WORD "\"]"), JSON_BODY_LIMIT, &j, NULL), KMS_OK);
	json_freep(&j);
}

static void test_allocations_fail(void **state)
{
	(void)state;
	static const char text[] = "{\"a-name-that-makes-the-buffer-of-the-lexer-grow\":[1,\"two\",{\"a\":"
				   "null}],\"b\":{\"c\":\"d\"}}";
	bool more;
	assert_parse_allocations(text);
	SCOPED(json_freep) json_t *j = parsed(text);
	more = true;
	for (unsigned i = 1; more; i++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		alloc_fail_at(i);
		kms_err_t e = json_write(j, &out);
		more = alloc_fail_end();
		assert_int_equal(e, more ? KMS_E_NOMEM : KMS_OK);
		assert_true((out.n == 0) == more);
	}
	more = true;
	for (unsigned i = 1; more; i++) {
		json_t *built = NULL;
		alloc_fail_at(i);
		kms_err_t e = json_build(&built, "{s:s,s:[i,s]}", "a", "b", "c", 1, "d");
		more = alloc_fail_end();
		assert_int_equal(e, more ? KMS_E_NOMEM : KMS_OK);
		json_freep(&built);
	}
}

static void test_wiped_on_free(void **state)
{
	(void)state;
	static const char text[] = "{\"secret\":\"hunter2hunter2hunter2hunter2\",\"b\":[\"hunter2\"]}";
	alloc_watch("hunter2");
	for (int wiping = 1; wiping >= 0; wiping--) {
		json_t *j = parsed(text);
		assert_int_equal(alloc_seen(), 0);
		if (!wiping)
			json_set_alloc_funcs(malloc, __wrap_free); /* that the watch would see it */
		json_freep(&j);
		assert_true((alloc_seen() == 0) == (wiping == 1));
		json_wipe_on_free();
	}
	alloc_watch(NULL);
}

int main(void)
{
	json_wipe_on_free();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_all),
		cmocka_unit_test(test_absent_leaves_untouched),
		cmocka_unit_test(test_read_refusals),
		cmocka_unit_test(test_read_odd_callers),
		cmocka_unit_test(test_clients_are_lenient),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_allocations_fail),
		cmocka_unit_test(test_token_buffer_cannot_grow),
		cmocka_unit_test(test_failure_is_forgotten),
		cmocka_unit_test(test_wiped_on_free),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
