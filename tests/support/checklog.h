/* An independent look at the log in a server's database: by LMDB's own calls and the words of
 * docs/STORAGE.md, not by what the server reads it with. */
#ifndef CLAVIGER_TESTS_SUPPORT_CHECKLOG_H
#define CLAVIGER_TESTS_SUPPORT_CHECKLOG_H

#include "common/base/buf.h"

#include <lmdb.h>

#define TERM_LEN 12U
#define HASH_LEN 32U

typedef struct posting {
	uint8_t term[TERM_LEN];
	uint64_t index;
} posting_t;

typedef struct postings_list {
	posting_t *p;
	size_t n, cap;
} postings_list_t;

/* What one event says of itself. */
typedef struct seen_event {
	char uid[40], correlation[40], operation[40], resource[200], tenant[72], code[16];
	uint64_t sequence, previous, minute;
	bool has_previous, success;
} seen_event_t;

typedef struct checklog {
	const char *dir;
	MDB_env *env;
	MDB_txn *txn;
	size_t n; /* events */
	uint8_t (*leaf)[HASH_LEN];
	seen_event_t *event;
	postings_list_t wanted; /* what the index should hold */
	unsigned found;         /* how many things are wrong */
} checklog_t;

__attribute__((format(printf, 2, 3))) void checklog_say(checklog_t *c, const char *fmt, ...);
/* Calls each for the rows of a named database, in order; yields their number. */
typedef void (*checklog_row_fn)(checklog_t *c, span_t key, span_t value, uint64_t row);
uint64_t checklog_rows(checklog_t *c, const char *table, checklog_row_fn each);
bool checklog_get(checklog_t *c, const char *table, span_t key, span_t *out);
uint64_t checklog_u64(const uint8_t *p);
void checklog_must(bool ok, const char *what);

/* --- checklog_tree.c --- */
/* Leaves, tree, the checkpoint in the database, log.checkpoint and log.cosigned. */
void checklog_tree(checklog_t *c);

/* --- checklog_times.c --- */
/* The rows by which events are found by their time. */
void checklog_times(checklog_t *c);

/* --- checklog_index.c --- */
/* Notes what the event with these bytes must be found by. */
void checklog_want(checklog_t *c, uint64_t index, span_t bytes);
void checklog_index(checklog_t *c);
/* Sequences, chains, open releases (none at all when `started`). */
void checklog_chains(checklog_t *c);
void checklog_open(checklog_t *c, bool started);
/* Lines "OPERATION RESOURCE INDEX", INDEX "-" where the answer had none. */
void checklog_acks(checklog_t *c, const char *path);

#endif
