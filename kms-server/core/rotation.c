/* The server's side of a rotation (docs/PROTOCOL.md, "Rotation"). What each step may find, and what it makes
 * of it:
 *
 *   step     secrets before              secrets after                    again
 *   stage    n active                    n active, n+1 pending            the same rotation, as it stands
 *   promote  n active, n+1 pending       n active-previous, n+1 active    200
 *   retire   n active-previous, n+1 …    n deactivated, n+1 active        200
 *   abort    n active, n+1 pending       n active, n+1 destroyed          200
 *
 * promote, retire, and abort by a node name the version that they mean: one that comes late does nothing to a
 * later rotation.
 * Until enough copies hold n+1 (copies.h), promote is refused and changes nothing.
 */
#include "kms-server/core/internal.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

static kms_err_t must_be_active(op_t *op)
{
	if (op->volume.state != VOLUME_ACTIVE)
		return op_conflict(op, "The volume is %s; only an active one is rotated.",
				   volume_state_name(op->volume.state));
	return KMS_OK;
}

static kms_err_t service_key(op_t *op, secret_t **out)
{
	return keyring_service_key(op->core->keys, op->txn, op->path.customer, op->path.service, out);
}

typedef struct stage_body {
	char maintenance[MAINT_ID_CAP];
} stage_body_t;

static kms_err_t start_rotation(op_t *op, const char maintenance[MAINT_ID_CAP])
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_rec_t *v = &op->volume;
	volume_forget_destroyed(v);
	if (v->n_secrets == VOLUME_SECRETS_MAX)
		return op_conflict(op,
				   "The volume has %u secret versions: wait until old ones are destroyed.",
				   VOLUME_SECRETS_MAX);
	KMS_TRY(service_key(op, &key));
	volume_secret_t s = {.version = v->secrets[v->n_secrets - 1].version + 1,
			     .lineage = v->lineage,
			     .state = SECRET_PENDING,
			     .created_ms = op->now_ms,
			     .changed_ms = op->now_ms};
	KMS_TRY(volume_secret_seal(key, &op->path, v->key_id, NULL, &s));
	KMS_TRY(crypto_random(v->rotation_nonce, sizeof v->rotation_nonce));
	v->secrets[v->n_secrets++] = s;
	v->rotation_version = s.version;
	v->rotation_started_ms = op->now_ms;
	v->pending_at_log = audit_next(op->core->audit);
	memcpy(v->rotation_maintenance, maintenance, sizeof v->rotation_maintenance);
	return volume_save(op);
}

kms_err_t op_rotation_stage(op_t *op)
{
	static const json_field_t fields[] = {
		{"maintenance", JF_STRING, offsetof(stage_body_t, maintenance), MAINT_ID_CAP, true}};
	stage_body_t b = {""};
	KMS_TRY(op_read(op, fields, 1, &b));
	KMS_TRY(must_be_active(op));
	if (volume_reencrypts(&op->volume))
		return op_conflict(op, "A re-encryption of the volume is under way: %s.",
				   op->volume.reencryption.state == REENC_RUNNING
					   ? "let it finish first"
					   : "finish or abort it first");
	KMS_TRY(grant_wait_over(op, &op->path, op_bound_to(op, &op->volume)));
	if (b.maintenance[0] != '\0' && !name_valid(span_str(b.maintenance)))
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "maintenance is not the id of a maintenance event.");
	if (op->volume.n_secrets == 0 || volume_fingerprint_active(&op->volume) == NULL)
		return KMS_E_INTEGRITY;
	if (op->volume.rotation_version == 0) {
		KMS_TRY(start_rotation(op, b.maintenance));
	} else if (b.maintenance[0] != '\0' && strcmp(op->volume.rotation_maintenance, b.maintenance) != 0) {
		/* a rotation that was under way goes on, now for this event */
		memcpy(op->volume.rotation_maintenance, b.maintenance, MAINT_ID_CAP);
		KMS_TRY(volume_save(op));
	}
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", op->volume.rotation_maintenance);
	KMS_TRY(release_set_new(1, &op->job->releases));
	op->job->releases->rotation = true;
	return release_one(op, op->job->releases, &op->path, true);
}

typedef struct promote_body {
	uint32_t version;
	uint8_t proof[SHA256_LEN];
} promote_body_t;

kms_err_t volume_proof_check(const volume_fingerprint_t *f, const uint8_t nonce[32], const uint8_t proof[32])
{
	uint8_t want[SHA256_LEN];
	if (f == NULL)
		return KMS_E_INTEGRITY;
	KMS_TRY(crypto_hmac_sha256(span_of(f->value, FINGERPRINT_LEN), span_of(nonce, 32), want));
	return ct_equal(want, proof, sizeof want) ? KMS_OK : KMS_E_DENIED;
}

static kms_err_t check_proof(op_t *op, const promote_body_t *b)
{
	kms_err_t e = volume_proof_check(volume_fingerprint_active(&op->volume), op->volume.rotation_nonce,
					 b->proof);
	if (e == KMS_E_DENIED)
		return op_refuse(op, e, 403, "denied",
				 "The proof is wrong: version %u was not shown to open this volume.",
				 b->version);
	return e;
}

