#include "common/proto/json.h"

#include "common/base/scope.h"
#include "tests/unit/common/proto/alloc_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a)       (sizeof(a) / sizeof *(a))
#define BYTES(literal) (literal), sizeof(literal) - 1

static json_t *parsed(const char *text)
{
	json_t *j = NULL;
	diag_t why = {""};
	kms_err_t e = json_parse(span_str(text), JSON_BODY_LIMIT, &j, &why);
	if (e != KMS_OK)
		fail_msg("%s: %s", text, why.text);
	return j;
}

/* ---- what is refused ---- */

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
	{"a second value", BYTES("{} {}"), "line 1, column 4: there is something after the value"},
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
	{"lone surrogate escape", BYTES("{\"a\":\"\\ud800\"}"), "half a surrogate pair"},
	{"low surrogate first", BYTES("{\"a\":\"\\udc00\\ud800\"}"), "half a surrogate pair"},
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
	{"two high surrogates", BYTES("[\"\\ud800\\ud800\"]"), "half a surrogate pair"},
	{"high surrogate and a letter", BYTES("[\"\\ud800x\"]"), "half a surrogate pair"},
	{"high surrogate and another escape", BYTES("[\"\\ud800\\n\"]"), "half a surrogate pair"},
	{"high surrogate and a cut escape", BYTES("[\"\\ud800\\u12\"]"), "not valid JSON"},
	{"escape cut off", BYTES("[\"\\"), "ends too early"},
	{"NUL after a backslash", BYTES("[\"\\\0\"]"), "a NUL byte"},
	{"fraction without digits", BYTES("[1.]"), "not valid JSON"},
	{"exponent without digits", BYTES("[1e+]"), "not valid JSON"},
	{"minus alone", BYTES("[-]"), "not valid JSON"},
	{"point first", BYTES("[.5]"), "not valid JSON"},
	{"a word cut off", BYTES("[tru"), "ends too early"},
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

/* ---- what is written ---- */

typedef struct canonical {
	const char *reason;
	const char *in, *out;
} canonical_t;

static const canonical_t canonicals[] = {
	{"RFC 8785 section 3.2.2, the string",
	 "[\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\"]",
	 "[\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"]"},
	{"RFC 8785 section 3.2.2, the literals", "{\"literals\": [null, true, false]}",
	 "{\"literals\":[null,true,false]}"},
	{"RFC 8785 section 3.2.3, order by UTF-16",
	 "{\"\\u20ac\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\\ufb33\":\"Hebrew Letter Dalet With "
	 "Dagesh\","
	 "\"1\":\"One\",\"\\ud83d\\ude00\":\"Emoji: Grinning Face\",\"\\u0080\":\"Control\","
	 "\"\\u00f6\":\"Latin Small Letter O With Diaeresis\"}",
	 "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\xc2\x80\":\"Control\","
	 "\"\xc3\xb6\":\"Latin Small Letter O With Diaeresis\",\"\xe2\x82\xac\":\"Euro Sign\","
	 "\"\xf0\x9f\x98\x80\":\"Emoji: Grinning Face\",\"\xef\xac\xb3\":\"Hebrew Letter Dalet With "
	 "Dagesh\"}"},
	{"short escapes", "[\"\\u0008\\u0009\\u000A\\u000C\\u000D\"]", "[\"\\b\\t\\n\\f\\r\"]"},
	{"other controls in lower case", "[\"\\u0001\\u000B\\u001F\\u007F\"]",
	 "[\"\\u0001\\u000b\\u001f\x7f\"]"},
	{"slash is not escaped", "[\"\\/\"]", "[\"/\"]"},
	{"a prefix comes first", "{\"ab\":1,\"a\":2,\"\":3,\"b\":4}", "{\"\":3,\"a\":2,\"ab\":1,\"b\":4}"},
	{"U+E000 after a surrogate pair", "{\"\\ue000\":1,\"\\ud800\\udc00\":2,\"\\ud7ff\":3}",
	 "{\"\xed\x9f\xbf\":3,\"\xf0\x90\x80\x80\":2,\"\xee\x80\x80\":1}"},
	{"upper before lower case", "{\"a\":1,\"B\":2}", "{\"B\":2,\"a\":1}"},
	{"minus zero is zero", "[-0]", "[0]"},
	{"largest safe integers", "[9007199254740991,-9007199254740991]",
	 "[9007199254740991,-9007199254740991]"},
	{"empty things", " { \"o\" : { } , \"a\" : [ ] , \"s\" : \"\" } ", "{\"a\":[],\"o\":{},\"s\":\"\"}"},
	{"order in arrays stays", "[3,1,2]", "[3,1,2]"},
	{"inner objects are sorted too", "[{\"b\":{\"d\":1,\"c\":2},\"a\":3}]",
	 "[{\"a\":3,\"b\":{\"c\":2,\"d\":1}}]"},
};

