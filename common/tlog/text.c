#include "common/tlog/text.h"

#include "common/base/encode.h"
#include "common/tlog/note.h"

bool text_line(span_t *rest, span_t *line)
{
	const uint8_t *end = rest->n > 0 ? memchr(rest->p, '\n', rest->n) : NULL;
	if (end == NULL)
		return false;
	*line = span_of(rest->p, (size_t)(end - rest->p));
	*rest = span_of(end + 1, rest->n - line->n - 1);
	return true;
}

bool text_prefix(span_t *s, const char *prefix)
{
	size_t n = strlen(prefix);
	if (s->n < n || (n > 0 && memcmp(s->p, prefix, n) != 0))
		return false;
	if (n > 0)
		*s = span_of(s->p + n, s->n - n);
	return true;
}

span_t text_chomp(span_t s)
{
	return s.n > 0 && s.p[s.n - 1] == '\n' ? span_of(s.p, s.n - 1) : s;
}

/* The length of the sequence that begins with this byte, and the least code point that needs it. */
static size_t sequence(uint8_t first, uint32_t *least, uint32_t *bits)
{
	if (first < 0x80) {
		*least = 0;
		*bits = first;
		return 1;
	}
	if (first >= 0xc2 && first < 0xe0) {
		*least = 0x80;
		*bits = first & 0x1fU;
		return 2;
	}
	if (first >= 0xe0 && first < 0xf0) {
		*least = 0x800;
		*bits = first & 0x0fU;
		return 3;
	}
	if (first >= 0xf0 && first < 0xf5) {
		*least = 0x10000;
		*bits = first & 0x07U;
		return 4;
	}
	return 0;
}

/* Takes one code point off. False: not UTF-8, or nothing is left. */
static bool next_rune(span_t *s, uint32_t *rune)
{
	uint32_t least = 0, c = 0;
	size_t n = s->n > 0 ? sequence(s->p[0], &least, &c) : 0;
	if (n == 0 || n > s->n)
		return false;
	for (size_t i = 1; i < n; i++) {
		if ((s->p[i] & 0xc0U) != 0x80U)
			return false;
		c = c << 6 | (s->p[i] & 0x3fU);
	}
	if (c < least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return false;
	*s = span_of(s->p + n, s->n - n);
	*rune = c;
	return true;
}

bool text_clean(span_t s)
{
	while (s.n > 0) {
		uint32_t c;
		if (!next_rune(&s, &c) || (c < 0x20 && c != '\n'))
			return false;
	}
	return true;
}

/* The property White_Space of Unicode, above ASCII's. */
static bool wide_space(uint32_t c)
{
	return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
	       c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool text_name_valid(span_t s)
{
	if (s.n == 0 || s.n >= NOTE_NAME_CAP)
		return false;
	while (s.n > 0) {
		uint32_t c;
		if (!next_rune(&s, &c) || c <= 0x20 || c == 0x7f || c == '+' || wide_space(c))
			return false;
	}
	return true;
}

kms_err_t text_u64(span_t s, uint64_t *out)
{
	uint64_t v = 0;
	if (s.n == 0 || s.n > 20 || (s.n > 1 && s.p[0] == '0'))
		return KMS_E_INVALID;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)s.p[i] - '0';
		if (digit > 9 || v > (UINT64_MAX - digit) / 10)
			return KMS_E_INVALID;
		v = v * 10 + digit;
	}
	*out = v;
	return KMS_OK;
}

kms_err_t text_hash(span_t s, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t hash[MERKLE_HASH_LEN];
	size_t n = 0;
	KMS_TRY(base64_decode(s, hash, sizeof hash, &n));
	if (n != sizeof hash)
		return KMS_E_INVALID;
	memcpy(out, hash, sizeof hash);
	return KMS_OK;
}

void text_put_hash(buf_t *b, const uint8_t hash[MERKLE_HASH_LEN])
{
	base64_encode(span_of(hash, MERKLE_HASH_LEN), b);
	buf_u8(b, '\n');
}

kms_err_t text_hashes(span_t *rest, uint8_t out[][MERKLE_HASH_LEN], size_t cap, size_t *n, diag_t *why)
{
	size_t have = 0;
	span_t line, at = *rest;
	while (text_line(&at, &line)) {
		if (line.n == 0) {
			*rest = at;
			*n = have;
			return KMS_OK;
		}
		if (have == cap)
			return diag_fail(why, KMS_E_INVALID, "more than %zu hashes of a proof", cap);
		if (text_hash(line, out[have]) != KMS_OK)
			return diag_fail(why, KMS_E_INVALID,
					 "line %zu of the proof is not the base64 of a hash", have + 1);
		have++;
	}
	return diag_fail(why, KMS_E_INVALID, "no empty line behind the proof");
}
