#include "common/tlog/text.h"

#include "common/base/scope.h"
#include "common/tlog/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_lines(void **state)
{
	(void)state;
	span_t rest = span_str("a\n\nbc\nd"), line;
	assert_true(text_line(&rest, &line) && span_eq(line, span_str("a")));
	assert_true(text_line(&rest, &line) && line.n == 0);
	assert_true(text_line(&rest, &line) && span_eq(line, span_str("bc")));
	assert_false(text_line(&rest, &line));
	assert_true(span_eq(rest, span_str("d")));
	rest = span_of(NULL, 0);
	assert_false(text_line(&rest, &line));
	assert_true(text_prefix(&rest, ""));
	assert_false(text_prefix(&rest, "x"));
	assert_int_equal(text_chomp(span_str("a\n\n")).n, 2);
	assert_int_equal(text_chomp(span_str("a")).n, 1);
	assert_int_equal(text_chomp(rest).n, 0);
}

static void test_numbers(void **state)
{
	(void)state;
	uint64_t v = 7;
	assert_int_equal(text_u64(span_str("0"), &v), KMS_OK);
	assert_true(v == 0);
	assert_int_equal(text_u64(span_str("18446744073709551615"), &v), KMS_OK);
	assert_true(v == UINT64_MAX);
	v = 7;
	static const char *const bad[] = {"",
					  "00",
					  "01",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1a",
					  "0x1",
					  "1.0",
					  "1e3",
					  "18446744073709551616",
					  "99999999999999999999",
					  "100000000000000000000"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (text_u64(span_str(bad[i]), &v) != KMS_E_INVALID)
			fail_msg("taken: \"%s\"", bad[i]);
	assert_true(v == 7);
}

typedef struct utf8 {
	const char *bytes;
	bool clean;
} utf8_t;

static const utf8_t utf8[] = {
	{"", true},
	{"a\n\nb", true},
	{"\xc2\x80", true},
	{"\xdf\xbf", true},
	{"\xe0\xa0\x80", true},
	{"\xed\x9f\xbf\xee\x80\x80", true},
	{"\xf0\x90\x80\x80", true},
	{"\xf4\x8f\xbf\xbf", true},
	{"\x7f", true},
	{"\x01", false},
	{"\t", false},
	{"a\r\n", false},
	{"\x1f", false},
	{"\x80", false},
	{"\xff", false},
	{"\xc0\x80", false},         /* overlong */
	{"\xc1\xbf", false},         /* overlong */
	{"\xe0\x9f\xbf", false},     /* overlong */
	{"\xf0\x8f\xbf\xbf", false}, /* overlong */
	{"\xed\xa0\x80", false},     /* a surrogate */
	{"\xed\xbf\xbf", false},     /* a surrogate */
	{"\xf4\x90\x80\x80", false}, /* beyond U+10FFFF */
	{"\xf5\x80\x80\x80", false},
	{"\xc2", false},
	{"\xe2\x80", false},
	{"\xf0\x90\x80", false},
	{"\xc2z", false},
	{"\xe2\x80z", false},
};

static void test_utf8(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof utf8 / sizeof utf8[0]; i++)
		if (text_clean(span_str(utf8[i].bytes)) != utf8[i].clean)
			fail_msg("row %zu", i);
	assert_false(text_clean(span_of("a\0", 2)));
}

static void test_names(void **state)
{
	(void)state;
	char longest[NOTE_NAME_CAP + 1];
	memset(longest, 'a', sizeof longest);
	assert_true(text_name_valid(span_of(longest, NOTE_NAME_CAP - 1)));
	assert_false(text_name_valid(span_of(longest, NOTE_NAME_CAP)));
	static const char *const good[] = {"a", "kms.example/log", "grün", "\xe2\x80\x94", "a\xe2\x80\x8b"};
	static const char *const bad[] = {"",
					  " ",
					  "a b",
					  "a+b",
					  "a\n",
					  "a\tb",
					  "\x7f",
					  "\xff",
					  "a\xc2\x85",
					  "a\xc2\xa0",
					  "\xe1\x9a\x80",
					  "\xe2\x80\x80",
					  "\xe2\x80\x8a",
					  "\xe2\x80\xa8",
					  "\xe2\x80\xa9",
					  "\xe2\x80\xaf",
					  "\xe2\x81\x9f",
					  "\xe3\x80\x80"};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (!text_name_valid(span_str(good[i])))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (text_name_valid(span_str(bad[i])))
			fail_msg("taken: row %zu", i);
	assert_false(text_name_valid(span_of("a\0", 2)));
}

static void test_hashes(void **state)
{
	(void)state;
#define H1 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	static const char *const bad[] = {
		"",
		H1,
		H1 H1 H1 "\n",                                      /* over the cap of 2 */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n\n", /* bits that nobody reads */
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\n",
		"AAAA\n\n",
		"\xff\n\n",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\n",
		" " H1 "\n",
		H1 " \n"};
	uint8_t out[2][MERKLE_HASH_LEN];
	size_t n = 9;
	span_t rest;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		diag_t why = {{0}};
		rest = span_str(bad[i]);
		assert_int_equal(text_hashes(&rest, out, 2, &n, &why), KMS_E_INVALID);
		assert_true(why.text[0] != '\0');
	}
	assert_int_equal(n, 9);
	rest = span_str(H1 H1 "\nrest");
	assert_int_equal(text_hashes(&rest, out, 2, &n, NULL), KMS_OK);
	assert_int_equal(n, 2);
	assert_true(span_eq(rest, span_str("rest")));
	SCOPED(buf_free) buf_t b = BUF_INIT;
	text_put_hash(&b, out[0]);
	assert_true(span_eq(buf_span(&b), span_str(H1)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines), cmocka_unit_test(test_numbers), cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_names), cmocka_unit_test(test_hashes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
