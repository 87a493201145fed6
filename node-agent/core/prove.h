/* Proof of escrow: that what the KMS holds opens the volume. Nothing is mapped and nothing written to the
 * device; works while it is in use. */
#ifndef CLAVIGER_NODE_AGENT_CORE_PROVE_H
#define CLAVIGER_NODE_AGENT_CORE_PROVE_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/volume.h"

/* r: of kms_release_to_prove. Tells the KMS, and leaves a copy of the header there when it has none of this
 * one. CONFLICT: a rotation or a re-encryption is under way, whose end is a proof. INTEGRITY: the volume does
 * not open, or is not the registered one. `why` says whether it was the proof or the copy that failed. */
KMS_MUST prove_volume(volume_port_t *p, kms_port_t *k, const kms_release_t *r, const char *device,
		      diag_t *why);

#endif
