/* A log verified from the outside, by its key alone: the whole of it, or one customer's events in it. */
#ifndef CLAVIGER_TOOLS_KMSCTL_VERIFY_H
#define CLAVIGER_TOOLS_KMSCTL_VERIFY_H

#include "tools/kmsctl/custcheck.h"
#include "tools/kmsctl/logcheck.h"
#include "tools/kmsctl/loghead.h"

typedef struct verify_options {
	const char *log; /* folder or URL */
	const note_vkey_t *key;
	const char *since;     /* file with an earlier checkpoint, or NULL */
	const char *witnesses; /* files of keys, or NULL */
	const char *customer;  /* NULL: the whole log */
} verify_options_t;

typedef struct verify_report {
	loghead_t head;
	bool has_since;
	checkpoint_t since;
	logcheck_done_t done;
	uint64_t lines;    /* of events.ndjson that were compared */
	custcheck_t chain; /* of the customer */
	int64_t ms;        /* how long it took */
} verify_report_t;

void verify_report_free(verify_report_t *r);

/* INTEGRITY says what is wrong; NOTFOUND: no such folder, file or log. r is zeroed by the caller, and its
 * head is set even when a later check fails. */
KMS_MUST verify_log(cli_t *cli, const verify_options_t *o, verify_report_t *r, diag_t *why);

#endif
