/* A KMS made of a script: the linker sends kmsctl's client calls here. */
#ifndef CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_FAKE_KMS_H
#define CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_FAKE_KMS_H

#include "common/base/err.h"

typedef struct fake_step {
	const char *method, *path;
	const char *body; /* expected, NULL: not looked at */
	int status;       /* 0: no server answers */
	const char *answer;
} fake_step_t;

/* The steps to come, in order; ended by a row without method. A call that is not the next step fails the
 * test. */
void fake_kms_script(const fake_step_t *steps);
/* Whether all steps have been taken. */
int fake_kms_done(void);

/* Runs kmsctl with these words (ended by NULL), complete settings added. The texts are the caller's to free.
 */
kms_err_t fake_kms_run(const char *const *args, char **out, char **err, diag_t *why);

#endif
