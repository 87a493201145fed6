/* The fingerprint of a volume: HMAC-SHA256 under its volume key over everything in the LUKS2 header that says
 * how the key is used, because the header's own checksum has no key and whoever holds the disk can rewrite
 * it.
 *
 * The message is a row of fields, each an unsigned 16-bit big-endian length and so many bytes; numbers are
 * decimal text without leading zeros, as they stand in the header:
 *
 *   "claviger fingerprint v1"
 *   LUKS UUID, 36 lower-case characters
 *   number of segments, and for each in the order of their numbers:
 *     type · offset (bytes) · size (bytes, or "dynamic") · cipher · iv_tweak · sector size · integrity (""
 * for none) number of flags, and each flag, sorted by their bytes number of requirements, and each
 * requirement, sorted by their bytes
 *
 * All functions are pure and thread-safe. */
#ifndef CLAVIGER_NODE_AGENT_CORE_FINGERPRINT_H
#define CLAVIGER_NODE_AGENT_CORE_FINGERPRINT_H

#include "common/base/buf.h"
#include "node-agent/ports/volume.h"

#define FINGERPRINT_LEN 32U

/* The message. INVALID when a count is out of range. */
KMS_MUST fingerprint_encode(const volume_facts_t *facts, buf_t *out);

KMS_MUST fingerprint_make(const volume_facts_t *facts, const secret_t *volume_key,
			  uint8_t out[FINGERPRINT_LEN]);

/* The proof of a rotation: HMAC-SHA256 with the fingerprint as key over the server's nonce. */
KMS_MUST fingerprint_proof(const uint8_t fingerprint[FINGERPRINT_LEN], span_t nonce,
			   uint8_t out[FINGERPRINT_LEN]);

#endif
