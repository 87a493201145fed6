/* What the files of the log share. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_INTERNAL_H
#define CLAVIGER_KMS_SERVER_AUDIT_INTERNAL_H

#include "kms-server/audit/times.h"
#include "kms-server/audit/tree.h"
#include "kms-server/ports/audit.h"

#include <pthread.h>
#include <stdatomic.h>

/* In STORE_META: how many events, from 0 on, have left the store for the archive (u64). */
#define ARCHIVED_KEY "log.archived"

struct audit {
	store_t *store;
	const note_signer_t *signer;
	char *archive;
	/* the committer's */
	merkle_range_t head, sealed; /* committed, and with the running transaction */
	uint64_t next;
	times_t times, next_times;
	buf_t note; /* the running transaction's checkpoint */
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t grown;
	uint64_t size;
	buf_t checkpoint;
	uint64_t cosigned_size;
	buf_t cosigned;
	bool woken;
	atomic_uint hurried;
	size_t n_parties;
	audit_party_t party[AUDIT_PARTIES_MAX];
};

/* --- archive.c --- */

/* How many events the store has given up. */
KMS_MUST archive_size(store_txn_t *t, uint64_t *out);
/* Event `index` out of its archived bundle. UNAVAILABLE: there is no such file. */
KMS_MUST archive_read_event(const audit_t *a, uint64_t index, buf_t *out);
/* The first `width` entries of a bundle, as it stands in the archive. */
KMS_MUST archive_read_bundle(const audit_t *a, uint64_t index, uint32_t width, buf_t *out);

#endif
