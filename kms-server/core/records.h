/* The records of the store: binary, versioned, each closed by a MAC. Layout byte by byte: docs/STORAGE.md.
 *
 * A record is `version | fields | HMAC-SHA256(record key, lp(table name) lp(key) version fields)`. The
 * record key derives from the root key, so whoever holds only the file can neither change a record (bind a
 * volume to another node, un-revoke one) nor put one record in another's place: both are KMS_E_INTEGRITY.
 * Wrapped keys inside are bound to their identity a second time by their own associated data.
 *
 * record_* functions read and write whole records within a transaction. No threads of their own. */
#ifndef CLAVIGER_KMS_SERVER_CORE_RECORDS_H
#define CLAVIGER_KMS_SERVER_CORE_RECORDS_H

#include "common/base/name.h"
#include "common/base/secret.h"
#include "common/crypto/x509.h"
#include "kms-server/ports/store.h"

#define WRAPPED_KEY_LEN         113U /* WRAP_OVERHEAD + 32 */
#define KEY_ID_LEN              16U
#define LUKS_UUID_CAP           37U
#define FINGERPRINT_LEN         32U
#define MAINT_ID_CAP            40U
#define TEXT_CAP                256U /* free text: details, tickets */
#define VOLUME_SECRETS_MAX      40U
#define VOLUME_FINGERPRINTS_MAX 16U

/* A key of the hierarchy, under its parent. */
typedef struct wrapped_key {
	uint8_t id[KEY_ID_LEN]; /* random: a name used again is another key */
	uint8_t blob[WRAPPED_KEY_LEN];
} wrapped_key_t;

typedef enum tenant_state { TENANT_ACTIVE = 1, TENANT_DESTROYED } tenant_state_t;

/* A customer or a service. */
typedef struct tenant_rec {
	tenant_state_t state;
	int64_t created_ms;
	wrapped_key_t key;
} tenant_rec_t;

typedef enum identity_state {
	IDENTITY_INVITED = 1,
	IDENTITY_ACTIVE,
	IDENTITY_SUSPENDED,
	IDENTITY_REVOKED
} identity_state_t;

typedef struct node_rec {
	identity_state_t state;
	uint32_t generation; /* of the enrolled key; 0 before the first enrolment */
	uint8_t spki[SPKI_HASH_LEN];
	char serial[SERIAL_HEX_CAP];
	int64_t enrolled_ms, not_after_ms, last_seen_ms;
	uint32_t invited_generation; /* of the open invitation, 0: none */
	uint8_t token_hash[32];
	int64_t token_expires_ms;
} node_rec_t;

typedef enum operator_role { ROLE_ADMIN = 1, ROLE_OPERATOR, ROLE_AUDITOR } operator_role_t;

#define OPERATOR_CUSTOMERS_MAX 16U

typedef struct operator_rec {
	identity_state_t state;
	operator_role_t role;
	uint8_t spki[SPKI_HASH_LEN];
	char serial[SERIAL_HEX_CAP];
	int64_t created_ms, not_after_ms;
	/* ROLE_AUDITOR: the only customers that concern this one; none: all do */
	size_t n_customers;
	char customers[OPERATOR_CUSTOMERS_MAX][NAME_CAP];
} operator_rec_t;

/* NIST SP 800-57 states, and `previous`: still live because the node has not proved that its keyslot is gone.
 */
typedef enum secret_state {
	SECRET_PRE_ACTIVE = 1,
	SECRET_PENDING,
	SECRET_ACTIVE,
	SECRET_PREVIOUS,
	SECRET_DEACTIVATED,
	SECRET_DESTROYED
} secret_state_t;

typedef struct volume_secret {
	uint32_t version;
	uint32_t lineage;
	secret_state_t state;
	int64_t created_ms, changed_ms;
	uint8_t blob[WRAPPED_KEY_LEN]; /* zeros once destroyed */
} volume_secret_t;

typedef enum fingerprint_state { FP_ACTIVE = 1, FP_PENDING, FP_FORMER } fingerprint_state_t;

typedef struct volume_fingerprint {
	fingerprint_state_t state;
	uint32_t lineage;
	uint8_t value[FINGERPRINT_LEN];
} volume_fingerprint_t;

