/* The audit log in the store: events by index, a chain of its own for every customer, releases whose outcome
 * is open, and the mark outside the store that tells an older database. All writes happen in the caller's
 * transaction, with the change that they record. (The Merkle tree over the same bytes has its place here.)
 *
 * log_t counts what the running transaction has appended; log_sync after a commit, log_rollback after an
 * abort. One thread. */
#ifndef CLAVIGER_KMS_SERVER_CORE_LOG_H
#define CLAVIGER_KMS_SERVER_CORE_LOG_H

#include "kms-server/core/event.h"
#include "kms-server/core/init.h"
#include "kms-server/ports/store.h"

typedef struct audit_log {
	log_head_t head;    /* committed */
	log_head_t pending; /* with what the transaction has appended */
} audit_log_t;

/* Reads the head from the store. */
KMS_MUST log_load(audit_log_t *l, store_txn_t *t);
/* INTEGRITY when the event that the mark knows as its newest is not the one in the store: another database.
 */
KMS_MUST log_check_at(store_t *s, const log_head_t *mark, diag_t *why);
/* Index of the next event. */
static inline uint64_t log_next(const audit_log_t *l)
{
	return l->pending.size;
}
static inline void log_sync(audit_log_t *l)
{
	l->head = l->pending;
}
static inline void log_rollback(audit_log_t *l)
{
	l->pending = l->head;
}

/* An event's key in STORE_EVENTS and STORE_OPEN: big-endian, so that the order of keys is that of events. */
static inline void log_key(uint64_t index, uint8_t out[8])
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(index >> (8 * (7 - i)));
}

/* Fills sequence, previous and uid; yields the index. */
KMS_MUST log_append(audit_log_t *l, store_txn_t *t, event_t *e, uint64_t *index);

/* An event of the server itself (OCSF class 6002), of the deployment's own chain. */
KMS_MUST log_system(audit_log_t *l, store_txn_t *t, const char *operation, int activity, const char *code,
		    const char *detail, int64_t now_ms);

/* A release whose intent is event `index`: open until its outcome is written. value: what log_open_take gives
 * back. */
typedef struct open_release {
	char customer[64], service[64], volume[64];
	char actor[192];
	char request_id[33];
	char uid[EVENT_UID_CAP]; /* of the intent */
	char operation[32];      /* "key.release" or "rotation.stage" */
} open_release_t;
KMS_MUST log_open_put(store_txn_t *t, uint64_t index, const open_release_t *o);
KMS_MUST log_open_take(store_txn_t *t, uint64_t index, open_release_t *out);
/* Any one open release; NOTFOUND when there is none. */
KMS_MUST log_open_first(store_txn_t *t, uint64_t *index);

#endif
