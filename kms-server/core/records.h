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
#include "policy/hours.h"

#define WRAPPED_KEY_LEN         113U /* WRAP_OVERHEAD + 32 */
#define KEY_ID_LEN              16U
#define LUKS_UUID_CAP           37U
#define FINGERPRINT_LEN         32U
#define MAINT_ID_CAP            40U
#define TEXT_CAP                256U /* free text: details, tickets */
#define KEY_TEXT_CAP            320U /* the longest resource as text */
#define VOLUME_SECRETS_MAX      40U
#define VOLUME_FINGERPRINTS_MAX 16U
#define VOLUME_FORMER_MAX       16U
#define VOLUME_HEADERS_MAX      4U

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

#define ADDRESS_CAP        46U /* text of an IPv6 address */
#define NODE_ADDRESSES_MAX 8U

typedef struct node_rec {
	identity_state_t state;
	uint32_t generation; /* of the enrolled key; 0 before the first enrolment */
	uint8_t spki[SPKI_HASH_LEN];
	char serial[SERIAL_HEX_CAP];
	int64_t enrolled_ms, not_after_ms, last_seen_ms;
	uint32_t invited_generation; /* of the open invitation, 0: none */
	uint8_t token_hash[32];
	int64_t token_expires_ms;
	/* What policies know of it (who.c): when a secret was last released to it, or its enrolment, and
	 * calls that follow within a day of one another; and where from, the most recent first. */
	int64_t proven_ms;
	size_t n_addresses;
	char addresses[NODE_ADDRESSES_MAX][ADDRESS_CAP];
} node_rec_t;

typedef enum operator_role {
	ROLE_ADMIN = 1,
	ROLE_OPERATOR,
	ROLE_AUDITOR,
	ROLE_APPROVER,
	ROLE_REVIEWER
} operator_role_t;

#define OPERATOR_CUSTOMERS_MAX 16U
#define OPERATOR_GROUPS_MAX    16U

typedef struct operator_rec {
	identity_state_t state;
	operator_role_t role;
	uint8_t spki[SPKI_HASH_LEN];
	char serial[SERIAL_HEX_CAP];
	int64_t created_ms, not_after_ms;
	int64_t last_seen_ms;
	int64_t recertified_ms; /* somebody said that this access is still needed */
	char recertified_by[NAME_CAP];
	uint8_t token_hash[32]; /* of the open invitation: token_expires_ms is not 0 */
	int64_t token_expires_ms;
	size_t n_groups;
	char groups[OPERATOR_GROUPS_MAX][NAME_CAP];
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

typedef enum reencryption_state {
	REENC_NONE = 0,
	REENC_REGISTERED, /* the new fingerprint is known; nothing on the disk needs it yet */
	REENC_RUNNING,
	REENC_DONE /* none is under way; the last one's nonce is kept for a promotion that is asked again */
} reencryption_state_t;

typedef struct volume_reencryption {
	reencryption_state_t state;
	int64_t started_ms, updated_ms;
	uint64_t done, total; /* bytes, as the node says */
	uint8_t nonce[32];
	char maintenance[MAINT_ID_CAP];
} volume_reencryption_t;

/* A node that the volume was bound to: it may have kept every secret up to this version. */
typedef struct volume_former {
	char node[NAME_CAP];
	uint32_t generation; /* of that node */
	uint32_t lineage;    /* of the volume, when it left */
	uint32_t version;    /* 0: nothing was released */
	int64_t left_ms;
	char luks_uuid[LUKS_UUID_CAP]; /* of what its disk holds */
} volume_former_t;

/* What the node last found when it opened the volume with what the server holds. */
typedef struct volume_escrow {
	int64_t proven_ms; /* 0: never */
	uint32_t version;  /* of the secret that opened it then */
	int64_t failed_ms; /* 0: not since it was proven */
	char reason[TEXT_CAP];
} volume_escrow_t;

/* A copy of the volume's LUKS2 header, which its node sealed under a secret: STORE_HEADERS. */
typedef struct volume_header_copy {
	uint32_t generation; /* from 1, one more with each copy */
	uint32_t version;    /* of the secret that it opens with */
	uint8_t fingerprint[FINGERPRINT_LEN];
	uint8_t digest[32]; /* of the header, as the node says */
	uint32_t bytes;
	int64_t stored_ms;
} volume_header_copy_t;

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
	/* size of the log when the newest pending secret or fingerprint came to be */
	uint64_t pending_at_log;
	size_t n_fingerprints, n_secrets;
	volume_fingerprint_t fingerprints[VOLUME_FINGERPRINTS_MAX];
	volume_secret_t secrets[VOLUME_SECRETS_MAX]; /* oldest first */
	volume_reencryption_t reencryption;
	int64_t reencrypted_ms;
	size_t n_former;
	volume_former_t former[VOLUME_FORMER_MAX]; /* one a name */
	volume_escrow_t escrow;
	uint32_t header_generation; /* the last one that was given */
	size_t n_headers;
	volume_header_copy_t headers[VOLUME_HEADERS_MAX]; /* oldest first */
} volume_rec_t;

