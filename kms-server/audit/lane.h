/* One sink behind the log, in a thread of its own: reads events in batches, hands them to the sink, remembers
 * durably how far it is, tries again after failures (1 s, doubling to 60 s, with jitter), and reports to the
 * log's parties (audit_party_report).
 *
 * At least once: a position becomes durable only after the sink has taken what lies before it, at most once a
 * second and at the end. After a crash events may come again; none is missing. What may come again is less
 * than a second's worth, or with a sink that repeats: at least the last batch, and as much of the last 16 as
 * was sent within 30 s.
 *
 * Never in the way: events are copied out in a short read transaction, and nothing of the log or the store is
 * held while the sink does its I/O. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_LANE_H
#define CLAVIGER_KMS_SERVER_AUDIT_LANE_H

#include "common/base/clock.h"
#include "kms-server/audit/sink.h"
#include "kms-server/ports/audit.h"

#define LANE_BATCH_EVENTS 64U
#define LANE_BATCH_BYTES  (1024U * 1024U)

typedef struct lane lane_t;

typedef struct lane_options {
	store_t *store; /* borrowed, with audit and the clock until lanes_stop */
	audit_t *audit;
	kms_clock_t clock;
	const char *folder;                  /* where NAME.position stands */
	uint32_t backoff_ms, backoff_max_ms; /* 0: 1 s, 60 s */
} lane_options_t;

/* Takes the sink over on success. A position that does not fit this log is reported as the party's error, and
 * the lane stands still; that is no failure of the start. */
KMS_MUST lane_start(const lane_options_t *o, sink_t **sink, lane_t **out, diag_t *why);

/* Ends all n (some may be NULL) within two seconds: first they may go on to the log's end as long as all goes
 * well, for half a second; then their I/O is given up. A thread that hangs in the kernel even then is left
 * behind: it touches neither log nor store any more. Ends the log's waits (audit_wake) for good. */
void lanes_stop(audit_t *audit, lane_t **lanes, size_t n);

#endif