static void test_canonical(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(canonicals); i++) {
		SCOPED(json_freep) json_t *j = parsed(canonicals[i].in);
		SCOPED(buf_free) buf_t out = BUF_INIT;
		const char *text = NULL;
		assert_int_equal(json_write(j, &out), KMS_OK);
		assert_int_equal(buf_cstr(&out, &text), KMS_OK);
		if (strcmp(text, canonicals[i].out) != 0)
			fail_msg("%s: %s", canonicals[i].reason, text);
	}
}

static void assert_not_written(json_t *value, const char *reason)
{
	SCOPED(json_freep) json_t *j = json_pack("{s:[i,o]}", "a", 1, value);
	SCOPED(buf_free) buf_t out = BUF_INIT;
	assert_non_null(j);
	buf_str(&out, "before");
	kms_err_t e = json_write(j, &out);
	if (e != KMS_E_INVALID || !span_eq(buf_span(&out), span_str("before")))
		fail_msg("%s: %s, %zu bytes", reason, kms_err_name(e), out.n);
}

static void test_not_written(void **state)
{
	(void)state;
	static const char *const not_utf8[] = {"\x80",
					       "\xc0\xaf",
					       "\xc3",
					       "\xc3(",
					       "\xe0\x9f\xbf",
					       "\xe2\x82",
					       "\xe2\x82(",
					       "\xed\xa0\x80",
					       "\xf0\x8f\xbf\xbf",
					       "\xf0\x9f\x98",
					       "\xf0\x9f\x98(",
					       "\xf4\x90\x80\x80",
					       "\xf5\x80\x80\x80",
					       "a\xff",
					       "\xe2(\xa1"};
	for (size_t i = 0; i < COUNT(not_utf8); i++) {
		assert_not_written(json_string_nocheck(not_utf8[i]), not_utf8[i]);
		json_t *o = json_object();
		assert_int_equal(json_object_set_new_nocheck(o, not_utf8[i], json_null()), 0);
		assert_not_written(o, not_utf8[i]);
	}
	assert_not_written(json_real(1.0), "a real number");
	assert_not_written(json_integer(JSON_SAFE_INTEGER + 1), "an integer that a double cannot hold");
	assert_not_written(json_integer(-JSON_SAFE_INTEGER - 1), "the same, negative");
	json_t *deep = json_array();
	for (size_t i = 0; i < 40; i++)
		deep = json_pack("[o]", deep);
	assert_not_written(deep, "too deep");
	SCOPED(buf_free) buf_t out = BUF_INIT;
	assert_int_equal(json_write(NULL, &out), KMS_E_INVALID);
}

static void test_write_strings_with_nul(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *j = json_object();
	SCOPED(buf_free) buf_t out = BUF_INIT;
	assert_int_equal(json_object_setn_new(j, "a\0b", 3, json_stringn("\0", 1)), 0);
	assert_int_equal(json_write(j, &out), KMS_OK);
	assert_true(span_eq(buf_span(&out), span_str("{\"a\\u0000b\":\"\\u0000\"}")));
}

