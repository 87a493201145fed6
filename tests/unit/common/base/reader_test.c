#include "common/base/reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_reads_what_buf_writes(void **state)
{
	(void)state;
	static const uint8_t in[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x00\x02"
				    "ab\x00\x01"
				    "cxy";
	reader_t r = reader_of(span_of(in, sizeof in - 1));
	assert_int_equal(reader_u8(&r), 0x01);
	assert_int_equal(reader_u16(&r), 0x0203);
	assert_int_equal(reader_u32(&r), 0x04050607);
	assert_true(reader_u64(&r) == UINT64_C(0x08090a0b0c0d0e0f));
	assert_true(span_eq(reader_lp(&r), span_str("ab")));
	char text[8];
	reader_lp_str(&r, text, sizeof text);
	assert_string_equal(text, "c");
	char two[2];
	reader_copy(&r, two, 2);
	assert_memory_equal(two, "xy", 2);
	assert_int_equal(reader_done(&r), KMS_OK);
}

static void test_left_over_bytes_are_refused(void **state)
{
	(void)state;
	reader_t r = reader_of(span_of("\x00\x00", 2));
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_done(&r), KMS_E_INTEGRITY);
}

static void test_empty_input(void **state)
{
	(void)state;
	reader_t r = reader_of(span_of(NULL, 0));
	assert_int_equal(reader_done(&r), KMS_OK);
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_done(&r), KMS_E_INTEGRITY);
}

/* One short read makes all later ones fail, even those that would fit. */
static void test_failure_is_sticky(void **state)
{
	(void)state;
	reader_t r = reader_of(span_of("\xff\xff\xff", 3));
	assert_int_equal(reader_u32(&r), 0);
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_u16(&r), 0);
	assert_true(reader_u64(&r) == 0);
	assert_int_equal(reader_lp(&r).n, 0);
	char text[4] = "abc";
	reader_lp_str(&r, text, sizeof text);
	assert_string_equal(text, "");
	uint8_t copy[2] = {1, 1};
	reader_copy(&r, copy, 2);
	assert_int_equal(copy[0] | copy[1], 0);
	assert_int_equal(reader_done(&r), KMS_E_INTEGRITY);
}

typedef struct lp_row {
	const char *reason;
	const char *in;
	size_t n;
	const char *want; /* NULL: refused */
} lp_row_t;

static void test_lp_str(void **state)
{
	(void)state;
	static const lp_row_t rows[] = {
		{"fits with its end mark",
		 "\x00\x03"
		 "abc",
		 5, "abc"},
		{"empty", "\x00\x00", 2, ""},
		{"as long as the room, so no end mark",
		 "\x00\x04"
		 "abcd",
		 6, NULL},
		{"holds a zero byte",
		 "\x00\x03"
		 "a\0c",
		 5, NULL},
		{"longer than the input",
		 "\x00\x04"
		 "abc",
		 5, NULL},
		{"greatest length, no bytes", "\xff\xff", 2, NULL},
		{"half a length", "\x00", 1, NULL},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		reader_t r = reader_of(span_of(rows[i].in, rows[i].n));
		char text[4] = "zzz";
		reader_lp_str(&r, text, sizeof text);
		bool ok = reader_done(&r) == KMS_OK;
		if (ok != (rows[i].want != NULL))
			fail_msg("%s", rows[i].reason);
		assert_string_equal(text, ok ? rows[i].want : "");
	}
}

static void test_huge_count(void **state)
{
	(void)state;
	reader_t r = reader_of(span_of("abc", 3));
	span_t s = reader_bytes(&r, SIZE_MAX);
	assert_int_equal(s.n, 0);
	assert_null(s.p);
	assert_true(r.failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_buf_writes),
		cmocka_unit_test(test_left_over_bytes_are_refused),
		cmocka_unit_test(test_empty_input),
		cmocka_unit_test(test_failure_is_sticky),
		cmocka_unit_test(test_lp_str),
		cmocka_unit_test(test_huge_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
