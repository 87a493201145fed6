#include "common/proto/json.h"

#include "common/base/encode.h"
#include "common/base/scope.h"

#include <stdarg.h>
#include <stdlib.h>

void json_freep(json_t **j)
{
	json_decref(*j);
	*j = NULL;
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
