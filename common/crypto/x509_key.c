#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509_internal.h"

#include <openssl/ec.h>
#include <openssl/pem.h>

/* RFC 5480: SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING } up to the uncompressed point's
 * mark. */
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
				    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
				    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
_Static_assert(sizeof p256_head + 64U == X509_P256_SPKI, "head and point");

/* Without a callback OpenSSL would ask the terminal for the password of an encrypted key. */
static int no_password(char *buf, int size, int rwflag, void *u)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)u;
	return -1;
}

kms_err_t x509_open_text(span_t pem, BIO **out)
{
	if (pem.n == 0 || pem.n > X509_PEM_LIMIT)
		return KMS_E_INVALID;
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	if (bio == NULL)
		return ossl_err(KMS_E_NOMEM);
	*out = bio;
	return KMS_OK;
}

static bool only_space_left(BIO *bio)
{
	char c;
	while (BIO_read(bio, &c, 1) == 1)
		if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
			return false;
	return true;
}

kms_err_t x509_key_read(const secret_t *pem, EVP_PKEY **out)
{
	SCOPED(bio_freep) BIO *bio = NULL;
	KMS_TRY(x509_open_text(secret_span(pem), &bio));
	SCOPED(pkey_freep) EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	if (key == NULL)
		return ossl_err(KMS_E_INVALID);
	KMS_TRY(x509_is_p256(key));
	*out = TAKE(key);
	return KMS_OK;
}

kms_err_t x509_cert_read(span_t pem, X509 **out)
{
	SCOPED(bio_freep) BIO *bio = NULL;
	KMS_TRY(x509_open_text(pem, &bio));
	SCOPED(x509_freep) X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
	if (cert == NULL)
		return ossl_err(KMS_E_INVALID);
	if (!only_space_left(bio))
		return KMS_E_INVALID;
	*out = TAKE(cert);
	return KMS_OK;
}

kms_err_t x509_csr_read(span_t pem, X509_REQ **out)
{
	SCOPED(bio_freep) BIO *bio = NULL;
	KMS_TRY(x509_open_text(pem, &bio));
	SCOPED(x509_req_freep) X509_REQ *csr = PEM_read_bio_X509_REQ(bio, NULL, no_password, NULL);
	if (csr == NULL)
		return ossl_err(KMS_E_INVALID);
	if (!only_space_left(bio))
		return KMS_E_INVALID;
	*out = TAKE(csr);
	return KMS_OK;
}

bool x509_spki_is_p256(span_t der)
{
	return der.n == X509_P256_SPKI && memcmp(der.p, p256_head, sizeof p256_head) == 0;
}

kms_err_t x509_is_p256(EVP_PKEY *key)
{
	SCOPED(ossl_bytes_freep) unsigned char *der = NULL;
	int n = i2d_PUBKEY(key, &der);
	if (n <= 0)
		return ossl_err(KMS_E_INVALID);
	return x509_spki_is_p256(span_of(der, (size_t)n)) ? KMS_OK : KMS_E_INVALID;
}

kms_err_t x509_spki_hash(X509_PUBKEY *key, uint8_t out[SPKI_HASH_LEN])
{
	SCOPED(ossl_bytes_freep) unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(key, &der);
	if (n <= 0)
		return ossl_err(KMS_E_INVALID);
	span_t spki = span_of(der, (size_t)n);
	/* the second half: the point was decoded, so it is on the curve */
	if (!x509_spki_is_p256(spki) || X509_PUBKEY_get0(key) == NULL)
		return ossl_err(KMS_E_INVALID);
	return crypto_sha256(spki, out);
}

kms_err_t x509_key_new(secret_t **pem)
{
	SCOPED(pkey_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
	/* wiped when freed, whether or not a secure heap was set up */
	SCOPED(bio_freep) BIO *bio = BIO_new(BIO_s_secmem());
	if (key == NULL || bio == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return ossl_err(KMS_E_IO);
	char *text = NULL;
	long n = BIO_get_mem_data(bio, &text);
	if (n <= 0)
		return ossl_err(KMS_E_IO);
	return secret_from(span_of(text, (size_t)n), pem);
}

kms_err_t x509_csr_new(const secret_t *key_pem, buf_t *csr_pem)
{
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	KMS_TRY(x509_key_read(key_pem, &key));
	SCOPED(x509_req_freep) X509_REQ *csr = X509_REQ_new();
	SCOPED(bio_freep) BIO *bio = BIO_new(BIO_s_mem());
	if (csr == NULL || bio == NULL || X509_REQ_set_version(csr, X509_REQ_VERSION_1) != 1 ||
	    X509_REQ_set_pubkey(csr, key) != 1 || X509_REQ_sign(csr, key, EVP_sha256()) <= 0 ||
	    PEM_write_bio_X509_REQ(bio, csr) != 1)
		return ossl_err(KMS_E_IO);
	char *text = NULL;
	long n = BIO_get_mem_data(bio, &text);
	buf_bytes(csr_pem, span_of(text, n > 0 ? (size_t)n : 0));
	return csr_pem->err;
}

kms_err_t x509_csr_check(span_t csr_pem, uint8_t spki[SPKI_HASH_LEN], diag_t *why)
{
	SCOPED(x509_req_freep) X509_REQ *csr = NULL;
	kms_err_t e = x509_csr_read(csr_pem, &csr);
	if (e != KMS_OK)
		return diag_fail(why, e, "the certificate signing request is not one PEM block of PKCS#10");
	uint8_t hash[SPKI_HASH_LEN];
	e = x509_spki_hash(X509_REQ_get_X509_PUBKEY(csr), hash);
	if (e != KMS_OK)
		return diag_fail(why, e, "the certificate signing request's key is not ECDSA P-256");
	if (X509_REQ_verify(csr, X509_REQ_get0_pubkey(csr)) != 1)
		return diag_fail(why, ossl_err(KMS_E_INVALID),
				 "the certificate signing request is not signed with its own key");
	memcpy(spki, hash, sizeof hash);
	return KMS_OK;
}

kms_err_t x509_key_matches(const secret_t *key_pem, span_t cert_pem)
{
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	KMS_TRY(x509_key_read(key_pem, &key));
	SCOPED(x509_freep) X509 *cert = NULL;
	KMS_TRY(x509_cert_read(cert_pem, &cert));
	return X509_check_private_key(cert, key) == 1 ? KMS_OK : ossl_err(KMS_E_CONFLICT);
}

kms_err_t x509_cert_sha256(span_t cert_pem, uint8_t out[32])
{
	SCOPED(bio_freep) BIO *bio = NULL;
	KMS_TRY(x509_open_text(cert_pem, &bio));
	SCOPED(x509_freep) X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);
	if (cert == NULL)
		return ossl_err(KMS_E_INVALID);
	SCOPED(ossl_bytes_freep) unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);
	if (n <= 0)
		return ossl_err(KMS_E_IO);
	return crypto_sha256(span_of(der, (size_t)n), out);
}
