/* Rotation of one volume's secret: DESIGN.md section 5 as a table of steps over the ports. Nothing is kept
 * between runs: the first steps find out from the server's answer and the header how far an earlier run came,
 * so a run after a crash anywhere goes on from there. */
#ifndef CLAVIGER_NODE_AGENT_CORE_ROTATE_H
#define CLAVIGER_NODE_AGENT_CORE_ROTATE_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/volume.h"

typedef struct rotate_order {
	const char *volume;
	const char *device;
	const char *maintenance; /* or NULL */
} rotate_order_t;

typedef struct rotate_done {
	uint32_t version; /* the one that is active now */
	uint32_t retired;
} rotate_done_t;

/* One agent at a time may rotate a volume; the caller holds the volume's lock. Works while the volume is
 * mapped. FULL: no free keyslot, and the rotation was aborted. INTEGRITY: the device is not the registered
 * volume, nothing was changed. Any other failure leaves the rotation where a next run goes on. `why` begins
 * with the step's name. */
KMS_MUST rotate_run(volume_port_t *p, kms_port_t *k, const rotate_order_t *order, rotate_done_t *out,
		    diag_t *why);

#endif
