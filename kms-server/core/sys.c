#include "kms-server/core/internal.h"

#include "common/base/scope.h"

kms_err_t unseal_try(core_t *c, diag_t *why)
{
	SCOPED(secret_freep) secret_t *seal_key = NULL;
	SCOPED(secret_freep) secret_t *root = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	span_t blob = {0};
	if (c->seal == NULL || !keyring_sealed(c->keys))
		return c->seal == NULL ? KMS_E_UNAVAILABLE : KMS_OK;
	KMS_TRY(seal_try_open(c->seal, &seal_key, why));
	KMS_TRY(store_begin_read(c->store, &t));
	KMS_TRY(store_get(t, STORE_META, span_str("root"), &blob));
	kms_err_t e = wrap_open(seal_key, &KEYRING_ROOT_ID, blob, &root);
	if (e == KMS_E_INTEGRITY)
		return diag_fail(
			why, e,
			"the seal key does not open this database's root key: it belongs to another one");
	KMS_TRY(e);
	KMS_TRY(keyring_unseal(c->keys, &root));
	seal_reset(c->seal); /* shares are not kept longer than they are needed */
	return KMS_OK;
}

kms_err_t op_seal_status(op_t *op)
{
	seal_info_t info = {.type = "none"};
	if (op->core->seal != NULL)
		seal_info(op->core->seal, &info);
	return op_answer(op, 200,
			 json_pack("{s:b, s:s, s:i, s:i, s:i}", "sealed", keyring_sealed(op->core->keys),
				   "type", info.type, "threshold", (int)info.threshold, "shares",
				   (int)info.shares, "progress", (int)info.progress));
}

typedef struct unseal_body {
	char share[256];
} unseal_body_t;

static kms_err_t offer(op_t *op, const unseal_body_t *b)
{
	diag_t why = {""};
	kms_err_t e = seal_offer(op->core->seal, span_str(b->share), &why);
	return e == KMS_E_INVALID ? op_refuse(op, e, 400, "bad-request", "%s", why.text) : e;
}

kms_err_t op_unseal(op_t *op)
{
	static const json_field_t fields[] = {{"share", JF_STRING, offsetof(unseal_body_t, share),
					       sizeof((unseal_body_t *)0)->share, true}};
	unseal_body_t b = {""};
	diag_t why = {""};
	KMS_TRY(op_read(op, fields, 1, &b));
	if (b.share[0] == '\0' && json_object_get(op->body, "share") != NULL)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request",
				 "share is empty: leave it out to ask how the seal is.");
	if (!keyring_sealed(op->core->keys) || op->core->seal == NULL)
		return op_seal_status(op);
	kms_err_t e = b.share[0] != '\0' ? offer(op, &b) : KMS_OK;
	wipe(&b, sizeof b);
	KMS_TRY(e);
	e = unseal_try(op->core, &why);
	if (e == KMS_E_UNAVAILABLE) {
		op->code = "share-accepted";
		return op_seal_status(op);
	}
	if (e != KMS_OK)
		return op_refuse(op, e, 500, "integrity", "The server cannot be unsealed: %s", why.text);
	return op_seal_status(op);
}

kms_err_t op_seal(op_t *op)
{
	KMS_TRY(op_read(op, NULL, 0, NULL));
	keyring_seal(op->core->keys);
	if (op->core->seal != NULL)
		seal_reset(op->core->seal);
	op->mac = NULL;
	return op_seal_status(op);
}
