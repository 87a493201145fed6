/* What `kms-server VERB` does. argv[0] is the first word behind the verb. Each returns what kms_err_exit
 * turns into the exit code; a failure's sentence is in why. */
#ifndef CLAVIGER_KMS_SERVER_APP_VERBS_H
#define CLAVIGER_KMS_SERVER_APP_VERBS_H

#include "common/base/err.h"

KMS_MUST verb_init(int argc, char **argv, diag_t *why);
KMS_MUST verb_run(int argc, char **argv, diag_t *why);
KMS_MUST verb_backup(int argc, char **argv, diag_t *why);
KMS_MUST verb_confirm(int argc, char **argv, diag_t *why);
KMS_MUST verb_restore(int argc, char **argv, diag_t *why);

#endif
