/* RFC 8259 into jansson's values, by a reader of our own: that of jansson 2.14 does not look whether its
 * token buffer could grow. When memory runs out it loses characters (a cut name is another customer's name),
 * and when the lost one is a closing quote it writes past the end of its block. The text comes from
 * strangers. */
#include "common/proto/json.h"

#include "common/base/scope.h"
#include "common/proto/utf8.h"

#include <math.h>
#include <stdlib.h>

typedef struct parser {
	span_t text;
	size_t at;
	unsigned depth;
	buf_t scratch; /* the string or number being read */
	diag_t *why;
} parser_t;

static KMS_MUST parse_value(parser_t *p, json_t **out);

static KMS_MUST bad(const parser_t *p, const char *what)
{
	unsigned line = 1, column = 1;
	for (size_t i = 0; i < p->at; i++) {
		if (p->text.p[i] == '\n') {
			line++;
			column = 1;
		} else if ((p->text.p[i] & 0xc0U) != 0x80U) {
			column++;
		}
	}
	return diag_fail(p->why, KMS_E_INVALID, "line %u, column %u: %s", line, column, what);
}

static span_t rest(const parser_t *p)
{
	return span_of(p->text.p + p->at, p->text.n - p->at);
}

/* The byte at hand; -1 at the end. */
static int peek(const parser_t *p)
{
	return p->at < p->text.n ? p->text.p[p->at] : -1;
}

static KMS_MUST unexpected(const parser_t *p)
{
	if (peek(p) < 0)
		return bad(p, "the text ends too early");
	if (peek(p) == 0)
		return bad(p, "a NUL byte");
	if (utf8_length(rest(p)) == 0)
		return bad(p, "not valid UTF-8");
	return bad(p, "not valid JSON");
}

static bool accept(parser_t *p, int c)
{
	if (peek(p) != c)
		return false;
	p->at++;
	return true;
}

static KMS_MUST expect(parser_t *p, int c)
{
	return accept(p, c) ? KMS_OK : unexpected(p);
}

static void skip_space(parser_t *p)
{
	while (peek(p) == ' ' || peek(p) == '\t' || peek(p) == '\n' || peek(p) == '\r')
		p->at++;
}

/* ---- strings ---- */

