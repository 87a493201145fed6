/* The log's index: for each term the indexes of its events, ascending. The newest events' terms wait in the
 * window (kms-server/audit/window.h), one row an event, and come into the lists many at once. A list's newest
 * entries, at most POSTINGS_BLOCK, are one row among all lists' newest; when that is full it moves to where
 * the list's older rows are. So a commit writes to the log's end, and to the lists, which are wide in a long
 * log, once in POSTINGS_WINDOW events. Internal to this folder. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_POSTINGS_H
#define CLAVIGER_KMS_SERVER_AUDIT_POSTINGS_H

#include "kms-server/ports/audit.h"

#define POSTINGS_BLOCK  128U
#define POSTINGS_WINDOW 8192U /* events, a multiple of 64 */

/* 4 bytes by which all terms of one service stand together, as most events have several of these, then 8 of
 * SHA-256(kind | text): two texts that share them share a list, so whoever searches looks at the events. */
#define POSTINGS_TERM_LEN 12U
KMS_MUST postings_term(audit_term_kind_t kind, const char *text, uint8_t out[POSTINGS_TERM_LEN]);

/* n indexes, ascending, all greater than what the list has; else INTEGRITY. */
KMS_MUST postings_append(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], const uint64_t *index,
			 size_t n);

typedef struct postings_block {
	unsigned n;
	uint64_t at[POSTINGS_BLOCK];
} postings_block_t;

/* One list, read within one transaction; zeroed but for the term. It keeps what it read last. Whoever wants
 * the newest events too calls window_find first. */
typedef struct postings {
	uint8_t term[POSTINGS_TERM_LEN];
	uint64_t begin;                        /* the window's */
	uint64_t recent[POSTINGS_WINDOW / 64]; /* a bit an event of it */
	bool loaded;                           /* newest */
	postings_block_t newest, block;
} postings_t;

/* The entry next to `at`, itself included. NOTFOUND: there is none on that side. INTEGRITY: a row is no list.
 */
KMS_MUST postings_next(postings_t *p, store_txn_t *t, store_order_t order, uint64_t at, uint64_t *out);

#endif
