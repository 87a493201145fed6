/* Opening a volume with what the KMS released, and making sure that it is the volume that was registered. */
#ifndef CLAVIGER_NODE_AGENT_CORE_VERIFY_H
#define CLAVIGER_NODE_AGENT_CORE_VERIFY_H

#include "node-agent/core/fingerprint.h"
#include "node-agent/ports/kms.h"

/* INTEGRITY when the header has another UUID than the registered one. Before any keyslot is tried: a secret
 * has nothing to do with another volume's header. */
KMS_MUST verify_uuid(const volume_t *v, const kms_release_t *r, diag_t *why);

/* INTEGRITY when the volume key or what the header says of its use is not what was registered: as active, or
 * as pending where a re-encryption has ended of which the KMS was not told yet. fp (may be NULL) gets the
 * fingerprint computed from the header and the key. */
KMS_MUST verify_fingerprint(const volume_t *v, const secret_t *key, const kms_release_t *r,
			    uint8_t fp[FINGERPRINT_LEN], diag_t *why);

/* Whether this is the registered fingerprint of the volume key to which a re-encryption leads. */
bool verify_is_pending(const kms_release_t *r, const uint8_t fp[FINGERPRINT_LEN]);

/* Of a header in re-encryption: the secret (borrowed from r) that opens both of its volume keys, which are
 * the two registered ones. INTEGRITY when they are not, or none opens both: then it was not begun by this
 * agent. */
KMS_MUST verify_reencrypting(volume_t *v, const kms_release_t *r, const kms_secret_t **with, diag_t *why);

/* Tries the secrets newest first. INTEGRITY when none opens, or when the volume is another one. */
KMS_MUST verify_open(volume_t *v, const kms_release_t *r, secret_t **key, diag_t *why);

#endif
