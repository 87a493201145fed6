/* The deployment's own X.509 (RFC 5280): ECDSA P-256 keys, a CA, certificates whose only subject is a SPIFFE
 * URI SAN, CSRs (PKCS#10), and the check of a peer's certificate. PEM text in and out; keys in PEM are
 * secret_t. All functions are thread-safe on distinct objects; an x509_ca_t may be used by several threads at
 * once. */
#ifndef CLAVIGER_COMMON_CRYPTO_X509_H
#define CLAVIGER_COMMON_CRYPTO_X509_H

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/secret.h"

#define SPKI_HASH_LEN    32U /* SHA-256 of the DER SubjectPublicKeyInfo */
#define TRUST_DOMAIN_CAP 256U
#define SERIAL_HEX_CAP   41U

typedef enum x509_kind { X509_NODE = 1, X509_OPERATOR } x509_kind_t;

/* What a verified certificate says: spiffe://<trust domain>/customer/<c>/service/<s>/node/<n> or
 * spiffe://<trust domain>/operator/<o>; exactly one URI SAN, names by name_valid, no other form. */
typedef struct x509_identity {
	x509_kind_t kind;
	path3_t node;                 /* X509_NODE */
	char operator_name[NAME_CAP]; /* X509_OPERATOR */
	uint8_t spki[SPKI_HASH_LEN];
	char serial[SERIAL_HEX_CAP];
	int64_t not_before_ms, not_after_ms;
} x509_identity_t;

/* A new P-256 key as PKCS#8 PEM. */
KMS_MUST x509_key_new(secret_t **pem);
/* A CSR for the key with an empty subject; its SAN is what the issuer decides, nothing in a CSR is believed
 * but the key. */
KMS_MUST x509_csr_new(const secret_t *key_pem, buf_t *csr_pem);
/* Checks the CSR's own signature and that its key is ECDSA P-256. */
KMS_MUST x509_csr_check(span_t csr_pem, uint8_t spki[SPKI_HASH_LEN], diag_t *why);

/* A self-signed CA with the URI SAN spiffe://<trust_domain>, pathLen 0. */
KMS_MUST x509_ca_new(const char *trust_domain, int64_t now_ms, int64_t lifetime_ms, secret_t **key_pem,
		     buf_t *cert_pem);

typedef struct x509_ca x509_ca_t; /* CA certificate(s) that peers are verified with */
/* trust_domain is read from the certificate. */
KMS_MUST x509_ca_load(span_t cert_pem, x509_ca_t **out, diag_t *why);
void x509_ca_freep(x509_ca_t **ca);
const char *x509_ca_trust_domain(const x509_ca_t *ca);

/* Client certificates (EKU clientAuth) for the key in the CSR. lifetime is cut to the CA's own end. Serial
 * numbers are 128 random bits. */
KMS_MUST x509_issue_client(const x509_ca_t *ca, const secret_t *ca_key_pem, span_t csr_pem,
			   const x509_identity_t *who, int64_t now_ms, int64_t lifetime_ms, buf_t *cert_pem,
			   diag_t *why);
/* The server's certificate (EKU serverAuth) with DNS and IP SANs; names holds DNS names and IP literals. */
KMS_MUST x509_issue_server(const x509_ca_t *ca, const secret_t *ca_key_pem, const secret_t *key_pem,
			   const char *const *names, size_t n_names, int64_t now_ms, int64_t lifetime_ms,
			   buf_t *cert_pem, diag_t *why);

/* Verifies a peer's DER certificate against the CA at now: signature, dates, clientAuth, one SPIFFE SAN of
 * the CA's trust domain. DENIED with the reason in why. */
KMS_MUST x509_verify_client(const x509_ca_t *ca, span_t der, int64_t now_ms, x509_identity_t *out,
			    diag_t *why);

/* The same reading of a PEM certificate without verification, for one's own files. */
KMS_MUST x509_read_identity(span_t cert_pem, x509_identity_t *out, diag_t *why);
/* When the (first) certificate of a PEM text ends. */
KMS_MUST x509_not_after(span_t cert_pem, int64_t *out_ms);
/* That the key belongs to the certificate. CONFLICT when not. */
KMS_MUST x509_key_matches(const secret_t *key_pem, span_t cert_pem);
/* SHA-256 of the DER of the (first) certificate, for pinning a CA in an enrolment token. */
KMS_MUST x509_cert_sha256(span_t cert_pem, uint8_t out[32]);

#endif
