/* SHA-256 (FIPS 180-4), HMAC-SHA256 (RFC 2104), HKDF-SHA256 (RFC 5869) and random bytes, by OpenSSL's EVP.
 * All functions are thread-safe; the only failures are memory (NOMEM), bad sizes (INVALID) and the library
 * (IO). */
#ifndef CLAVIGER_COMMON_CRYPTO_DIGEST_H
#define CLAVIGER_COMMON_CRYPTO_DIGEST_H

#include "common/base/err.h"
#include "common/base/secret.h"
#include "common/base/span.h"

#define SHA256_LEN 32U

KMS_MUST crypto_sha256(span_t in, uint8_t out[SHA256_LEN]);
/* The digest of the parts one after the other (no separators). */
KMS_MUST crypto_sha256_parts(const span_t *parts, size_t n, uint8_t out[SHA256_LEN]);
KMS_MUST crypto_hmac_sha256(span_t key, span_t msg, uint8_t out[SHA256_LEN]);
KMS_MUST crypto_hmac_sha256_parts(span_t key, const span_t *parts, size_t n, uint8_t out[SHA256_LEN]);
/* out: up to 8160 bytes. */
KMS_MUST crypto_hkdf_sha256(span_t ikm, span_t salt, span_t info, uint8_t *out, size_t n);
/* A derived key that stays in locked memory. */
KMS_MUST crypto_hkdf_secret(const secret_t *ikm, span_t salt, span_t info, size_t n, secret_t **out);

/* From the library's generator for private values; never short. */
KMS_MUST crypto_random(uint8_t *out, size_t n);
KMS_MUST crypto_random_secret(size_t n, secret_t **out);

/* The library's memory is wiped when it is freed: its decoders free private keys' DER and PEM as they are.
 * Once, at the start of a program, before any other use of the library in the process (CONFLICT: too late).
 */
KMS_MUST crypto_wipe_on_free(void);

#endif
