/* A share's text, from any operator, and the seal's config, from a database that somebody may have written
 * to. */
#include "common/base/scope.h"
#include "kms-server/ports/seal.h"
#include "kms-server/seal/share.h"
#include "tests/fuzz/fuzz.h"

static void check_share(span_t text)
{
	SCOPED(share_free) share_t share = {0};
	SCOPED(secret_freep) secret_t *again = NULL;
	diag_t why = {{0}};
	kms_err_t e = share_parse(text, &share, &why);
	MUST_HOLD(e == KMS_OK || (e == KMS_E_INVALID && share.value == NULL && why.text[0] != '\0'));
	if (e != KMS_OK)
		return;
	MUST_HOLD(share_format(share.threshold, share.index, share.value, &again) == KMS_OK);
	MUST_HOLD(span_eq(secret_span(again), text));
}

static void check_config(span_t config)
{
	SCOPED(seal_freep) seal_t *seal = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	/* a fixed path: a config of the fuzzer's is not to choose what is opened */
	kms_err_t e = seal_load(config, "/", "/dev/null", &seal, NULL);
	MUST_HOLD(e == KMS_OK ? seal != NULL : e == KMS_E_INTEGRITY && seal == NULL);
	if (e != KMS_OK)
		return;
	seal_info_t info;
	seal_info(seal, &info);
	MUST_HOLD(info.threshold <= info.shares && info.shares <= SEAL_SHARES_MAX && info.progress == 0);
	MUST_HOLD(seal_try_open(seal, &key, NULL) != KMS_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_share(span_of(data, size));
	check_config(span_of(data, size));
	return 0;
}
