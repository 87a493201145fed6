#include "kms-server/seal/share.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* echo -n clvs1-3-2-0001…1f | sha256sum */
#define VALUE "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KNOWN "clvs1-3-2-" VALUE "-ce85d9a6"

static void make_value(secret_t **out)
{
	uint8_t v[32];
	for (size_t i = 0; i < 32; i++)
		v[i] = (uint8_t)i;
	assert_int_equal(secret_from(span_of(v, 32), out), KMS_OK);
}

static void test_known_text(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *value = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	SCOPED(share_free) share_t share = {0};
	make_value(&value);
	assert_int_equal(share_format(3, 2, value, &text), KMS_OK);
	assert_true(span_eq(secret_span(text), span_str(KNOWN)));
	assert_int_equal(share_parse(span_str(KNOWN), &share, NULL), KMS_OK);
	assert_int_equal(share.threshold, 3);
	assert_int_equal(share.index, 2);
	assert_true(secret_equal(share.value, value));
}

static void test_every_index(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *value = NULL;
	make_value(&value);
	for (unsigned k = 2; k <= 16; k++)
		for (unsigned i = 1; i <= 16; i++) {
			SCOPED(secret_freep) secret_t *text = NULL;
			SCOPED(share_free) share_t share = {0};
			assert_int_equal(share_format(k, i, value, &text), KMS_OK);
			assert_int_equal(share_parse(secret_span(text), &share, NULL), KMS_OK);
			assert_int_equal(share.threshold, k);
			assert_int_equal(share.index, i);
		}
}

/* One character typed wrong, wherever it is, and one left out or put in. */
static void test_every_typing_error(void **state)
{
	(void)state;
	char text[sizeof KNOWN + 1];
	size_t n = sizeof KNOWN - 1;
	for (size_t i = 0; i < n; i++)
		for (unsigned c = 1; c < 128; c++) {
			if ((char)c == KNOWN[i])
				continue;
			memcpy(text, KNOWN, n);
			text[i] = (char)c;
			SCOPED(share_free) share_t share = {0};
			diag_t why = {{0}};
			if (share_parse(span_of(text, n), &share, &why) != KMS_E_INVALID ||
			    why.text[0] == '\0')
				fail_msg("character %zu as %u", i, c);
			assert_null(share.value);
		}
	for (size_t i = 0; i < n; i++) {
		SCOPED(share_free) share_t share = {0};
		memcpy(text, KNOWN, i);
		memcpy(text + i, &KNOWN[i + 1], n - i - 1);
		assert_int_equal(share_parse(span_of(text, n - 1), &share, NULL), KMS_E_INVALID);
		memcpy(text, KNOWN, i);
		text[i] = '0';
		memcpy(text + i + 1, &KNOWN[i], n - i);
		assert_int_equal(share_parse(span_of(text, n + 1), &share, NULL), KMS_E_INVALID);
	}
	/* two neighbours exchanged in the value */
	memcpy(text, KNOWN, n);
	text[13] = KNOWN[12];
	text[12] = KNOWN[13];
	assert_int_not_equal(text[12], text[13]);
	SCOPED(share_free) share_t share = {0};
	diag_t why;
	assert_int_equal(share_parse(span_of(text, n), &share, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, "mistyped"));
	assert_null(strstr(why.text, "0102")); /* and says nothing of the value */
}

static void test_malformed(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"clvs1",
		"hello",
		"clvs1-3-2-" VALUE,
		" " KNOWN,
		KNOWN " ",
		KNOWN "\n",
		"clvs1-3-2-" VALUE "-",
		"clvs1-03-2-" VALUE "-00000000",
		"clvs1-3-02-" VALUE "-00000000",
		"clvs1-+3-2-" VALUE "-00000000",
		"clvs1-1-1-" VALUE "-00000000",
		"clvs1-3-0-" VALUE "-00000000",
		"clvs1-3-17-" VALUE "-00000000",
		"clvs1-17-1-" VALUE "-00000000",
		"clvs1-3-259-" VALUE "-00000000",
		"clvs1--2-" VALUE "-00000000",
		"clvs2-3-2-" VALUE "-00000000",
		"CLVS1-3-2-" VALUE "-00000000",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		SCOPED(share_free) share_t share = {0};
		diag_t why = {{0}};
		if (share_parse(span_str(bad[i]), &share, &why) != KMS_E_INVALID)
			fail_msg("accepted: %s", bad[i]);
		assert_non_null(strstr(why.text, "not an unseal share"));
		assert_null(share.value);
	}
}

/* Not hex, under a checksum that is right: the one spelling holds there too. */
static void test_upper_case_with_its_own_checksum(void **state)
{
	(void)state;
	SCOPED(share_free) share_t share = {0};
	static const char text[] =
		"clvs1-3-2-"
		"000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f-acbae624";
	assert_int_equal(share_parse(span_str(text), &share, NULL), KMS_E_INVALID);
	assert_null(share.value);
}

static void test_format_refusals(void **state)
{
	(void)state;
	SCOPED(secret_freep) secret_t *value = NULL;
	SCOPED(secret_freep) secret_t *shorter = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	make_value(&value);
	assert_int_equal(secret_new(31, &shorter), KMS_OK);
	assert_int_equal(share_format(17, 1, value, &text), KMS_E_INVALID);
	assert_int_equal(share_format(2, 17, value, &text), KMS_E_INVALID);
	assert_int_equal(share_format(2, 1, shorter, &text), KMS_E_INVALID);
	assert_null(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_text),
		cmocka_unit_test(test_every_index),
		cmocka_unit_test(test_every_typing_error),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_upper_case_with_its_own_checksum),
		cmocka_unit_test(test_format_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
