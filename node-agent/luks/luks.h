/* node-agent/ports/volume.h on LUKS2, by libcryptsetup and libblkid: the only folder that uses either. */
#ifndef CLAVIGER_NODE_AGENT_LUKS_LUKS_H
#define CLAVIGER_NODE_AGENT_LUKS_LUKS_H

#include "node-agent/ports/volume.h"

/* check: core's header_check. Switches libcryptsetup's debug log and external token handlers off for the
 * whole process. */
KMS_MUST luks_new(volume_check_t check, volume_port_t **out);
void luks_freep(volume_port_t **p);

#endif
