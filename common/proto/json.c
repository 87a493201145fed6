#include "common/proto/json.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>

#define WRITE_DEPTH 32U /* an event holds a parsed body (16) and a few levels of its own */

/* jansson asks for new memory and frees the old where others would realloc, so this sees every block. */
static void free_wiped(void *p)
{
	if (p == NULL)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

void json_wipe_on_free(void)
{
	json_set_alloc_funcs(malloc, free_wiped);
}

void json_freep(json_t **j)
{
	json_decref(*j);
	*j = NULL;
}

/* ---- in ---- */

typedef struct scan {
	unsigned line, column; /* of the byte looked at; columns are characters */
	size_t depth;
	bool in_string, escaped;
} scan_t;

static void scan_position(scan_t *s, uint8_t c)
{
	if (c == '\n') {
		s->line++;
		s->column = 0;
	} else if ((c & 0xc0U) != 0x80U) {
		s->column++;
	}
}

static void scan_structure(scan_t *s, uint8_t c)
{
	if (s->in_string) {
		if (!s->escaped && c == '"')
			s->in_string = false;
		s->escaped = !s->escaped && c == '\\';
	} else if (c == '"') {
		s->in_string = true;
	} else if (c == '[' || c == '{') {
		s->depth++;
	} else if ((c == ']' || c == '}') && s->depth > 0) {
		s->depth--;
	}
}

/* jansson recurses, and its own limit of levels is no part of our contract: depth is counted before it sees
 * the text. What is no JSON may be counted wrongly here; jansson refuses it then. */
static kms_err_t check_depth(span_t text, diag_t *why)
{
	scan_t s = {.line = 1};
	for (size_t i = 0; i < text.n; i++) {
		scan_position(&s, text.p[i]);
		scan_structure(&s, text.p[i]);
		if (text.p[i] == 0)
			return diag_fail(why, KMS_E_INVALID, "line %u, column %u: a NUL byte", s.line,
					 s.column);
		if (s.depth > JSON_DEPTH_LIMIT)
			return diag_fail(why, KMS_E_INVALID,
					 "line %u, column %u: nested deeper than %u levels", s.line, s.column,
					 JSON_DEPTH_LIMIT);
	}
	return KMS_OK;
}

/* jansson's own sentences quote the text near the error, which may be a secret; only its code is used. */
static const char *parse_problem(enum json_error_code code)
{
	switch (code) {
	case json_error_premature_end_of_input:
		return "the text ends too early";
	case json_error_end_of_input_expected:
		return "there is something after the value";
	case json_error_invalid_utf8:
		return "not valid UTF-8";
	case json_error_duplicate_key:
		return "a name stands twice in one object";
	case json_error_numeric_overflow:
		return "a number is out of range";
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "a string holds a NUL character";
	case json_error_stack_overflow:
		return "nested too deep";
	case json_error_unknown:
	case json_error_out_of_memory:
	case json_error_cannot_open_file:
	case json_error_invalid_argument:
	case json_error_invalid_syntax:
	case json_error_invalid_format:
	case json_error_wrong_type:
	case json_error_null_value:
	case json_error_item_not_found:
	case json_error_index_out_of_range:
		return "not valid JSON";
	}
	return "not valid JSON";
}

static kms_err_t parse_error(const json_error_t *e, diag_t *why)
{
	/* when memory runs out, jansson returns NULL and says nothing */
	if (e->text[0] == '\0' || json_error_code(e) == json_error_out_of_memory)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	return diag_fail(why, KMS_E_INVALID, "line %d, column %d: %s", e->line, e->column,
			 parse_problem(json_error_code(e)));
}

kms_err_t json_parse(span_t text, size_t limit, json_t **out, diag_t *why)
{
	if (text.n > limit)
		return diag_fail(why, KMS_E_INVALID, "longer than %zu bytes", limit);
	if (text.n == 0)
		return diag_fail(why, KMS_E_INVALID, "empty, where JSON is expected");
	KMS_TRY(check_depth(text, why));
	json_error_t error;
	json_t *j = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &error);
	if (j == NULL)
		return parse_error(&error, why);
	*out = j;
	return KMS_OK;
}

/* ---- through a table ---- */

/* Each reader decodes the value and stores it only when at is not NULL: json_read goes through the table
 * twice, so that a bad field leaves the caller's struct as it was. */

static kms_err_t must_be(const json_field_t *f, diag_t *why, const char *what)
{
	return diag_fail(why, KMS_E_INVALID, "\"%s\" must be %s", f->name, what);
}

static span_t string_span(const json_t *v)
{
	return span_of(json_string_value(v), json_string_length(v));
}

static kms_err_t read_string(const json_field_t *f, const json_t *v, char *at, diag_t *why)
{
	if (!json_is_string(v))
		return must_be(f, why, "a string");
	span_t s = string_span(v);
	if (s.n >= f->cap)
		return diag_fail(why, KMS_E_INVALID, "\"%s\" must be a string of at most %zu bytes", f->name,
				 f->cap - 1);
	if (memchr(s.p, 0, s.n) != NULL)
		return must_be(f, why, "a string without NUL");
	if (at != NULL)
		memcpy(at, s.p, s.n + 1);
	return KMS_OK;
}

static kms_err_t read_name(const json_field_t *f, const json_t *v, char *at, diag_t *why)
{
	if (!json_is_string(v))
		return must_be(f, why, "a string that is a name");
	char name[NAME_CAP] = "";
	KMS_TRY(name_parse(f->name, string_span(v), name, why));
	if (at != NULL)
		memcpy(at, name, sizeof name);
	return KMS_OK;
}