static void test_write_limit(void **state)
{
	(void)state;
	SCOPED(json_freep) json_t *j = parsed("{\"a\":[\"bbbbbbbbbb\",12345,true]}");
	for (size_t limit = 4; limit < 30; limit++) {
		SCOPED(buf_free) buf_t out = {.limit = limit};
		buf_str(&out, "xyz");
		assert_int_equal(json_write(j, &out), KMS_E_FULL);
		assert_true(span_eq(buf_span(&out), span_str("xyz")));
	}
}

/* ---- random round trip ---- */

static uint32_t next(uint64_t *seed)
{
	*seed ^= *seed << 13; /* xorshift64: the same values on every run */
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 32);
}

static void put_utf8(buf_t *b, uint32_t c)
{
	if (c < 0x80) {
		buf_u8(b, (uint8_t)c);
		return;
	}
	unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	static const uint8_t first[] = {0, 0xc0, 0xe0, 0xf0};
	buf_u8(b, (uint8_t)(first[more] | c >> (6 * more)));
	while (more-- > 0)
		buf_u8(b, (uint8_t)(0x80 | ((c >> (6 * more)) & 0x3f)));
}

static json_t *random_string(uint64_t *seed, buf_t *b)
{
	static const uint32_t ranges[] = {0x20, 0x80, 0x800, 0xd800, 0x10000, 0x110000};
	buf_clear(b);
	for (size_t n = next(seed) % 6; n > 0; n--) {
		uint32_t c = 1 + next(seed) % (ranges[next(seed) % COUNT(ranges)] - 1);
		if (next(seed) % 4 == 0)
			c = 0xe000 + next(seed) % 0x2000;
		put_utf8(b, c >= 0xd800 && c < 0xe000 ? c - 0x1000 : c);
	}
	span_t s = buf_span(b);
	return s.n > 0 ? json_stringn((const char *)s.p, s.n) : json_string("");
}

static json_t *random_value(uint64_t *seed, size_t depth);

static json_t *random_object(uint64_t *seed, size_t depth)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	json_t *o = json_object();
	for (size_t n = next(seed) % 7; n > 0; n--) {
		SCOPED(json_freep) json_t *key = random_string(seed, &b);
		assert_non_null(key);
		assert_int_equal(
			json_object_set_new(o, json_string_value(key), random_value(seed, depth + 1)), 0);
	}
	return o;
}

static json_t *random_array(uint64_t *seed, size_t depth)
{
	json_t *a = json_array();
	for (size_t n = next(seed) % 5; n > 0; n--)
		assert_int_equal(json_array_append_new(a, random_value(seed, depth + 1)), 0);
	return a;
}

static json_t *random_value(uint64_t *seed, size_t depth)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	int64_t i = (int64_t)next(seed) << 21 | next(seed) >> 11;
	uint32_t kind = depth == 1 ? next(seed) % 2 : next(seed) % (depth < JSON_DEPTH_LIMIT ? 8U : 6U) + 2;
	switch (kind) {
	case 0:
	case 8:
		return random_object(seed, depth);
	case 1:
	case 9:
		return random_array(seed, depth);
	case 2:
		return json_integer(i);
	case 3:
		return json_integer(-i);
	case 4:
		return json_true();
	case 5:
		return json_false();
	case 6:
		return json_null();
	default:
		return random_string(seed, &b);
	}
}

