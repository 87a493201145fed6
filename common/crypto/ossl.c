#include "common/crypto/ossl.h"

#include <openssl/err.h>
#include <stdatomic.h>

kms_err_t ossl_err(kms_err_t otherwise)
{
	kms_err_t e = otherwise;
	unsigned long code;
	while ((code = ERR_get_error()) != 0)
		if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
			e = KMS_E_NOMEM;
	return e;
}

/* One immutable object a process, made by whoever asks first and kept; a failed fetch is tried again by the
 * next caller, which pthread_once would not do. */
#define FETCHED(name, out_type, type, fetch, drop)                                                           \
	kms_err_t name(out_type *out)                                                                        \
	{                                                                                                    \
		static _Atomic(type *) kept;                                                                 \
		type *have = atomic_load(&kept);                                                             \
		if (have == NULL) {                                                                          \
			type *made = fetch;                                                                  \
			if (made == NULL)                                                                    \
				return ossl_err(KMS_E_IO);                                                   \
			if (atomic_compare_exchange_strong(&kept, &have, made))                              \
				have = made;                                                                 \
			else                                                                                 \
				drop(made);                                                                  \
		}                                                                                            \
		*out = have;                                                                                 \
		return KMS_OK;                                                                               \
	}

FETCHED(ossl_sha256, const EVP_MD *, EVP_MD, EVP_MD_fetch(NULL, "SHA256", NULL), EVP_MD_free)
FETCHED(ossl_hmac, EVP_MAC *, EVP_MAC, EVP_MAC_fetch(NULL, "HMAC", NULL), EVP_MAC_free)
FETCHED(ossl_hkdf, EVP_KDF *, EVP_KDF, EVP_KDF_fetch(NULL, "HKDF", NULL), EVP_KDF_free)
FETCHED(ossl_aes_gcm, const EVP_CIPHER *, EVP_CIPHER, EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL),
	EVP_CIPHER_free)
