/* What core needs of the KMS: docs/PROTOCOL.md as calls, for the node that we are. Volumes are named by their
 * last name alone: customer and service are the node's own. Implementations: node-agent/app/kms.h, and the
 * simulated server of the tests. One thread.
 *
 * Errors of all calls: DENIED, NOTFOUND, CONFLICT as the server says; UNAVAILABLE: not reachable or sealed,
 * FULL: too many requests, PENDING: not decided yet (these three may be tried again); INTEGRITY: not our
 * server, or an answer that is not well-formed. `why` has the server's own words. */
#ifndef CLAVIGER_NODE_AGENT_PORTS_KMS_H
#define CLAVIGER_NODE_AGENT_PORTS_KMS_H

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/scope.h"
#include "common/base/secret.h"

#define KMS_UUID_CAP         37U
#define KMS_FINGERPRINT_LEN  32U
#define KMS_NONCE_LEN        32U
#define KMS_SECRET_LEN       32U
#define KMS_FINGERPRINTS_MAX 2U
#define KMS_SECRETS_MAX      4U
#define KMS_VOLUMES_MAX      256U
#define KMS_MAINTENANCE_CAP  64U
#define KMS_REASON_CAP       256U

typedef enum kms_secret_state {
	KMS_SECRET_PENDING = 1,
	KMS_SECRET_ACTIVE,
	KMS_SECRET_PREVIOUS /* the active one before the last promotion, not retired yet */
} kms_secret_state_t;

typedef struct kms_secret {
	uint32_t version;
	kms_secret_state_t state;
	secret_t *secret; /* 32 bytes; owned */
} kms_secret_t;

typedef struct kms_fingerprint {
	bool active; /* else pending */
	uint8_t value[KMS_FINGERPRINT_LEN];
} kms_fingerprint_t;

typedef enum kms_release_status {
	KMS_RELEASED = 1,
	KMS_RELEASE_PENDING,
	KMS_RELEASE_DENIED,
	KMS_RELEASE_SUSPENDED
} kms_release_status_t;

/* One volume's live secrets, newest first, and what the volume must be. */
typedef struct kms_release {
	path3_t volume;
	kms_release_status_t status;
	uint32_t retry_after; /* seconds, with KMS_RELEASE_PENDING */
	/* Why it is not released: a sentence while it is pending, a word otherwise; plain characters, cut to
	 * fit. Empty: the server said none. */
	char reason[KMS_REASON_CAP];
	char grant[NAME_CAP]; /* what it waits for, or was denied by; empty: none */
	uint32_t lineage;
	char luks_uuid[KMS_UUID_CAP]; /* empty: not committed yet */
	size_t n_fingerprints;
	kms_fingerprint_t fingerprints[KMS_FINGERPRINTS_MAX];
	size_t n_secrets;
	kms_secret_t secrets[KMS_SECRETS_MAX];
} kms_release_t;

typedef struct kms_releases {
	size_t n;
	kms_release_t *list;  /* owned */
	uint32_t retry_after; /* of the whole answer, seconds */
} kms_releases_t;

typedef struct kms_rotation {
	kms_release_t volume;
	uint32_t version; /* n+1 */
	uint8_t nonce[KMS_NONCE_LEN];
} kms_rotation_t;

/* A re-encryption that the KMS knows of. */
typedef struct kms_reencryption {
	bool running; /* it can only be finished, or taken back by who proves that no byte was changed */
	uint8_t nonce[KMS_NONCE_LEN];
} kms_reencryption_t;

/* What is to be registered, and what it begins with: the server takes none that began with something else
 * than is there now, because it comes late. */
typedef struct kms_reencrypt_order {
	const char *volume;
	const char *maintenance;    /* or NULL */
	const uint8_t *fingerprint; /* of the next volume key */
	const uint8_t *from;        /* of the present one */
	uint32_t version;           /* of the active secret */
} kms_reencrypt_order_t;

typedef enum kms_volume_state {
	KMS_VOLUME_PRE_ACTIVE = 1,
	KMS_VOLUME_ACTIVE,
	KMS_VOLUME_SUSPENDED,
	KMS_VOLUME_DEACTIVATED,
	KMS_VOLUME_DESTROYED
} kms_volume_state_t;

typedef struct kms_volume {
	path3_t volume;
	char node[NAME_CAP];
	kms_volume_state_t state;
	uint32_t lineage;
	char luks_uuid[KMS_UUID_CAP];
	uint32_t version; /* of the active secret; 0: none shown */
	bool rotating;
	bool reencrypting; /* it has begun on the disk */
} kms_volume_t;

