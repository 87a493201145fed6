#include "kms-server/core/idempotency.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#define LIFE_MS (INT64_C(24) * 3600 * 1000)
#define ID_CAP  65U

/* SHA-256 over what the key is scoped to. */
static kms_err_t scope_id(const op_t *op, char out[ID_CAP])
{
	uint8_t hash[SHA256_LEN];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_lp_str(&b, op->actor_type);
	buf_lp_str(&b, op->actor);
	buf_u16(&b, (uint16_t)op->rq->op);
	buf_lp_str(&b, op->rq->customer);
	buf_lp_str(&b, op->rq->service);
	buf_lp_str(&b, op->rq->name);
	buf_lp_str(&b, op->rq->idempotency_key);
	KMS_TRY(b.err);
	KMS_TRY(crypto_sha256(buf_span(&b), hash));
	hex_encode(span_of(hash, sizeof hash), out);
	return KMS_OK;
}

kms_err_t idempotency_find(op_t *op, bool *replayed)
{
	char id[ID_CAP];
	uint8_t body[SHA256_LEN];
	idem_rec_t rec;
	diag_t why;
	KMS_TRY(scope_id(op, id));
	kms_err_t e = record_get_idem(op->txn, op->mac, id, &rec);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && rec.expires_ms <= op->now_ms))
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(crypto_sha256(op->rq->body, body));
	if (!ct_equal(body, rec.body_hash, sizeof body))
		return op_refuse(op, KMS_E_CONFLICT, 422, "idempotency-mismatch",
				 "This Idempotency-Key was used with another body: use a new key.");
	json_t *answer = NULL;
	KMS_TRY(json_parse(rec.answer, UINT16_MAX, &answer, &why));
	op->code = "replayed";
	*replayed = true;
	return op_answer(op, rec.status, answer);
}

kms_err_t idempotency_store(op_t *op)
{
	char id[ID_CAP];
	SCOPED(buf_free) buf_t text = BUF_INIT;
	idem_rec_t rec = {.expires_ms = op->now_ms + LIFE_MS, .status = (uint16_t)op->status};
	KMS_TRY(scope_id(op, id));
	KMS_TRY(crypto_sha256(op->rq->body, rec.body_hash));
	KMS_TRY(json_write(op->answer, &text));
	if (text.n > UINT16_MAX)
		return KMS_OK; /* a very long answer is given anew */
	rec.answer = buf_span(&text);
	op->wrote = true;
	return record_put_idem(op->txn, op->mac, id, &rec);
}