static kms_err_t read_path3(const json_field_t *f, const json_t *v, path3_t *at, diag_t *why)
{
	if (!json_is_string(v))
		return must_be(f, why, "a string customer/service/name");
	path3_t path;
	KMS_TRY(path3_parse(f->name, string_span(v), &path, why));
	if (at != NULL)
		*at = path;
	return KMS_OK;
}

static kms_err_t read_u32(const json_field_t *f, const json_t *v, uint32_t *at, diag_t *why)
{
	json_int_t i = json_integer_value(v);
	if (!json_is_integer(v) || i < 0 || i > UINT32_MAX)
		return must_be(f, why, "an integer from 0 to 4294967295");
	if (at != NULL)
		*at = (uint32_t)i;
	return KMS_OK;
}

static kms_err_t read_i64(const json_field_t *f, const json_t *v, int64_t *at, diag_t *why)
{
	if (!json_is_integer(v))
		return must_be(f, why, "an integer");
	if (at != NULL)
		*at = (int64_t)json_integer_value(v);
	return KMS_OK;
}

static kms_err_t read_bool(const json_field_t *f, const json_t *v, bool *at, diag_t *why)
{
	if (!json_is_boolean(v))
		return must_be(f, why, "true or false");
	if (at != NULL)
		*at = json_is_true(v);
	return KMS_OK;
}

static kms_err_t read_hex32(const json_field_t *f, const json_t *v, uint8_t *at, diag_t *why)
{
	uint8_t bytes[32];
	if (!json_is_string(v) || hex_decode(string_span(v), bytes, sizeof bytes) != KMS_OK)
		return must_be(f, why, "64 lower-case hexadecimal digits");
	if (at != NULL)
		memcpy(at, bytes, sizeof bytes);
	return KMS_OK;
}

static kms_err_t read_value(const json_field_t *f, json_t *v, void *at, diag_t *why)
{
	switch (f->type) {
	case JF_STRING:
		return read_string(f, v, at, why);
	case JF_NAME:
		return read_name(f, v, at, why);
	case JF_PATH3:
		return read_path3(f, v, at, why);
	case JF_U32:
		return read_u32(f, v, at, why);
	case JF_I64:
		return read_i64(f, v, at, why);
	case JF_BOOL:
		return read_bool(f, v, at, why);
	case JF_HEX32:
		return read_hex32(f, v, at, why);
	case JF_RAW:
		if (at != NULL)
			memcpy(at, &v, sizeof v);
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

static kms_err_t read_fields(const json_t *obj, const json_field_t *fields, size_t n, bool strict, char *out,
			     diag_t *why)
{
	for (size_t i = 0; i < n; i++) {
		const json_field_t *f = &fields[i];
		json_t *v = json_object_get(obj, f->name);
		bool absent = v == NULL || (!strict && json_is_null(v) && f->type != JF_RAW && f->optional);
		if (absent && f->optional)
			continue;
		if (absent)
			return diag_fail(why, KMS_E_INVALID, "\"%s\" is missing", f->name);
		KMS_TRY(read_value(f, v, out != NULL ? out + f->offset : NULL, why));
	}
	return KMS_OK;
}

static bool in_table(span_t key, const json_field_t *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq(key, span_str(fields[i].name)))
			return true;
	return false;
}

static kms_err_t unknown_field(span_t key, diag_t *why)
{
	char shown[41];
	size_t n = key.n < sizeof shown - 1 ? key.n : sizeof shown - 1;
	for (size_t i = 0; i < n; i++)
		shown[i] = key.p[i] >= 0x20 && key.p[i] < 0x7f ? (char)key.p[i] : '?';
	shown[n] = '\0';
	return diag_fail(why, KMS_E_INVALID, "\"%s%s\" is not a known field", shown, key.n > n ? "..." : "");
}

static kms_err_t only_known(const json_t *obj, const json_field_t *fields, size_t n, diag_t *why)
{
	json_t *o = (json_t *)(uintptr_t)obj; /* jansson's iterators take no const, and change nothing */
	for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it)) {
		span_t key = span_of(json_object_iter_key(it), json_object_iter_key_len(it));
		if (!in_table(key, fields, n))
			return unknown_field(key, why);
	}
	return KMS_OK;
}

kms_err_t json_read(const json_t *obj, const json_field_t *fields, size_t n, bool strict, void *out,
		    diag_t *why)
{
	if (!json_is_object(obj))
		return diag_fail(why, KMS_E_INVALID, "a JSON object is expected");
	if (strict)
		KMS_TRY(only_known(obj, fields, n, why));
	KMS_TRY(read_fields(obj, fields, n, strict, NULL, why));
	return read_fields(obj, fields, n, strict, out, why);
}

/* ---- out ---- */

/* Bytes of the UTF-8 sequence at the start of s; 0 when there is none (RFC 3629: no overlong form, no
 * surrogate, nothing over U+10FFFF). */
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
	json_t *o = (json_t *)(uintptr_t)obj; /* as in only_known */
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

kms_err_t json_build(json_t **out, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	json_error_t error;
	json_t *j = json_vpack_ex(&error, 0, fmt, ap);
	va_end(ap);
	if (j == NULL) {
		enum json_error_code code = json_error_code(&error);
		bool wrong = code == json_error_invalid_utf8 || code == json_error_invalid_format;
		return wrong ? KMS_E_INVALID : KMS_E_NOMEM;
	}
	*out = j;
	return KMS_OK;
}
