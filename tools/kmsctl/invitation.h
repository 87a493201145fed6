/* What an invitation leaves: a token, which opens the way in for whoever reads it. */
#ifndef CLAVIGER_TOOLS_KMSCTL_INVITATION_H
#define CLAVIGER_TOOLS_KMSCTL_INVITATION_H

#include "tools/kmsctl/command.h"

/* Rows of a command's flags: --ttl and --out. */
#define INVITATION_FLAGS                                                                                     \
	{.key = "ttl",                                                                                       \
	 .type = CONF_TEXT,                                                                                  \
	 .max = 40,                                                                                          \
	 .arg = "DUR",                                                                                       \
	 .dflt = "1h",                                                                                       \
	 .help = "how long the token is good"},                                                              \
	{                                                                                                    \
		.key = "out", .type = CONF_TEXT, .arg = "FILE",                                              \
		.help = "write the token there (mode 0600) instead of printing"                              \
	}

/* --ttl in seconds, and --out names no file that is there: asked before the invitation is made, since
 * afterwards its token would be lost. */
KMS_MUST invitation_flags(const cli_t *c, int64_t *ttl_s, diag_t *why);
/* The answer's token to --out alone, with the record of its columns on the output; or alone on a line. */
KMS_MUST invitation_give(cli_t *c, json_t *answer, const column_t *columns, size_t n, diag_t *why);

#endif
