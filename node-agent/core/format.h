/* Formatting a device as a volume of the KMS, in an order in which a crash anywhere leaves a volume that a
 * next run completes: the header is built and proved in a private file, registered by :commit, and written to
 * the device last. */
#ifndef CLAVIGER_NODE_AGENT_CORE_FORMAT_H
#define CLAVIGER_NODE_AGENT_CORE_FORMAT_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/records.h"
#include "node-agent/ports/volume.h"

typedef struct format_order {
	const char *volume;
	const char *device; /* absolute path */
	bool force;         /* the caller has had the volume's name repeated */
} format_order_t;

typedef struct format_ports {
	volume_port_t *volumes;
	kms_port_t *kms;
	records_port_t *records;
} format_ports_t;

typedef enum format_result {
	FORMAT_DONE = 1,
	FORMAT_COMPLETED, /* what an earlier run began */
	FORMAT_ALREADY    /* this device was formatted as this volume before; checked, nothing was written */
} format_result_t;

typedef struct format_done {
	format_result_t result;
	uint32_t lineage;
	char uuid[VOLUME_UUID_CAP];
} format_done_t;

/* CONFLICT: the device holds something (what, in why), is in use or too small, or the volume was formatted
 * before, and force was not given. The caller holds the volume's lock. */
KMS_MUST format_run(const format_ports_t *ports, const format_order_t *order, format_done_t *out,
		    diag_t *why);

#endif
