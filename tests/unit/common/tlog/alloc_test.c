/* Every allocation of every call, the libraries' too, is made to fail in turn: the call says so and hands
 * nothing out, and never says that a signature is wrong. */
#include "common/base/scope.h"
#include "common/tlog/proof.h"
#include "common/tlog/witnessing.h"
#include "tests/support/allocfail.h"
#include "tests/unit/common/tlog/fixture.h"

static note_signer_t *signer, *cosigner;
static buf_t cosigned, proof_text;

static kms_err_t call_new(void)
{
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	kms_err_t e = note_signer_new("a", NOTE_ED25519, &s, NULL);
	assert_int_equal(s != NULL, e == KMS_OK);
	return e;
}

static kms_err_t call_texts(void)
{
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	SCOPED(note_signer_freep) note_signer_t *renamed = NULL;
	SCOPED(secret_freep) secret_t *text = NULL;
	KMS_TRY(note_signer_text(signer, &text));
	KMS_TRY(note_signer_load(text, &s, NULL));
	return note_signer_renamed(s, "b", &renamed, NULL);
}

static kms_err_t call_checkpoint(void)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	checkpoint_t c = {.origin = LOG_NAME, .size = 3};
	kms_err_t e = checkpoint_sign(&c, signer, &b);
	assert_int_equal(b.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_open(void)
{
	checkpoint_t c;
	return checkpoint_open(buf_span(&cosigned), note_signer_vkey(signer), &c, NULL, NULL);
}

static kms_err_t call_cosign(void)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	kms_err_t e = note_sign(cosigner, span_str("a\n"), 1, &b);
	assert_int_equal(b.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_verify(void)
{
	note_t n;
	KMS_TRY(note_parse(buf_span(&cosigned), &n, NULL));
	return note_verify(&n, n.text, note_signer_vkey(cosigner), NULL);
}

static kms_err_t call_proof(void)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	tlog_proof_t p;
	uint8_t entry[2];
	tree_entry(1, entry);
	KMS_TRY(proof_parse(buf_span(&proof_text), &p, NULL));
	KMS_TRY(proof_verify(&p, span_of(entry, 2), note_signer_vkey(signer), NULL, NULL));
	kms_err_t e = proof_format(&p, &b);
	assert_int_equal(b.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_witnessing(void)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	add_checkpoint_t a = {.old_size = 1, .n = 1, .checkpoint = buf_span(&cosigned)};
	kms_err_t e = add_checkpoint_format(&a, &b);
	assert_int_equal(b.n > 0, e == KMS_OK);
	return e;
}

typedef struct call {
	const char *name;
	kms_err_t (*run)(void);
} call_t;

static const call_t calls[] = {
	{"new", call_new},     {"texts", call_texts},           {"checkpoint", call_checkpoint},
	{"open", call_open},   {"cosign", call_cosign},         {"verify", call_verify},
	{"proof", call_proof}, {"witnessing", call_witnessing},
};

#define MOST 2000U

static void fail_each(const call_t *c)
{
	unsigned n;
	for (n = 1; n < MOST; n++) {
		allocfail_arm(n);
		kms_err_t e = c->run();
		bool came = allocfail_happened();
		allocfail_arm(0);
		if (!came) {
			assert_int_equal(e, KMS_OK);
			break;
		}
		/* IO: the library does not always say that it was memory; OK: it went on without */
		if (e != KMS_E_NOMEM && e != KMS_E_IO && e != KMS_OK)
			fail_msg("%s: allocation %u: %s", c->name, n, kms_err_name(e));
	}
	assert_in_range(n, 2, MOST - 1);
	assert_int_equal(c->run(), KMS_OK);
}

static void test_each_allocation(void **state)
{
	(void)state;
	if (!allocfail_supported())
		skip();
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		fail_each(&calls[i]);
}

static int set_up(void **state)
{
	(void)state;
	signer = fixture_signer(LOG_NAME, NOTE_ED25519);
	cosigner = fixture_signer("witness.example", NOTE_COSIGNATURE);
	fixture_checkpoint(signer, 3, &cosigned);
	tlog_proof_t p = {.index = 1, .checkpoint = buf_span(&cosigned)};
	tree_path(1, 0, 3, p.hash, &p.n);
	if (proof_format(&p, &proof_text) != KMS_OK)
		return -1;
	note_t n;
	if (note_parse(buf_span(&cosigned), &n, NULL) != KMS_OK)
		return -1;
	SCOPED(buf_free) buf_t line = BUF_INIT;
	if (note_sign(cosigner, n.text, 7, &line) != KMS_OK)
		return -1;
	buf_bytes(&cosigned, buf_span(&line));
	return cosigned.err == KMS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	note_signer_freep(&signer);
	note_signer_freep(&cosigner);
	buf_free(&cosigned);
	buf_free(&proof_text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
