/* AES-256-GCM (NIST SP 800-38D) with a 12-byte nonce and a 16-byte tag, in one call. Below wrap and stream,
 * which keep (key, nonce) pairs apart; nothing else calls it. */
#ifndef CLAVIGER_COMMON_CRYPTO_AEAD_H
#define CLAVIGER_COMMON_CRYPTO_AEAD_H

#include "common/base/err.h"
#include "common/base/span.h"

#define AEAD_KEY   32U
#define AEAD_NONCE 12U
#define AEAD_TAG   16U

/* out: plain.n bytes of ciphertext, then the tag. plain and aad: up to INT_MAX bytes. */
KMS_MUST aead_seal(const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], span_t aad, span_t plain,
		   uint8_t *out);
/* sealed: ciphertext and tag. out: sealed.n - AEAD_TAG bytes, all zero after a failure. INTEGRITY when the
 * tag is not the one of these inputs. */
KMS_MUST aead_open(const uint8_t key[AEAD_KEY], const uint8_t nonce[AEAD_NONCE], span_t aad, span_t sealed,
		   uint8_t *out);

#endif
