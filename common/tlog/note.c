#include "common/tlog/note.h"

#include "common/base/encode.h"
#include "common/tlog/text.h"

#define DASH     "\xe2\x80\x94 " /* U+2014 and a space */
#define BLOB_MAX 8192U           /* post-quantum signatures of other keys have nearly 5 kB */

static kms_err_t parse_blob(span_t base64, note_sig_t *out)
{
	uint8_t blob[BLOB_MAX];
	size_t n = 0;
	KMS_TRY(base64_decode(base64, blob, sizeof blob, &n));
	if (n <= sizeof out->id)
		return KMS_E_INVALID;
	out->n = n - sizeof out->id;
	memcpy(out->id, blob, sizeof out->id);
	memcpy(out->signature, blob + sizeof out->id,
	       out->n < sizeof out->signature ? out->n : sizeof out->signature);
	return KMS_OK;
}

/* line: without its line end, which stands behind it. */
static kms_err_t parse_sig(span_t line, note_sig_t *out)
{
	span_t s = line;
	if (!text_prefix(&s, DASH))
		return KMS_E_INVALID;
	const uint8_t *blank = s.n > 0 ? memchr(s.p, ' ', s.n) : NULL;
	if (blank == NULL)
		return KMS_E_INVALID;
	out->name = span_of(s.p, (size_t)(blank - s.p));
	if (!text_name_valid(out->name))
		return KMS_E_INVALID;
	out->line = span_of(line.p, line.n + 1);
	return parse_blob(span_of(blank + 1, s.n - out->name.n - 1), out);
}

kms_err_t note_parse_sigs(span_t lines, note_t *out, diag_t *why)
{
	note_t note = {.text = {NULL, 0}};
	span_t line;
	if (lines.n > NOTE_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %u bytes of signatures", NOTE_MAX);
	while (text_line(&lines, &line)) {
		if (note.n_sigs == NOTE_SIGS_MAX)
			return diag_fail(why, KMS_E_INVALID, "more than %u signatures", NOTE_SIGS_MAX);
		if (parse_sig(line, &note.sig[note.n_sigs]) != KMS_OK)
			return diag_fail(why, KMS_E_INVALID, "signature line %zu is malformed",
					 note.n_sigs + 1);
		note.n_sigs++;
	}
	if (lines.n > 0)
		return diag_fail(why, KMS_E_INVALID, "the last signature line has no line end");
	if (note.n_sigs == 0)
		return diag_fail(why, KMS_E_INVALID, "no signature");
	*out = note;
	return KMS_OK;
}

/* Where the signatures begin: behind the last empty line. */
static size_t last_empty_line(span_t bytes)
{
	for (size_t i = bytes.n; i >= 2; i--)
		if (bytes.p[i - 1] == '\n' && bytes.p[i - 2] == '\n')
			return i;
	return 0;
}

kms_err_t note_parse(span_t bytes, note_t *out, diag_t *why)
{
	if (bytes.n > NOTE_MAX)
		return diag_fail(why, KMS_E_INVALID, "a note of more than %u bytes", NOTE_MAX);
	if (!text_clean(bytes))
		return diag_fail(why, KMS_E_INVALID,
				 "a note is UTF-8 without control characters but line ends");
	size_t at = last_empty_line(bytes);
	if (at == 0)
		return diag_fail(why, KMS_E_INVALID, "no empty line between text and signatures");
	KMS_TRY(note_parse_sigs(span_of(bytes.p + at, bytes.n - at), out, why));
	out->text = span_of(bytes.p, at - 1);
	return KMS_OK;
}
