/* What the files of this folder share: OpenSSL's way of failing turned into ours, scope cleanup for its
 * objects, and its algorithms fetched once. Not for other folders. All functions are thread-safe. */
#ifndef CLAVIGER_COMMON_CRYPTO_OSSL_H
#define CLAVIGER_COMMON_CRYPTO_OSSL_H

#include "common/base/err.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* Called after a library call that failed: empties this thread's error queue. NOMEM when memory was what
 * failed, `otherwise` for every other reason. */
KMS_MUST ossl_err(kms_err_t otherwise);

/* SHA-256, HMAC, HKDF, AES-256-GCM of the default provider; the library's, not to be freed. A fetch by name
 * takes locks and walks tables, which a storm of connections would pay for on every record. */
KMS_MUST ossl_sha256(const EVP_MD **out);
KMS_MUST ossl_hmac(EVP_MAC **out);
KMS_MUST ossl_hkdf(EVP_KDF **out);
KMS_MUST ossl_aes_gcm(const EVP_CIPHER **out);

/* This thread's digest context, to be initialised by each user and not to be freed: it goes with the thread.
 * To make one costs as much as hashing a kilobyte, and a log hashes tens of millions of entries. */
KMS_MUST ossl_thread_md_ctx(EVP_MD_CTX **out);

#define OSSL_FREEP(name, type, fn)                                                                           \
	static inline void name(type **p)                                                                    \
	{                                                                                                    \
		fn(*p);                                                                                      \
		*p = NULL;                                                                                   \
	}

OSSL_FREEP(bio_freep, BIO, BIO_free_all)
OSSL_FREEP(md_ctx_freep, EVP_MD_CTX, EVP_MD_CTX_free)
OSSL_FREEP(mac_ctx_freep, EVP_MAC_CTX, EVP_MAC_CTX_free)
OSSL_FREEP(kdf_ctx_freep, EVP_KDF_CTX, EVP_KDF_CTX_free)
OSSL_FREEP(cipher_ctx_freep, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
OSSL_FREEP(pkey_freep, EVP_PKEY, EVP_PKEY_free)
OSSL_FREEP(pkey_ctx_freep, EVP_PKEY_CTX, EVP_PKEY_CTX_free)
OSSL_FREEP(x509_freep, X509, X509_free)
OSSL_FREEP(x509_req_freep, X509_REQ, X509_REQ_free)
OSSL_FREEP(x509_store_ctx_freep, X509_STORE_CTX, X509_STORE_CTX_free)
OSSL_FREEP(x509_ext_freep, X509_EXTENSION, X509_EXTENSION_free)
OSSL_FREEP(general_name_freep, GENERAL_NAME, GENERAL_NAME_free)
OSSL_FREEP(general_names_freep, GENERAL_NAMES, GENERAL_NAMES_free)
OSSL_FREEP(asn1_string_freep, ASN1_STRING, ASN1_STRING_free)
OSSL_FREEP(bn_freep, BIGNUM, BN_free)

static inline void ossl_bytes_freep(unsigned char **p)
{
	OPENSSL_free(*p);
	*p = NULL;
}

#endif
