#include "common/base/buf.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_writes_big_endian(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_u8(&b, 0x01);
	buf_u16(&b, 0x0203);
	buf_u32(&b, 0x04050607);
	buf_u64(&b, UINT64_C(0x08090a0b0c0d0e0f));
	buf_lp_str(&b, "ab");
	buf_str(&b, "c");
	buf_printf(&b, "%d%s", 42, "!");
	static const uint8_t want[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x00\x02"
				      "abc42!";
	span_t got;
	assert_int_equal(buf_done(&b, &got), KMS_OK);
	assert_int_equal(got.n, sizeof want - 1);
	assert_memory_equal(got.p, want, sizeof want - 1);
}

static void test_limit_refuses_and_stays(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	b.limit = 4;
	buf_u32(&b, 7);
	assert_int_equal(b.err, KMS_OK);
	buf_u8(&b, 1);
	assert_int_equal(b.err, KMS_E_FULL);
	assert_int_equal(b.n, 4); /* nothing cut off, nothing half written */
	span_t got = span_of("untouched", 9);
	assert_int_equal(buf_done(&b, &got), KMS_E_FULL);
	assert_int_equal(got.n, 9);
	buf_clear(&b);
	buf_u8(&b, 1);
	assert_int_equal(b.err, KMS_OK);
	assert_int_equal(b.n, 1);
}

static void test_limit_holds_for_every_writer(void **state)
{
	(void)state;
	for (int writer = 0; writer < 9; writer++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		b.limit = 8;
		buf_bytes(&b, span_str("12345678"));
		switch (writer) {
		case 0:
			buf_u8(&b, 0);
			break;
		case 1:
			buf_u16(&b, 0);
			break;
		case 2:
			buf_u32(&b, 0);
			break;
		case 3:
			buf_u64(&b, 0);
			break;
		case 4:
			buf_bytes(&b, span_str("x"));
			break;
		case 5:
			buf_lp(&b, span_str(""));
			break;
		case 6:
			buf_printf(&b, "x");
			break;
		case 7:
			assert_null(buf_reserve(&b, 1));
			break;
		case 8: {
			const char *text = NULL;
			assert_int_equal(buf_cstr(&b, &text), KMS_E_FULL);
			assert_null(text);
			break;
		}
		}
		assert_int_equal(b.err, KMS_E_FULL);
		assert_memory_equal(b.p, "12345678", 8);
	}
}

/* A first write that half fits must not leave its half, and one that would fit after a refusal is refused
 * too. */
static void test_error_is_sticky(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	b.limit = 10;
	buf_str(&b, "1234567");
	buf_str(&b, "89abc");
	buf_str(&b, "8");
	assert_int_equal(b.n, 7);
	assert_int_equal(b.err, KMS_E_FULL);
}

static void test_lp_over_16_bits(void **state)
{
	(void)state;
	SCOPED(freep) char *big = calloc(1, 65536);
	assert_non_null(big);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_lp(&b, span_of(big, 65535));
	assert_int_equal(b.err, KMS_OK);
	assert_int_equal(b.n, 65537);
	buf_lp(&b, span_of(big, 65536));
	assert_int_equal(b.err, KMS_E_INVALID);
	assert_int_equal(b.n, 65537);
}

static void test_default_limit(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	assert_null(buf_reserve(&b, 16U * 1024 * 1024 + 1));
	assert_int_equal(b.err, KMS_E_FULL);
	buf_free(&b);
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_int_equal(b.err, KMS_E_FULL);
	buf_free(&b);
	buf_u8(&b, 1);
	assert_null(buf_reserve(&b, SIZE_MAX)); /* n + SIZE_MAX would wrap */
	assert_int_equal(b.err, KMS_E_FULL);
}

static void test_cstr_counts_no_end_mark(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *text = NULL;
	assert_int_equal(buf_cstr(&b, &text), KMS_OK);
	assert_string_equal(text, "");
	buf_printf(&b, "%0300d", 1);
	assert_int_equal(buf_cstr(&b, &text), KMS_OK);
	assert_int_equal(strlen(text), 300);
	assert_int_equal(b.n, 300);
}

static void test_clear_wipes(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_str(&b, "secret");
	const uint8_t *at = b.p;
	buf_clear(&b);
	static const uint8_t zeros[6];
	assert_memory_equal(at, zeros, 6);
	assert_int_equal(b.n, 0);
	assert_ptr_equal(b.p, at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writes_big_endian),
		cmocka_unit_test(test_limit_refuses_and_stays),
		cmocka_unit_test(test_limit_holds_for_every_writer),
		cmocka_unit_test(test_error_is_sticky),
		cmocka_unit_test(test_lp_over_16_bits),
		cmocka_unit_test(test_default_limit),
		cmocka_unit_test(test_cstr_counts_no_end_mark),
		cmocka_unit_test(test_clear_wipes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
