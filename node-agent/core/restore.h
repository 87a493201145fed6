/* Putting a volume's LUKS2 header back from the copy that the KMS keeps, where the one on the device is
 * damaged or gone. Checked in a private file first: that the copy opens with a live secret, is the registered
 * volume's, and that the device is not in use and has the size that it had. */
#ifndef CLAVIGER_NODE_AGENT_CORE_RESTORE_H
#define CLAVIGER_NODE_AGENT_CORE_RESTORE_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/records.h"
#include "node-agent/ports/volume.h"

typedef struct restore_order {
	const char *volume;
	const char *device;
	uint32_t generation; /* 0: the newest */
	bool write;          /* else everything but that */
} restore_order_t;

typedef struct restore_ports {
	volume_port_t *volumes;
	kms_port_t *kms;
	records_port_t *records; /* where the private file goes */
} restore_ports_t;

typedef struct restore_done {
	uint32_t generation, version; /* of the copy, of the secret that opens it */
	char found[200];              /* what stands, or stood, on the device */
} restore_done_t;

/* CONFLICT: the header on the device is good, a re-encryption or a format is under way, or the device is not
 * the volume's. NOTFOUND: there is no copy. INTEGRITY: the copy is not good. Nothing was written then. A
 * crash while it is written leaves a device that the same call puts right. The caller holds the volume's
 * lock. */
KMS_MUST restore_run(const restore_ports_t *ports, const restore_order_t *order, restore_done_t *out,
		     diag_t *why);

#endif
