#include "common/tlog/witnessing.h"

#include "common/base/scope.h"
#include "common/tlog/text.h"

kms_err_t add_checkpoint_format(const add_checkpoint_t *a, buf_t *out)
{
	if (a->n > ADD_CHECKPOINT_PROOF || a->checkpoint.n == 0)
		return KMS_E_INVALID;
	SCOPED(buf_free) buf_t b = {.limit = ADD_CHECKPOINT_MAX};
	span_t text;
	buf_printf(&b, "old %llu\n", (unsigned long long)a->old_size);
	for (size_t i = 0; i < a->n; i++)
		text_put_hash(&b, a->hash[i]);
	buf_str(&b, "\n");
	buf_bytes(&b, a->checkpoint);
	KMS_TRY(buf_done(&b, &text));
	buf_bytes(out, text);
	return out->err;
}

kms_err_t add_checkpoint_parse(span_t body, add_checkpoint_t *out, diag_t *why)
{
	add_checkpoint_t a = {.old_size = 0};
	span_t line;
	if (body.n > ADD_CHECKPOINT_MAX)
		return diag_fail(why, KMS_E_INVALID, "a request of more than %u bytes", ADD_CHECKPOINT_MAX);
	if (!text_line(&body, &line) || !text_prefix(&line, "old ") || text_u64(line, &a.old_size) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID,
				 "the first line is \"old SIZE\", in decimal without leading zeroes");
	KMS_TRY(text_hashes(&body, a.hash, ADD_CHECKPOINT_PROOF, &a.n, why));
	if (body.n == 0)
		return diag_fail(why, KMS_E_INVALID, "no checkpoint behind the proof");
	a.checkpoint = body;
	*out = a;
	return KMS_OK;
}
