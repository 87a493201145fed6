/* What a restore would lose: two databases side by side, neither written. */
#include "kms-server/core/copies.h"

#include "common/base/scope.h"
#include "common/proto/json.h"
#include "kms-server/core/records.h"

/* A version number may come again in another history: the time when it was made tells them apart. */
static bool holds_secret(const volume_rec_t *v, const volume_secret_t *want)
{
	for (size_t i = 0; i < v->n_secrets; i++) {
		const volume_secret_t *s = &v->secrets[i];
		if (s->version == want->version && s->lineage == want->lineage &&
		    s->created_ms == want->created_ms && secret_state_live(s->state))
			return true;
	}
	return false;
}

static bool holds_fingerprint(const volume_rec_t *v, const volume_fingerprint_t *want)
{
	for (size_t i = 0; i < v->n_fingerprints; i++) {
		const volume_fingerprint_t *f = &v->fingerprints[i];
		if (f->state != FP_FORMER && f->lineage == want->lineage &&
		    memcmp(f->value, want->value, FINGERPRINT_LEN) == 0)
			return true;
	}
	return false;
}

/* The secret that is sure to open the disk is the active one: an active-previous one may be gone from it. */
static const char *lost_secret(const volume_rec_t *now, const volume_rec_t *then)
{
	for (size_t i = 0; i < now->n_secrets; i++) {
		const volume_secret_t *s = &now->secrets[i];
		if (s->state == SECRET_ACTIVE && s->lineage == now->lineage && !holds_secret(then, s))
			return "its secret was replaced after the backup";
	}
	return NULL;
}

/* While a re-encryption runs the disk may be under either key. */
static const char *lost_fingerprint(const volume_rec_t *now, const volume_rec_t *then)
{
	bool running = now->reencryption.state == REENC_RUNNING;
	for (size_t i = 0; i < now->n_fingerprints; i++) {
		const volume_fingerprint_t *f = &now->fingerprints[i];
		bool counts = f->state == FP_ACTIVE || (f->state == FP_PENDING && running);
		if (counts && f->lineage == now->lineage && !holds_fingerprint(then, f))
			return "it was re-encrypted after the backup";
	}
	return NULL;
}

static const char *lost(const volume_rec_t *now, const volume_rec_t *then)
{
	if (then->state == VOLUME_DESTROYED || memcmp(then->key_id, now->key_id, KEY_ID_LEN) != 0)
		return "it was made anew after the backup";
	const char *reason = lost_secret(now, then);
	return reason != NULL ? reason : lost_fingerprint(now, then);
}

static kms_err_t compare(store_txn_t *backup, const char *key, span_t value, copies_loss_fn tell, void *ctx)
{
	volume_rec_t now, then;
	if (record_decode_volume(NULL, span_str(key), value, &now) != KMS_OK) {
		tell(ctx, key, "its newer record cannot be read");
		return KMS_OK;
	}
	if (now.state == VOLUME_DESTROYED || now.state == VOLUME_PRE_ACTIVE)
		return KMS_OK; /* there is nothing on the disk, or nothing opens it anyhow */
	kms_err_t e = record_get_volume(backup, NULL, key, &then);
	if (e == KMS_E_NOTFOUND) {
		tell(ctx, key, "it was made after the backup");
		return KMS_OK;
	}
	KMS_TRY(e);
	const char *reason = lost(&now, &then);
	if (reason != NULL)
		tell(ctx, key, reason);
	return KMS_OK;
}

kms_err_t copies_losses(store_t *newer, store_t *backup, copies_loss_fn tell, void *ctx)
{
	SCOPED(store_abortp) store_txn_t *tn = NULL;
	SCOPED(store_abortp) store_txn_t *tb = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key, value;
	kms_err_t e;
	KMS_TRY(store_begin_read(newer, &tn));
	KMS_TRY(store_begin_read(backup, &tb));
	KMS_TRY(store_seek(tn, STORE_VOLUMES, span_of(NULL, 0), STORE_UP, &c));
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		char name[PATH3_CAP];
		if (key.n >= sizeof name)
			return KMS_E_INTEGRITY;
		memcpy(name, key.p, key.n);
		name[key.n] = '\0';
		KMS_TRY(compare(tb, name, value, tell, ctx));
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t copies_time(store_t *s, int64_t *ms)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	SCOPED(json_freep) json_t *event = NULL;
	span_t key, value;
	diag_t why = {""};
	static const uint8_t last[8] = {255, 255, 255, 255, 255, 255, 255, 255};
	*ms = 0;
	KMS_TRY(store_begin_read(s, &t));
	KMS_TRY(store_seek(t, STORE_EVENTS, span_of(last, sizeof last), STORE_DOWN, &c));
	kms_err_t e = store_next(c, &key, &value);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(json_parse(value, JSON_BODY_LIMIT, &event, &why));
	*ms = (int64_t)json_integer_value(json_object_get(event, "time"));
	return KMS_OK;
}
