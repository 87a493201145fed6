/* What the files of `kmsctl audit` share. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CMD_AUDIT_H
#define CLAVIGER_TOOLS_KMSCTL_CMD_AUDIT_H

#include "tools/kmsctl/audit_filter.h"
#include "tools/kmsctl/command.h"

#define AUDIT_FOLLOW_N_FLAGS (AUDIT_FILTER_N + 1U)
#define AUDIT_VERIFY_N_FLAGS 7U
#define AUDIT_EXPORT_N_FLAGS 4U
#define AUDIT_REVIEW_N_FLAGS 8U
#define AUDIT_REPORT_N_FLAGS 7U

extern const conf_setting_t audit_follow_flags[AUDIT_FOLLOW_N_FLAGS];
extern const conf_setting_t audit_verify_flags[AUDIT_VERIFY_N_FLAGS];
extern const conf_setting_t audit_export_flags[AUDIT_EXPORT_N_FLAGS];
extern const conf_setting_t audit_review_flags[AUDIT_REVIEW_N_FLAGS];
extern const conf_setting_t audit_report_flags[AUDIT_REPORT_N_FLAGS];

kms_err_t audit_follow(cli_t *c, diag_t *why);
kms_err_t audit_verify(cli_t *c, diag_t *why);
kms_err_t audit_export(cli_t *c, diag_t *why);
kms_err_t audit_review(cli_t *c, diag_t *why);
kms_err_t audit_report(cli_t *c, diag_t *why);

#endif
