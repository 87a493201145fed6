/* Grants as kmsctl shows and asks for them. */
#ifndef CLAVIGER_TOOLS_KMSCTL_GRANT_H
#define CLAVIGER_TOOLS_KMSCTL_GRANT_H

#include "tools/kmsctl/cli.h"

/* POST /v1/grants, and says on standard error what comes next. */
KMS_MUST grant_ask(cli_t *c, const json_t *body, diag_t *why);
/* One grant as a record, with who must approve, who has, and what exactly is approved. */
KMS_MUST grant_print(cli_t *c, const json_t *grant, diag_t *why);
/* The table of a list of grants. */
extern const column_t grant_columns[];
extern const size_t grant_n_columns;

#endif
