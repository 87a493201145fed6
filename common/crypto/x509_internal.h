/* What the x509_*.c files share. Not for other folders. */
#ifndef CLAVIGER_COMMON_CRYPTO_X509_INTERNAL_H
#define CLAVIGER_COMMON_CRYPTO_X509_INTERNAL_H

#include "common/crypto/ossl.h"
#include "common/crypto/x509.h"

#define X509_PEM_LIMIT (64U * 1024U)
#define X509_CA_MAX    8U

/* Immutable once loaded; the store does its own locking. */
struct x509_ca {
	X509_STORE *store;
	X509 *certs[X509_CA_MAX];
	size_t n;
	char trust_domain[TRUST_DOMAIN_CAP];
	/* of certs[i], read once */
	span_t subject[X509_CA_MAX], key_id[X509_CA_MAX];
	int64_t not_before_ms[X509_CA_MAX], not_after_ms[X509_CA_MAX];
};

/* x509_key.c */
KMS_MUST x509_key_read(const secret_t *pem, EVP_PKEY **out);
/* One certificate or CSR and nothing but white space behind it, or INVALID. */
KMS_MUST x509_cert_read(span_t pem, X509 **out);
KMS_MUST x509_csr_read(span_t pem, X509_REQ **out);
KMS_MUST x509_open_text(span_t pem, BIO **out);
/* The hash of a public key, which must be ECDSA P-256 in its one usual encoding (named curve, uncompressed
 * point), so that one key has one hash: INVALID otherwise. */
KMS_MUST x509_spki_hash(X509_PUBKEY *key, uint8_t out[SPKI_HASH_LEN]);
KMS_MUST x509_is_p256(EVP_PKEY *key);
#define X509_P256_SPKI 91U
bool x509_spki_is_p256(span_t der);

/* x509_ca.c */
bool x509_trust_domain_valid(span_t s);
/* The text of the one URI that is the whole subject alternative name; borrowed from *names. */
KMS_MUST x509_only_uri(const X509 *cert, GENERAL_NAMES **names, span_t *uri, diag_t *why);

/* x509_verify.c: x509_verify_client without the quick way; tests hold the two against each other. */
KMS_MUST x509_verify_wholly(const x509_ca_t *ca, span_t der, int64_t now_ms, x509_identity_t *out,
			    diag_t *why);

/* x509_issue.c */
int64_t x509_time_ms(const ASN1_TIME *t);

#endif
