/* The whole of a log held against its checkpoint: every event against its leaf, every tile against the tiles
 * below it, the root, and the root that it had at an earlier size. One pass, one bundle and one tile a level
 * in memory. */
#ifndef CLAVIGER_TOOLS_KMSCTL_LOGCHECK_H
#define CLAVIGER_TOOLS_KMSCTL_LOGCHECK_H

#include "common/tlog/checkpoint.h"
#include "tools/kmsctl/logsrc.h"

typedef struct logcheck {
	logsrc_t *src;
	const checkpoint_t *head;  /* its signature is the caller's to check */
	const checkpoint_t *since; /* an earlier one of the same log, or NULL */
	uint64_t begin, end;       /* the events that src holds: whole bundles, or up to the end */
	/* both may be NULL; `done` leaves are checked; an event is handed on once it has proved to be its
	 * leaf */
	void (*progress)(void *ctx, uint64_t done);
	kms_err_t (*event)(void *ctx, uint64_t index, span_t bytes, diag_t *why);
	void *ctx;
} logcheck_t;

typedef struct logcheck_done {
	uint64_t events; /* checked against their leaves */
	uint64_t hashes; /* leaves that were checked as hashes only */
	uint64_t bytes;  /* of the events */
} logcheck_done_t;

/* INTEGRITY says what is wrong, and names the first index that it concerns. */
KMS_MUST logcheck_run(const logcheck_t *c, logcheck_done_t *out, diag_t *why);

#endif
