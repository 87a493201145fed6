/* kmsctl operator enroll: a person's way in, on their own machine. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_OPERATOR_ENROLL_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_OPERATOR_ENROLL_H

#include "tools/kmsctl/command.h"

#define OPERATOR_ENROLL_FLAGS 3U
extern const conf_setting_t operator_enroll_flags[OPERATOR_ENROLL_FLAGS];

KMS_MUST operator_enroll(cli_t *c, diag_t *why);

#endif
