#include "common/proto/json.h"

#include "common/base/scope.h"
#include "tests/unit/common/proto/json_support.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

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

/* --- random round trip --- */

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

int main(void)
{
	json_wipe_on_free();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_not_written),
		cmocka_unit_test(test_write_strings_with_nul),
		cmocka_unit_test(test_write_limit),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_mutations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
