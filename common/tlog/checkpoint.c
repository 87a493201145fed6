#include "common/tlog/checkpoint.h"

#include "common/base/scope.h"
#include "common/tlog/text.h"

kms_err_t checkpoint_sign(const checkpoint_t *c, const note_signer_t *s, buf_t *out)
{
	if (strcmp(c->origin, note_signer_vkey(s)->name) != 0)
		return KMS_E_INVALID;
	SCOPED(buf_free) buf_t note = BUF_INIT;
	span_t text;
	buf_printf(&note, "%s\n%llu\n", c->origin, (unsigned long long)c->size);
	text_put_hash(&note, c->root);
	KMS_TRY(buf_done(&note, &text));
	SCOPED(buf_free) buf_t line = BUF_INIT;
	KMS_TRY(note_sign(s, text, 0, &line));
	buf_u8(&note, '\n');
	buf_bytes(&note, buf_span(&line));
	KMS_TRY(buf_done(&note, &text));
	buf_bytes(out, text);
	return out->err;
}

static kms_err_t check_extensions(span_t rest, diag_t *why)
{
	span_t line;
	while (text_line(&rest, &line))
		if (line.n == 0)
			return diag_fail(why, KMS_E_INVALID, "an empty line in a checkpoint's text");
	return rest.n == 0 ? KMS_OK
			   : diag_fail(why, KMS_E_INVALID, "a checkpoint's text ends with a line end");
}

/* The tree of no leaves has one root, and no proof from it would show another. */
static kms_err_t check_empty(const checkpoint_t *c, diag_t *why)
{
	static const merkle_range_t empty;
	uint8_t root[MERKLE_HASH_LEN];
	if (c->size > 0)
		return KMS_OK;
	KMS_TRY(merkle_range_root(&empty, root));
	if (memcmp(root, c->root, sizeof root) != 0)
		return diag_fail(why, KMS_E_INVALID,
				 "a checkpoint of size 0 with another root than the empty tree's");
	return KMS_OK;
}

kms_err_t checkpoint_parse(span_t text, checkpoint_t *out, diag_t *why)
{
	checkpoint_t c = {.size = 0};
	span_t origin, size, root;
	if (!text_line(&text, &origin) || !text_line(&text, &size) || !text_line(&text, &root))
		return diag_fail(why, KMS_E_INVALID, "a checkpoint has three lines: origin, size, root hash");
	if (!text_name_valid(origin))
		return diag_fail(
			why, KMS_E_INVALID,
			"a checkpoint's origin has 1 to 127 bytes without white space and plus signs");
	if (text_u64(size, &c.size) != KMS_OK)
		return diag_fail(
			why, KMS_E_INVALID,
			"the second line of a checkpoint is no size in decimal without leading zeroes");
	if (text_hash(root, c.root) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID,
				 "the third line of a checkpoint is not the base64 of a hash");
	KMS_TRY(check_extensions(text, why));
	KMS_TRY(check_empty(&c, why));
	memcpy(c.origin, origin.p, origin.n);
	*out = c;
	return KMS_OK;
}

static kms_err_t check_signature(const note_t *note, const checkpoint_t *c, const note_vkey_t *log,
				 diag_t *why)
{
	if (strcmp(c->origin, log->name) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "a checkpoint of the log \"%s\", not of \"%s\"",
				 c->origin, log->name);
	kms_err_t e = note_verify(note, note->text, log, NULL);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, KMS_E_INTEGRITY, "the checkpoint is not signed by this key of \"%s\"",
				 log->name);
	if (e == KMS_E_INTEGRITY)
		return diag_fail(why, e, "the signature of \"%s\" on the checkpoint is wrong", log->name);
	return e;
}

kms_err_t checkpoint_open(span_t bytes, const note_vkey_t *log, checkpoint_t *out, note_t *note, diag_t *why)
{
	note_t n;
	checkpoint_t c;
	if (bytes.n > CHECKPOINT_MAX)
		return diag_fail(why, KMS_E_INVALID, "a checkpoint of more than %u bytes", CHECKPOINT_MAX);
	KMS_TRY(note_parse(bytes, &n, why));
	KMS_TRY(checkpoint_parse(n.text, &c, why));
	KMS_TRY(check_signature(&n, &c, log, why));
	*out = c;
	if (note != NULL)
		*note = n;
	return KMS_OK;
}
