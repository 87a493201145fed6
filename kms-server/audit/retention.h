/* Retention: a thread that copies sealed entry bundles (256 events) that are old enough to the archive,
 * durably and read back, and then says so; who writes the store takes them out of it. Leaves, tiles, proofs
 * and the index stay. An archive that cannot be written keeps the events where they are. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_RETENTION_H
#define CLAVIGER_KMS_SERVER_AUDIT_RETENTION_H

#include "common/base/clock.h"
#include "kms-server/ports/audit.h"

typedef struct retention_options {
	audit_t *audit; /* borrowed, as the rest */
	store_t *store;
	const char *archive_dir; /* made where it is not there, 0700 */
	int64_t keep_ms;         /* of events younger than this nothing is moved */
	kms_clock_t clock;
	void (*archived)(void *ctx, uint64_t upto); /* events [0, upto) are in the archive; on the thread */
	void *ctx;
} retention_options_t;

typedef struct retention retention_t;

KMS_MUST retention_start(const retention_options_t *o, retention_t **out, diag_t *why);
/* Waits for the bundle that is being written. */
void retention_stop(retention_t **r);

/* One step, as the thread takes it: copies the next bundle that is due, if there is one. *upto: how much of
 * the log is in the archive now. NOTFOUND: nothing is due. */
KMS_MUST retention_step(const retention_options_t *o, uint64_t from, uint64_t *upto, diag_t *why);

#endif
