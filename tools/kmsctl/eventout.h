/* Events on their way to the user, page after page, in the format that was asked for: a table that fits the
 * terminal, one JSON document, NDJSON, or CSV. */
#ifndef CLAVIGER_TOOLS_KMSCTL_EVENTOUT_H
#define CLAVIGER_TOOLS_KMSCTL_EVENTOUT_H

#include "tools/kmsctl/list.h"

typedef struct eventout {
	cli_t *cli;
	bool tail; /* an endless list: lines come as they are, and JSON is NDJSON */
	bool begun;
	list_out_t list; /* table and JSON */
} eventout_t;

KMS_MUST eventout_begin(eventout_t *o, cli_t *cli, bool tail, diag_t *why);
/* page_fn_t with the eventout_t as its context; rows are {"index":…,"event":{…}}. */
kms_err_t eventout_rows(void *out, const json_t *rows, diag_t *why);
/* cursor: what is left to be asked for, or "". */
KMS_MUST eventout_end(eventout_t *o, const char *cursor, diag_t *why);

/* One event, with all that is known of it. */
KMS_MUST eventout_one(cli_t *cli, const json_t *row, diag_t *why);

#endif
