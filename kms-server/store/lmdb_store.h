/* The store in LMDB (Symas LMDB 0.9.24 or later): one folder with data.mdb and lock.mdb, one named database a
 * table, and the database "store" that holds the schema's version. Every commit is two flushes; nothing of
 * LMDB's that trades durability for speed is ever switched on.
 *
 * One process opens a database once: LMDB's lock file uses POSIX locks, which a second open in the same
 * process would drop. A store is not to be used in a forked child. */
#ifndef CLAVIGER_KMS_SERVER_STORE_LMDB_STORE_H
#define CLAVIGER_KMS_SERVER_STORE_LMDB_STORE_H

#include "kms-server/ports/store.h"

#define LMDB_STORE_SCHEMA 5U

typedef struct lmdb_store_options {
	uint64_t map_size_max; /* bytes the database may grow to; 0: 64 GiB. A write past it is FULL */
	uint64_t map_size;     /* bytes of address space to begin with; 0: 1 GiB. Doubles as it fills */
	bool read_only;        /* no write transactions */
	bool create;           /* makes folder and tables; CONFLICT where a database is already */
} lmdb_store_options_t;

/* NOTFOUND: no database there (it is never made without `create`: an empty database in place of a lost one
 * would hand out new keys for old volumes). DENIED: folder or file are open to others than their owner.
 * INTEGRITY: not a database of ours, of another schema version, without one of the tables, or shorter than it
 * says it is. */
KMS_MUST lmdb_store_open(const char *dir, const lmdb_store_options_t *options, store_t **out, diag_t *why);

/* The name of a table's database, as docs/STORAGE.md lists them. */
const char *lmdb_store_table_name(store_table_t table);

#endif
