/* A new volume key for a volume, in place (docs/PROTOCOL.md, "Re-encryption"). Pure protocol: what it does to
 * disks and server goes through the ports. One thread. */
#ifndef CLAVIGER_NODE_AGENT_CORE_REENCRYPT_H
#define CLAVIGER_NODE_AGENT_CORE_REENCRYPT_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/volume.h"

typedef struct reencrypt_order {
	const char *volume;      /* last part of the name */
	const char *device;      /* path */
	const char *maintenance; /* NULL: none */
	/* Called between steps; may end the run. It reports nothing to the KMS: that is done here. */
	const volume_progress_t *progress;
	uint32_t report_steps; /* one report to the KMS in so many steps, at least 1 */
} reencrypt_order_t;

typedef struct reencrypt_done {
	uint32_t version; /* of the secret that opens the volume now */
} reencrypt_done_t;

/* Rotates the secret first, unless a re-encryption is under way already; goes on wherever an earlier run was
 * interrupted. PENDING: order->progress ended it; the volume stays usable and the next run goes on. FULL: too
 * little space for two keyslots. CONFLICT: refused for another reason, which `why` names (the library's
 * version, keyslots of others); in both cases nothing is left behind. INTEGRITY: not the registered volume,
 * nothing was changed. Any other failure leaves it where a next run goes on. `why` begins with the step's
 * name. */
KMS_MUST reencrypt_run(volume_port_t *p, kms_port_t *k, const reencrypt_order_t *order, reencrypt_done_t *out,
		       diag_t *why);

#endif
