#include "common/io/config_file.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <stdio.h>
#include <string.h>

#define FILE_LIMIT (64U * 1024U)
#define LINE_CAP   4608U

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static char *trim(char *s)
{
	while (blank(*s))
		s++;
	size_t n = strlen(s);
	while (n > 0 && blank(s[n - 1]))
		s[--n] = '\0';
	return s;
}

/* Cuts a comment off: a mark at the start or behind a blank, so that a URL may hold ';' and '#'. */
static void cut_comment(char *s)
{
	for (char *at = s; *at != '\0'; at++)
		if ((*at == '#' || *at == ';') && (at == s || blank(at[-1]))) {
			*at = '\0';
			return;
		}
}

/* "text", with \" and \\ inside; behind it only a comment. Unquotes in place; NULL when malformed. */
static char *unquote(char *s)
{
	char *to = s;
	char *from = s + 1;
	for (; *from != '"'; from++) {
		if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
			from++;
		if (*from == '\0')
			return NULL;
		*to++ = *from;
	}
	char *rest = from + 1;
	cut_comment(rest);
	if (*trim(rest) != '\0')
		return NULL;
	*to = '\0';
	return s;
}

static bool key_form(const char *s)
{
	return *s != '\0' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(s);
}

static kms_err_t one_line(char *line, const char *path, unsigned nr, conf_line_t each, void *ctx, diag_t *why)
{
	char *s = trim(line);
	if (*s == '\0' || *s == '#' || *s == ';')
		return KMS_OK;
	if (*s == '[')
		return diag_fail(why, KMS_E_INVALID, "%s:%u: sections are not used, only `key = value` lines",
				 path, nr);
	char *eq = strchr(s, '=');
	if (eq == NULL)
		return diag_fail(why, KMS_E_INVALID, "%s:%u: not a `key = value` line", path, nr);
	*eq = '\0';
	const char *key = trim(s);
	char *value = trim(eq + 1);
	if (!key_form(key))
		return diag_fail(why, KMS_E_INVALID, "%s:%u: a key is made of a-z, 0-9 and '-'", path, nr);
	if (*value == '"') {
		value = unquote(value);
		if (value == NULL)
			return diag_fail(why, KMS_E_INVALID, "%s:%u: the quotes of \"%s\" do not close", path,
					 nr, key);
	} else {
		cut_comment(value);
		value = trim(value);
	}
	return each(ctx, key, value, nr, why);
}

/* Copies the line out of the text; a carriage return before the newline is passed over. */
static kms_err_t take_line(span_t l, const char *path, unsigned nr, char out[LINE_CAP], diag_t *why)
{
	if (l.n > 0 && l.p[l.n - 1] == '\r')
		l.n--;
	if (l.n >= LINE_CAP)
		return diag_fail(why, KMS_E_INVALID, "%s:%u: the line is longer than %u bytes", path, nr,
				 LINE_CAP - 1);
	for (size_t i = 0; i < l.n; i++)
		if ((l.p[i] < 0x20 && l.p[i] != '\t') || l.p[i] == 0x7f)
			return diag_fail(why, KMS_E_INVALID, "%s:%u: a control character", path, nr);
	if (l.n > 0)
		memcpy(out, l.p, l.n);
	out[l.n] = '\0';
	return KMS_OK;
}

kms_err_t conf_file_read(const char *path, conf_line_t each, void *ctx, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	KMS_TRY(file_read(path, FILE_LIMIT, &text, why));
	span_t rest = buf_span(&text);
	for (unsigned nr = 1; rest.n > 0; nr++) {
		const uint8_t *end = memchr(rest.p, '\n', rest.n);
		span_t l = span_of(rest.p, end != NULL ? (size_t)(end - rest.p) : rest.n);
		char line[LINE_CAP] = "";
		KMS_TRY(take_line(l, path, nr, line, why));
		KMS_TRY(one_line(line, path, nr, each, ctx, why));
		size_t used = l.n + (end != NULL ? 1 : 0);
		rest = span_of(rest.p + used, rest.n - used);
	}
	return KMS_OK;
}
