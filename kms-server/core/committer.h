/* The one thread that writes: it gathers the requests that wait, carries them out in one transaction,
 * commits, and only then hands the answers back. What it shares with the start and the end of a run is
 * declared here. */
#ifndef CLAVIGER_KMS_SERVER_CORE_COMMITTER_H
#define CLAVIGER_KMS_SERVER_CORE_COMMITTER_H

#include "kms-server/core/init.h"
#include "kms-server/core/internal.h"

/* The thread; arg is the core_t. Ends when the core stops, or after a commit whose outcome is not known. */
void *committer_main(void *arg);

/* Seals the log, commits and moves its head; takes *t in every case but when sealing fails (abort it then).
 * requests: how many it carries. */
KMS_MUST committer_commit(core_t *c, store_txn_t **t, size_t requests);
/* What health shows. */
void committer_publish(core_t *c);
/* The mark outside the store, not more often than every MARK_EVERY_MS unless forced. */
void committer_mark(core_t *c, int64_t now, bool force);

#endif
