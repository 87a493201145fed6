#include "common/tlog/proof.h"

#include "common/base/scope.h"
#include "tests/unit/common/tlog/fixture.h"

static note_signer_t *signer;

static void make(uint64_t index, uint64_t size, const char *extra, buf_t *out)
{
	SCOPED(buf_free) buf_t c = BUF_INIT;
	tlog_proof_t p = {.index = index, .extra = span_str(extra)};
	fixture_checkpoint(signer, size, &c);
	tree_path(index, 0, size, p.hash, &p.n);
	p.checkpoint = buf_span(&c);
	assert_int_equal(proof_format(&p, out), KMS_OK);
}

static kms_err_t verify(span_t text, uint64_t index, checkpoint_t *c, diag_t *why)
{
	tlog_proof_t p;
	uint8_t entry[2];
	tree_entry(index, entry);
	KMS_TRY(proof_parse(text, &p, why));
	return proof_verify(&p, span_of(entry, 2), note_signer_vkey(signer), c, why);
}

static void test_round(void **state)
{
	(void)state;
	static const char *const extras[] = {"", "AA==", "YWdlLXYxLjIuMS1kYXJ3aW4="};
	for (uint64_t size = 1; size < 20; size++)
		for (uint64_t i = 0; i < size; i++) {
			SCOPED(buf_free) buf_t b = BUF_INIT;
			checkpoint_t c = {.size = 0};
			make(i, size, extras[i % 3], &b);
			assert_int_equal(verify(buf_span(&b), i, &c, NULL), KMS_OK);
			assert_true(c.size == size);
			tlog_proof_t p;
			SCOPED(buf_free) buf_t again = BUF_INIT;
			assert_int_equal(proof_parse(buf_span(&b), &p, NULL), KMS_OK);
			assert_true(span_eq(p.extra, span_str(extras[i % 3])));
			assert_int_equal(proof_format(&p, &again), KMS_OK);
			assert_true(span_eq(buf_span(&b), buf_span(&again)));
		}
}

/* Every byte of a proof counts, every cut is seen, and so is another entry. */
static void test_changes(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	checkpoint_t c;
	diag_t why = {{0}};
	make(5, 13, "", &b);
	for (size_t i = 0; i < b.n; i++) {
		b.p[i] ^= 1;
		kms_err_t e = verify(buf_span(&b), 5, &c, NULL);
		if (e != KMS_E_INVALID && e != KMS_E_INTEGRITY)
			fail_msg("byte %zu: %s", i, kms_err_name(e));
		b.p[i] ^= 1;
		assert_int_not_equal(verify(span_of(b.p, i), 5, &c, NULL), KMS_OK);
	}
	assert_int_equal(verify(buf_span(&b), 4, &c, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "index 5"));
	SCOPED(note_signer_freep) note_signer_t *other = fixture_signer(LOG_NAME, NOTE_ED25519);
	tlog_proof_t p;
	uint8_t entry[2];
	tree_entry(5, entry);
	assert_int_equal(proof_parse(buf_span(&b), &p, NULL), KMS_OK);
	assert_int_equal(proof_verify(&p, span_of(entry, 2), note_signer_vkey(other), NULL, NULL),
			 KMS_E_INTEGRITY);
	p.index = 13;
	assert_int_equal(proof_verify(&p, span_of(entry, 2), note_signer_vkey(signer), NULL, &why),
			 KMS_E_INTEGRITY);
	p.checkpoint = span_str("nonsense");
	assert_int_equal(proof_verify(&p, span_of(entry, 2), note_signer_vkey(signer), NULL, &why),
			 KMS_E_INTEGRITY);
}

#define FIRST "c2sp.org/tlog-proof@v1\n"
#define HASH  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"

static void test_texts(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  FIRST,
					  "c2sp.org/tlog-proof@v2\nindex 0\n\nx\n",
					  "c2sp.org/tlog-proof@v1\r\nindex 0\n\nx\n",
					  " " FIRST "index 0\n\nx\n",
					  FIRST "index\n\nx\n",
					  FIRST "index \n\nx\n",
					  FIRST "index 00\n\nx\n",
					  FIRST "index 01\n\nx\n",
					  FIRST "index -1\n\nx\n",
					  FIRST "index  1\n\nx\n",
					  FIRST "index 18446744073709551616\n\nx\n",
					  FIRST "Index 1\n\nx\n",
					  FIRST "index 1\n" HASH,
					  FIRST "index 1\n" HASH "\n", /* no checkpoint */
					  FIRST "index 1\nAAAA\n\nx\n",
					  FIRST "index 1\n" HASH "extra AA==\n\nx\n",
					  FIRST "extra \nindex 1\n\nx\n",
					  FIRST "extra\nindex 1\n\nx\n",
					  FIRST "extra AA=\nindex 1\n\nx\n",
					  FIRST "extra AB==\nindex 1\n\nx\n",
					  FIRST "extra AA==AAAA\nindex 1\n\nx\n",
					  FIRST "extra AA==\nextra AA==\nindex 1\n\nx\n",
					  FIRST "extra AA==\n",
					  FIRST "\nindex 1\n\nx\n"};
	tlog_proof_t p = {.index = 77};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		diag_t why = {{0}};
		if (proof_parse(span_str(bad[i]), &p, &why) != KMS_E_INVALID)
			fail_msg("taken: row %zu", i);
		assert_true(p.index == 77 && why.text[0] != '\0');
	}
	assert_int_equal(proof_parse(span_str(FIRST "index 1\n\nx\n"), &p, NULL), KMS_OK);
}

static kms_err_t with_hashes(size_t n)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	tlog_proof_t p;
	buf_str(&b, FIRST "index 1\n");
	for (size_t i = 0; i < n; i++)
		buf_str(&b, HASH);
	buf_str(&b, "\nx\n");
	return proof_parse(buf_span(&b), &p, NULL);
}

static kms_err_t with_extra(size_t groups, const char *last)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	tlog_proof_t p;
	buf_str(&b, FIRST "extra ");
	for (size_t i = 0; i < groups; i++)
		buf_str(&b, "AAAA");
	buf_str(&b, last);
	buf_str(&b, "\nindex 1\n\nx\n");
	return proof_parse(buf_span(&b), &p, NULL);
}

static void test_limits(void **state)
{
	(void)state;
	assert_int_equal(with_hashes(MERKLE_PROOF_MAX), KMS_OK);
	assert_int_equal(with_hashes(MERKLE_PROOF_MAX + 1), KMS_E_INVALID);
	for (size_t groups = 254; groups < 259; groups++) {
		assert_int_equal(with_extra(groups, ""), KMS_OK);
		assert_int_equal(with_extra(groups, "AA=="), KMS_OK);
		assert_int_equal(with_extra(groups, "AA==AAAA"), KMS_E_INVALID);
		assert_int_equal(with_extra(groups, "AAA"), KMS_E_INVALID);
	}
	assert_int_equal(with_extra(PROOF_MAX / 4 + 1, ""), KMS_E_INVALID);
	tlog_proof_t p = {.n = MERKLE_PROOF_MAX + 1};
	SCOPED(buf_free) buf_t b = BUF_INIT;
	assert_int_equal(proof_format(&p, &b), KMS_E_INVALID);
	p = (tlog_proof_t){.extra = span_str("x\ny")};
	assert_int_equal(proof_format(&p, &b), KMS_E_INVALID);
	assert_int_equal(b.n, 0);
}

static int set_up(void **state)
{
	(void)state;
	signer = fixture_signer(LOG_NAME, NOTE_ED25519);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	note_signer_freep(&signer);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
