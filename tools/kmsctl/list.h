/* Lists: page after page from the server into one table or one JSON array, without holding more than a page.
 */
#ifndef CLAVIGER_TOOLS_KMSCTL_LIST_H
#define CLAVIGER_TOOLS_KMSCTL_LIST_H

#include "tools/kmsctl/cli.h"

#define LIST_NO_LIMIT UINT64_MAX
#define LIST_PAGE     200U /* so many of the largest events (64 KiB) fit into the client's 16 MiB */
#define CURSOR_CAP    512U

/* --limit, a row of a command's flags */
#define LIST_LIMIT_FLAG                                                                                      \
	{                                                                                                    \
		.key = "limit", .type = CONF_NUMBER, .min = 1, .max = 1000000000, .arg = "N",                \
		.help = "at most N rows (all)"                                                               \
	}

/* Appends &key=value, percent-encoded; a NULL value appends nothing. */
void query_add(buf_t *q, const char *key, const char *value);
void query_add_number(buf_t *q, const char *key, int64_t value);

typedef kms_err_t (*page_fn_t)(void *ctx, const json_t *rows, diag_t *why);

typedef struct page_walk {
	cli_t *cli;
	const char *path;        /* "/v1/customers" */
	const char *query;       /* "&from=…" of query_add, may be NULL */
	const char *key;         /* name of the array in the answer */
	uint64_t left;           /* rows still wanted; counted down */
	const bool *stop;        /* ends the walk once it is true; or NULL */
	char cursor[CURSOR_CAP]; /* where to begin (empty: at the start), and after it where the rest begins
				  */
} page_walk_t;

/* Calls each for every page until the end or until no more rows are wanted. */
KMS_MUST page_walk(page_walk_t *w, page_fn_t each, void *ctx, diag_t *why);

/* The printer of a list, in the user's format. */
typedef struct list_out {
	cli_t *cli;
	const char *key;
	table_t table;
	uint64_t rows;
} list_out_t;

KMS_MUST list_begin(list_out_t *l, cli_t *cli, const char *key, const column_t *columns, size_t n,
		    diag_t *why);
/* page_fn_t with the list_out_t as its context. */
kms_err_t list_rows(void *list, const json_t *rows, diag_t *why);
/* cursor: what is left to be asked for, or "". */
KMS_MUST list_end(list_out_t *l, const char *cursor, diag_t *why);

/* The settings of plain list commands, and the whole of one: GET path, all pages or --limit rows. */
extern const conf_setting_t list_flags[];
extern const size_t list_n_flags;
uint64_t list_limit(const cli_t *c);
KMS_MUST list_print(cli_t *c, const char *path, const column_t *columns, size_t n, diag_t *why);
/* query: of query_add, or NULL. */
KMS_MUST list_print_query(cli_t *c, const char *path, const char *query, const column_t *columns, size_t n,
			  diag_t *why);

#endif
