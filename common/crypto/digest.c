#include "common/crypto/digest.h"

#include "common/base/scope.h"
#include "common/crypto/ossl.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <limits.h>
#include <malloc.h>

#define HKDF_MAX (255U * SHA256_LEN)

kms_err_t crypto_sha256_parts(const span_t *parts, size_t n, uint8_t out[SHA256_LEN])
{
	const EVP_MD *md = NULL;
	KMS_TRY(ossl_sha256(&md));
	EVP_MD_CTX *ctx = NULL;
	KMS_TRY(ossl_thread_md_ctx(&ctx));
	if (EVP_DigestInit_ex2(ctx, md, NULL) != 1)
		return ossl_err(KMS_E_IO);
	for (size_t i = 0; i < n; i++)
		if (parts[i].n > 0 && EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) != 1)
			return ossl_err(KMS_E_IO);
	uint8_t digest[SHA256_LEN];
	if (EVP_DigestFinal_ex(ctx, digest, NULL) != 1)
		return ossl_err(KMS_E_IO);
	memcpy(out, digest, sizeof digest);
	return KMS_OK;
}

kms_err_t crypto_sha256(span_t in, uint8_t out[SHA256_LEN])
{
	return crypto_sha256_parts(&in, 1, out);
}

kms_err_t crypto_hmac_sha256_parts(span_t key, const span_t *parts, size_t n, uint8_t out[SHA256_LEN])
{
	EVP_MAC *mac = NULL;
	KMS_TRY(ossl_hmac(&mac));
	SCOPED(mac_ctx_freep) EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	char md[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, md, 0),
			       OSSL_PARAM_construct_end()};
	/* a NULL key would mean "the key set before" */
	const uint8_t *k = key.n > 0 ? key.p : (const uint8_t *)md;
	if (ctx == NULL || EVP_MAC_init(ctx, k, key.n, params) != 1)
		return ossl_err(KMS_E_IO);
	for (size_t i = 0; i < n; i++)
		if (parts[i].n > 0 && EVP_MAC_update(ctx, parts[i].p, parts[i].n) != 1)
			return ossl_err(KMS_E_IO);
	uint8_t tag[SHA256_LEN];
	size_t len = 0;
	if (EVP_MAC_final(ctx, tag, &len, sizeof tag) != 1 || len != sizeof tag)
		return ossl_err(KMS_E_IO);
	memcpy(out, tag, sizeof tag);
	wipe(tag, sizeof tag);
	return KMS_OK;
}

kms_err_t crypto_hmac_sha256(span_t key, span_t msg, uint8_t out[SHA256_LEN])
{
	return crypto_hmac_sha256_parts(key, &msg, 1, out);
}

/* OpenSSL takes parameters as pointers to non-const and only reads them. */
static OSSL_PARAM octets(const char *name, span_t s)
{
	union {
		const uint8_t *in;
		void *out;
	} p = {.in = s.p};
	return OSSL_PARAM_construct_octet_string(name, p.out, s.n);
}

kms_err_t crypto_hkdf_sha256(span_t ikm, span_t salt, span_t info, uint8_t *out, size_t n)
{
	if (ikm.n == 0 || n == 0 || n > HKDF_MAX)
		return KMS_E_INVALID;
	EVP_KDF *kdf = NULL;
	KMS_TRY(ossl_hkdf(&kdf));
	SCOPED(kdf_ctx_freep) EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	if (ctx == NULL)
		return ossl_err(KMS_E_IO);
	char md[] = "SHA256";
	OSSL_PARAM params[5] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, md, 0),
				octets(OSSL_KDF_PARAM_KEY, ikm)};
	size_t at = 2;
	if (salt.n >
	    0) /* an absent salt is HashLen zeros (RFC 5869 2.2), which HMAC makes of an empty one too */
		params[at++] = octets(OSSL_KDF_PARAM_SALT, salt);
	if (info.n > 0)
		params[at++] = octets(OSSL_KDF_PARAM_INFO, info);
	params[at] = OSSL_PARAM_construct_end();
	if (EVP_KDF_derive(ctx, out, n, params) != 1) {
		wipe(out, n);
		return ossl_err(KMS_E_IO);
	}
	return KMS_OK;
}

kms_err_t crypto_hkdf_secret(const secret_t *ikm, span_t salt, span_t info, size_t n, secret_t **out)
{
	SCOPED(secret_freep) secret_t *s = NULL;
	KMS_TRY(secret_new(n, &s));
	KMS_TRY(crypto_hkdf_sha256(secret_span(ikm), salt, info, secret_data(s), n));
	*out = TAKE(s);
	return KMS_OK;
}

kms_err_t crypto_random(uint8_t *out, size_t n)
{
	if (n > INT_MAX)
		return KMS_E_INVALID;
	if (n > 0 && RAND_priv_bytes(out, (int)n) != 1)
		return ossl_err(KMS_E_IO);
	return KMS_OK;
}

kms_err_t crypto_random_secret(size_t n, secret_t **out)
{
	SCOPED(secret_freep) secret_t *s = NULL;
	KMS_TRY(secret_new(n, &s));
	KMS_TRY(crypto_random(secret_data(s), n));
	*out = TAKE(s);
	return KMS_OK;
}

static void *plain_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return n > 0 ? malloc(n) : NULL;
}

static void wiping_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p != NULL)
		wipe(p, malloc_usable_size(p));
	free(p);
}

static void *wiping_realloc(void *p, size_t n, const char *file, int line)
{
	if (n == 0) {
		wiping_free(p, file, line);
		return NULL;
	}
	void *moved = malloc(n);
	if (moved == NULL || p == NULL)
		return moved;
	size_t had = malloc_usable_size(p);
	memcpy(moved, p, had < n ? had : n);
	wiping_free(p, file, line);
	return moved;
}

kms_err_t crypto_wipe_on_free(void)
{
	return CRYPTO_set_mem_functions(plain_malloc, wiping_realloc, wiping_free) == 1 ? KMS_OK
											: KMS_E_CONFLICT;
}
