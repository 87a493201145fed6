/* Following a maintenance event to its end. */
#ifndef CLAVIGER_TOOLS_KMSCTL_WATCH_H
#define CLAVIGER_TOOLS_KMSCTL_WATCH_H

#include "tools/kmsctl/cli.h"

/* Polls the event and shows its progress until every volume is rotated or failed, the event is no longer
 * open, or timeout_s (0: none) has passed; then prints what was and was not rotated. OK only when all were.
 * Ctrl-C leaves the event going and says so. */
KMS_MUST watch_event(cli_t *c, const char *id, int64_t timeout_s, diag_t *why);

/* Prints a maintenance event: the record, and its volumes where it has them. */
KMS_MUST event_print(cli_t *c, const json_t *event, diag_t *why);

/* Refuses -o csv. */
KMS_MUST watch_format(const cli_t *c, diag_t *why);

#endif
