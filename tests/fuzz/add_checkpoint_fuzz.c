/* What a witness is sent by anybody. */
#include "common/base/scope.h"
#include "common/tlog/witnessing.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	span_t body = span_of(data, size);
	static add_checkpoint_t a;
	diag_t why = {{0}};
	kms_err_t e = add_checkpoint_parse(body, &a, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && why.text[0] != '\0'));
	if (e != KMS_OK)
		return 0;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	MUST_HOLD(add_checkpoint_format(&a, &again) == KMS_OK);
	MUST_HOLD(span_eq(buf_span(&again), body));
	return 0;
}
