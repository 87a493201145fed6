/* The CSR of an enrolment: the first thing that a stranger with a token may hand to a parser of OpenSSL's. */
#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t spki[SPKI_HASH_LEN];
	diag_t why = {{0}};
	kms_err_t e = x509_csr_check(span_of(data, size), spki, &why);
	MUST_HOLD(e == KMS_OK || e == KMS_E_INVALID);
	MUST_HOLD(e == KMS_OK || why.text[0] != '\0');
	return 0;
}
