#include "tools/kmsctl/table.h"

#include "common/base/scope.h"

#include <ctype.h>
#include <stdlib.h>

#define GAP   2
#define LEAST 12 /* characters that a column is not made narrower than */

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

/* The first `width` characters; the last of them tells that there are more. */
static void cut(char *text, size_t width)
{
	static const char more[] = "\xe2\x80\xa6"; /* an ellipsis */
	size_t n = 0;
	char *at = text;
	if (width == 0 || width_of(text) <= width)
		return;
	for (; *at != '\0'; at++) {
		n += ((unsigned char)*at & 0xc0) != 0x80;
		if (n == width)
			break;
	}
	/* what is cut off is longer than what is put there, or it was one character of as many bytes */
	size_t room = strlen(at);
	if (room >= sizeof more - 1)
		memcpy(at, more, sizeof more);
	else
		*at = '\0';
}

kms_err_t column_text(const column_t *col, const json_t *row, buf_t *b, const char **out)
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
			KMS_TRY(column_text(&t->columns[i], json_array_get(rows, r), &b, &text));
			size_t n = width_of(text);
			t->widths[i] = n > t->widths[i] ? n : t->widths[i];
		}
	return KMS_OK;
}

static size_t line_width(const table_t *t)
{
	size_t sum = 0;
	for (size_t i = 0; i < t->n; i++)
		sum += t->widths[i] > 0 ? t->widths[i] + (sum > 0 ? GAP : 0) : 0;
	return sum;
}

static size_t last_column(const table_t *t)
{
	size_t last = t->n - 1;
	while (last > 0 && t->widths[last] == 0)
		last--;
	return last;
}

static bool drop_one(table_t *t)
{
	size_t at = t->n;
	for (size_t i = 0; i < t->n; i++)
		if (t->widths[i] > 0 && t->columns[i].drop > 0 &&
		    (at == t->n || t->columns[i].drop > t->columns[at].drop))
			at = i;
	if (at < t->n)
		t->widths[at] = 0;
	return at < t->n;
}

/* The last column, which is the longest text, gives way first; then columns go. */
static void fit(table_t *t)
{
	if (t->width == 0 || t->begun)
		return;
	do {
		size_t last = last_column(t);
		size_t sum = line_width(t);
		size_t over = sum > t->width ? sum - t->width : 0;
		if (t->widths[last] >= over + LEAST)
			t->widths[last] -= over;
	} while (line_width(t) > t->width && drop_one(t));
}

static void heading(table_t *t)
{
	if (t->begun)
		return;
	t->begun = true;
	for (size_t i = 0; i < t->n; i++)
		if (t->widths[i] > 0)
			cell(t->out, t->columns[i].title, t->widths[i], i == last_column(t));
	(void)fputc('\n', t->out);
}

static kms_err_t print_row(const table_t *t, const json_t *row, buf_t *b)
{
	for (size_t i = 0; i < t->n; i++) {
		const char *text = NULL;
		if (t->widths[i] == 0)
			continue;
		KMS_TRY(column_text(&t->columns[i], row, b, &text));
		if (t->width > 0)
			cut((char *)b->p, t->widths[i]);
		cell(t->out, text, t->widths[i], i == last_column(t));
	}
	(void)fputc('\n', t->out);
	return KMS_OK;
}

kms_err_t table_rows(table_t *t, const json_t *rows)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	if (t->width == 0 || !t->begun)
		KMS_TRY(measure(t, rows));
	if (json_array_size(rows) == 0)
		return KMS_OK;
	fit(t);
	heading(t);
	for (size_t r = 0; r < json_array_size(rows); r++)
		KMS_TRY(print_row(t, json_array_get(rows, r), &b));
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
		KMS_TRY(column_text(&columns[i], j, &b, &text));
		cell(out, title, widest, false);
		(void)fprintf(out, "%s\n", text);
	}
	return KMS_OK;
}