/* That a secret opens the volume, and of which header. */
typedef struct kms_proof {
	uint32_t version; /* of the secret */
	uint8_t fingerprint[KMS_FINGERPRINT_LEN];
	uint8_t digest[32]; /* SHA-256 of the header's image (ports/volume.h) */
} kms_proof_t;

/* A copy of the header that the KMS keeps. */
typedef struct kms_header_copy {
	uint32_t generation;
	kms_proof_t of;
	buf_t sealed; /* owned; core/copy.h */
} kms_header_copy_t;

typedef struct kms_port kms_port_t;

typedef struct kms_ops {
	kms_err_t (*get)(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why);
	kms_err_t (*put)(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why);
	kms_err_t (*release)(kms_port_t *k, const char *const *volumes, size_t n, kms_releases_t *out,
			     diag_t *why);
	kms_err_t (*commit)(kms_port_t *k, const char *volume, const char *luks_uuid,
			    const uint8_t *fingerprint, uint32_t lineage, diag_t *why);
	kms_err_t (*reformat)(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why);
	kms_err_t (*stage)(kms_port_t *k, const char *volume, const char *maintenance, kms_rotation_t *out,
			   diag_t *why);
	kms_err_t (*promote)(kms_port_t *k, const char *volume, uint32_t version, const uint8_t *proof,
			     diag_t *why);
	kms_err_t (*retire)(kms_port_t *k, const char *volume, uint32_t version, diag_t *why);
	kms_err_t (*abort)(kms_port_t *k, const char *volume, uint32_t version, diag_t *why);
	kms_err_t (*reencrypt)(kms_port_t *k, const kms_reencrypt_order_t *order, kms_reencryption_t *out,
			       diag_t *why);
	kms_err_t (*reencrypt_progress)(kms_port_t *k, const char *volume, const uint8_t *fingerprint,
					uint64_t done, uint64_t total, diag_t *why);
	kms_err_t (*reencrypt_promote)(kms_port_t *k, const char *volume, const uint8_t *proof, diag_t *why);
	kms_err_t (*reencrypt_abort)(kms_port_t *k, const char *volume, const uint8_t *proof, diag_t *why);
	kms_err_t (*release_to_prove)(kms_port_t *k, const char *const *volumes, size_t n,
				      kms_releases_t *out, diag_t *why);
	kms_err_t (*prove)(kms_port_t *k, const char *volume, const kms_proof_t *proof, bool *header_wanted,
			   diag_t *why);
	kms_err_t (*header_put)(kms_port_t *k, const char *volume, const kms_proof_t *of, span_t sealed,
				diag_t *why);
	kms_err_t (*header_get)(kms_port_t *k, const char *volume, uint32_t generation,
				kms_header_copy_t *out, diag_t *why);
} kms_ops_t;

struct kms_port {
	const kms_ops_t *ops;
};

static inline KMS_MUST kms_get(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	return k->ops->get(k, volume, out, why);
}

/* Registers the volume for this node, or finds it so. */
static inline KMS_MUST kms_put(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	return k->ops->put(k, volume, out, why);
}

/* One request for all of them; n == 0: all of this node's. Each has its own status; one that the server does
 * not know is denied. */
static inline KMS_MUST kms_release(kms_port_t *k, const char *const *volumes, size_t n, kms_releases_t *out,
				   diag_t *why)
{
	return k->ops->release(k, volumes, n, out, why);
}

/* fingerprint: KMS_FINGERPRINT_LEN bytes. */
static inline KMS_MUST kms_commit(kms_port_t *k, const char *volume, const char *luks_uuid,
				  const uint8_t *fingerprint, uint32_t lineage, diag_t *why)
{
	return k->ops->commit(k, volume, luks_uuid, fingerprint, lineage, why);
}

static inline KMS_MUST kms_reformat(kms_port_t *k, const char *volume, kms_volume_t *out, diag_t *why)
{
	return k->ops->reformat(k, volume, out, why);
}

/* maintenance may be NULL. */
static inline KMS_MUST kms_stage(kms_port_t *k, const char *volume, const char *maintenance,
				 kms_rotation_t *out, diag_t *why)
{
	return k->ops->stage(k, volume, maintenance, out, why);
}

/* proof: 32 bytes. */
static inline KMS_MUST kms_promote(kms_port_t *k, const char *volume, uint32_t version, const uint8_t *proof,
				   diag_t *why)
{
	return k->ops->promote(k, volume, version, proof, why);
}

