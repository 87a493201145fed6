#include "kms-server/core/certify.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

json_t *hex_json(const uint8_t *p, size_t n)
{
	char hex[65];
	hex_encode(span_of(p, n < 32 ? n : 32), hex);
	return json_string(hex);
}

kms_err_t certify_check_csr(op_t *op, span_t csr, uint8_t spki[SPKI_HASH_LEN])
{
	diag_t why = {""};
	kms_err_t e = x509_csr_check(csr, spki, &why);
	return e == KMS_OK || e == KMS_E_NOMEM || e == KMS_E_IO
		       ? e
		       : op_refuse(op, KMS_E_INVALID, 400, "bad-request", "The CSR is not acceptable: %s",
				   why.text);
}

static kms_err_t issue(op_t *op, span_t csr, const x509_identity_t *who, int64_t life_ms, buf_t *pem)
{
	SCOPED(secret_freep) secret_t *ca_key = NULL;
	diag_t why = {""};
	KMS_TRY(keyring_ca_key(op->core->keys, op->txn, &ca_key));
	kms_err_t e = x509_issue_client(op->core->ca, ca_key, csr, who, op->now_ms, life_ms, pem, &why);
	return e == KMS_E_INVALID
		       ? op_refuse(op, e, 400, "bad-request", "The CSR is not acceptable: %s", why.text)
		       : e;
}

kms_err_t certify(op_t *op, span_t csr, int64_t life_ms, int status, x509_identity_t *id)
{
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	const char *cert = NULL, *ca = NULL;
	diag_t why;
	KMS_TRY(issue(op, csr, id, life_ms, &pem));
	KMS_TRY(buf_cstr(&pem, &cert));
	KMS_TRY(buf_cstr(&op->core->ca_pem, &ca));
	KMS_TRY(x509_read_identity(buf_span(&pem), id, &why));
	return op_answer(op, status,
			 json_pack("{s:s, s:s, s:I}", "certificate", cert, "ca", ca, "not_after_ms",
				   (json_int_t)id->not_after_ms));
}

kms_err_t certify_new_secret(secret_t **secret, uint8_t hash[32])
{
	SCOPED(secret_freep) secret_t *s = NULL;
	KMS_TRY(crypto_random_secret(32, &s));
	KMS_TRY(crypto_sha256(secret_span(s), hash));
	*secret = TAKE(s);
	return KMS_OK;
}

kms_err_t certify_check_ttl(op_t *op, int64_t ttl_s)
{
	if (ttl_s < TOKEN_TTL_MIN_S || ttl_s > TOKEN_TTL_MAX_S)
		return op_refuse(op, KMS_E_INVALID, 400, "bad-request", "ttl_s must be %d to %d seconds.",
				 TOKEN_TTL_MIN_S, TOKEN_TTL_MAX_S);
	return KMS_OK;
}

kms_err_t certify_secret_matches(const char *text, const uint8_t hash[32], bool *out)
{
	uint8_t secret[33], is[SHA256_LEN] = {0};
	size_t len = 0;
	kms_err_t e = base64_decode(span_str(text), secret, sizeof secret, &len);
	bool decoded = e == KMS_OK;
	if (decoded)
		e = crypto_sha256(span_of(secret, len), is);
	wipe(secret, sizeof secret);
	if (e != KMS_OK && e != KMS_E_INVALID)
		return e;
	*out = decoded && e == KMS_OK && ct_equal(is, hash, sizeof is);
	return KMS_OK;
}

bool identity_next_state(core_op_t op, identity_state_t from, identity_state_t *to)
{
	bool revoke = op == OP_NODE_REVOKE || op == OP_OPERATOR_REVOKE;
	bool suspend = op == OP_NODE_SUSPEND || op == OP_OPERATOR_SUSPEND;
	*to = revoke ? IDENTITY_REVOKED : suspend ? IDENTITY_SUSPENDED : IDENTITY_ACTIVE;
	if (revoke || from == *to)
		return true;
	return suspend ? from == IDENTITY_ACTIVE : from == IDENTITY_SUSPENDED;
}
