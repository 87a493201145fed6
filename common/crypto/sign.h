/* Ed25519 (RFC 8032), by OpenSSL's EVP. Thread-safe. Failures are memory (NOMEM) and the library (IO), and
 * what each function names. */
#ifndef CLAVIGER_COMMON_CRYPTO_SIGN_H
#define CLAVIGER_COMMON_CRYPTO_SIGN_H

#include "common/base/err.h"
#include "common/base/secret.h"
#include "common/base/span.h"

#define ED25519_SEED_LEN   32U
#define ED25519_PUBLIC_LEN 32U
#define ED25519_SIG_LEN    64U

/* The public key of a seed of ED25519_SEED_LEN bytes. INVALID: another length. */
KMS_MUST ed25519_public(const secret_t *seed, uint8_t out[ED25519_PUBLIC_LEN]);
KMS_MUST ed25519_sign(const secret_t *seed, span_t message, uint8_t out[ED25519_SIG_LEN]);
/* INTEGRITY: not this key's signature of this message (a key that is no point of the curve, too). */
KMS_MUST ed25519_verify(const uint8_t public_key[ED25519_PUBLIC_LEN], span_t message, span_t signature);

#endif
