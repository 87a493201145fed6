#include "node-agent/core/copy.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/stream.h"
#include "common/crypto/wrap.h"

#define KEY_LEN     32U
#define WRAPPED_LEN (WRAP_OVERHEAD + KEY_LEN)
#define NAME_MAX_   (NAME_CAP + KMS_UUID_CAP + 16U)

typedef struct identity {
	char name[NAME_MAX_];
	char fingerprint[2 * FINGERPRINT_LEN + 1];
	wrap_id_t id;
} identity_t;

static void identify(const kms_release_t *r, const kms_secret_t *with, const uint8_t fp[FINGERPRINT_LEN],
		     identity_t *out)
{
	(void)snprintf(out->name, sizeof out->name, "%s/%u/%s", r->volume.name, r->lineage, r->luks_uuid);
	hex_encode(span_of(fp, FINGERPRINT_LEN), out->fingerprint);
	out->id = (wrap_id_t){.customer = r->volume.customer,
			      .service = r->volume.service,
			      .key_id = out->name,
			      .key_version = with->version,
			      .state = out->fingerprint,
			      .purpose = "header-copy"};
}

kms_err_t copy_seal(const kms_release_t *r, const kms_secret_t *with, const uint8_t fp[FINGERPRINT_LEN],
		    span_t image, buf_t *out, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(stream_freep) stream_t *s = NULL;
	identity_t who;
	if (image.n > COPY_IMAGE_MAX)
		return diag_fail(why, KMS_E_FULL,
				 "the header has %zu bytes in use, and the KMS keeps copies of up to %u: "
				 "remove keyslots that nobody needs",
				 image.n, COPY_IMAGE_MAX);
	identify(r, with, fp, &who);
	KMS_TRY(crypto_random_secret(KEY_LEN, &key));
	KMS_TRY(wrap_seal(with->secret, &who.id, key, out));
	KMS_TRY(stream_new(key, &s));
	for (bool last = false; !last;) {
		size_t n = image.n < STREAM_CHUNK ? image.n : STREAM_CHUNK;
		last = n == image.n;
		KMS_TRY(stream_seal(s, span_of(image.p, n), last, out));
		image = span_of(image.p + n, image.n - n);
	}
	return out->err;
}

static kms_err_t open_all(const secret_t *key, span_t sealed, buf_t *image)
{
	SCOPED(stream_freep) stream_t *s = NULL;
	KMS_TRY(stream_new(key, &s));
	for (bool last = false; !last;) {
		size_t whole = STREAM_CHUNK + STREAM_TAG;
		size_t n = sealed.n < whole ? sealed.n : whole;
		last = n == sealed.n;
		KMS_TRY(stream_open(s, span_of(sealed.p, n), last, image));
		sealed = span_of(sealed.p + n, sealed.n - n);
	}
	return image->err;
}

kms_err_t copy_open(const kms_release_t *r, const kms_secret_t *with, const uint8_t fp[FINGERPRINT_LEN],
		    span_t sealed, buf_t *image, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	identity_t who;
	kms_err_t e = sealed.n > WRAPPED_LEN ? KMS_OK : KMS_E_INTEGRITY;
	identify(r, with, fp, &who);
	if (e == KMS_OK)
		e = wrap_open(with->secret, &who.id, span_of(sealed.p, WRAPPED_LEN), &key);
	if (e == KMS_OK)
		e = open_all(key, span_of(sealed.p + WRAPPED_LEN, sealed.n - WRAPPED_LEN), image);
	if (e == KMS_E_INTEGRITY)
		return diag_fail(why, e,
				 "the copy of the header that the KMS keeps does not open with secret %u of "
				 "%s: it is damaged, or another volume's",
				 with->version, r->volume.name);
	return e;
}
