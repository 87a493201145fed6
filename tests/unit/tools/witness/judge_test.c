#include "tools/witness/judge.h"

#include "common/base/scope.h"
#include "tests/unit/tools/witness/requests.h"

static note_signer_t *signer, *twin, *stranger;

static judge_known_t at(uint64_t size)
{
	judge_known_t k = {.any = true, .size = size};
	tree_mth(0, size, k.root);
	return k;
}

static verdict_t judge(span_t body, const judge_known_t *known)
{
	static judge_request_t rq;
	verdict_t v = 0;
	diag_t why = {{0}};
	note_vkey_t keys[] = {*note_signer_vkey(signer), *note_signer_vkey(twin)};
	assert_int_equal(judge_read(body, keys, 2, &rq, &v, &why), KMS_OK);
	if (v == VERDICT_COSIGN)
		assert_int_equal(judge_request(&rq, known, &v, &why), KMS_OK);
	assert_true(v == VERDICT_COSIGN || why.text[0] != '\0');
	return v;
}

typedef struct row {
	const char *what;
	uint64_t known; /* UINT64_MAX: nothing */
	uint64_t old, proof_from, size;
	verdict_t want;
} row_t;

#define NOTHING UINT64_MAX

static const row_t rows[] = {
	{"the first checkpoint", NOTHING, 0, 0, 7, VERDICT_COSIGN},
	{"the first one, of an empty log", NOTHING, 0, 0, 0, VERDICT_COSIGN},
	{"an empty log again", 0, 0, 0, 0, VERDICT_COSIGN},
	{"from an empty log", 0, 0, 0, 9, VERDICT_COSIGN},
	{"a longer log", 7, 7, 7, 20, VERDICT_COSIGN},
	{"a longer log from a power of two", 8, 8, 8, 20, VERDICT_COSIGN},
	{"the same again", 7, 7, 0, 7, VERDICT_COSIGN},
	{"the old size is greater than the new one", 7, 9, 0, 7, VERDICT_MALFORMED},
	{"greater, and nothing is known", NOTHING, 9, 0, 7, VERDICT_MALFORMED},
	{"an old size, and nothing is known", NOTHING, 3, 3, 7, VERDICT_CONFLICT},
	{"no old size, and something is known", 7, 0, 0, 20, VERDICT_CONFLICT},
	{"an old size that is behind", 7, 6, 6, 20, VERDICT_CONFLICT},
	{"an old size that is ahead", 7, 8, 8, 20, VERDICT_CONFLICT},
	{"a log that went back", 7, 5, 0, 5, VERDICT_CONFLICT},
	{"no proof", 7, 7, 0, 20, VERDICT_INCONSISTENT},
	{"a proof from elsewhere", 7, 7, 6, 20, VERDICT_INCONSISTENT},
	{"a proof where there is nothing to prove", NOTHING, 0, 6, 20, VERDICT_INCONSISTENT},
	{"a proof for the same size", 7, 7, 5, 7, VERDICT_INCONSISTENT},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		const row_t *r = &rows[i];
		SCOPED(buf_free) buf_t body = BUF_INIT;
		judge_known_t known = {.any = false};
		if (r->known != NOTHING)
			known = at(r->known);
		request_make(signer, r->old, r->proof_from, r->size, &body);
		verdict_t v = judge(buf_span(&body), &known);
		if (v != r->want)
			fail_msg("%s: %d, want %d", r->what, (int)v, (int)r->want);
	}
}

static void test_another_history(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t same = BUF_INIT;
	SCOPED(buf_free) buf_t longer = BUF_INIT;
	judge_known_t known = at(7);
	known.root[0] ^= 1;
	request_make(signer, 7, 0, 7, &same);
	request_make(signer, 7, 7, 20, &longer);
	assert_int_equal(judge(buf_span(&same), &known), VERDICT_CONFLICT);
	assert_int_equal(judge(buf_span(&longer), &known), VERDICT_INCONSISTENT);
}

