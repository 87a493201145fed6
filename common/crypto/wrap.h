/* Wrapping of keys by keys (DESIGN: "Wrapping"): AES-256-GCM (NIST SP 800-38D) under a key that HKDF-SHA256
 * derives for this one record from the parent key and a fresh random salt, so no (key, nonce) pair is ever
 * used twice, and with a 32-byte commitment to that key, since GCM alone does not bind a ciphertext to one
 * key.
 *
 *   blob = version 0x01 | salt (32) | commitment (32) | ciphertext (as long as the plaintext) | tag (16)
 *   HKDF(ikm = parent, salt = salt, info = "claviger wrap v1" | lp fields of the identity), 76 bytes:
 *     AES key (32) | commitment (32) | nonce (12)
 *   associated data = version | lp fields of the identity
 *
 * The identity is the record's whole place; a blob put under another identity does not open
 * (KMS_E_INTEGRITY). */
#ifndef CLAVIGER_COMMON_CRYPTO_WRAP_H
#define CLAVIGER_COMMON_CRYPTO_WRAP_H

#include "common/base/buf.h"
#include "common/base/secret.h"

#define WRAP_OVERHEAD 81U

/* Encoded, in this order, as lp(customer) lp(service) lp(key_id) u32 key_version lp(state) lp(purpose).
 * Unused fields are empty strings, never NULL. */
typedef struct wrap_id {
	const char *customer;
	const char *service;
	const char *key_id;
	uint32_t key_version;
	const char *state;
	const char *purpose; /* "customer-key", "service-key", "volume-secret", "ca-key", "root-key",
				"backup-key", "server-key", "header-copy" */
} wrap_id_t;

/* Appends the blob to out. */
KMS_MUST wrap_seal(const secret_t *parent, const wrap_id_t *id, const secret_t *plain, buf_t *out);
/* INTEGRITY when parent, identity or bytes are not those of wrap_seal. */
KMS_MUST wrap_open(const secret_t *parent, const wrap_id_t *id, span_t blob, secret_t **out);

#endif
