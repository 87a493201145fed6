#include "common/crypto/ossl.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

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

static pthread_once_t md_ctx_once = PTHREAD_ONCE_INIT;
static pthread_key_t md_ctx_key;
static bool md_ctx_has_key;
static _Thread_local EVP_MD_CTX *md_ctx;

static void drop_md_ctx(void *ctx)
{
	EVP_MD_CTX_free(ctx);
	md_ctx = NULL;
}

static void make_md_ctx_key(void)
{
	md_ctx_has_key = pthread_key_create(&md_ctx_key, drop_md_ctx) == 0;
}

kms_err_t ossl_thread_md_ctx(EVP_MD_CTX **out)
{
	if (md_ctx == NULL) {
		if (pthread_once(&md_ctx_once, make_md_ctx_key) != 0 || !md_ctx_has_key)
			return KMS_E_NOMEM;
		EVP_MD_CTX *made = EVP_MD_CTX_new();
		if (made == NULL)
			return ossl_err(KMS_E_NOMEM);
		if (pthread_setspecific(md_ctx_key, made) != 0) {
			EVP_MD_CTX_free(made);
			return KMS_E_NOMEM;
		}
		md_ctx = made;
	}
	*out = md_ctx;
	return KMS_OK;
}
