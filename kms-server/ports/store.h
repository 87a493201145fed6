/* What core needs of a store: ordered tables of bytes, many readers, one writer whose changes become visible
 * and durable together. Implementations: kms-server/store/lmdb_store.h, kms-server/store/memory_store.h.
 *
 * Threads: any thread may hold a read transaction of its own; the writer is one thread. Spans returned by get
 * and by cursors point into the transaction: they end with it, and with the next write in it. Copy out what
 * must last. */
#ifndef CLAVIGER_KMS_SERVER_PORTS_STORE_H
#define CLAVIGER_KMS_SERVER_PORTS_STORE_H

#include "common/base/err.h"
#include "common/base/span.h"

typedef enum store_table {
	STORE_META = 0,     /* name → value */
	STORE_CUSTOMERS,    /* customer */
	STORE_SERVICES,     /* customer/service */
	STORE_NODES,        /* customer/service/node */
	STORE_OPERATORS,    /* operator */
	STORE_VOLUMES,      /* customer/service/volume */
	STORE_NODE_VOLUMES, /* customer/service/node/volume → empty: which volumes a node has */
	STORE_EVENTS,       /* u64 index, big-endian → canonical JSON */
	STORE_LEAVES, /* u64 index → leaf hash; their number is the log's size, archived events included */
	STORE_TREE,   /* level u8, u64 index → hash of a full subtree of 256^level leaves */
	STORE_INDEX,  /* a term → indexes of its events, in blocks */
	STORE_TIMES, /* u64 first event of a segment, u64 minute → u64 first event at which it was so late */
	STORE_CHAINS,      /* customer → that customer's sequence number and last event index */
	STORE_MAINTENANCE, /* id */
	STORE_TASKS, /* customer/service/node/volume/id → state: what maintenance events ask of nodes */
	STORE_IDEMPOTENCY, /* SHA-256 → what was answered */
	STORE_OPEN,        /* u64 intent event index → releases whose outcome is not written yet */
	STORE_POLICIES,    /* name → a policy document */
	STORE_GRANTS,      /* id */
	STORE_REVIEWS,     /* id */
	STORE_HEADERS,     /* customer/service/volume/generation → a LUKS2 header, sealed by its node */
	STORE_TABLES       /* how many */
} store_table_t;

#define STORE_KEY_MAX 511U

typedef struct store store_t;
typedef struct store_txn store_txn_t;
typedef struct store_cursor store_cursor_t;

/* A consistent view, never blocked by the writer. End it with store_abort. */
KMS_MUST store_begin_read(store_t *s, store_txn_t **out);
/* CONFLICT when the log (number of entries in STORE_LEAVES) is not at expected_log_size: somebody else wrote.
 * IO: the store must not be used any more, the process ends. */
KMS_MUST store_begin_write(store_t *s, uint64_t expected_log_size, store_txn_t **out);

/* NOTFOUND leaves *out untouched. */
KMS_MUST store_get(store_txn_t *t, store_table_t table, span_t key, span_t *out);
/* FULL: no space; the transaction can only be aborted. */
KMS_MUST store_put(store_txn_t *t, store_table_t table, span_t key, span_t value);
/* NOTFOUND when there is none. */
KMS_MUST store_del(store_txn_t *t, store_table_t table, span_t key);

typedef enum store_order { STORE_UP, STORE_DOWN } store_order_t;
/* The first entry is the first with key >= from (UP) or the last with key <= from (DOWN; an empty `from`
 * means the end of the table). store_next yields it and moves on; NOTFOUND at the end. A write in the same
 * transaction ends the cursor's validity. */
KMS_MUST store_seek(store_txn_t *t, store_table_t table, span_t from, store_order_t order,
		    store_cursor_t **out);
KMS_MUST store_next(store_cursor_t *c, span_t *key, span_t *value);
void store_cursor_freep(store_cursor_t **c);

/* Number of entries (O(1)). */
KMS_MUST store_count(store_txn_t *t, store_table_t table, uint64_t *out);

/* Makes the changes durable (two flushes) and frees t in every case.
 * FULL: there was no space, nothing has changed, the store goes on.
 * IO: a flush or the root page failed and the outcome on disk is not known: the process must end. */
KMS_MUST store_commit(store_txn_t *t);
/* Ends a read, or drops a write's changes; frees t. t may be NULL. */
void store_abort(store_txn_t *t);
void store_abortp(store_txn_t **t);

/* Makes sure that the store can grow by `bytes` beyond what it uses now, and keeps that room from others
 * where the file system can. The writer's, outside of transactions; cheap when nothing has changed. FULL:
 * there is not so much room. */
KMS_MUST store_reserve(store_t *s, uint64_t bytes);

/* A consistent copy of the whole store, written to fd while it is in use. */
KMS_MUST store_copy(store_t *s, int fd, diag_t *why);

void store_close(store_t *s);
void store_closep(store_t **s);

/* --- for implementations --- */

typedef struct store_ops {
	kms_err_t (*begin)(store_t *s, bool write, store_txn_t **out);
	kms_err_t (*get)(store_txn_t *t, store_table_t table, span_t key, span_t *out);
	kms_err_t (*put)(store_txn_t *t, store_table_t table, span_t key, span_t value);
	kms_err_t (*del)(store_txn_t *t, store_table_t table, span_t key);
	kms_err_t (*seek)(store_txn_t *t, store_table_t table, span_t from, store_order_t order,
			  store_cursor_t **out);
	kms_err_t (*next)(store_cursor_t *c, span_t *key, span_t *value);
	void (*cursor_free)(store_cursor_t *c);
	kms_err_t (*count)(store_txn_t *t, store_table_t table, uint64_t *out);
	kms_err_t (*commit)(store_txn_t *t);
	void (*abort)(store_txn_t *t);
	kms_err_t (*reserve)(store_t *s, uint64_t bytes);
	kms_err_t (*copy)(store_t *s, int fd, diag_t *why);
	void (*close)(store_t *s);
} store_ops_t;

struct store {
	const store_ops_t *ops;
};
struct store_txn {
	store_t *store;
};
struct store_cursor {
	store_txn_t *txn;
};

#endif
