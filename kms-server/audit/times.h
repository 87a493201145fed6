/* The log's index of time. Events stand in the order in which they were written, and the clock that stamped
 * them may have been set back; so the log is taken as segments in each of which time runs forward. An event
 * more than TIMES_SLACK behind the latest minute of its segment begins the next one: a step back of days
 * costs one segment, and what was written before and after it is found as if it had not been. STORE_TIMES
 * says at which event of a segment its latest minute first was what. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_TIMES_H
#define CLAVIGER_KMS_SERVER_AUDIT_TIMES_H

#include "kms-server/ports/store.h"

#define TIMES_SLACK 1U /* minutes */

/* The log's end: what the next event is held against. */
typedef struct times {
	bool any; /* false: no event yet */
	uint64_t segment, minute;
} times_t;

/* INTEGRITY: a row is none. */
KMS_MUST times_load(store_txn_t *t, times_t *out);
/* At most one row, and that only when the minute is another one. */
KMS_MUST times_note(times_t *at, store_txn_t *t, uint64_t index, int64_t time_ms);

typedef struct times_part {
	uint64_t first, next; /* the segment, and the one behind it (UINT64_MAX: none yet) */
	uint64_t begin, end;  /* no event of the segment outside of these lies within the times asked for */
} times_part_t;

/* The segment of event `at`. Times are inclusive; 0 and INT64_MAX ask for nothing, and with both of them the
 * whole log is one. begin is end, or above it, when nothing fits. INTEGRITY: rows are missing or are none. */
KMS_MUST times_part(store_txn_t *t, uint64_t at, int64_t from_ms, int64_t to_ms, times_part_t *out);

/* The first event of [begin, end) that may be as young as this; `end` when all are older. Looks at every
 * segment between them. */
KMS_MUST times_first(store_txn_t *t, uint64_t begin, uint64_t end, int64_t time_ms, uint64_t *out);

#endif
