/* A rotation on this machine: record, lock, protocol. */
#ifndef CLAVIGER_NODE_AGENT_APP_ROTATION_H
#define CLAVIGER_NODE_AGENT_APP_ROTATION_H

#include "node-agent/app/agent.h"
#include "node-agent/core/rotate.h"

/* device and maintenance may be NULL. */
KMS_MUST rotation_do(agent_t *a, const char *volume, const char *device, const char *maintenance,
		     rotate_done_t *out, diag_t *why);

#endif
