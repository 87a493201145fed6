/* Copies of a volume's LUKS2 header for the KMS to keep, sealed under the secret that opens it: whoever has
 * the copy and not the secret has nothing, and the copy ends with the secret.
 *
 *   a fresh key, wrapped by the secret (common/crypto/wrap.h; purpose "header-copy", the record's whole
 *   identity beside it: volume, lineage, LUKS UUID, version of the secret, fingerprint) |
 *   the header's image, encrypted by that key as a stream (common/crypto/stream.h)
 *
 * Pure; thread-safe. */
#ifndef CLAVIGER_NODE_AGENT_CORE_COPY_H
#define CLAVIGER_NODE_AGENT_CORE_COPY_H

#include "node-agent/core/fingerprint.h"
#include "node-agent/ports/kms.h"

/* What the KMS takes; a header with five keyslots fits. */
#define COPY_IMAGE_MAX (1536U * 1024U)

/* Appends. FULL: image is longer than COPY_IMAGE_MAX. */
KMS_MUST copy_seal(const kms_release_t *r, const kms_secret_t *with, const uint8_t fp[FINGERPRINT_LEN],
		   span_t image, buf_t *out, diag_t *why);
/* Appends the image. INTEGRITY: not sealed by this secret for this volume, or damaged. */
KMS_MUST copy_open(const kms_release_t *r, const kms_secret_t *with, const uint8_t fp[FINGERPRINT_LEN],
		   span_t sealed, buf_t *image, diag_t *why);

#endif
