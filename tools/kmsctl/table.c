#include "tools/kmsctl/table.h"

#include "common/base/scope.h"

#include <ctype.h>
#include <stdlib.h>

#define GAP 2

void table_init(table_t *t, const column_t *columns, size_t n, FILE *out)
{
	*t = (table_t){.columns = columns, .n = n < TABLE_MAX_COLUMNS ? n : TABLE_MAX_COLUMNS, .out = out};
	for (size_t i = 0; i < t->n; i++)
		t->widths[i] = strlen(columns[i].title);
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static size_t width_of(const char *s)
{
	size_t n = 0;
	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void cell(FILE *out, const char *text, size_t width, bool last)
{
	size_t n = width_of(text);
	(void)fputs(text, out);
	for (; !last && n < width + GAP; n++)
		(void)fputc(' ', out);
}

static kms_err_t cell_text(const column_t *col, const json_t *row, buf_t *b, const char **out)
{
	buf_clear(b);
	if (col->format != NULL)
		col->format(row, b);
	else
		value_format(value_at(row, col->path), col->kind, b);
	return buf_cstr(b, out);
}

static kms_err_t measure(table_t *t, const json_t *rows)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	for (size_t r = 0; r < json_array_size(rows); r++)
		for (size_t i = 0; i < t->n; i++) {
			const char *text = NULL;
			KMS_TRY(cell_text(&t->columns[i], json_array_get(rows, r), &b, &text));
			size_t n = width_of(text);
			t->widths[i] = n > t->widths[i] ? n : t->widths[i];
		}
	return KMS_OK;
}

static void heading(table_t *t)
{
	if (t->begun)
		return;
	t->begun = true;
	for (size_t i = 0; i < t->n; i++)
		cell(t->out, t->columns[i].title, t->widths[i], i + 1 == t->n);
	(void)fputc('\n', t->out);
}

kms_err_t table_rows(table_t *t, const json_t *rows)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	KMS_TRY(measure(t, rows));
	if (json_array_size(rows) > 0)
		heading(t);
	for (size_t r = 0; r < json_array_size(rows); r++) {
		for (size_t i = 0; i < t->n; i++) {
			const char *text = NULL;
			KMS_TRY(cell_text(&t->columns[i], json_array_get(rows, r), &b, &text));
			cell(t->out, text, t->widths[i], i + 1 == t->n);
		}
		(void)fputc('\n', t->out);
	}
	return KMS_OK;
}

void table_end(table_t *t)
{
	heading(t);
}

kms_err_t record_print(const column_t *columns, size_t n, const json_t *j, FILE *out)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	size_t widest = 0;
	for (size_t i = 0; i < n; i++)
		widest = strlen(columns[i].title) > widest ? strlen(columns[i].title) : widest;
	for (size_t i = 0; i < n; i++) {
		const char *text = NULL;
		char title[48];
		size_t k = 0;
		for (; columns[i].title[k] != '\0' && k + 1 < sizeof title; k++)
			title[k] = (char)tolower((unsigned char)columns[i].title[k]);
		title[k] = '\0';
		KMS_TRY(cell_text(&columns[i], j, &b, &text));
		cell(out, title, widest, false);
		(void)fprintf(out, "%s\n", text);
	}
	return KMS_OK;
}