static void test_signers(void **state)
{
	(void)state;
	judge_known_t none = {.any = false};
	SCOPED(note_signer_freep) note_signer_t *forger = fixture_signer(LOG_NAME, NOTE_ED25519);
	SCOPED(buf_free) buf_t by_twin = BUF_INIT;
	SCOPED(buf_free) buf_t by_stranger = BUF_INIT;
	SCOPED(buf_free) buf_t by_forger = BUF_INIT;
	request_make(twin, 0, 0, 7, &by_twin);
	request_make(stranger, 0, 0, 7, &by_stranger);
	request_make(forger, 0, 0, 7, &by_forger);
	assert_int_equal(judge(buf_span(&by_twin), &none), VERDICT_COSIGN);
	assert_int_equal(judge(buf_span(&by_stranger), &none), VERDICT_UNKNOWN_LOG);
	assert_int_equal(judge(buf_span(&by_forger), &none), VERDICT_NOT_SIGNED);
	/* a known key's signature beside an unknown one */
	note_t n;
	add_checkpoint_t a;
	assert_int_equal(add_checkpoint_parse(buf_span(&by_forger), &a, NULL), KMS_OK);
	assert_int_equal(note_parse(a.checkpoint, &n, NULL), KMS_OK);
	SCOPED(buf_free) buf_t line = BUF_INIT;
	assert_int_equal(note_sign(signer, n.text, 0, &line), KMS_OK);
	buf_bytes(&by_forger, buf_span(&line));
	assert_int_equal(judge(buf_span(&by_forger), &none), VERDICT_COSIGN);
	/* and a wrong one of a known key beside the good one */
	SCOPED(buf_free) buf_t wrong = BUF_INIT;
	assert_int_equal(note_sign(twin, span_str("x\n"), 0, &wrong), KMS_OK);
	buf_bytes(&by_forger, buf_span(&wrong));
	assert_int_equal(judge(buf_span(&by_forger), &none), VERDICT_NOT_SIGNED);
}

static void test_malformed(void **state)
{
	(void)state;
	judge_known_t none = {.any = false};
	static const char *const bad[] = {"", "hello", "old 0\n\n", "old 0\n\nhello\n",
					  "old 0\n\na\n1\nb\n\n\xe2\x80\x94 a AAAAAAAA\n"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(judge(span_str(bad[i]), &none), VERDICT_MALFORMED);
	SCOPED(buf_free) buf_t body = BUF_INIT;
	request_make(signer, 0, 0, 7, &body);
	for (size_t n = 0; n < body.n; n++)
		assert_int_equal(judge(span_of(body.p, n), &none), VERDICT_MALFORMED);
	for (size_t i = 0; i < body.n; i++) { /* nothing changed is cosigned, but for the old size */
		body.p[i] ^= 1;
		verdict_t v = judge(buf_span(&body), &none);
		assert_true(v == VERDICT_MALFORMED || v == VERDICT_NOT_SIGNED || v == VERDICT_UNKNOWN_LOG ||
			    (v == VERDICT_CONFLICT && i == 4));
		body.p[i] ^= 1;
	}
	while (body.n <= CHECKPOINT_MAX + 16)
		buf_str(&body, "\xe2\x80\x94 another-witness.example.com/name AAAAAAAAAAAA\n");
	assert_int_equal(judge(buf_span(&body), &none), VERDICT_MALFORMED);
}

static int set_up(void **state)
{
	(void)state;
	signer = fixture_signer(LOG_NAME, NOTE_ED25519);
	twin = fixture_signer(LOG_NAME, NOTE_ED25519);
	stranger = fixture_signer("stranger.example", NOTE_ED25519);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	note_signer_freep(&signer);
	note_signer_freep(&twin);
	note_signer_freep(&stranger);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_another_history),
		cmocka_unit_test(test_signers),
		cmocka_unit_test(test_malformed),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
