/* The quick way through x509_verify_client, for certificates in the one form that x509_issue_client writes.
 * OpenSSL 3.0 sets up a decoder for every public key it reads, which costs more than the signature check and
 * which a storm of cold connections would pay each time. Whatever is not byte for byte of that form, or not
 * good, is not refused here but left to OpenSSL's whole check: this can only say yes, and only to what that
 * says yes to. One thing is not asked again: that the key's point is on the curve. The CA checked that before
 * it signed, and TLS has used the key. */
#ifndef CLAVIGER_COMMON_CRYPTO_X509_OWN_H
#define CLAVIGER_COMMON_CRYPTO_X509_OWN_H

#include "common/base/span.h"
#include "common/crypto/x509.h"

/* Spans point into the DER. */
typedef struct x509_own {
	size_t issuer; /* which of the CA's certificates it names */
	span_t signed_part, signature;
	span_t serial; /* the number's bytes without a leading zero */
	span_t spki, uri;
	int64_t not_before_ms, not_after_ms;
} x509_own_t;

/* False: another form. Says nothing about the signature. */
bool x509_own_read(const x509_ca_t *ca, span_t der, x509_own_t *out);
/* False: not signed by the issuer, or not valid at now, or it could not be found out. */
bool x509_own_good(const x509_ca_t *ca, const x509_own_t *cert, int64_t now_ms);

#endif
