#include "tools/kmsctl/csv.h"

#include "common/base/scope.h"

#include <ctype.h>

/* Blanks in front would be passed over by some. */
static bool formula(const char *s)
{
	s += strspn(s, " ");
	return *s != '\0' && strchr("=+-@\t\r|%", *s) != NULL;
}

static void field(FILE *out, const char *s, bool first)
{
	(void)fputs(first ? "\"" : ",\"", out);
	if (formula(s))
		(void)fputc('\'', out);
	for (; *s != '\0'; s++) {
		if (*s == '"')
			(void)fputc('"', out);
		(void)fputc(*s, out);
	}
	(void)fputc('"', out);
}

static kms_err_t end_line(FILE *out)
{
	(void)fputs("\r\n", out);
	return ferror(out) == 0 ? KMS_OK : KMS_E_IO;
}

kms_err_t csv_heading(const column_t *columns, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		char title[48];
		size_t k = 0;
		for (; columns[i].title[k] != '\0' && k + 1 < sizeof title; k++)
			title[k] = columns[i].title[k] == ' '
					   ? '_'
					   : (char)tolower((unsigned char)columns[i].title[k]);
		title[k] = '\0';
		field(out, title, i == 0);
	}
	return end_line(out);
}

kms_err_t csv_row(const column_t *columns, size_t n, const json_t *row, FILE *out)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = columns[i].format == NULL ? value_at(row, columns[i].path) : NULL;
		const char *text = "";
		buf_clear(&b);
		if (columns[i].format != NULL)
			columns[i].format(row, &b);
		else if (v != NULL && !json_is_null(v) &&
			 !(json_is_string(v) && *json_string_value(v) == '\0'))
			value_format(v, columns[i].kind, &b); /* its "-" is for people */
		KMS_TRY(buf_cstr(&b, &text));
		field(out, text, i == 0);
	}
	return end_line(out);
}
