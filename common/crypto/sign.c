#include "common/crypto/sign.h"

#include "common/base/scope.h"
#include "common/crypto/ossl.h"

static kms_err_t load_seed(const secret_t *seed, EVP_PKEY **out)
{
	if (secret_len(seed) != ED25519_SEED_LEN)
		return KMS_E_INVALID;
	*out = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, secret_span(seed).p, ED25519_SEED_LEN);
	return *out != NULL ? KMS_OK : ossl_err(KMS_E_IO);
}

kms_err_t ed25519_public(const secret_t *seed, uint8_t out[ED25519_PUBLIC_LEN])
{
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	KMS_TRY(load_seed(seed, &key));
	uint8_t public_key[ED25519_PUBLIC_LEN];
	size_t n = sizeof public_key;
	if (EVP_PKEY_get_raw_public_key(key, public_key, &n) != 1 || n != sizeof public_key)
		return ossl_err(KMS_E_IO);
	memcpy(out, public_key, sizeof public_key);
	return KMS_OK;
}

kms_err_t ed25519_sign(const secret_t *seed, span_t message, uint8_t out[ED25519_SIG_LEN])
{
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	KMS_TRY(load_seed(seed, &key));
	SCOPED(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx == NULL || EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) != 1)
		return ossl_err(KMS_E_IO);
	uint8_t signature[ED25519_SIG_LEN];
	size_t n = sizeof signature;
	if (EVP_DigestSign(ctx, signature, &n, message.p, message.n) != 1 || n != sizeof signature)
		return ossl_err(KMS_E_IO);
	memcpy(out, signature, sizeof signature);
	return KMS_OK;
}

static kms_err_t verify_once(EVP_PKEY *key, span_t message, span_t signature)
{
	SCOPED(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (ctx == NULL || EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) != 1)
		return ossl_err(KMS_E_IO);
	if (EVP_DigestVerify(ctx, signature.p, signature.n, message.p, message.n) != 1)
		return ossl_err(KMS_E_INTEGRITY);
	return KMS_OK;
}

kms_err_t ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_LEN], span_t message, span_t signature)
{
	if (signature.n != ED25519_SIG_LEN)
		return KMS_E_INTEGRITY;
	SCOPED(pkey_freep)
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public_key, ED25519_PUBLIC_LEN);
	if (key == NULL)
		return ossl_err(KMS_E_IO);
	/* the library refuses in the same words when memory fails it inside: asked again before a log is said
	 * to have been tampered with */
	kms_err_t e = verify_once(key, message, signature);
	return e == KMS_E_INTEGRITY ? verify_once(key, message, signature) : e;
}