static size_t utf16_of(const char *s, uint16_t out[64])
{
	size_t n = 0;
	const uint8_t *p = (const uint8_t *)s;
	while (*p != 0) {
		unsigned more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc0 ? 1 : 0;
		uint32_t c = more > 0 ? *p & (0x3fU >> more) : *p;
		for (p++; more > 0; more--)
			c = c << 6 | (*p++ & 0x3fU);
		if (c >= 0x10000) {
			out[n++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
		}
		out[n++] = (uint16_t)c;
	}
	return n;
}

static bool utf16_before(const char *a, const char *b)
{
	uint16_t x[64], y[64];
	size_t nx = utf16_of(a, x), ny = utf16_of(b, y);
	for (size_t i = 0; i < nx && i < ny; i++)
		if (x[i] != y[i])
			return x[i] < y[i];
	return nx < ny;
}

/* jansson keeps the order in which it read the names: what we wrote must be in the order that the RFC says.
 */
static void assert_sorted(json_t *j)
{
	const char *key, *before = NULL;
	json_t *v;
	size_t i;
	if (json_is_object(j))
		json_object_foreach(j, key, v)
		{
			assert_true(before == NULL || utf16_before(before, key));
			before = key;
			assert_sorted(v);
		}
	json_array_foreach(j, i, v) assert_sorted(v);
}

static void test_round_trip(void **state)
{
	(void)state;
	uint64_t seed = 0x9e3779b97f4a7c15U;
	for (size_t i = 0; i < 5000; i++) {
		SCOPED(buf_free) buf_t first = BUF_INIT, again = BUF_INIT;
		SCOPED(json_freep) json_t *in = random_value(&seed, 1);
		SCOPED(json_freep) json_t *back = NULL;
		diag_t why = {""};
		assert_int_equal(json_write(in, &first), KMS_OK);
		kms_err_t e = json_parse(buf_span(&first), first.n, &back, &why);
		if (e != KMS_OK)
			fail_msg("%.*s: %s", (int)first.n, (const char *)first.p, why.text);
		assert_true(json_equal(in, back));
		assert_sorted(back);
		assert_int_equal(json_write(back, &again), KMS_OK);
		assert_true(span_eq(buf_span(&first), buf_span(&again)));
	}
}

/* One byte of a good text is changed: jansson's own reader must agree on whether it is still JSON, and on
 * what it says. */
static bool jansson_agrees(span_t text)
{
	SCOPED(json_freep) json_t *ours = NULL;
	diag_t why = {""};
	json_error_t error;
	SCOPED(json_freep)
	json_t *theirs = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &error);
	kms_err_t e = json_parse(text, text.n, &ours, &why);
	if ((e == KMS_OK) != (theirs != NULL))
		fail_msg("%.*s: we say \"%s\", jansson \"%s\"", (int)text.n, (const char *)text.p, why.text,
			 error.text);
	assert_true(e != KMS_OK || json_equal(ours, theirs));
	return e == KMS_OK;
}

static void test_mutations(void **state)
{
	(void)state;
	static const char likely[] = "{}[]\",:\\u0123456789.eE+-tfn \n\x80\xc3\xe2\xed\xf0";
	uint64_t seed = 0x2545f4914f6cdd1dU;
	size_t good = 0;
	for (size_t i = 0; i < 20000; i++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		SCOPED(json_freep) json_t *in = random_value(&seed, JSON_DEPTH_LIMIT - 6);
		while (!json_is_object(in) && !json_is_array(in)) {
			json_freep(&in);
			in = random_value(&seed, 1);
		}
		assert_int_equal(json_write(in, &text), KMS_OK);
		for (uint32_t n = 1 + next(&seed) % 3; n > 0; n--)
			text.p[next(&seed) % text.n] = (uint8_t)likely[next(&seed) % (sizeof likely - 1)];
		good += jansson_agrees(buf_span(&text)) ? 1 : 0;
	}
	assert_in_range(good, 1000, 19000); /* both outcomes were met */
}

/* ---- tables ---- */

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

/* ---- building, memory ---- */

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

static void test_allocations_fail(void **state)
{
	(void)state;
	static const char text[] = "{\"a-name-that-makes-the-buffer-of-the-lexer-grow\":[1,\"two\",{\"a\":"
				   "null}],\"b\":{\"c\":\"d\"}}";
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
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_size_limit),
		cmocka_unit_test(test_wide),
		cmocka_unit_test(test_message_never_quotes_a_value),
		cmocka_unit_test(test_16_levels_are_read),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_not_written),
		cmocka_unit_test(test_write_strings_with_nul),
		cmocka_unit_test(test_write_limit),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_read_all),
		cmocka_unit_test(test_absent_leaves_untouched),
		cmocka_unit_test(test_read_refusals),
		cmocka_unit_test(test_read_odd_callers),
		cmocka_unit_test(test_clients_are_lenient),
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_allocations_fail),
		cmocka_unit_test(test_wiped_on_free),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
