/* The policy documents in the store, and the policy that they are together. Keys of STORE_POLICIES:
 *   NAME               the document that is in force; none: the shipped one of that name, where there is one
 *   NAME@0000000007    each text that NAME has had, by its version, the one in force too */
#ifndef CLAVIGER_KMS_SERVER_CORE_POLICY_STORE_H
#define CLAVIGER_KMS_SERVER_CORE_POLICY_STORE_H

#include "kms-server/core/internal.h"

#define POLICY_ALL_STATEMENTS_MAX 2000U
#define POLICY_VERSIONS_KEPT      100U

/* A change to look at before it is made: the policy as it would be. */
typedef struct policy_change {
	const char *name;
	span_t text; /* p NULL: the document goes */
} policy_change_t;

/* What the store says, with the change (NULL: none) in it. CONFLICT, FULL: the change does not go with the
 * other documents; INVALID: a document does not parse; *why says which. A mac of NULL reads without the
 * check. */
KMS_MUST policy_store_load(store_txn_t *t, const secret_t *mac, const policy_change_t *change, policy_t **out,
			   diag_t *why);
/* Makes c->policy what the store says in this transaction. For the beginning of a request: decisions borrow
 * texts of the policy. */
KMS_MUST policy_store_follow(core_t *c, store_txn_t *t, const secret_t *mac, diag_t *why);

/* NULL: none of that name is shipped. */
const policy_shipped_t *policy_shipped_named(const char *name);
/* Writes the text as the newest version of the document, or takes the document away; rec has time and who,
 * and gets its version. */
KMS_MUST policy_store_put(store_txn_t *t, const secret_t *mac, const char *name, policy_rec_t *rec);
KMS_MUST policy_store_delete(store_txn_t *t, const secret_t *mac, const char *name);
/* After each change, and in a new database: which documents are stored. */
KMS_MUST policy_store_tag(store_txn_t *t, const secret_t *mac);
/* "NAME@0000000007" */
void policy_version_key(const char *name, uint32_t version, char out[KEY_CAP]);

#endif
