/* Events on their way into the audit log (ports/audit.h): the chain of each customer, what an event can be
 * found by, and releases whose outcome is open. All writes happen in the caller's transaction, with the
 * change that they record. One thread. */
#ifndef CLAVIGER_KMS_SERVER_CORE_LOG_H
#define CLAVIGER_KMS_SERVER_CORE_LOG_H

#include "common/base/name.h"
#include "kms-server/core/event.h"
#include "kms-server/core/ops.h"
#include "kms-server/ports/audit.h"

/* In STORE_META: the log's name. */
#define LOG_ORIGIN_KEY "log.origin"

/* Fills sequence, previous and uid; yields the index. */
KMS_MUST log_append(audit_t *a, store_txn_t *t, event_t *e, uint64_t *index);

/* An event of the server itself (OCSF class 6002), of the deployment's own chain. */
KMS_MUST log_system(audit_t *a, store_txn_t *t, const char *operation, int activity, const char *code,
		    const char *detail, int64_t now_ms);

/* A release whose intent is event `index`: open until its outcome is written. value: what log_open_take gives
 * back. */
typedef struct open_release {
	char customer[64], service[64], volume[64];
	char actor[192];
	char request_id[33];
	char uid[EVENT_UID_CAP]; /* of the intent */
	char operation[32];      /* "key.release" or "rotation.stage" */
	char grant[32];          /* under which it was done; "": none */
} open_release_t;
KMS_MUST log_open_put(store_txn_t *t, uint64_t index, const open_release_t *o);
KMS_MUST log_open_take(store_txn_t *t, uint64_t index, open_release_t *out);
/* The event of a release's outcome, but for the outcome itself: success and the status, the severity, where
 * the caller was. It points into o and uid, which it fills. */
event_t log_outcome(const open_release_t *o, const core_op_info_t *info, char uid[PATH3_CAP], int64_t now_ms);
/* Any one open release; NOTFOUND when there is none. */
KMS_MUST log_open_first(store_txn_t *t, uint64_t *index);

#endif
