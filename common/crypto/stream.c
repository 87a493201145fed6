#include "common/crypto/stream.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/aead.h"

_Static_assert(STREAM_TAG == AEAD_TAG, "one tag a chunk");

typedef enum stream_use { USE_NONE, USE_SEAL, USE_OPEN, USE_ENDED } stream_use_t;

struct stream {
	secret_t *key;
	uint64_t chunk;
	stream_use_t use;
};

kms_err_t stream_new(const secret_t *key, stream_t **out)
{
	if (secret_len(key) != AEAD_KEY)
		return KMS_E_INVALID;
	SCOPED(stream_freep) stream_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(secret_from(secret_span(key), &s->key));
	*out = TAKE(s);
	return KMS_OK;
}

void stream_freep(stream_t **s)
{
	if (*s == NULL)
		return;
	secret_freep(&(*s)->key);
	free(*s);
	*s = NULL;
}

/* Three zero bytes, the chunk's number, the last-chunk flag: the whole key is the stream's, so no random
 * prefix. */
static void make_nonce(const stream_t *s, bool last, uint8_t nonce[AEAD_NONCE])
{
	memset(nonce, 0, AEAD_NONCE);
	be64_encode(s->chunk, nonce + 3);
	nonce[AEAD_NONCE - 1] = last ? 1 : 0;
}

static bool may(const stream_t *s, stream_use_t use)
{
	return s->use == USE_NONE || s->use == use;
}

static void advance(stream_t *s, stream_use_t use, bool last)
{
	s->chunk++;
	s->use = last ? USE_ENDED : use;
}

static void drop_tail(buf_t *out, size_t n)
{
	wipe(out->p + out->n - n, n);
	out->n -= n;
}

kms_err_t stream_seal(stream_t *s, span_t plain, bool last, buf_t *out)
{
	if (!may(s, USE_SEAL))
		return KMS_E_CONFLICT;
	if (plain.n > STREAM_CHUNK || (!last && plain.n != STREAM_CHUNK))
		return KMS_E_INVALID;
	uint8_t nonce[AEAD_NONCE];
	make_nonce(s, last, nonce);
	size_t n = plain.n + STREAM_TAG;
	uint8_t *to = buf_reserve(out, n);
	if (to == NULL)
		return out->err;
	kms_err_t e = aead_seal(secret_span(s->key).p, nonce, span_of(NULL, 0), plain, to);
	if (e != KMS_OK) {
		drop_tail(out, n);
		s->use = USE_ENDED; /* the nonce may have been spent */
		return e;
	}
	advance(s, USE_SEAL, last);
	return KMS_OK;
}

kms_err_t stream_open(stream_t *s, span_t chunk, bool last, buf_t *out)
{
	if (!may(s, USE_OPEN))
		return KMS_E_CONFLICT;
	if (chunk.n < STREAM_TAG || chunk.n > STREAM_CHUNK + STREAM_TAG ||
	    (!last && chunk.n != STREAM_CHUNK + STREAM_TAG))
		return KMS_E_INTEGRITY;
	uint8_t nonce[AEAD_NONCE];
	make_nonce(s, last, nonce);
	size_t n = chunk.n - STREAM_TAG;
	uint8_t none = 0;
	uint8_t *to = n > 0 ? buf_reserve(out, n) : &none;
	if (to == NULL)
		return out->err;
	kms_err_t e = aead_open(secret_span(s->key).p, nonce, span_of(NULL, 0), chunk, to);
	if (e != KMS_OK) {
		if (n > 0)
			drop_tail(out, n);
		return e;
	}
	advance(s, USE_OPEN, last);
	return KMS_OK;
}
