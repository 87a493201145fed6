/* Reading is jansson's. What stands here holds its input to our limits, and its failures of memory.
 *
 * jansson 2.14 does not look whether its token buffer could grow. When that fails it goes on without the
 * byte: a cut name is another customer's name, and behind a lost closing quote it writes past the end of a
 * block. So no growth may fail: before the parse a reserve is put aside that is large enough for the largest
 * one. The first allocation that fails is served from it and noted; all later ones fail, and the text ends
 * there for jansson, because it is handed out byte by byte: no token can grow again. What came out is
 * dropped. */
#include "common/proto/json.h"

#include "common/base/scope.h"

#include <malloc.h>
#include <stdlib.h>

/* The buffer starts with 16 bytes and doubles when the next byte has no place in it. */
#define RESERVE_FOR(n) (2 * (n) + 32)

/* The parse that this thread is in (n is 0 outside of one); jansson's allocation hooks have no context. */
static _Thread_local struct {
	void *reserve;
	size_t n;
	bool failed;
} guard;

static void *guarded_malloc(size_t n)
{
	void *p = guard.failed ? NULL : malloc(n);
	if (p != NULL || guard.n == 0)
		return p;
	guard.failed = true;
	return n <= guard.n ? TAKE(guard.reserve) : NULL;
}

/* jansson asks for new memory and frees the old where others would realloc, so this sees every block. */
static void free_wiped(void *p)
{
	if (p == NULL)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* By itself, before main: a program that forgot would parse unguarded. */
__attribute__((constructor)) void json_wipe_on_free(void)
{
	json_set_alloc_funcs(guarded_malloc, free_wiped);
}

/* --- what jansson does not refuse, or only too late --- */

json_place_t json_place_of(span_t text, size_t at)
{
	json_place_t place = {1, 1};
	for (size_t i = 0; i < at && i < text.n; i++) {
		if (text.p[i] == '\n') {
			place.line++;
			place.column = 1;
		} else if ((text.p[i] & 0xc0U) != 0x80U) {
			place.column++;
		}
	}
	return place;
}

static KMS_MUST bad_at(span_t text, size_t at, const char *what, json_place_t *place, diag_t *why)
{
	*place = json_place_of(text, at);
	return diag_fail(why, KMS_E_INVALID, "%s", what);
}

/* jansson says so only behind the whole token. */
static KMS_MUST must_open(span_t text, json_place_t *place, diag_t *why)
{
	size_t at = 0;
	while (at < text.n && strchr(" \t\n\r", text.p[at]) != NULL && text.p[at] != 0)
		at++;
	if (at < text.n && text.p[at] != 0 && text.p[at] != '[' && text.p[at] != '{')
		return bad_at(text, at, "a JSON object or array is expected", place, why);
	return KMS_OK;
}

/* One pass for NUL bytes and nesting; brackets count outside strings only. Whether they match is jansson's.
 */
static KMS_MUST scan(span_t text, json_place_t *place, diag_t *why)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];
		if (c == 0)
			return bad_at(text, i, "a NUL byte", place, why);
		if (c == '"')
			in_string = !in_string;
		else if (in_string && c == '\\' && i + 1 < text.n && text.p[i + 1] != 0)
			i++;
		else if (!in_string && (c == '[' || c == '{') && depth++ == JSON_DEPTH_LIMIT)
			return bad_at(text, i, "nested deeper than 16 levels", place, why);
		else if (!in_string && (c == ']' || c == '}') && depth > 0)
			depth--;
	}
	return KMS_OK;
}

/* --- the parse --- */

static const char *meaning(enum json_error_code code)
{
	switch (code) {
	case json_error_invalid_utf8:
		return "not valid UTF-8";
	case json_error_premature_end_of_input:
		return "the text ends too early";
	case json_error_end_of_input_expected:
		return "there is something after the value";
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "a string holds a NUL character";
	case json_error_duplicate_key:
		return "a name stands twice in one object";
	case json_error_numeric_overflow:
		return "a number is out of range";
	case json_error_stack_overflow:
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

/* jansson's own text is never shown: it quotes the document. Its column counts the characters read. */
static KMS_MUST refused(const json_error_t *error, json_place_t *place, diag_t *why)
{
	*place = (json_place_t){(unsigned)error->line, (unsigned)error->column + 1};
	return diag_fail(why, KMS_E_INVALID, "%s", meaning(json_error_code(error)));
}

static size_t next_byte(void *buffer, size_t room, void *text)
{
	span_t *rest = text;
	if (room == 0 || rest->n == 0 || guard.failed)
		return 0;
	memcpy(buffer, rest->p, 1);
	*rest = span_of(rest->p + 1, rest->n - 1);
	return 1;
}

static KMS_MUST parse_guarded(span_t text, json_t **out, json_place_t *place, diag_t *why)
{
	json_error_t error;
	guard.n = RESERVE_FOR(text.n);
	guard.reserve = malloc(guard.n);
	if (guard.reserve == NULL)
		return KMS_E_NOMEM;
	json_t *j = json_load_callback(next_byte, &text, JSON_REJECT_DUPLICATES, &error);
	bool failed = guard.failed;
	free(TAKE(guard.reserve));
	guard.n = 0;
	guard.failed = false;
	if (failed)
		json_freep(&j);
	if (j == NULL)
		return failed ? KMS_E_NOMEM : refused(&error, place, why);
	*out = j;
	return KMS_OK;
}

kms_err_t json_parse_at(span_t text, size_t limit, json_t **out, json_place_t *at, diag_t *why)
{
	*at = (json_place_t){0, 0};
	if (text.n > limit)
		return diag_fail(why, KMS_E_INVALID, "longer than %zu bytes", limit);
	if (text.n == 0)
		return diag_fail(why, KMS_E_INVALID, "empty, where JSON is expected");
	KMS_TRY(must_open(text, at, why));
	KMS_TRY(scan(text, at, why));
	kms_err_t e = parse_guarded(text, out, at, why);
	return e == KMS_E_NOMEM ? diag_fail(why, e, "out of memory") : e;
}

kms_err_t json_parse(span_t text, size_t limit, json_t **out, diag_t *why)
{
	json_place_t at;
	diag_t what = {""};
	kms_err_t e = json_parse_at(text, limit, out, &at, &what);
	if (e == KMS_OK || at.line == 0)
		return e == KMS_OK ? e : diag_fail(why, e, "%s", what.text);
	return diag_fail(why, e, "line %u, column %u: %s", at.line, at.column, what.text);
}
