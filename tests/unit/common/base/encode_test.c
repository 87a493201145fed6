#include "common/base/encode.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef struct row {
	const char *reason;
	const char *text;
	size_t n;
} row_t;

static void test_hex_round_trip(void **state)
{
	(void)state;
	uint8_t all[256], back[256];
	char text[513];
	for (unsigned i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	hex_encode(span_of(all, 256), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_string_equal(text + 506, "fdfeff");
	assert_int_equal(hex_decode(span_str(text), back, 256), KMS_OK);
	assert_memory_equal(all, back, 256);
}

static void test_hex_refusals(void **state)
{
	(void)state;
	static const row_t rows[] = {
		{"upper case", "0A0b", 4},
		{"one digit less", "0a0", 3},
		{"one byte more", "0a0b0c", 6},
		{"empty", "", 0},
		{"space", "0a 0", 4},
		{"0x", "0x0a", 4},
		{"the character after 9", "0:", 2},
		{"before a", "0`0a", 4},
		{"after f", "0g0a", 4},
		{"NUL", "0\0000a", 4},
		{"8 bit",
		 "\xb0"
		 "a0a",
		 4},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t out[2] = {0x55, 0x55};
		if (hex_decode(span_of(rows[i].text, rows[i].n), out, 2) != KMS_E_INVALID)
			fail_msg("accepted: %s", rows[i].reason);
		assert_int_equal(out[0], 0x55); /* untouched */
	}
}

/* RFC 4648 section 10. */
static void test_base64_known_answers(void **state)
{
	(void)state;
	static const char *const rows[][2] = {{"", ""},
					      {"f", "Zg=="},
					      {"fo", "Zm8="},
					      {"foo", "Zm9v"},
					      {"foob", "Zm9vYg=="},
					      {"fooba", "Zm9vYmE="},
					      {"foobar", "Zm9vYmFy"}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		base64_encode(span_str(rows[i][0]), &b);
		const char *text = NULL;
		assert_int_equal(buf_cstr(&b, &text), KMS_OK);
		assert_string_equal(text, rows[i][1]);
		uint8_t out[8];
		size_t n = 99;
		assert_int_equal(base64_decode(span_str(rows[i][1]), out, sizeof out, &n), KMS_OK);
		assert_true(span_eq(span_of(out, n), span_str(rows[i][0])));
	}
}

static void test_base64_every_value(void **state)
{
	(void)state;
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (unsigned c = 0; c < 256; c++) {
		const char *at = c != 0 ? strchr(alphabet, (int)c) : NULL;
		char text[4] = {'A', 'A', 'A', (char)c};
		uint8_t out[3];
		size_t n = 0;
		kms_err_t e = base64_decode(span_of(text, 4), out, 3, &n);
		if (c == '=') {
			assert_int_equal(e, KMS_OK);
			assert_int_equal(n, 2);
		} else if (at == NULL) {
			assert_int_equal(e, KMS_E_INVALID);
		} else {
			assert_int_equal(e, KMS_OK);
			assert_int_equal(out[2], (int)(at - alphabet));
		}
	}
}

static void test_base64_refusals(void **state)
{
	(void)state;
	static const row_t rows[] = {
		{"no padding", "Zg", 2},
		{"half the padding", "Zg=", 3},
		{"padding alone", "====", 4},
		{"three padding characters", "Z===", 4},
		{"padding in the middle", "Zg==Zg==", 8},
		{"character after padding", "Zm=v", 4},
		{"unused bits set, one byte", "Zh==", 4},
		{"unused bits set, two bytes", "Zm9=", 4},
		{"URL alphabet -", "Zm-v", 4},
		{"URL alphabet _", "Zm_v", 4},
		{"line end", "Zm9v\n", 5},
		{"line end within", "Zm\n9v===", 8},
		{"space", " Zm9", 4},
		{"NUL", "Zm\0v", 4},
		{"8 bit", "Zm\xffv", 4},
		{"too long for the room", "Zm9vYmFyZm9v", 12},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t out[8];
		size_t n = 77;
		if (base64_decode(span_of(rows[i].text, rows[i].n), out, sizeof out, &n) != KMS_E_INVALID)
			fail_msg("accepted: %s", rows[i].reason);
		assert_int_equal(n, 77);
	}
}

static void test_be64(void **state)
{
	(void)state;
	static const struct {
		uint64_t v;
		uint8_t bytes[8];
	} rows[] = {
		{0, {0}},
		{1, {0, 0, 0, 0, 0, 0, 0, 1}},
		{UINT64_C(0x0102030405060708), {1, 2, 3, 4, 5, 6, 7, 8}},
		{UINT64_C(0xff00000000000100), {255, 0, 0, 0, 0, 0, 1, 0}},
		{UINT64_MAX, {255, 255, 255, 255, 255, 255, 255, 255}},
	};
	uint8_t before[8] = {0};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t out[9] = {[8] = 0x5a};
		be64_encode(rows[i].v, out);
		assert_memory_equal(out, rows[i].bytes, 8);
		assert_int_equal(out[8], 0x5a);
		assert_true(memcmp(before, out, 8) <= 0); /* the rows go up */
		memcpy(before, out, 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hex_round_trip),       cmocka_unit_test(test_hex_refusals),
		cmocka_unit_test(test_base64_known_answers), cmocka_unit_test(test_base64_every_value),
		cmocka_unit_test(test_base64_refusals),      cmocka_unit_test(test_be64),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