static inline KMS_MUST kms_retire(kms_port_t *k, const char *volume, uint32_t version, diag_t *why)
{
	return k->ops->retire(k, volume, version, why);
}

/* version: the pending one that is meant; when it comes late it takes back no later one. */
static inline KMS_MUST kms_abort(kms_port_t *k, const char *volume, uint32_t version, diag_t *why)
{
	return k->ops->abort(k, volume, version, why);
}

/* Registers the fingerprint of the volume key to which a re-encryption will lead, or finds it so. CONFLICT:
 * one to another volume key is running, or it does not begin with what is there now. */
static inline KMS_MUST kms_reencrypt(kms_port_t *k, const kms_reencrypt_order_t *order,
				     kms_reencryption_t *out, diag_t *why)
{
	return k->ops->reencrypt(k, order, out, why);
}

/* Bytes. The first report makes it a running one, and has to come before anything is changed. total 0:
 * not known yet. fingerprint: that of the next volume key; CONFLICT when it is not the one that is
 * registered (any more). */
static inline KMS_MUST kms_reencrypt_progress(kms_port_t *k, const char *volume, const uint8_t *fingerprint,
					      uint64_t done, uint64_t total, diag_t *why)
{
	return k->ops->reencrypt_progress(k, volume, fingerprint, done, total, why);
}

/* proof: fingerprint_proof by the new volume key's fingerprint. */
static inline KMS_MUST kms_reencrypt_promote(kms_port_t *k, const char *volume, const uint8_t *proof,
					     diag_t *why)
{
	return k->ops->reencrypt_promote(k, volume, proof, why);
}

/* proof: fingerprint_proof by the active fingerprint, of a header that is in no re-encryption. */
static inline KMS_MUST kms_reencrypt_abort(kms_port_t *k, const char *volume, const uint8_t *proof,
					   diag_t *why)
{
	return k->ops->reencrypt_abort(k, volume, proof, why);
}

/* As kms_release, for a proof of escrow alone: nobody is asked for approval, and a volume that would need one
 * is denied. */
static inline KMS_MUST kms_release_to_prove(kms_port_t *k, const char *const *volumes, size_t n,
					    kms_releases_t *out, diag_t *why)
{
	return k->ops->release_to_prove(k, volumes, n, out, why);
}

/* CONFLICT: the secret is not the active one. *header_wanted: the KMS has no copy of this header. */
static inline KMS_MUST kms_prove(kms_port_t *k, const char *volume, const kms_proof_t *proof,
				 bool *header_wanted, diag_t *why)
{
	return k->ops->prove(k, volume, proof, header_wanted, why);
}

/* CONFLICT: a re-encryption is running, or the secret is not the active one. */
static inline KMS_MUST kms_header_put(kms_port_t *k, const char *volume, const kms_proof_t *of, span_t sealed,
				      diag_t *why)
{
	return k->ops->header_put(k, volume, of, sealed, why);
}

/* generation 0: the newest. NOTFOUND: there is none. */
static inline KMS_MUST kms_header_get(kms_port_t *k, const char *volume, uint32_t generation,
				      kms_header_copy_t *out, diag_t *why)
{
	return k->ops->header_get(k, volume, generation, out, why);
}

static inline void kms_header_copy_clear(kms_header_copy_t *c)
{
	buf_free(&c->sealed);
}

/* Wipes and frees what the object owns; for SCOPED. */
static inline void kms_release_clear(kms_release_t *r)
{
	for (size_t i = 0; i < r->n_secrets; i++)
		secret_freep(&r->secrets[i].secret);
	r->n_secrets = 0;
}

static inline void kms_releases_clear(kms_releases_t *r)
{
	for (size_t i = 0; i < r->n; i++)
		kms_release_clear(&r->list[i]);
	free(r->list);
	*r = (kms_releases_t){0};
}

/* Moves the object out of a SCOPED variable. */
static inline kms_releases_t kms_releases_take(kms_releases_t *r)
{
	kms_releases_t taken = *r;
	*r = (kms_releases_t){0};
	return taken;
}

static inline void kms_rotation_clear(kms_rotation_t *r)
{
	kms_release_clear(&r->volume);
}

static inline kms_rotation_t kms_rotation_take(kms_rotation_t *r)
{
	kms_rotation_t taken = *r;
	r->volume.n_secrets = 0;
	return taken;
}

#endif
