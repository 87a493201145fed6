/* What the files of `kmsctl audit` share. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_AUDIT_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_AUDIT_H

#include "tools/kmsctl/command.h"

extern const conf_setting_t audit_verify_flags[], audit_export_flags[];
extern const size_t audit_verify_n_flags, audit_export_n_flags;

kms_err_t audit_verify(cli_t *c, diag_t *why);
kms_err_t audit_export(cli_t *c, diag_t *why);

#endif
