/* kmsctl volume release CUSTOMER/SERVICE/VOLUME --out DIR */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_VOLUME_RELEASE_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_VOLUME_RELEASE_H

#include "tools/kmsctl/command.h"

/* Each live secret in a file of its own, C-S-V.vN.key, mode 0600, 32 raw bytes as cryptsetup --key-file takes
 * them. All or none; a file that is there is never replaced. */
KMS_MUST volume_release(cli_t *c, diag_t *why);

#endif
