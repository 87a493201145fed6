/* Signed notes, their signature lines and verifier keys, as anybody may hand them over. */
#include "common/base/scope.h"
#include "common/tlog/note.h"
#include "tests/fuzz/fuzz.h"

static void key(span_t text)
{
	note_vkey_t k;
	diag_t why = {{0}};
	kms_err_t e = note_vkey_parse(text, &k, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && why.text[0] != '\0'));
	if (e != KMS_OK)
		return;
	char again[NOTE_VKEY_CAP];
	note_vkey_format(&k, again);
	size_t n = strlen(again);
	MUST_HOLD(span_eq(span_of(text.p, n), span_str(again)));
	MUST_HOLD(text.n == n || (text.n == n + 1 && text.p[n] == '\n'));
}

static void signing_key(span_t text)
{
	SCOPED(secret_freep) secret_t *in = NULL;
	SCOPED(note_signer_freep) note_signer_t *s = NULL;
	if (text.n == 0 || text.n > SECRET_MAX)
		return;
	MUST_HOLD(secret_from(text, &in) == KMS_OK);
	kms_err_t e = note_signer_load(in, &s, NULL);
	MUST_HOLD(e == KMS_OK ? s != NULL : e == KMS_E_INVALID && s == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const note_vkey_t nobody = {
		.name = "example.com/foo", .id = {0x53, 0x0d, 0x90, 0x3a}, .alg = 1};
	span_t in = span_of(data, size);
	note_t n;
	diag_t why = {{0}};
	key(in);
	signing_key(in);
	kms_err_t e = note_parse_sigs(in, &n, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && why.text[0] != '\0'));
	e = note_parse(in, &n, &why);
	MUST_HOLD(e == KMS_OK || e == KMS_E_INVALID);
	if (e != KMS_OK)
		return 0;
	MUST_HOLD(n.n_sigs > 0 && n.n_sigs <= NOTE_SIGS_MAX && n.text.n > 0 &&
		  n.text.p[n.text.n - 1] == '\n');
	span_t last = n.sig[n.n_sigs - 1].line;
	MUST_HOLD(n.text.p == data && last.p + last.n == data + size);
	e = note_verify(&n, n.text, &nobody, NULL); /* a public key of zeroes */
	MUST_HOLD(e == KMS_E_NOTFOUND || e == KMS_E_INTEGRITY);
	return 0;
}
