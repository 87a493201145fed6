/* A re-encryption on this machine: lock, protocol, and the care that it disturbs nobody. */
#ifndef CLAVIGER_NODE_AGENT_APP_REENCRYPTION_H
#define CLAVIGER_NODE_AGENT_APP_REENCRYPTION_H

#include "node-agent/app/agent.h"
#include "node-agent/core/reencrypt.h"

/* Goes slower than the setting reencrypt-rate says, and lets the I/O of others on the volume go first.
 * SIGTERM and SIGINT, which are to be blocked by the caller, end it between two steps (PENDING). device and
 * maintenance may be NULL. show: progress on standard error where that is a terminal. */
KMS_MUST reencryption_do(agent_t *a, const char *volume, const char *device, const char *maintenance,
			 bool show, reencrypt_done_t *out, diag_t *why);

/* Goes on with those of this machine's volumes whose headers say that they are in re-encryption: after a
 * crash nobody asks for that. What fails is logged. */
void reencryption_resume_all(agent_t *a);

#endif
