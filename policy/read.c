#include "policy/read.h"

#include "policy/locate.h"
#include "policy/pattern.h"

#include <stdarg.h>
#include <stdio.h>

/* --- where --- */

static void put_path(const read_t *r, char *out, size_t cap)
{
	size_t n = 0;
	out[0] = '\0';
	for (size_t i = 0; i < r->depth && n < cap; i++) {
		int k = r->name[i] != NULL ? snprintf(out + n, cap - n, "%s%s", i > 0 ? "." : "", r->name[i])
					   : snprintf(out + n, cap - n, "[%zu]", r->child[i]);
		n += k > 0 ? (size_t)k : 0;
	}
}

static KMS_MUST fail_here(read_t *r, bool key, const char *what)
{
	char path[256];
	json_place_t at = json_place_of(r->text, locate(r->text, r->child, r->depth, key));
	put_path(r, path, sizeof path);
	r->why->line = at.line;
	r->why->column = at.column;
	return diag_fail(&r->why->why, KMS_E_INVALID, "%s%s%s", path, path[0] != '\0' ? ": " : "", what);
}

kms_err_t read_fail(read_t *r, const char *fmt, ...)
{
	diag_t what;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(what.text, sizeof what.text, fmt, ap);
	va_end(ap);
	return fail_here(r, false, what.text);
}

static KMS_MUST enter(read_t *r, const char *name, size_t child)
{
	if (r->depth == READ_DEPTH)
		return read_fail(r, "nested too deep");
	r->name[r->depth] = name;
	r->child[r->depth++] = child;
	return KMS_OK;
}

/* jansson keeps the order of the text. */
static size_t child_of(const json_t *object, const char *name)
{
	json_t *o = (json_t *)(uintptr_t)object; /* jansson's iterators take no const, and change nothing */
	size_t i = 0;
	for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it), i++)
		if (strcmp(json_object_iter_key(it), name) == 0)
			break;
	return i;
}

kms_err_t read_fail_at(read_t *r, const json_t *object, const char *name, const char *fmt, ...)
{
	diag_t what;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(what.text, sizeof what.text, fmt, ap);
	va_end(ap);
	KMS_TRY(enter(r, name, child_of(object, name)));
	return fail_here(r, true, what.text);
}

/* --- objects --- */

static const read_field_t *find(const char *name, const read_field_t *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* Of the member that is being read. */
static KMS_MUST unknown(read_t *r, const char *name, const read_field_t *fields, size_t n)
{
	char known[256] = "";
	size_t used = 0;
	for (size_t i = 0; i < n && used < sizeof known; i++) {
		int k = snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "",
				 fields[i].name);
		used += k > 0 ? (size_t)k : 0;
	}
	shown_t shown = pattern_shown(span_str(name));
	diag_t what;
	(void)snprintf(what.text, sizeof what.text, "\"%s\" is not known here: there is %s", shown.text,
		       known);
	r->name[r->depth - 1] = shown.text;
	kms_err_t e = fail_here(r, true, what.text);
	r->depth--; /* shown ends here */
	return e;
}

static KMS_MUST read_member(read_t *r, const char *name, const json_t *v, size_t child,
			    const read_field_t *fields, size_t n, void *into)
{
	const read_field_t *f = find(name, fields, n);
	KMS_TRY(enter(r, name, child));
	if (f == NULL)
		return unknown(r, name, fields, n);
	KMS_TRY(f->read(r, v, (char *)into + f->offset));
	r->depth--;
	return KMS_OK;
}

kms_err_t read_object(read_t *r, const json_t *v, const read_field_t *fields, size_t n, void *into)
{
	json_t *o = (json_t *)(uintptr_t)v;
	size_t child = 0;
	if (json_typeof(v) != JSON_OBJECT)
		return read_fail(r, "must be an object");
	for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it), child++)
		KMS_TRY(read_member(r, json_object_iter_key(it), json_object_iter_value(it), child, fields, n,
				    into));
	for (size_t i = 0; i < n; i++)
		if (fields[i].required && json_object_get(v, fields[i].name) == NULL)
			return read_fail(r, "\"%s\" is missing", fields[i].name);
	return KMS_OK;
}

/* --- arrays --- */

static KMS_MUST check_array(read_t *r, const json_t *v, size_t min, size_t max)
{
	size_t n = json_array_size(v);
	if (json_typeof(v) != JSON_ARRAY)
		return read_fail(r, "must be an array: [ ... ]");
	if (n < min || n > max)
		return read_fail(r, "has %zu items: %zu to %zu are allowed", n, min, max);
	return KMS_OK;
}

static KMS_MUST read_items(read_t *r, const json_t *v, read_fn each, char *into, size_t step)
{
	for (size_t i = 0; i < json_array_size(v); i++) {
		KMS_TRY(enter(r, NULL, i));
		KMS_TRY(each(r, json_array_get(v, i), into + i * step));
		r->depth--;
	}
	return KMS_OK;
}

kms_err_t read_each(read_t *r, const json_t *v, size_t min, size_t max, read_fn each, void *into)
{
	KMS_TRY(check_array(r, v, min, max));
	return read_items(r, v, each, into, 0);
}

kms_err_t read_list(read_t *r, const json_t *v, size_t min, size_t max, size_t size, read_fn each,
		    void **items, size_t *n)
{
	void *list = NULL;
	KMS_TRY(check_array(r, v, min, max));
	KMS_TRY(pool_array(r->pool, json_array_size(v), size, &list));
	KMS_TRY(read_items(r, v, each, list, size));
	*items = list;
	*n = json_array_size(v);
	return KMS_OK;
}

/* --- values --- */

kms_err_t read_string(read_t *r, const json_t *v, size_t max, span_t *out)
{
	if (json_typeof(v) != JSON_STRING)
		return read_fail(r, "must be a string");
	if (json_string_length(v) > max)
		return read_fail(r, "is longer than %zu bytes", max);
	*out = span_of(json_string_value(v), json_string_length(v));
	return KMS_OK;
}

kms_err_t read_bool(read_t *r, const json_t *v, bool *out)
{
	if (json_typeof(v) != JSON_TRUE && json_typeof(v) != JSON_FALSE)
		return read_fail(r, "must be true or false");
	*out = json_typeof(v) == JSON_TRUE;
	return KMS_OK;
}

kms_err_t read_number(read_t *r, const json_t *v, uint32_t min, uint32_t max, uint32_t *out)
{
	json_int_t i = json_integer_value(v);
	if (json_typeof(v) != JSON_INTEGER || i < min || i > max)
		return read_fail(r, "must be a whole number from %u to %u", min, max);
	*out = (uint32_t)i;
	return KMS_OK;
}

kms_err_t read_name(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	const char *name = NULL;
	KMS_TRY(read_string(r, v, 1024, &s));
	if (!name_valid(s))
		return read_fail(r,
				 "\"%s\" is no name: a-z, 0-9 and -, at most 63, beginning with a letter or "
				 "digit",
				 pattern_shown(s).text);
	KMS_TRY(pool_text(r->pool, s, &name));
	memcpy(into, &name, sizeof name);
	return KMS_OK;
}
