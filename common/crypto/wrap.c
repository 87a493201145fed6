#include "common/crypto/wrap.h"

#include "common/base/scope.h"
#include "common/crypto/aead.h"
#include "common/crypto/digest.h"

#define VERSION    0x01U
#define SALT       32U
#define COMMITMENT 32U
#define HEAD       (1U + SALT + COMMITMENT)
#define DERIVED    (AEAD_KEY + COMMITMENT + AEAD_NONCE)
#define ID_MAX     900U /* OpenSSL's HKDF takes at most 1024 bytes of info */

_Static_assert(HEAD + AEAD_TAG == WRAP_OVERHEAD, "the header's figure");

static const char info_label[] = "claviger wrap v1";

/* The identity behind a prefix: the version for the associated data, the label for HKDF's info. */
static kms_err_t encode_id(const wrap_id_t *id, span_t prefix, buf_t *b)
{
	b->limit = prefix.n + ID_MAX;
	buf_bytes(b, prefix);
	buf_lp_str(b, id->customer);
	buf_lp_str(b, id->service);
	buf_lp_str(b, id->key_id);
	buf_u32(b, id->key_version);
	buf_lp_str(b, id->state);
	buf_lp_str(b, id->purpose);
	return b->err == KMS_E_FULL ? KMS_E_INVALID : b->err;
}

static kms_err_t derive(const secret_t *parent, const wrap_id_t *id, span_t salt, secret_t **out)
{
	SCOPED(buf_free) buf_t info = BUF_INIT;
	KMS_TRY(encode_id(id, span_str(info_label), &info));
	return crypto_hkdf_secret(parent, salt, buf_span(&info), DERIVED, out);
}

static kms_err_t associated_data(const wrap_id_t *id, buf_t *b)
{
	static const uint8_t version = VERSION;
	return encode_id(id, span_of(&version, 1), b);
}

/* The parts of what derive() makes, in its order. */
static const uint8_t *aes_key(const secret_t *d)
{
	return secret_span(d).p;
}

static const uint8_t *commitment(const secret_t *d)
{
	return secret_span(d).p + AEAD_KEY;
}

static const uint8_t *nonce(const secret_t *d)
{
	return secret_span(d).p + AEAD_KEY + COMMITMENT;
}

kms_err_t wrap_seal(const secret_t *parent, const wrap_id_t *id, const secret_t *plain, buf_t *out)
{
	uint8_t salt[SALT];
	KMS_TRY(crypto_random(salt, sizeof salt));
	SCOPED(secret_freep) secret_t *keys = NULL;
	KMS_TRY(derive(parent, id, span_of(salt, sizeof salt), &keys));
	SCOPED(buf_free) buf_t aad = BUF_INIT;
	KMS_TRY(associated_data(id, &aad));
	span_t p = secret_span(plain);
	SCOPED(buf_free) buf_t blob = BUF_INIT;
	buf_u8(&blob, VERSION);
	buf_bytes(&blob, span_of(salt, sizeof salt));
	buf_bytes(&blob, span_of(commitment(keys), COMMITMENT));
	uint8_t *body = buf_reserve(&blob, p.n + AEAD_TAG);
	KMS_TRY(blob.err);
	KMS_TRY(aead_seal(aes_key(keys), nonce(keys), buf_span(&aad), p, body));
	buf_bytes(out, buf_span(&blob));
	return out->err;
}

kms_err_t wrap_open(const secret_t *parent, const wrap_id_t *id, span_t blob, secret_t **out)
{
	if (blob.n <= WRAP_OVERHEAD || blob.n > WRAP_OVERHEAD + SECRET_MAX || blob.p[0] != VERSION)
		return KMS_E_INTEGRITY;
	SCOPED(secret_freep) secret_t *keys = NULL;
	KMS_TRY(derive(parent, id, span_of(blob.p + 1, SALT), &keys));
	if (!ct_equal(commitment(keys), blob.p + 1 + SALT, COMMITMENT))
		return KMS_E_INTEGRITY;
	SCOPED(buf_free) buf_t aad = BUF_INIT;
	KMS_TRY(associated_data(id, &aad));
	SCOPED(secret_freep) secret_t *plain = NULL;
	KMS_TRY(secret_new(blob.n - WRAP_OVERHEAD, &plain));
	span_t sealed = span_of(blob.p + HEAD, blob.n - HEAD);
	KMS_TRY(aead_open(aes_key(keys), nonce(keys), buf_span(&aad), sealed, secret_data(plain)));
	*out = TAKE(plain);
	return KMS_OK;
}
