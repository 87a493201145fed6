/* Grants inside core (docs/GRANTS.md): what the files grant*.c share. Keys in STORE_GRANTS:
 *   g/ID                  the record; stays for good
 *   c/CHANGE              → ID: every grant, by the number of its last change (16 hex digits)
 *   o/CHANGE              → lp(ID), u64 time at which it ends by itself: those that are pending or approved
 *   p/OPERATOR/ID, n/C/S/N/ID   empty: the open ones of a requester
 *   d/C/S/N/ADDRESS       → ID: a node's request that was denied: it may not ask again at once
 * All checks and changes happen in the committer's transaction. */
#ifndef CLAVIGER_KMS_SERVER_CORE_GRANT_H
#define CLAVIGER_KMS_SERVER_CORE_GRANT_H

#include "kms-server/core/internal.h"

#define GRANT_OPEN_MAX     10000U
#define GRANT_OPEN_OF_ONE  100U
#define GRANT_DECIDE_MS    (INT64_C(4) * 24 * 3600 * 1000)
#define GRANT_COOL_DOWN_MS (INT64_C(15) * 60 * 1000)

/* A grant in memory of its own. Freed by free(). */
typedef struct grant_use {
	grant_rec_t rec;                              /* first: op->grant is this member */
	operator_rec_t approver[GRANT_APPROVALS_MAX]; /* grant_approvers: as they are now */
	uint8_t body[];                               /* rec.body */
} grant_use_t;

/* --- grant_store.c --- */

KMS_MUST grant_new_id(char out[GRANT_ID_CAP]);
/* NOTFOUND; INTEGRITY also when the record is not what its digest says. */
KMS_MUST grant_read(store_txn_t *t, const secret_t *mac, const char *id, grant_use_t **out);
/* The same for an id that a row of the store names: INTEGRITY where there is none. */
KMS_MUST grant_read_named(store_txn_t *t, const secret_t *mac, const char *id, grant_use_t **out);
/* Puts record and index rows, with the next number of change. */
KMS_MUST grant_write(store_txn_t *t, const secret_t *mac, const char *id, grant_rec_t *g);
/* Of what was asked, needs included. */
KMS_MUST grant_digest(const char *id, const grant_rec_t *g, uint8_t out[32]);
/* The state that it has at this time, whether or not housekeeping has been there. */
grant_state_t grant_state_at(const grant_rec_t *g, int64_t now_ms);
static inline bool grant_is_open(grant_state_t s)
{
	return s == GRANT_PENDING || s == GRANT_APPROVED;
}
/* The number of the last change of any grant; 0: there is none. */
KMS_MUST grant_last_change(store_txn_t *t, uint64_t *out);
/* FULL (refused): the requester, or all, have as many open grants as they may. */
KMS_MUST grant_room(op_t *op, const grant_rec_t *g);
/* The prefix of a requester's open grants. */
void grant_of_prefix(const grant_rec_t *g, char out[KEY_CAP]);

/* --- grant_ask.c --- */

/* How the policy decides on what g asks for, for the caller of op: without a grant, or with one like g that
 * nobody has approved. */
void grant_decide(op_t *op, const grant_rec_t *g, const path3_t *on, bool with, policy_decision_t *out);
/* Adds what a decision that was HELD asks for, with those who count for it now. CONFLICT (refused): too few,
 * or too many different needs. */
KMS_MUST grant_add_needs(op_t *op, const policy_decision_t *d, grant_rec_t *g);
/* Neither control characters nor what turns the direction of writing. */
bool grant_text_plain(const char *s);
/* Writes a new one: id, times, state and digest are set. FULL (refused): too many are open. */
KMS_MUST grant_make(op_t *op, grant_use_t *u, char id[GRANT_ID_CAP]);
/* Whether a need with these principals counts this person. */
bool grant_counts(const char *from, const char *name, const operator_rec_t *o);
/* The type of what the action is on; empty where there is no such action (any more). */
const char *grant_type(const grant_rec_t *g);
/* What was asked, for the log: action and resource, uses, seconds, digest, and at the end as many nodes as
 * there is room for. */
void grant_told(const grant_rec_t *g, diag_t *out);
/* "acme/db/n1", "acme/db", "bob", "". */
void grant_resource_text(const grant_rec_t *g, char out[PATH3_CAP]);
/* Whether the event exists and covers the grant's resource, and whether it is open. */
KMS_MUST grant_maintenance(op_t *op, const grant_rec_t *g, bool *covers, bool *open, bool *ended);

/* --- grant_target.c --- */

/* Notes what the resource is now. body: what the act will send, or NULL. */
KMS_MUST grant_target(op_t *op, const json_t *body, grant_rec_t *g);
/* Whether what the call is about is still what it was when the grant was asked for. */
KMS_MUST grant_target_same(op_t *op, const grant_rec_t *g, bool *same);

/* --- grant_list.c --- */

/* Whether this one was among those who counted for the need when it was asked. */
bool grant_asks(const grant_need_t *n, const char *name);
/* NULL when memory is short. */
json_t *grant_json(const char *id, const grant_rec_t *g, int64_t now_ms);

/* --- grant_use.c --- */

/* From here on op's events are about this grant; op owns it. */
void grant_take(op_t *op, const char *id, grant_use_t *u);
/* Reads the approvers' records as they are. *gone: the first who is no active operator any more, or NULL. */
KMS_MUST grant_approvers(op_t *op, grant_use_t *u, const char **gone);
/* An event of the server about a grant. */
KMS_MUST grant_event(core_t *c, store_txn_t *t, const char *id, const grant_rec_t *g, const char *operation,
		     const char *code, int64_t now_ms);

/* --- grant_wait.c --- */

/* A node's request was denied: row d/. */
KMS_MUST grant_cool_down(op_t *op, const char *id, const grant_rec_t *g);
/* Drops the rows d/ whose time is over. */
KMS_MUST grant_forget_denied(core_t *c, store_txn_t *t, int64_t now_ms);

#endif
