/* Who a person is to be: the flags of the commands that say so, and the request's fields that they make. */
#ifndef CLAVIGER_TOOLS_KMSCTL_PERSON_H
#define CLAVIGER_TOOLS_KMSCTL_PERSON_H

#include "tools/kmsctl/command.h"

/* Rows of a command's flags; role: what --role is when it is not given, or NULL. */
#define PERSON_FLAGS(role)                                                                                   \
	{.key = "role",                                                                                      \
	 .type = CONF_TEXT,                                                                                  \
	 .max = 20,                                                                                          \
	 .arg = "ROLE",                                                                                      \
	 .dflt = role,                                                                                       \
	 .help = "admin, operator, approver, reviewer or auditor"},                                          \
		{.key = "group",                                                                             \
		 .type = CONF_TEXT,                                                                          \
		 .arg = "G[,G...]",                                                                          \
		 .help = "the groups that they are in, all of them (at most 16)"},                           \
	{                                                                                                    \
		.key = "customer", .type = CONF_TEXT, .arg = "C[,C...]",                                     \
		.help = "an auditor of these customers only (at most 16)"                                    \
	}

/* Adds role, groups and customers as the flags say; INVALID names the flag. changes: the command has
 * --no-groups and
 * --all-customers besides, which take away. */
KMS_MUST person_body(const cli_t *c, bool changes, json_t *body, diag_t *why);

#endif
