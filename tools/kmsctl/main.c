#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/process.h"
#include "common/proto/json.h"
#include "tools/kmsctl/dispatch.h"

static kms_err_t run(int argc, char **argv, diag_t *why)
{
	SCOPED(dispatch_free) dispatch_t d = {0};
	KMS_TRY(process_harden(why));
	json_wipe_on_free();
	KMS_TRY(crypto_wipe_on_free());
	KMS_TRY(dispatch_parse(argc - 1, argv + 1, &d, why));
	KMS_TRY(dispatch_run(&d, stdout, stderr, why));
	/* an answer that did not reach the reader is no success */
	if (fflush(stdout) != 0 || ferror(stdout) != 0)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

int main(int argc, char **argv)
{
	diag_t why = {{0}};
	kms_err_t e = run(argc > 0 ? argc : 1, argv, &why);
	if (e == KMS_OK)
		return 0;
	(void)fflush(stdout);
	dispatch_say(e, &why, stderr);
	return kms_err_exit(e);
}