static int hex_value(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static KMS_MUST parse_hex4(parser_t *p, uint32_t *out)
{
	uint32_t v = 0;
	for (size_t i = 0; i < 4; i++) {
		int digit = hex_value(peek(p));
		if (digit < 0)
			return unexpected(p);
		v = v << 4 | (uint32_t)digit;
		p->at++;
	}
	*out = v;
	return KMS_OK;
}

/* After `\u`; characters over U+FFFF are written as a pair of surrogates. */
static KMS_MUST parse_unicode(parser_t *p)
{
	uint32_t c = 0, low = 0;
	KMS_TRY(parse_hex4(p, &c));
	if (c == 0)
		return bad(p, "a string holds a NUL character");
	if (c >= 0xd800 && c <= 0xdbff && accept(p, '\\') && accept(p, 'u')) {
		KMS_TRY(parse_hex4(p, &low));
		if (low < 0xdc00 || low > 0xdfff)
			return bad(p, "half a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	if (c >= 0xd800 && c <= 0xdfff)
		return bad(p, "half a surrogate pair");
	utf8_put(c, &p->scratch);
	return KMS_OK;
}

static KMS_MUST parse_escape(parser_t *p)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	if (accept(p, 'u'))
		return parse_unicode(p);
	const char *letter = peek(p) > 0 ? strchr(letters, peek(p)) : NULL;
	if (letter == NULL)
		return unexpected(p);
	p->at++;
	buf_u8(&p->scratch, (uint8_t)meant[letter - letters]);
	return KMS_OK;
}

static KMS_MUST parse_character(parser_t *p)
{
	if (accept(p, '\\'))
		return parse_escape(p);
	if (peek(p) < 0x20)
		return unexpected(p); /* the end, NUL, or a control character that wants an escape */
	size_t n = utf8_length(rest(p));
	if (n == 0)
		return unexpected(p);
	buf_bytes(&p->scratch, span_of(p->text.p + p->at, n));
	p->at += n;
	return KMS_OK;
}

/* The decoded string, in p->scratch. */
static KMS_MUST parse_string(parser_t *p)
{
	buf_clear(&p->scratch);
	KMS_TRY(expect(p, '"'));
	while (!accept(p, '"'))
		KMS_TRY(parse_character(p));
	return p->scratch.err;
}

static KMS_MUST parse_text(parser_t *p, json_t **out)
{
	const char *s = NULL;
	KMS_TRY(parse_string(p));
	KMS_TRY(buf_cstr(&p->scratch, &s));
	*out = json_stringn_nocheck(s, p->scratch.n); /* checked as it was read */
	return *out != NULL ? KMS_OK : KMS_E_NOMEM;
}

/* ---- numbers and words ---- */

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static KMS_MUST skip_digits(parser_t *p)
{
	if (!is_digit(peek(p)))
		return unexpected(p);
	while (is_digit(peek(p)))
		p->at++;
	return KMS_OK;
}

/* Goes over the fraction and exponent, if there are any. */
static KMS_MUST skip_real(parser_t *p, bool *real)
{
	if (accept(p, '.')) {
		KMS_TRY(skip_digits(p));
		*real = true;
	}
	if (accept(p, 'e') || accept(p, 'E')) {
		if (!accept(p, '-'))
			(void)accept(p, '+');
		KMS_TRY(skip_digits(p));
		*real = true;
	}
	return KMS_OK;
}

static KMS_MUST real_value(parser_t *p, span_t token, json_t **out)
{
	const char *s = NULL;
	char *end = NULL;
	buf_clear(&p->scratch);
	buf_bytes(&p->scratch, token);
	KMS_TRY(buf_cstr(&p->scratch, &s));
	double d = strtod(s, &end);
	if (!isfinite(d) || *end != '\0') /* the latter where a locale has another decimal point */
		return bad(p, "a number is out of range");
	*out = json_real(d);
	return *out != NULL ? KMS_OK : KMS_E_NOMEM;
}

static KMS_MUST integer_value(parser_t *p, span_t token, json_t **out)
{
	bool negative = token.p[0] == '-', over = false;
	int64_t v = 0;
	for (size_t i = negative ? 1 : 0; i < token.n; i++) {
		int64_t digit = token.p[i] - '0';
		over |= __builtin_mul_overflow(v, 10, &v);
		over |= __builtin_add_overflow(v, negative ? -digit : digit, &v);
	}
	if (over)
		return bad(p, "a number is out of range");
	*out = json_integer(v);
	return *out != NULL ? KMS_OK : KMS_E_NOMEM;
}

static KMS_MUST parse_number(parser_t *p, json_t **out)
{
	size_t start = p->at;
	bool real = false;
	(void)accept(p, '-');
	if (!accept(p, '0'))
		KMS_TRY(skip_digits(p));
	KMS_TRY(skip_real(p, &real));
	span_t token = span_of(p->text.p + start, p->at - start);
	return real ? real_value(p, token, out) : integer_value(p, token, out);
}

static KMS_MUST parse_word(parser_t *p, const char *word, json_t *value, json_t **out)
{
	for (; *word != '\0'; word++)
		KMS_TRY(expect(p, *word));
	*out = value; /* one of jansson's three static values */
	return KMS_OK;
}

/* ---- arrays and objects ---- */

static KMS_MUST enter(parser_t *p)
{
	if (p->depth == JSON_DEPTH_LIMIT)
		return bad(p, "nested deeper than 16 levels");
	p->depth++;
	p->at++;
	skip_space(p);
	return KMS_OK;
}

/* The comma before every item but the first. */
static KMS_MUST separator(parser_t *p, size_t items)
{
	if (items == 0)
		return KMS_OK;
	KMS_TRY(expect(p, ','));
	skip_space(p);
	return KMS_OK;
}

static KMS_MUST parse_array(parser_t *p, json_t **out)
{
	SCOPED(json_freep) json_t *a = json_array();
	if (a == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(enter(p));
	while (!accept(p, ']')) {
		json_t *v = NULL;
		KMS_TRY(separator(p, json_array_size(a)));
		KMS_TRY(parse_value(p, &v));
		if (json_array_append_new(a, v) != 0)
			return KMS_E_NOMEM;
		skip_space(p);
	}
	p->depth--;
	*out = TAKE(a);
	return KMS_OK;
}

static KMS_MUST parse_member(parser_t *p, json_t *obj)
{
	json_t *v = NULL;
	SCOPED(json_freep) json_t *key = NULL;
	KMS_TRY(parse_text(p, &key));
	const char *name = json_string_value(key);
	size_t n = json_string_length(key);
	if (json_object_getn(obj, name, n) != NULL)
		return bad(p, "a name stands twice in one object");
	skip_space(p);
	KMS_TRY(expect(p, ':'));
	skip_space(p);
	KMS_TRY(parse_value(p, &v));
	return json_object_setn_new_nocheck(obj, name, n, v) == 0 ? KMS_OK : KMS_E_NOMEM;
}

static KMS_MUST parse_object(parser_t *p, json_t **out)
{
	SCOPED(json_freep) json_t *o = json_object();
	if (o == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(enter(p));
	while (!accept(p, '}')) {
		KMS_TRY(separator(p, json_object_size(o)));
		KMS_TRY(parse_member(p, o));
		skip_space(p);
	}
	p->depth--;
	*out = TAKE(o);
	return KMS_OK;
}

static KMS_MUST parse_value(parser_t *p, json_t **out)
{
	int c = peek(p);
	if (c == '{')
		return parse_object(p, out);
	if (c == '[')
		return parse_array(p, out);
	if (c == '"')
		return parse_text(p, out);
	if (c == '-' || is_digit(c))
		return parse_number(p, out);
	if (c == 't')
		return parse_word(p, "true", json_true(), out);
	if (c == 'f')
		return parse_word(p, "false", json_false(), out);
	if (c == 'n')
		return parse_word(p, "null", json_null(), out);
	return unexpected(p);
}

static KMS_MUST parse_document(parser_t *p, json_t **out)
{
	skip_space(p);
	if (peek(p) != '{' && peek(p) != '[')
		return peek(p) > 0 ? bad(p, "a JSON object or array is expected") : unexpected(p);
	SCOPED(json_freep) json_t *j = NULL;
	KMS_TRY(parse_value(p, &j));
	skip_space(p);
	if (peek(p) >= 0)
		return peek(p) == 0 ? unexpected(p) : bad(p, "there is something after the value");
	*out = TAKE(j);
	return KMS_OK;
}

kms_err_t json_parse(span_t text, size_t limit, json_t **out, diag_t *why)
{
	if (text.n > limit)
		return diag_fail(why, KMS_E_INVALID, "longer than %zu bytes", limit);
	if (text.n == 0)
		return diag_fail(why, KMS_E_INVALID, "empty, where JSON is expected");
	parser_t p = {.text = text, .scratch = {.limit = text.n + 1}, .why = why};
	kms_err_t e = parse_document(&p, out);
	buf_free(&p.scratch);
	return e == KMS_E_NOMEM ? diag_fail(why, e, "out of memory") : e;
}
