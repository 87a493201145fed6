/* Unlocking one volume with its entry of a release answer. */
#ifndef CLAVIGER_NODE_AGENT_CORE_UNLOCK_H
#define CLAVIGER_NODE_AGENT_CORE_UNLOCK_H

#include "node-agent/ports/kms.h"
#include "node-agent/ports/volume.h"

typedef enum unlock_result {
	UNLOCK_MAPPED = 1, /* mapping names it */
	UNLOCK_ALREADY,    /* was mapped before; mapping names it */
	UNLOCK_OPENS       /* everything but the mapping was done */
} unlock_result_t;

typedef struct unlock_order {
	const char *device;
	const char *mapper; /* the name below /dev/mapper */
	bool test_open;
} unlock_order_t;

typedef struct unlock_done {
	unlock_result_t result;
	char mapping[VOLUME_MAPPER_CAP];
} unlock_done_t;

/* What the answer says of the volume, as an error: PENDING, DENIED, or OK when it was released. */
KMS_MUST unlock_released(const kms_release_t *r, diag_t *why);

/* r must be released. INTEGRITY: not the registered volume, nothing was mapped. CONFLICT: the mapper name is
 * taken by something else. */
KMS_MUST unlock_volume(volume_port_t *p, const kms_release_t *r, const unlock_order_t *order,
		       unlock_done_t *out, diag_t *why);

#endif
