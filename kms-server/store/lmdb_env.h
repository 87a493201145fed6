/* The LMDB environment under the store: opening it and its checks, LMDB's codes in ours, and who may be in a
 * transaction when the memory map moves. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_STORE_LMDB_ENV_H
#define CLAVIGER_KMS_SERVER_STORE_LMDB_ENV_H

#include "kms-server/store/lmdb_store.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct lmdb_env {
	MDB_env *mdb;
	MDB_dbi dbi[STORE_TABLES];
	size_t map_max;
	bool read_only;
	uint64_t reserved_end; /* of the file: room up to here is ours */
	/* LMDB gave up on the environment, or a flush failed: what is on disk is not known, nothing goes on.
	 */
	atomic_bool dead;
	bool lock_made;
	pthread_mutex_t lock; /* of what follows; never held while waiting for a disk */
	pthread_cond_t changed;
	unsigned readers;  /* open read transactions and copies: the map stays where it is under them */
	bool writing;      /* the one write transaction, from its begin to its end */
	bool hold_readers; /* the map is about to move: nobody new comes in */
	bool hold_writer;  /* a copy is fixing its snapshot: no write begins */
} lmdb_env_t;

KMS_MUST lmdb_env_open(const char *dir, const lmdb_store_options_t *options, lmdb_env_t *out, diag_t *why);
/* Also of one that lmdb_env_open left half made. Both in lmdb_open.c. */
void lmdb_env_close(lmdb_env_t *env);

/* Part of lmdb_env_open. */
KMS_MUST lmdb_env_sync_init(lmdb_env_t *env);

/* LMDB's and the system's codes in ours. */
kms_err_t lmdb_err(int rc);

/* Whoever is between enter and leave has the map under its feet. enter: UNAVAILABLE when the map is being
 * moved for longer than it is worth waiting for, IO when the environment is dead. */
KMS_MUST lmdb_env_enter_read(lmdb_env_t *env);
void lmdb_env_leave_read(lmdb_env_t *env);
/* CONFLICT when a write transaction is open already: there is one writer. */
KMS_MUST lmdb_env_enter_write(lmdb_env_t *env);
void lmdb_env_leave_write(lmdb_env_t *env);

/* Keeps new write transactions out, waiting for the one that is open to end; nothing is written until
 * release. UNAVAILABLE when the writer did not end in time. */
KMS_MUST lmdb_env_hold_writer(lmdb_env_t *env);
void lmdb_env_release_writer(lmdb_env_t *env);

/* Doubles the map, by the writer, between its transactions (inside enter_write). Waits for readers to leave;
 * FULL at the greatest size, or when they stay. IO: the map is gone, env is dead. */
KMS_MUST lmdb_env_grow(lmdb_env_t *env);
/* The same when the map is three quarters full and nobody is in it at this moment, so that a writer seldom
 * has to wait for readers, and a long copy seldom stands in its way. No room to grow is no error. */
KMS_MUST lmdb_env_grow_early(lmdb_env_t *env);
/* Another process made the database larger than our map: takes over its size. Outside of enter_*. */
KMS_MUST lmdb_env_adopt(lmdb_env_t *env);

/* Room for the file to grow by `bytes` beyond its used pages: FULL when the greatest map or the disk has
 * less. */
KMS_MUST lmdb_env_reserve(lmdb_env_t *env, uint64_t bytes);

/* A read transaction of LMDB, inside enter_read. */
int lmdb_env_read_txn(lmdb_env_t *env, MDB_txn **out);
/* What a failed commit means: FULL (nothing changed, and env goes on) or IO (env is dead). */
kms_err_t lmdb_env_commit_failed(lmdb_env_t *env, int rc);

#endif
