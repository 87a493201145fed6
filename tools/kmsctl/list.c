#include "tools/kmsctl/list.h"

#include "common/base/scope.h"
#include "tools/kmsctl/command.h"

#include <stdlib.h>

const conf_setting_t list_flags[] = {
	LIST_LIMIT_FLAG,
};
const size_t list_n_flags = COUNT(list_flags);

static bool unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	       c == '.' || c == '_' || c == '~' || c == '/';
}

void query_add(buf_t *q, const char *key, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(q, "&%s=", key);
	for (; *value != '\0'; value++) {
		if (unreserved(*value))
			buf_u8(q, (uint8_t)*value);
		else
			buf_printf(q, "%%%02X", (unsigned)(unsigned char)*value);
	}
}

void query_add_number(buf_t *q, const char *key, int64_t value)
{
	buf_printf(q, "&%s=%lld", key, (long long)value);
}

static kms_err_t page_url(const page_walk_t *w, buf_t *url, const char **out, diag_t *why)
{
	buf_printf(url, "%s?limit=%llu%s", w->path,
		   (unsigned long long)(w->left < LIST_PAGE ? w->left : LIST_PAGE),
		   w->query != NULL ? w->query : "");
	query_add(url, "cursor", w->cursor[0] != '\0' ? w->cursor : NULL);
	kms_err_t e = buf_cstr(url, out);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the request");
}

/* Notes where the next page begins. A server that sends the same place again would keep us for ever. */
static kms_err_t next_cursor(page_walk_t *w, const json_t *j, diag_t *why)
{
	const char *cursor = value_text(j, "next_cursor");
	if (*cursor != '\0' && strcmp(cursor, w->cursor) == 0)
		return diag_fail(why, KMS_E_IO, "the server sends the same page of the list again");
	if (strlen(cursor) >= sizeof w->cursor)
		return diag_fail(why, KMS_E_IO, "the server's cursor is longer than %u characters",
				 CURSOR_CAP - 1);
	(void)snprintf(w->cursor, sizeof w->cursor, "%s", cursor);
	return KMS_OK;
}

kms_err_t page_walk(page_walk_t *w, page_fn_t each, void *ctx, diag_t *why)
{
	do {
		SCOPED(buf_free) buf_t url = BUF_INIT;
		SCOPED(json_freep) json_t *j = NULL;
		const char *text = NULL;
		KMS_TRY(page_url(w, &url, &text, why));
		KMS_TRY(cli_request(w->cli, "GET", text, NULL, &j, why));
		const json_t *rows = value_at(j, w->key);
		if (!json_is_array(rows))
			return diag_fail(why, KMS_E_IO, "the server's answer has no list \"%s\"", w->key);
		KMS_TRY(each(ctx, rows, why));
		uint64_t n = json_array_size(rows);
		if (w->left != LIST_NO_LIMIT)
			w->left -= n < w->left ? n : w->left;
		KMS_TRY(next_cursor(w, j, why));
	} while (w->left > 0 && w->cursor[0] != '\0' && (w->stop == NULL || !*w->stop));
	return KMS_OK;
}

kms_err_t list_begin(list_out_t *l, cli_t *cli, const char *key, const column_t *columns, size_t n,
		     diag_t *why)
{
	*l = (list_out_t){.cli = cli, .key = key};
	table_init(&l->table, columns, n, cli->out);
	if (cli->json && fprintf(cli->out, "{\n  \"%s\": [", key) < 0)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

/* One element, indented as it would be within the whole. */
static kms_err_t json_row(list_out_t *l, const json_t *row, diag_t *why)
{
	SCOPED(freep) char *text = json_dumps(row, JSON_INDENT(2) | JSON_ENCODE_ANY | cli_json_flags(l->cli));
	FILE *out = l->cli->out;
	if (text == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	(void)fputs(l->rows > 0 ? ",\n    " : "\n    ", out);
	for (const char *s = text; *s != '\0'; s++) {
		(void)fputc(*s, out);
		if (*s == '\n')
			(void)fputs("    ", out);
	}
	return ferror(out) == 0 ? KMS_OK : diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
}

kms_err_t list_rows(void *list, const json_t *rows, diag_t *why)
{
	list_out_t *l = list;
	if (!l->cli->json) {
		l->rows += json_array_size(rows);
		kms_err_t e = table_rows(&l->table, rows);
		return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the answer");
	}
	for (size_t i = 0; i < json_array_size(rows); i++, l->rows++)
		KMS_TRY(json_row(l, json_array_get(rows, i), why));
	return KMS_OK;
}

kms_err_t list_end(list_out_t *l, const char *cursor, diag_t *why)
{
	FILE *out = l->cli->out;
	if (!l->cli->json) {
		table_end(&l->table);
		if (*cursor != '\0' && cli_is_terminal(l->cli->err))
			(void)fprintf(l->cli->err, "(there are more rows than were asked for)\n");
		return KMS_OK;
	}
	(void)fputs(l->rows > 0 ? "\n  ]" : "]", out);
	if (*cursor != '\0') {
		SCOPED(json_freep) json_t *text = json_string(cursor);
		(void)fputs(",\n  \"next_cursor\": ", out);
		if (text == NULL || json_dumpf(text, out, JSON_ENCODE_ANY | cli_json_flags(l->cli)) != 0)
			return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	}
	return fputs("\n}\n", out) != EOF ? KMS_OK : diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
}

uint64_t list_limit(const cli_t *c)
{
	return conf_is_set(c->conf, "limit") ? (uint64_t)conf_number(c->conf, "limit") : LIST_NO_LIMIT;
}

kms_err_t list_print(cli_t *c, const char *path, const column_t *columns, size_t n, diag_t *why)
{
	return list_print_query(c, path, NULL, columns, n, why);
}

kms_err_t list_print_query(cli_t *c, const char *path, const char *query, const column_t *columns, size_t n,
			   diag_t *why)
{
	list_out_t l;
	page_walk_t w = {.cli = c, .path = path, .query = query, .key = "items", .left = list_limit(c)};
	KMS_TRY(list_begin(&l, c, "items", columns, n, why));
	KMS_TRY(page_walk(&w, list_rows, &l, why));
	return list_end(&l, w.cursor, why);
}
