/* A peer's certificate: DER from anybody who can open a TCP connection. The quick check and the whole one
 * must agree, and no input may pass that the CA did not sign. */
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509_internal.h"
#include "common/crypto/x509_own.h"
#include "tests/fuzz/fuzz.h"

/* The CA of corpus/cert and the SHA-256 of the one certificate there that it signed. */
static const char ca_pem[] = "-----BEGIN CERTIFICATE-----\n"
			     "MIIBlTCCATqgAwIBAgIRAKs9gHhcwoSNcVO1jXOfyjkwCgYIKoZIzj0EAwIwFjEU\n"
			     "MBIGA1UEAwwLQ2xhdmlnZXIgQ0EwIBcNMjMxMTA0MjExMzIwWhgPMjExODExMjkw\n"
			     "MzMzMjBaMBYxFDASBgNVBAMMC0NsYXZpZ2VyIENBMFkwEwYHKoZIzj0CAQYIKoZI\n"
			     "zj0DAQcDQgAE6giyIF5bwcgVZYuinjU3AGTaUufKqT7yfZtvWNFdZ7wfAexNZdVt\n"
			     "GNJ2o2TRz8Fitp98btsNvt1jdfpllPtsw6NnMGUwEgYDVR0TAQH/BAgwBgEB/wIB\n"
			     "ADAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFKDK4aHFII1eceVZ9/k0uihwAMSn\n"
			     "MCAGA1UdEQQZMBeGFXNwaWZmZTovL3Rlc3QuZXhhbXBsZTAKBggqhkjOPQQDAgNJ\n"
			     "ADBGAiEA3tw7lmHAFJ1lhQNqScFgDwbQsFPwR6rb0YBgJdO+97ICIQCHeor0E3wN\n"
			     "sHd0U0E416/PG+SUOMsNzlC/X0ChUrGErw==\n"
			     "-----END CERTIFICATE-----\n";
static const uint8_t signed_one[32] = {0x38, 0x21, 0xe6, 0x91, 0x45, 0xe8, 0xd5, 0x0e, 0x1c, 0x9a, 0x63,
				       0xea, 0x01, 0x8a, 0x51, 0xa9, 0xa0, 0x8c, 0xc7, 0x57, 0xde, 0x65,
				       0x86, 0x0e, 0xb5, 0x1d, 0x03, 0x83, 0x55, 0xbc, 0xdf, 0x0b};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static x509_ca_t *ca;
	if (ca == NULL)
		MUST_HOLD(x509_ca_load(span_str(ca_pem), &ca, NULL) == KMS_OK);
	x509_identity_t id;
	diag_t why = {{0}};
	span_t der = span_of(data, size);
	const int64_t now = INT64_C(1700000000000);
	uint8_t hash[32];
	MUST_HOLD(crypto_sha256(der, hash) == KMS_OK);
	kms_err_t e = x509_verify_client(ca, der, now, &id, &why);
	MUST_HOLD(e == (memcmp(hash, signed_one, 32) == 0 ? KMS_OK : KMS_E_DENIED));
	MUST_HOLD(e == KMS_OK || why.text[0] != '\0');
	MUST_HOLD(x509_verify_wholly(ca, der, now, &id, NULL) == e);
	/* the quick parser by itself: what it finds lies within the input */
	x509_own_t own;
	if (x509_own_read(ca, der, &own))
		MUST_HOLD(own.uri.p >= data && own.uri.p + own.uri.n <= data + size && own.issuer == 0);
	(void)(x509_read_identity(der, &id, &why) == KMS_OK);
	return 0;
}