typedef enum maint_state {
	MAINT_SCHEDULED = 1,
	MAINT_OPEN,
	MAINT_CLOSED,
	MAINT_HALTED,
	MAINT_PAUSED,
	MAINT_ABORTED
} maint_state_t;

#define MAINT_NODES_MAX 64U
#define MAINT_NO_GATE   UINT32_MAX

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
	bool reencrypt;   /* new volume keys, and not new secrets alone */
	bool compromised; /* a secret is destroyed as soon as its successor is proved */
	int64_t start_ms;
	/* Waves: as asked for (wave above, or wave_percent), the volumes that one has, how many there are,
	 * and which of them, from 1, may begin. */
	uint32_t wave_percent, wave_size, waves, current_wave;
	uint32_t gate_s, gate_failures;       /* MAINT_NO_GATE: any number may fail */
	int64_t wave_began_ms, wave_ended_ms; /* 0: it has not ended */
	uint32_t wave_left, wave_failed;      /* of the current one: to do or running; failed */
	uint32_t skipped;
	uint32_t away; /* of todo and running: their nodes do not ask, as of the last look */
	bool has_hours;
	hours_t hours;
	size_t n_nodes;                        /* 0: all nodes */
	char nodes[MAINT_NODES_MAX][NAME_CAP]; /* names, or the beginning of some and a "*" */
	/* "": all; else a node of the service: volumes of which it may know a secret that is live */
	char seen_by[NAME_CAP];
	bool by_schedule; /* nobody opened it: it covers no person's requests */
} maint_rec_t;

typedef enum task_state { TASK_TODO = 1, TASK_RUNNING, TASK_DONE, TASK_FAILED, TASK_SKIPPED } task_state_t;

typedef struct task_rec {
	task_state_t state;
	char node[NAME_CAP];
	char detail[TEXT_CAP];
	int64_t changed_ms;
	uint32_t wave;    /* from 1 */
	int64_t given_ms; /* when its node was last told of it; 0: never */
} task_rec_t;

/* --- grants (docs/GRANTS.md) --- */

#define GRANT_ID_CAP        MAINT_ID_CAP
#define GRANT_NODES_MAX     64U
#define GRANT_NEEDS_MAX     4U
#define GRANT_ELIGIBLE_MAX  64U
#define GRANT_FROM_CAP      1025U
#define GRANT_APPROVALS_MAX 16U
#define GRANT_TEXT_CAP      513U

typedef enum grant_state {
	GRANT_PENDING = 1,
	GRANT_APPROVED,
	GRANT_DENIED,
	GRANT_REVOKED,
	GRANT_EXPIRED, /* nobody decided in time, or its time is over */
	GRANT_USED     /* all its uses */
} grant_state_t;

/* One of the approvals that the policy asked for when the grant was requested. */
typedef struct grant_need {
	char statement[NAME_CAP];
	char from[GRANT_FROM_CAP]; /* principals, for people: "group:approvers role:admin" */
	uint32_t count;
	/* who counted for it then, the first of them by name; who joins a group later does not */
	size_t n_eligible;
	char eligible[GRANT_ELIGIBLE_MAX][NAME_CAP];
} grant_need_t;

typedef struct grant_approval {
	char name[NAME_CAP];
	char ip[ADDRESS_CAP];
	int64_t time_ms;
} grant_approval_t;

/* What the grant's resource was when it was asked for, where it is a node or a volume. */
typedef struct grant_target {
	uint32_t generation;    /* of the node; of the one that the volume was bound to; 0: not enrolled */
	uint32_t lineage;       /* of the volume; 0: there was none */
	char node[NAME_CAP];    /* that the volume was bound to */
	uint32_t to_generation; /* of the node to which the body moves the volume */
} grant_target_t;

