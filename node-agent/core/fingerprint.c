#include "node-agent/core/fingerprint.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <stdlib.h>

#define LABEL "claviger fingerprint v1"

_Static_assert(FINGERPRINT_LEN == SHA256_LEN, "a fingerprint is one HMAC-SHA256");

static void put_count(buf_t *b, size_t n)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%zu", n);
	buf_lp_str(b, text);
}

static void put_segment(buf_t *b, const volume_segment_t *s)
{
	buf_lp_str(b, s->type);
	buf_lp_str(b, s->offset);
	buf_lp_str(b, s->size);
	buf_lp_str(b, s->cipher);
	buf_lp_str(b, s->iv_tweak);
	buf_lp_str(b, s->sector_size);
	buf_lp_str(b, s->integrity);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The header keeps its flags in any order, and the order means nothing. */
static void put_sorted(buf_t *b, const char texts[][32], size_t n)
{
	const char *sorted[VOLUME_FLAGS_MAX] = {0};
	for (size_t i = 0; i < n; i++)
		sorted[i] = texts[i];
	qsort(sorted, n, sizeof sorted[0], by_bytes);
	put_count(b, n);
	for (size_t i = 0; i < n; i++)
		buf_lp_str(b, sorted[i]);
}

kms_err_t fingerprint_encode(const volume_facts_t *facts, buf_t *out)
{
	if (facts->n_segments > VOLUME_SEGMENTS_MAX || facts->n_flags > VOLUME_FLAGS_MAX ||
	    facts->n_requirements > VOLUME_FLAGS_MAX)
		return KMS_E_INVALID;
	buf_lp_str(out, LABEL);
	buf_lp_str(out, facts->uuid);
	put_count(out, facts->n_segments);
	for (size_t i = 0; i < facts->n_segments; i++)
		put_segment(out, &facts->segments[i]);
	put_sorted(out, facts->flags, facts->n_flags);
	put_sorted(out, facts->requirements, facts->n_requirements);
	return out->err;
}

kms_err_t fingerprint_make(const volume_facts_t *facts, const secret_t *volume_key,
			   uint8_t out[FINGERPRINT_LEN])
{
	SCOPED(buf_free) buf_t message = BUF_INIT;
	KMS_TRY(fingerprint_encode(facts, &message));
	return crypto_hmac_sha256(secret_span(volume_key), buf_span(&message), out);
}

kms_err_t fingerprint_proof(const uint8_t fingerprint[FINGERPRINT_LEN], span_t nonce,
			    uint8_t out[FINGERPRINT_LEN])
{
	return crypto_hmac_sha256(span_of(fingerprint, FINGERPRINT_LEN), nonce, out);
}
