#include "common/tlog/checkpoint.h"

#include "common/base/scope.h"
#include "tests/unit/common/tlog/fixture.h"

#define ROOT "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
#define ZERO "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"

static void test_texts(void **state)
{
	(void)state;
	checkpoint_t c;
	assert_int_equal(checkpoint_parse(span_str("example.com/behind-the-sofa\n20852163\n" ROOT), &c, NULL),
			 KMS_OK);
	assert_string_equal(c.origin, "example.com/behind-the-sofa");
	assert_true(c.size == 20852163);
	assert_int_equal(c.root[0], 0x0a);
	assert_int_equal(checkpoint_parse(span_str("a\n0\n" ZERO), &c, NULL), KMS_OK);
	assert_int_equal(checkpoint_parse(span_str("a\n1\n" ROOT "extension\nmore\n"), &c, NULL), KMS_OK);
	assert_int_equal(checkpoint_parse(span_str("a\n18446744073709551615\n" ROOT), &c, NULL), KMS_OK);
	static const char *const bad[] = {"",
					  "a\n",
					  "a\n1\n",
					  "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
					  "\n1\n" ROOT,
					  "a b\n1\n" ROOT,
					  "a+b\n1\n" ROOT,
					  "a\n\n" ROOT,
					  "a\n01\n" ROOT,
					  "a\n00\n" ZERO,
					  "a\n-1\n" ROOT,
					  "a\n+1\n" ROOT,
					  "a\n 1\n" ROOT,
					  "a\n1 \n" ROOT,
					  "a\n0x1\n" ROOT,
					  "a\n18446744073709551616\n" ROOT,
					  "a\n0\n" ROOT, /* the empty tree has one root */
					  "a\n1\n\n",
					  "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
					  "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
					  "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jx\n",
					  "a\n1\n " ROOT,
					  "a\n1\n" ROOT "\n",
					  "a\n1\n" ROOT "x\n\ny\n",
					  "a\n1\n" ROOT "no line end"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		diag_t why = {{0}};
		c.size = 77;
		if (checkpoint_parse(span_str(bad[i]), &c, &why) != KMS_E_INVALID)
			fail_msg("taken: row %zu", i);
		assert_true(c.size == 77 && why.text[0] != '\0');
	}
}

static void test_signed(void **state)
{
	(void)state;
	SCOPED(note_signer_freep) note_signer_t *s = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *twin = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *other = fixture_signer("other.example", NOTE_ED25519);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	checkpoint_t c = {.size = 77};
	note_t n;
	fixture_checkpoint(s, 12, &b);
	assert_int_equal(checkpoint_open(buf_span(&b), note_signer_vkey(s), &c, &n, NULL), KMS_OK);
	assert_string_equal(c.origin, LOG_NAME);
	assert_true(c.size == 12);
	assert_int_equal(n.n_sigs, 1);
	diag_t why = {{0}};
	c.size = 77;
	assert_int_equal(checkpoint_open(buf_span(&b), note_signer_vkey(twin), &c, NULL, &why),
			 KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "not signed by this key"));
	assert_int_equal(checkpoint_open(buf_span(&b), note_signer_vkey(other), &c, NULL, &why),
			 KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "other.example"));
	for (size_t i = 0; i < b.n; i++) { /* every byte counts */
		b.p[i] ^= 1;
		kms_err_t e = checkpoint_open(buf_span(&b), note_signer_vkey(s), &c, NULL, NULL);
		if (e != KMS_E_INVALID && e != KMS_E_INTEGRITY)
			fail_msg("byte %zu: %s", i, kms_err_name(e));
		b.p[i] ^= 1;
	}
	for (size_t i = 0; i < b.n; i++)
		assert_int_not_equal(checkpoint_open(span_of(b.p, i), note_signer_vkey(s), &c, NULL, NULL),
				     KMS_OK);
	assert_true(c.size == 77);
	c.origin[0] = 'K';
	assert_int_equal(checkpoint_sign(&c, s, &b), KMS_E_INVALID);
}

/* The key signs, and the text is of another log. */
static void test_another_origin(void **state)
{
	(void)state;
	static const char text[] = "other.example\n20852163\n" ROOT;
	SCOPED(note_signer_freep) note_signer_t *s = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	checkpoint_t c;
	diag_t why = {{0}};
	buf_printf(&b, "%s\n", text);
	assert_int_equal(note_sign(s, span_str(text), 0, &b), KMS_OK);
	assert_int_equal(checkpoint_open(buf_span(&b), note_signer_vkey(s), &c, NULL, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "other.example"));
}

/* A signature of the key under a text that is no checkpoint, and too much of it. */
static void test_signed_nonsense(void **state)
{
	(void)state;
	SCOPED(note_signer_freep) note_signer_t *s = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	SCOPED(buf_free) buf_t big = BUF_INIT;
	checkpoint_t c;
	buf_str(&b, "hello\n\n");
	assert_int_equal(note_sign(s, span_str("hello\n"), 0, &b), KMS_OK);
	assert_int_equal(checkpoint_open(buf_span(&b), note_signer_vkey(s), &c, NULL, NULL), KMS_E_INVALID);
	fixture_checkpoint(s, 3, &big);
	while (big.n <= CHECKPOINT_MAX)
		buf_str(&big, "\xe2\x80\x94 another-witness.example.com/name AAAAAAAAAAAA\n");
	assert_int_equal(checkpoint_open(buf_span(&big), note_signer_vkey(s), &c, NULL, NULL), KMS_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_signed),
		cmocka_unit_test(test_another_origin),
		cmocka_unit_test(test_signed_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
