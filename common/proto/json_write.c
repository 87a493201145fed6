/* The canonical form of RFC 8785. jansson's own writer sorts by bytes and escapes control characters its own
 * way. */
#include "common/proto/json.h"

#include "common/base/scope.h"

#include <stdlib.h>

#define WRITE_DEPTH 32U /* an event holds a parsed body (16) and a few levels of its own */

static span_t string_span(const json_t *v)
{
	return span_of(json_string_value(v), json_string_length(v));
}

/* RFC 8785 section 3.2.2.2: two-character forms where JSON has them, \u and lower-case hex for other
 * controls. */
static void write_escape(uint8_t c, buf_t *out)
{
	static const char controls[0x20] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
	static const char hex[] = "0123456789abcdef";
	char letter = (char)c;
	if (c < 0x20)
		letter = controls[c];
	buf_u8(out, '\\');
	if (letter != '\0') {
		buf_u8(out, (uint8_t)letter);
		return;
	}
	buf_str(out, "u00");
	buf_u8(out, (uint8_t)hex[c >> 4]);
	buf_u8(out, (uint8_t)hex[c & 15]);
}

/* Bytes of the character at the start of s (not empty), 0 when there is none. Values made by jansson's
 * _nocheck functions were never looked at. RFC 3629: no overlong form, no surrogate, nothing over U+10FFFF.
 */
static size_t utf8_length(span_t s)
{
	uint8_t c = s.p[0];
	if (c < 0x80)
		return 1;
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || s.n < n)
		return 0;
	uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (s.p[1] < low || s.p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s.p[i] & 0xc0U) != 0x80U)
			return 0;
	return n;
}

static kms_err_t write_string(span_t s, buf_t *out)
{
	size_t plain = 0; /* from here on nothing is written yet */
	buf_u8(out, '"');
	for (size_t i = 0; i < s.n;) {
		size_t n = utf8_length(span_of(s.p + i, s.n - i));
		if (n == 0)
			return KMS_E_INVALID;
		uint8_t c = s.p[i];
		if (c < 0x20 || c == '"' || c == '\\') {
			buf_bytes(out, span_of(s.p + plain, i - plain));
			write_escape(c, out);
			plain = i + 1;
		}
		i += n;
	}
	buf_bytes(out, span_of(s.p + plain, s.n - plain));
	buf_u8(out, '"');
	return out->err;
}

typedef struct member {
	span_t key;
	const json_t *value;
} member_t;

/* UTF-16 order is byte order of UTF-8 but for one thing: surrogates (characters whose first byte is F0 to F4)
 * come before U+E000 to U+FFFF (first byte EE or EF). */
static unsigned utf16_weight(uint8_t c)
{
	return c == 0xee || c == 0xef ? c + 0x10U : c;
}

static int by_utf16(const void *a, const void *b)
{
	span_t x = ((const member_t *)a)->key, y = ((const member_t *)b)->key;
	size_t n = x.n < y.n ? x.n : y.n;
	for (size_t i = 0; i < n; i++)
		if (x.p[i] != y.p[i])
			return utf16_weight(x.p[i]) < utf16_weight(y.p[i]) ? -1 : 1;
	return x.n < y.n ? -1 : x.n > y.n ? 1 : 0;
}

static kms_err_t write_value(const json_t *j, size_t depth, buf_t *out);

static void collect(const json_t *obj, member_t *members)
{
	json_t *o = (json_t *)(uintptr_t)obj; /* jansson's iterators take no const, and change nothing */
	for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it))
		*members++ =
			(member_t){.key = span_of(json_object_iter_key(it), json_object_iter_key_len(it)),
				   .value = json_object_iter_value(it)};
}

static kms_err_t write_object(const json_t *j, size_t depth, buf_t *out)
{
	size_t n = json_object_size(j);
	SCOPED(freep) member_t *members = calloc(n + 1, sizeof *members);
	if (members == NULL)
		return KMS_E_NOMEM;
	collect(j, members);
	qsort(members, n, sizeof *members, by_utf16);
	buf_u8(out, '{');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_u8(out, ',');
		KMS_TRY(write_string(members[i].key, out));
		buf_u8(out, ':');
		KMS_TRY(write_value(members[i].value, depth + 1, out));
	}
	buf_u8(out, '}');
	return out->err;
}

static kms_err_t write_array(const json_t *j, size_t depth, buf_t *out)
{
	buf_u8(out, '[');
	for (size_t i = 0; i < json_array_size(j); i++) {
		if (i > 0)
			buf_u8(out, ',');
		KMS_TRY(write_value(json_array_get(j, i), depth + 1, out));
	}
	buf_u8(out, ']');
	return out->err;
}

static kms_err_t write_integer(json_int_t i, buf_t *out)
{
	if (i > JSON_SAFE_INTEGER || i < -JSON_SAFE_INTEGER)
		return KMS_E_INVALID;
	buf_printf(out, "%" JSON_INTEGER_FORMAT, i);
	return out->err;
}

static kms_err_t write_word(const char *word, buf_t *out)
{
	buf_str(out, word);
	return out->err;
}

static kms_err_t write_value(const json_t *j, size_t depth, buf_t *out)
{
	if (j == NULL || depth > WRITE_DEPTH)
		return KMS_E_INVALID;
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		return write_object(j, depth, out);
	case JSON_ARRAY:
		return write_array(j, depth, out);
	case JSON_STRING:
		return write_string(string_span(j), out);
	case JSON_INTEGER:
		return write_integer(json_integer_value(j), out);
	case JSON_REAL:
		return KMS_E_INVALID;
	case JSON_TRUE:
		return write_word("true", out);
	case JSON_FALSE:
		return write_word("false", out);
	case JSON_NULL:
		return write_word("null", out);
	}
	return KMS_E_INVALID;
}

kms_err_t json_write(const json_t *j, buf_t *out)
{
	size_t start = out->n;
	kms_err_t e = write_value(j, 1, out);
	if (e != KMS_OK && out->n > start) {
		explicit_bzero(out->p + start, out->n - start);
		out->n = start;
	}
	return e;
}
