/* Idempotency-Key: for 24 h, the same key with the same identity, route and body gets the answer that was
 * given, after being decided and logged again; with another body it is refused. Answers with secrets or
 * tokens are never stored. */
#ifndef CLAVIGER_KMS_SERVER_CORE_IDEMPOTENCY_H
#define CLAVIGER_KMS_SERVER_CORE_IDEMPOTENCY_H

#include "kms-server/core/internal.h"

KMS_MUST idempotency_find(op_t *op, bool *replayed);
KMS_MUST idempotency_store(op_t *op);

#endif
