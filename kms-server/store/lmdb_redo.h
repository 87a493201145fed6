/* What a write transaction has done so far, so that it can be done again: growing the map needs LMDB's
 * transaction to end first. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_STORE_LMDB_REDO_H
#define CLAVIGER_KMS_SERVER_STORE_LMDB_REDO_H

#include "common/base/buf.h"
#include "kms-server/store/lmdb_env.h"

typedef struct lmdb_change {
	bool del;
	store_table_t table;
	span_t key;
	span_t value; /* empty for del */
} lmdb_change_t;

/* LMDB's code. */
int lmdb_change_apply(const lmdb_env_t *env, MDB_txn *txn, const lmdb_change_t *c);

/* FULL: one transaction holds more than can be kept in memory. */
KMS_MUST lmdb_redo_note(buf_t *redo, const lmdb_change_t *c);
/* Applies all of them; the code of the last one, or of the first that failed for another reason than a
 * missing entry. */
int lmdb_redo_apply(const buf_t *redo, const lmdb_env_t *env, MDB_txn *txn);

#endif
