/* The text of a checkpoint: exactly one text for each. */
#include "common/base/scope.h"
#include "common/tlog/checkpoint.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static note_signer_t *signer; /* made once: the texts differ, not the key */
	span_t text = span_of(data, size);
	checkpoint_t c;
	diag_t why = {{0}};
	kms_err_t e = checkpoint_parse(text, &c, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && why.text[0] != '\0'));
	if (e != KMS_OK)
		return 0;
	if (signer == NULL || strcmp(note_signer_vkey(signer)->name, c.origin) != 0) {
		note_signer_freep(&signer);
		MUST_HOLD(note_signer_new(c.origin, NOTE_ED25519, &signer, NULL) == KMS_OK);
	}
	SCOPED(buf_free) buf_t note = BUF_INIT;
	checkpoint_t again;
	note_t n;
	MUST_HOLD(checkpoint_sign(&c, signer, &note) == KMS_OK);
	MUST_HOLD(checkpoint_open(buf_span(&note), note_signer_vkey(signer), &again, &n, NULL) == KMS_OK);
	/* the three lines, and whatever extension lines stood behind them */
	MUST_HOLD(n.text.n <= size && memcmp(n.text.p, data, n.text.n) == 0);
	MUST_HOLD(again.size == c.size && memcmp(again.root, c.root, sizeof c.root) == 0);
	return 0;
}
