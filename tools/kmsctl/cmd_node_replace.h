/* kmsctl node replace OLD NEW */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_NODE_REPLACE_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_NODE_REPLACE_H

#include "tools/kmsctl/command.h"

#define NODE_REPLACE_FLAGS 8U
extern const conf_setting_t node_replace_flags[NODE_REPLACE_FLAGS];

/* Does what can be done now and closes with a table of all steps; OK when none is left. CONFLICT: something
 * waits for somebody, or was refused; the same call goes on from there. */
KMS_MUST node_replace(cli_t *c, diag_t *why);

#endif
