/* From the words of the command line to the row of a command. */
#ifndef CLAVIGER_TOOLS_KMSCTL_DISPATCH_H
#define CLAVIGER_TOOLS_KMSCTL_DISPATCH_H

#include "tools/kmsctl/command.h"

#define DISPATCH_FILE "/etc/claviger/kmsctl.conf"

typedef enum dispatch_what {
	DISPATCH_RUN,
	DISPATCH_HELP, /* of what noun and command say, either may be NULL */
	DISPATCH_VERSION,
	DISPATCH_CHECK_CONFIG
} dispatch_what_t;

typedef struct dispatch {
	dispatch_what_t what;
	const noun_t *noun;
	const command_t *command;
	int argc; /* what is left for conf_load_with */
	char **argv;
} dispatch_t;

/* argv without the program's name. Noun and verb may stand behind settings (`kmsctl --addr URL node list`);
 * `-o` is
 * `--output`. The strings stay the caller's, the array is freed by dispatch_free. */
KMS_MUST dispatch_parse(int argc, char **argv, dispatch_t *out, diag_t *why);
void dispatch_free(dispatch_t *d);

void dispatch_help(const dispatch_t *d, FILE *out);

/* Does what was parsed; errors are for the caller to print. */
KMS_MUST dispatch_run(const dispatch_t *d, FILE *out, FILE *err, diag_t *why);

/* The error as one line, whatever its words repeat of the arguments or the answer. */
void dispatch_say(kms_err_t e, const diag_t *why, FILE *err);

#endif