static kms_err_t promote(op_t *op, volume_secret_t *pending)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_rec_t *v = &op->volume;
	volume_secret_t *active = volume_secret_in(v, SECRET_ACTIVE);
	if (active == NULL)
		return KMS_E_INTEGRITY;
	KMS_TRY(service_key(op, &key));
	/* of before: the proof that was just given says that they are needed no more */
	(void)escrow_destroy_old(v, 0, op->now_ms);
	escrow_proven(v, pending->version, op->now_ms);
	KMS_TRY(volume_secret_move(key, &op->path, v->key_id, active, SECRET_PREVIOUS, op->now_ms));
	KMS_TRY(volume_secret_move(key, &op->path, v->key_id, pending, SECRET_ACTIVE, op->now_ms));
	return volume_save(op);
}

kms_err_t op_rotation_promote(op_t *op)
{
	static const json_field_t fields[] = {
		{"version", JF_U32, offsetof(promote_body_t, version), 0, false},
		{"proof", JF_HEX32, offsetof(promote_body_t, proof), 0, false}};
	promote_body_t b = {0};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 2, &b));
	KMS_TRY(must_be_active(op));
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", op->volume.rotation_maintenance);
	volume_secret_t *s = volume_secret_version(&op->volume, b.version);
	bool again = s != NULL && s->state == SECRET_ACTIVE;
	if (!again && (op->volume.rotation_version != b.version || s == NULL || s->state != SECRET_PENDING))
		return op_conflict(op, "Version %u is not the pending one of this volume.", b.version);
	KMS_TRY(check_proof(op, &b));
	if (!again) {
		KMS_TRY(copies_wait(op));
		KMS_TRY(promote(op, s));
	}
	op_path3(op, path);
	return op_answer(op, 200, json_pack("{s:s, s:I}", "volume", path, "active", (json_int_t)b.version));
}

typedef struct retire_body {
	uint32_t version;
} retire_body_t;

static kms_err_t retire(op_t *op, volume_secret_t *old)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	volume_rec_t *v = &op->volume;
	char maintenance[MAINT_ID_CAP];
	bool compromised = false;
	memcpy(maintenance, v->rotation_maintenance, sizeof maintenance);
	KMS_TRY(service_key(op, &key));
	KMS_TRY(volume_secret_move(key, &op->path, v->key_id, old, SECRET_DEACTIVATED, op->now_ms));
	KMS_TRY(maint_compromised(op, maintenance, &compromised));
	if (compromised) {
		(void)escrow_destroy_old(v, 0, op->now_ms);
		(void)snprintf(op->told.text, sizeof op->told.text,
			       "the former secret was destroyed at once: it is compromised");
	}
	v->rotation_version = 0;
	v->rotation_maintenance[0] = '\0';
	v->rotated_ms = op->now_ms;
	KMS_TRY(volume_save(op));
	if (maintenance[0] == '\0')
		return KMS_OK;
	kms_err_t e = maint_task_done(op, maintenance, &op->path);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t op_rotation_retire(op_t *op)
{
	static const json_field_t fields[] = {
		{"version", JF_U32, offsetof(retire_body_t, version), 0, false}};
	retire_body_t b = {0};
	char path[PATH3_CAP];
	KMS_TRY(op_read(op, fields, 1, &b));
	KMS_TRY(must_be_active(op));
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", op->volume.rotation_maintenance);
	volume_secret_t *s = volume_secret_version(&op->volume, b.version);
	volume_secret_t *active = volume_secret_in(&op->volume, SECRET_ACTIVE);
	bool again = s != NULL && (s->state == SECRET_DEACTIVATED || s->state == SECRET_DESTROYED);
	if (active == NULL || s == NULL || (!again && s->state != SECRET_PREVIOUS))
		return op_conflict(op, "Version %u cannot be retired: promote its successor first.",
				   b.version);
	uint32_t now_active = active->version;
	if (!again)
		KMS_TRY(retire(op, s));
	op_path3(op, path);
	return op_answer(op, 200,
			 json_pack("{s:s, s:I, s:I}", "volume", path, "active", (json_int_t)now_active,
				   "deactivated", (json_int_t)b.version));
}

typedef struct abort_body {
	uint32_t version; /* optional: people mean whatever is pending */
} abort_body_t;

kms_err_t op_rotation_abort(op_t *op)
{
	static const json_field_t fields[] = {{"version", JF_U32, offsetof(abort_body_t, version), 0, true}};
	volume_rec_t *v = &op->volume;
	abort_body_t b = {0};
	KMS_TRY(op_read(op, fields, 1, &b));
	bool other = json_object_get(op->body, "version") != NULL && b.version != v->rotation_version;
	(void)snprintf(op->correlation, sizeof op->correlation, "%s", v->rotation_maintenance);
	if (v->rotation_version != 0 && !other) {
		volume_secret_t *s = volume_secret_version(v, v->rotation_version);
		if (s == NULL)
			return KMS_E_INTEGRITY;
		if (s->state != SECRET_PENDING)
			return op_conflict(op, "Version %u was promoted already: let the rotation finish.",
					   s->version);
		volume_secret_destroy(s, op->now_ms);
		v->rotation_version = 0;
		v->rotation_maintenance[0] = '\0';
		KMS_TRY(volume_save(op));
	}
	return op_answer(op, 200, volume_json(&op->path, v));
}