typedef enum volume_state {
	VOLUME_PRE_ACTIVE = 1,
	VOLUME_ACTIVE,
	VOLUME_SUSPENDED,
	VOLUME_DEACTIVATED, /* waits for its destruction */
	VOLUME_DESTROYED
} volume_state_t;

typedef struct volume_rec {
	volume_state_t state;
	volume_state_t state_before; /* what :resume and :restore go back to */
	char node[NAME_CAP];
	uint32_t generation; /* of that node */
	uint32_t lineage;
	uint8_t key_id[KEY_ID_LEN];
	char luks_uuid[LUKS_UUID_CAP];
	int64_t created_ms, last_released_ms, rotated_ms, destroy_after_ms;
	/* a rotation under way: version 0 means none */
	uint32_t rotation_version;
	int64_t rotation_started_ms;
	uint8_t rotation_nonce[32];
	char rotation_maintenance[MAINT_ID_CAP];
	size_t n_fingerprints, n_secrets;
	volume_fingerprint_t fingerprints[VOLUME_FINGERPRINTS_MAX];
	volume_secret_t secrets[VOLUME_SECRETS_MAX]; /* oldest first */
} volume_rec_t;

typedef enum maint_state { MAINT_SCHEDULED = 1, MAINT_OPEN, MAINT_CLOSED, MAINT_HALTED } maint_state_t;

typedef struct maint_rec {
	maint_state_t state;
	char customer[NAME_CAP];
	char service[NAME_CAP]; /* empty: all services */
	char opened_by[NAME_CAP];
	char ticket[TEXT_CAP];
	int64_t created_ms, opened_ms, until_ms;
	uint32_t window_s;
	uint32_t wave, max_failures; /* 0: no limit */
	uint32_t todo, running, done, failed;
} maint_rec_t;

typedef enum task_state { TASK_TODO = 1, TASK_RUNNING, TASK_DONE, TASK_FAILED } task_state_t;

typedef struct task_rec {
	task_state_t state;
	char node[NAME_CAP];
	char detail[TEXT_CAP];
	int64_t changed_ms;
} task_rec_t;

typedef struct idem_rec {
	uint8_t body_hash[32];
	int64_t expires_ms;
	uint16_t status;
	span_t answer; /* read: points into the transaction */
} idem_rec_t;

#define RECORD_IO(type, name)                                                                                \
	KMS_MUST record_get_##name(store_txn_t *t, const secret_t *mac, const char *key, type *out);         \
	KMS_MUST record_put_##name(store_txn_t *t, const secret_t *mac, const char *key, const type *in);    \
	KMS_MUST record_decode_##name(const secret_t *mac, span_t key, span_t value, type *out);

/* key: the store's key as text: "c", "c/s", "c/s/n", "o", "m-…", "m-…/c/s/v". get: NOTFOUND, INTEGRITY.
 * decode: for what a cursor yields. A mac of NULL reads without the check: only for who may offer a share
 * while the server is sealed. */
RECORD_IO(tenant_rec_t, customer)
RECORD_IO(tenant_rec_t, service)
RECORD_IO(node_rec_t, node)
RECORD_IO(operator_rec_t, operator)
RECORD_IO(volume_rec_t, volume)
RECORD_IO(maint_rec_t, maint)
RECORD_IO(task_rec_t, task)
RECORD_IO(idem_rec_t, idem)

const char *identity_state_name(identity_state_t s);
const char *operator_role_name(operator_role_t r);
const char *secret_state_name(secret_state_t s);
const char *fingerprint_state_name(fingerprint_state_t s);
const char *volume_state_name(volume_state_t s);
const char *maint_state_name(maint_state_t s);
const char *task_state_name(task_state_t s);

/* The secret of a state in the volume's present lineage, newest first, or NULL. */
volume_secret_t *volume_secret_in(volume_rec_t *v, secret_state_t state);
volume_secret_t *volume_secret_version(volume_rec_t *v, uint32_t version);
/* Old versions whose secrets are gone make room; the record keeps the newest of them. */
void volume_forget_destroyed(volume_rec_t *v);
/* The registered fingerprint of the present lineage, or NULL. */
const volume_fingerprint_t *volume_fingerprint_active(const volume_rec_t *v);

#endif
