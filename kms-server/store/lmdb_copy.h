/* A consistent copy of the database as a stream, with the number of entries in every table of exactly that
 * state. Compacted: free pages, which still hold what was deleted, stay behind. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_STORE_LMDB_COPY_H
#define CLAVIGER_KMS_SERVER_STORE_LMDB_COPY_H

#include "kms-server/store/lmdb_env.h"

typedef struct lmdb_copy lmdb_copy_t;

/* A thread begins to write the copy into a pipe. Our own writer is held off until its snapshot is taken
 * (milliseconds), and it is begun anew while another process's came between, so that the counts and the copy
 * show the same state. UNAVAILABLE when the open write transaction does not end, or others commit without
 * pause. */
KMS_MUST lmdb_copy_start(lmdb_env_t *env, lmdb_copy_t **out, diag_t *why);
/* Where to read the copy from, up to its end; owned by the copy. */
int lmdb_copy_fd(const lmdb_copy_t *c);
const uint64_t *lmdb_copy_counts(const lmdb_copy_t *c);
/* Ends the thread (a reader may leave early) and frees. Not OK: what was read is not the whole copy. */
KMS_MUST lmdb_copy_end(lmdb_copy_t *c, diag_t *why);

/* The environment of a store in LMDB; NULL for another one. In lmdb_store.c. */
lmdb_env_t *lmdb_store_env(store_t *s);

#endif
