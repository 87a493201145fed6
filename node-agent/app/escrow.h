/* Proofs of escrow on this machine: records, lock, protocol (core/prove.h). */
#ifndef CLAVIGER_NODE_AGENT_APP_ESCROW_H
#define CLAVIGER_NODE_AGENT_APP_ESCROW_H

#include "node-agent/app/agent.h"

/* NULL: all volumes of this node that are formatted here. What fails is logged, and told to the KMS where it
 * is the volume that does not open: nothing that the agent does depends on it. */
void escrow_prove(agent_t *a, const char *volume);

#endif
