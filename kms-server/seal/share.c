#include "kms-server/seal/share.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/seal/shamir.h"

#define PREFIX    "clvs1-"
#define CHECK_LEN 4U
#define TAIL_LEN  (1U + 2U * SHARE_VALUE_LEN + 1U + 2U * CHECK_LEN) /* "-value-check" */
#define HEAD_CAP  sizeof(PREFIX "16-16")

/* The one spelling of prefix, threshold and index; out is a C string. */
static size_t format_head(unsigned threshold, unsigned index, char out[HEAD_CAP])
{
	int n = snprintf(out, HEAD_CAP, PREFIX "%u-%u", threshold, index);
	return n > 0 && (size_t)n < HEAD_CAP ? (size_t)n : 0;
}

static kms_err_t checksum(span_t before, char out[2 * CHECK_LEN + 1])
{
	uint8_t digest[SHA256_LEN];
	KMS_TRY(crypto_sha256(before, digest));
	hex_encode(span_of(digest, CHECK_LEN), out);
	return KMS_OK;
}

kms_err_t share_format(unsigned threshold, unsigned index, const secret_t *value, secret_t **text)
{
	char head[HEAD_CAP];
	size_t n = threshold <= SHAMIR_MAX && index <= SHAMIR_MAX ? format_head(threshold, index, head) : 0;
	if (n == 0 || secret_len(value) != SHARE_VALUE_LEN)
		return KMS_E_INVALID;
	SCOPED(secret_freep) secret_t *made = NULL;
	KMS_TRY(secret_new(n + TAIL_LEN, &made));
	char *at = (char *)secret_data(made);
	memcpy(at, head, n);
	at[n] = '-';
	hex_encode(secret_span(value), at + n + 1);
	size_t before = n + 1 + 2 * (size_t)SHARE_VALUE_LEN;
	char check[2 * CHECK_LEN + 1];
	KMS_TRY(checksum(span_of(at, before), check));
	at[before] = '-';
	memcpy(at + before + 1, check, 2 * (size_t)CHECK_LEN);
	*text = TAKE(made);
	return KMS_OK;
}

/* Threshold and index in front of the tail, by spelling all that there can be: no number parser, one spelling
 * each. */
static bool parse_head(span_t head, share_t *out)
{
	for (unsigned k = 2; k <= SHAMIR_MAX; k++)
		for (unsigned i = 1; i <= SHAMIR_MAX; i++) {
			char text[HEAD_CAP];
			size_t n = format_head(k, i, text);
			if (n > 0 && span_eq(head, span_of(text, n))) {
				out->threshold = (uint8_t)k;
				out->index = (uint8_t)i;
				return true;
			}
		}
	return false;
}

static kms_err_t not_a_share(diag_t *why)
{
	return diag_fail(why, KMS_E_INVALID,
			 "this is not an unseal share: it has the form clvs1-THRESHOLD-INDEX-64 hex digits-8 "
			 "hex digits, "
			 "in lower case");
}

kms_err_t share_parse(span_t text, share_t *out, diag_t *why)
{
	SCOPED(share_free) share_t s = {0};
	if (text.n <= TAIL_LEN || !parse_head(span_of(text.p, text.n - TAIL_LEN), &s))
		return not_a_share(why);
	const uint8_t *tail = text.p + text.n - TAIL_LEN;
	span_t value = span_of(tail + 1, 2 * (size_t)SHARE_VALUE_LEN);
	const uint8_t *dash = value.p + value.n;
	if (tail[0] != '-' || dash[0] != '-')
		return not_a_share(why);
	char check[2 * CHECK_LEN + 1];
	KMS_TRY(checksum(span_of(text.p, text.n - 1 - 2 * (size_t)CHECK_LEN), check));
	if (!ct_equal(check, dash + 1, 2 * (size_t)CHECK_LEN))
		return diag_fail(why, KMS_E_INVALID,
				 "the share was mistyped: its checksum does not fit its digits");
	KMS_TRY(secret_new(SHARE_VALUE_LEN, &s.value));
	if (hex_decode(value, secret_data(s.value), SHARE_VALUE_LEN) != KMS_OK)
		return not_a_share(why);
	*out = (share_t){.threshold = s.threshold, .index = s.index, .value = TAKE(s.value)};
	return KMS_OK;
}

void share_free(share_t *s)
{
	secret_freep(&s->value);
}