typedef struct grant_rec {
	grant_state_t state;
	bool break_glass;
	bool by_node;        /* a node that waits for its release asked by itself */
	uint32_t generation; /* of that node; 0: a person asked */
	char requester[PATH3_CAP];
	char requester_ip[ADDRESS_CAP];
	char action[NAME_CAP];
	path3_t resource; /* as in policies: empty segments where the action's type has none */
	size_t n_nodes;
	char nodes[GRANT_NODES_MAX][NAME_CAP];
	uint32_t generations[GRANT_NODES_MAX]; /* of each of them, as in target */
	grant_target_t target;
	char reason[NAME_CAP]; /* code */
	char ticket[TEXT_CAP];
	char justification[GRANT_TEXT_CAP];
	char maintenance[MAINT_ID_CAP];
	uint8_t digest[32]; /* of what was asked, see grants.c */
	uint32_t for_s;     /* how long once it is approved */
	uint32_t uses, uses_left;
	int64_t created_ms, decide_by_ms, approved_ms, until_ms, ended_ms;
	char ended_by[NAME_CAP]; /* who denied or revoked it */
	char note[TEXT_CAP];
	uint64_t change; /* of all grants' changes, the number of this one's last */
	size_t n_needs, n_approvals;
	grant_need_t needs[GRANT_NEEDS_MAX];
	grant_approval_t approvals[GRANT_APPROVALS_MAX];
	bool has_body;
	span_t body; /* canonical JSON; read: points into the transaction */
} grant_rec_t;

/* --- reviews --- */

typedef enum review_kind {
	REVIEW_RELEASE = 1, /* a secret to a person */
	REVIEW_BREAK_GLASS,
	REVIEW_DENIED, /* an attempt that the policy refused */
	REVIEW_PERSON  /* an operator suspended without a grant */
} review_kind_t;

typedef enum review_finding { FINDING_NONE = 1, FINDING_VALID, FINDING_INVALID } review_finding_t;

typedef struct review_rec {
	review_kind_t kind;
	review_finding_t finding; /* NONE: it is open */
	char customer[NAME_CAP];  /* "": the deployment's own */
	char actor[PATH3_CAP];
	char action[NAME_CAP];
	char resource[KEY_TEXT_CAP];
	char grant[GRANT_ID_CAP];
	size_t n_approvers;
	char approvers[GRANT_APPROVALS_MAX][NAME_CAP];
	uint64_t event;      /* that opened it */
	uint64_t last_event; /* the newest of the same kind, actor, action and resource while it is open */
	uint32_t count;      /* how many there were */
	int64_t opened_ms, deadline_ms, closed_ms;
	char reviewer[NAME_CAP];
	char note[GRANT_TEXT_CAP];
} review_rec_t;

/* --- policies --- */

typedef struct policy_rec {
	uint32_t version; /* from 1, one more with each change */
	int64_t changed_ms;
	char changed_by[NAME_CAP];
	char grant[GRANT_ID_CAP];
	span_t text; /* read: points into the transaction */
} policy_rec_t;

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
RECORD_IO(grant_rec_t, grant)
RECORD_IO(review_rec_t, review)
RECORD_IO(policy_rec_t, policy)

const char *identity_state_name(identity_state_t s);
const char *operator_role_name(operator_role_t r);
const char *secret_state_name(secret_state_t s);
/* May open the volume: released, as long as it is of the present lineage. */
bool secret_state_live(secret_state_t s);
const char *fingerprint_state_name(fingerprint_state_t s);
const char *volume_state_name(volume_state_t s);
const char *maint_state_name(maint_state_t s);
const char *task_state_name(task_state_t s);
const char *grant_state_name(grant_state_t s);
const char *review_kind_name(review_kind_t k);
const char *review_finding_name(review_finding_t f);

/* The secret of a state in the volume's present lineage, newest first, or NULL. */
volume_secret_t *volume_secret_in(volume_rec_t *v, secret_state_t state);
volume_secret_t *volume_secret_version(volume_rec_t *v, uint32_t version);
/* Old versions whose secrets are gone make room; the record keeps the newest of them. */
void volume_forget_destroyed(volume_rec_t *v);
/* The registered fingerprint of the present lineage, or NULL. */
const volume_fingerprint_t *volume_fingerprint_active(const volume_rec_t *v);
/* The present lineage's of this state, oldest first, or NULL. */
volume_fingerprint_t *volume_fingerprint_in(volume_rec_t *v, fingerprint_state_t state);
/* Of the present lineage; the oldest former one makes room. False: all are in use. */
bool volume_fingerprint_add(volume_rec_t *v, fingerprint_state_t state, const uint8_t value[FINGERPRINT_LEN]);
void volume_fingerprint_drop_pending(volume_rec_t *v);

/* A value of STORE_META as it stands there, without a MAC; the caller frees. NOTFOUND. */
KMS_MUST record_get_meta(store_t *s, const char *name, buf_t *out);

#endif
