/* What nodes and people have in common on their way to a certificate: one-time tokens, the CSR, the issue,
 * the answer; and the states of an identity. For handlers, inside their transaction. */
#ifndef CLAVIGER_KMS_SERVER_CORE_CERTIFY_H
#define CLAVIGER_KMS_SERVER_CORE_CERTIFY_H

#include "kms-server/core/internal.h"

#define NODE_LIFE_MS       (INT64_C(90) * 24 * 3600 * 1000)
#define OPERATOR_LIFE_MS   (INT64_C(365) * 24 * 3600 * 1000)
#define CSR_CAP            4096U
#define TOKEN_TTL_MIN_S    60
#define TOKEN_TTL_MAX_S    604800
#define TOKEN_TTL_S        3600
#define TOKEN_SECRET64_CAP 64U /* text of a token's secret */

/* The CSR's own signature and its key. 400 says what is wrong. */
KMS_MUST certify_check_csr(op_t *op, span_t csr, uint8_t spki[SPKI_HASH_LEN]);
/* A certificate for who's name and the CSR's key; id becomes what it says; the answer is set. */
KMS_MUST certify(op_t *op, span_t csr, int64_t life_ms, int status, x509_identity_t *id);

/* A new secret; hash is what the record keeps of it. */
KMS_MUST certify_new_secret(secret_t **secret, uint8_t hash[32]);
KMS_MUST certify_check_ttl(op_t *op, int64_t ttl_s);
/* Whether the text is the secret with this hash. Any text that is not says false, however wrong it is. */
KMS_MUST certify_secret_matches(const char *text, const uint8_t hash[32], bool *out);

/* Where revoke, suspend and resume lead; false when the state does not allow it. Doing it again is fine. */
bool identity_next_state(core_op_t op, identity_state_t from, identity_state_t *to);

json_t *hex_json(const uint8_t *p, size_t n);

#endif
