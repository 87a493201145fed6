/* The verbs of `kmsctl policy` that ask the server. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_POLICY_STORE_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_POLICY_STORE_H

#include "tools/kmsctl/command.h"

KMS_MUST policy_put(cli_t *c, diag_t *why);
KMS_MUST policy_get(cli_t *c, diag_t *why);
KMS_MUST policy_list(cli_t *c, diag_t *why);
KMS_MUST policy_delete(cli_t *c, diag_t *why);

#endif
