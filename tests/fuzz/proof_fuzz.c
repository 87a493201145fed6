/* Inclusion proofs as files: what is taken is written again byte for byte. */
#include "common/base/scope.h"
#include "common/tlog/proof.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const note_vkey_t nobody = {.name = "kms.example/log", .alg = NOTE_ED25519};
	span_t text = span_of(data, size);
	static tlog_proof_t p;
	diag_t why = {{0}};
	kms_err_t e = proof_parse(text, &p, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && why.text[0] != '\0'));
	if (e != KMS_OK)
		return 0;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	MUST_HOLD(proof_format(&p, &again) == KMS_OK);
	MUST_HOLD(span_eq(buf_span(&again), text));
	MUST_HOLD(proof_verify(&p, text, &nobody, NULL, &why) == KMS_E_INTEGRITY);
	return 0;
}
