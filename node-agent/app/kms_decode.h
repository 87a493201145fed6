/* The KMS's answers as structs. Unknown fields are passed over (a newer server), everything that is used is
 * checked: INTEGRITY for an answer that is not of the protocol. Pure; messages quote no values, which may be
 * secrets. */
#ifndef CLAVIGER_NODE_AGENT_APP_KMS_DECODE_H
#define CLAVIGER_NODE_AGENT_APP_KMS_DECODE_H

#include "node-agent/app/kms.h"

KMS_MUST kms_decode_releases(span_t body, kms_releases_t *out, diag_t *why);
KMS_MUST kms_decode_rotation(span_t body, kms_rotation_t *out, diag_t *why);
KMS_MUST kms_decode_reencryption(span_t body, kms_reencryption_t *out, diag_t *why);
KMS_MUST kms_decode_volume(span_t body, kms_volume_t *out, diag_t *why);
KMS_MUST kms_decode_proof(span_t body, bool *header_wanted, diag_t *why);
/* out->sealed is the caller's to free even on failure. */
KMS_MUST kms_decode_header(span_t body, path3_t *volume, kms_header_copy_t *out, diag_t *why);
KMS_MUST kms_decode_tasks(span_t body, kms_tasks_t *out, diag_t *why);
/* Of /v1/enroll and /v1/renew: appends the PEM texts; ca may be NULL. */
KMS_MUST kms_decode_certificate(span_t body, buf_t *cert, buf_t *ca, diag_t *why);
KMS_MUST kms_decode_health(span_t body, char out[32], diag_t *why);

#endif
