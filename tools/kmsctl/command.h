/* One row a command: what --help says of it, which flags and words it takes, and what runs it. */
#ifndef CLAVIGER_TOOLS_KMSCTL_COMMAND_H
#define CLAVIGER_TOOLS_KMSCTL_COMMAND_H

#include "common/io/config.h"
#include "tools/kmsctl/cli.h"

typedef struct command {
	const char *verb;  /* NULL: the noun alone is the command */
	const char *words; /* "CUSTOMER/SERVICE/NODE" */
	const char *help;  /* one line */
	unsigned min_words, max_words;
	const conf_setting_t *flags;
	size_t n_flags;
	kms_err_t (*run)(cli_t *c, diag_t *why);
} command_t;

typedef struct noun {
	const char *name;
	const char *help;
	const command_t *commands;
	size_t n;
} noun_t;

extern const noun_t noun_audit, noun_customer, noun_grant, noun_maintenance, noun_node, noun_operator,
	noun_policy, noun_rotate, noun_service, noun_sys, noun_volume, noun_witness;

#define COUNT(a) (sizeof(a) / sizeof *(a))

#endif
