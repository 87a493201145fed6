/* The check of a LUKS2 header against an allow-list, before any of its keyslots is tried and before any
 * secret is near it. The header's checksum has no key: everything in it is the word of whoever holds the
 * disk. Known attacks: null ciphers in a keyslot or in the data segment (CVE-2025-59054, CVE-2025-58356),
 * more segments than one, re-encryption metadata that decrypts data (CVE-2021-4122), key derivation that
 * costs minutes, tokens that would lead other tools elsewhere. Pure. */
#ifndef CLAVIGER_NODE_AGENT_CORE_HEADER_H
#define CLAVIGER_NODE_AGENT_CORE_HEADER_H

#include "node-agent/ports/volume.h"

/* json: the metadata as libcryptsetup gives it back. uuid: of the binary header. INTEGRITY with what was
 * refused; each rule has its own words. A volume_check_t. */
KMS_MUST header_check(span_t json, const char *uuid, volume_header_t *out, diag_t *why);

#endif
