#include "common/crypto/aead.h"

#include "common/base/scope.h"
#include "common/base/secret.h"
#include "common/crypto/ossl.h"

#include <limits.h>

static bool run(EVP_CIPHER_CTX *ctx, span_t aad, span_t in, uint8_t *out)
{
	int n = 0;
	if (aad.n > 0 && EVP_CipherUpdate(ctx, NULL, &n, aad.p, (int)aad.n) != 1)
		return false;
	return in.n == 0 || EVP_CipherUpdate(ctx, out, &n, in.p, (int)in.n) == 1;
}

static kms_err_t start(EVP_CIPHER_CTX **out, const uint8_t *key, const uint8_t *nonce, int encrypt)
{
	const EVP_CIPHER *gcm = NULL;
	KMS_TRY(ossl_aes_gcm(&gcm));
	*out = EVP_CIPHER_CTX_new();
	/* GCM's default nonce length is 12 */
	if (*out == NULL || EVP_CipherInit_ex2(*out, gcm, key, nonce, encrypt, NULL) != 1)
		return ossl_err(KMS_E_IO);
	return KMS_OK;
}

kms_err_t aead_seal(const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], span_t aad, span_t plain,
		    uint8_t *out)
{
	if (plain.n > INT_MAX || aad.n > INT_MAX)
		return KMS_E_INVALID;
	SCOPED(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = NULL;
	KMS_TRY(start(&ctx, key, nonce, 1));
	int n = 0;
	uint8_t none[AEAD_TAG];
	if (!run(ctx, aad, plain, out) || EVP_CipherFinal_ex(ctx, none, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, out + plain.n) != 1)
		return ossl_err(KMS_E_IO);
	return KMS_OK;
}

static kms_err_t open_into(const uint8_t *key, const uint8_t *nonce, span_t aad, span_t text,
			   const uint8_t *tag, uint8_t *out)
{
	SCOPED(cipher_ctx_freep) EVP_CIPHER_CTX *ctx = NULL;
	KMS_TRY(start(&ctx, key, nonce, 0));
	uint8_t expected[AEAD_TAG];
	memcpy(expected, tag, AEAD_TAG);
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, expected) != 1 ||
	    !run(ctx, aad, text, out))
		return ossl_err(KMS_E_IO);
	int n = 0;
	if (EVP_CipherFinal_ex(ctx, expected, &n) != 1)
		return ossl_err(KMS_E_INTEGRITY);
	return KMS_OK;
}

kms_err_t aead_open(const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], span_t aad, span_t sealed,
		    uint8_t *out)
{
	if (sealed.n < AEAD_TAG)
		return KMS_E_INTEGRITY;
	if (sealed.n > INT_MAX || aad.n > INT_MAX)
		return KMS_E_INVALID;
	size_t n = sealed.n - AEAD_TAG;
	kms_err_t e = open_into(key, nonce, aad, span_of(sealed.p, n), sealed.p + n, out);
	if (e != KMS_OK && n > 0)
		wipe(out, n); /* plaintext that was not authenticated is nobody's */
	return e;
}
