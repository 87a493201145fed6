/* Durable copies of the database: a backup that somebody has read back where it is kept leaves a mark in the
 * server's folder, DIR/copies/LABEL: the newest checkpoint of the log that the backup holds, as signed. What
 * came to be before that checkpoint is in the copy. */
#ifndef CLAVIGER_KMS_SERVER_CORE_COPIES_H
#define CLAVIGER_KMS_SERVER_CORE_COPIES_H

#include "common/base/name.h"
#include "kms-server/core/init.h"

#define COPIES_DIR        "copies"
#define COPIES_LABELS_MAX 32U

typedef struct copy_mark {
	char label[NAME_CAP];
	uint64_t size;   /* of the log in the copy */
	int64_t time_ms; /* when it was confirmed */
} copy_mark_t;

typedef struct copy_marks {
	size_t n;
	copy_mark_t mark[COPIES_LABELS_MAX];
} copy_marks_t;

/* The marks that count: signed by the log's key, no longer than `size`, and with this log's root at their
 * size. Others are passed over. */
KMS_MUST copies_read(const char *dir, const note_vkey_t *key, store_txn_t *t, uint64_t size,
		     copy_marks_t *out);

/* Puts the mark of `copy`, the database out of a backup, under the label. CONFLICT: its log is longer than
 * ours, or another one. FULL: too many labels. *out: where the copy's log ends. */
KMS_MUST copies_confirm(store_t *ours, store_t *copy, const char *dir, const char *label,
			const note_vkey_t *key, log_head_t *out, diag_t *why);

/* --- what a restore would lose --- */

typedef void (*copies_loss_fn)(void *ctx, const char *volume, const char *reason);
/* Tells every volume whose disk, going by the newer database, may be opened by no secret that `backup` would
 * release, or be under a volume key of which it knows nothing.
 * The newer one's records are read without their MACs: nothing but this list comes of them. */
KMS_MUST copies_losses(store_t *newer, store_t *backup, copies_loss_fn tell, void *ctx);
/* When the newest event was written; 0: the store does not hold it. */
KMS_MUST copies_time(store_t *s, int64_t *ms);

#endif
