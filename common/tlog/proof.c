#include "common/tlog/proof.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/tlog/text.h"

#define FIRST_LINE "c2sp.org/tlog-proof@v1"
#define CHUNK      1024U /* characters, a multiple of four */

/* Canonical base64 of at least one byte, of any length. */
static bool base64_valid(span_t s)
{
	if (s.n == 0)
		return false;
	while (s.n > 0) {
		uint8_t bytes[CHUNK / 4 * 3];
		size_t n = 0, take = s.n < CHUNK ? s.n : CHUNK;
		if (base64_decode(span_of(s.p, take), bytes, sizeof bytes, &n) != KMS_OK)
			return false;
		if (take < s.n && n < sizeof bytes) /* padding belongs to the end */
			return false;
		s = span_of(s.p + take, s.n - take);
	}
	return true;
}

kms_err_t proof_format(const tlog_proof_t *p, buf_t *out)
{
	if (p->n > MERKLE_PROOF_MAX || (p->extra.n > 0 && !base64_valid(p->extra)))
		return KMS_E_INVALID;
	SCOPED(buf_free) buf_t b = {.limit = PROOF_MAX};
	span_t text;
	buf_str(&b, FIRST_LINE "\n");
	if (p->extra.n > 0) {
		buf_str(&b, "extra ");
		buf_bytes(&b, p->extra);
		buf_str(&b, "\n");
	}
	buf_printf(&b, "index %llu\n", (unsigned long long)p->index);
	for (size_t i = 0; i < p->n; i++)
		text_put_hash(&b, p->hash[i]);
	buf_str(&b, "\n");
	buf_bytes(&b, p->checkpoint);
	KMS_TRY(buf_done(&b, &text));
	buf_bytes(out, text);
	return out->err;
}

static kms_err_t parse_index(span_t *rest, tlog_proof_t *p, diag_t *why)
{
	span_t line;
	if (!text_line(rest, &line))
		return diag_fail(why, KMS_E_INVALID, "a proof ends before its index");
	if (text_prefix(&line, "extra ")) {
		if (!base64_valid(line))
			return diag_fail(why, KMS_E_INVALID, "the extra data of a proof is not base64");
		p->extra = line;
		if (!text_line(rest, &line))
			return diag_fail(why, KMS_E_INVALID, "a proof ends before its index");
	}
	if (!text_prefix(&line, "index ") || text_u64(line, &p->index) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID,
				 "a proof says \"index N\", in decimal without leading zeroes");
	return KMS_OK;
}

kms_err_t proof_parse(span_t text, tlog_proof_t *out, diag_t *why)
{
	tlog_proof_t p = {.index = 0};
	span_t line;
	if (text.n > PROOF_MAX)
		return diag_fail(why, KMS_E_INVALID, "a proof of more than %u bytes", PROOF_MAX);
	if (!text_line(&text, &line) || !span_eq(line, span_str(FIRST_LINE)))
		return diag_fail(why, KMS_E_INVALID, "not a proof: its first line is not \"" FIRST_LINE "\"");
	KMS_TRY(parse_index(&text, &p, why));
	KMS_TRY(text_hashes(&text, p.hash, MERKLE_PROOF_MAX, &p.n, why));
	if (text.n == 0)
		return diag_fail(why, KMS_E_INVALID, "a proof without a checkpoint");
	p.checkpoint = text;
	*out = p;
	return KMS_OK;
}

kms_err_t proof_verify(const tlog_proof_t *p, span_t entry, const note_vkey_t *log, checkpoint_t *out,
		       diag_t *why)
{
	checkpoint_t c;
	uint8_t leaf[MERKLE_HASH_LEN];
	kms_err_t e = checkpoint_open(p->checkpoint, log, &c, NULL, why);
	if (e != KMS_OK) /* what is not a checkpoint at all proves nothing either */
		return e == KMS_E_INVALID ? KMS_E_INTEGRITY : e;
	if (p->index >= c.size)
		return diag_fail(why, KMS_E_INTEGRITY, "the proof is of entry %llu in a log of %llu",
				 (unsigned long long)p->index, (unsigned long long)c.size);
	KMS_TRY(merkle_leaf(entry, leaf));
	e = merkle_verify_inclusion(p->index, c.size, leaf, p->hash[0], p->n, c.root);
	if (e == KMS_E_INTEGRITY)
		return diag_fail(why, e, "the log has another entry than this at index %llu",
				 (unsigned long long)p->index);
	KMS_TRY(e);
	if (out != NULL)
		*out = c;
	return KMS_OK;
}
