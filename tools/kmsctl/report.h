/* The access report of one customer over a period: one JSON document (docs/OPERATIONS.md, "Following up"),
 * read from a server and held against its log, and written for people as text or HTML. Whoever fills in a
 * part adds to `doc`; whoever writes reads it alone. */
#ifndef CLAVIGER_TOOLS_KMSCTL_REPORT_H
#define CLAVIGER_TOOLS_KMSCTL_REPORT_H

#include "tools/kmsctl/custcheck.h"
#include "tools/kmsctl/list.h"
#include "tools/kmsctl/loghead.h"
#include "tools/kmsctl/treeread.h"

#define REPORT_NAMED_MAX 20000U /* accesses that are named one by one; more are counted */
#define REPORT_GAPS_MAX  100U
#define REPORT_ROWS_MAX  20000U /* of any other part */

typedef struct report {
	cli_t *cli;
	char customer[NAME_CAP];
	int64_t from_ms, to_ms, now_ms; /* both inclusive */
	int64_t rotation_ms;            /* older than this is overdue */
	bool proofs;                    /* keep events and proofs: for JSON */
	logsrc_t *src;
	loghead_t head;
	treeread_t *tree;
	custcheck_t chain;
	json_t *doc;
} report_t;

void report_free(report_t *r);

/* report_log.c: "log", "accesses", "counts", "grants". INTEGRITY: an event is not the one that the log has.
 * Gaps in the customer's sequence are no failure here: "log.gaps" tells of them. */
KMS_MUST report_log_read(report_t *r, diag_t *why);
/* report_state.c: "reviews", "volumes", "people", each null where the caller may not see it. After the log.
 */
KMS_MUST report_state_read(report_t *r, diag_t *why);

bool report_has_gaps(const report_t *r);

/* report_write.c */
KMS_MUST report_write_text(const json_t *doc, FILE *out, diag_t *why);
/* One file that loads nothing and runs nothing; every value is escaped. */
KMS_MUST report_write_html(const json_t *doc, FILE *out, diag_t *why);

#endif
