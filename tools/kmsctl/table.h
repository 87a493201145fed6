/* Aligned columns under a header, and records as one `name  value` a line. Rows come in pages: the widths of
 * the first page hold for all (and grow, where the line has no end), so that a long list is never held whole.
 */
#ifndef CLAVIGER_TOOLS_KMSCTL_TABLE_H
#define CLAVIGER_TOOLS_KMSCTL_TABLE_H

#include "tools/kmsctl/value.h"

#include <stdio.h>

#define TABLE_MAX_COLUMNS 12U

typedef struct column {
	const char *title; /* "ENROLLED": table heads in capitals; records print it in lower case */
	const char *path;
	value_kind_t kind;
	void (*format)(const json_t *row, buf_t *out); /* instead of path, where the text is put together */
	unsigned drop; /* where there is no room the column with the highest goes first; 0: stays */
} column_t;

typedef struct table {
	const column_t *columns;
	size_t n;
	FILE *out;
	size_t width; /* characters of a line at most, 0: no end; set before the first rows */
	size_t widths[TABLE_MAX_COLUMNS]; /* at least; 0 after the first rows: left out */
	bool begun;
} table_t;

void table_init(table_t *t, const column_t *columns, size_t n, FILE *out);
/* rows: an array of objects. NOMEM. */
KMS_MUST table_rows(table_t *t, const json_t *rows);
/* The header of a table without rows. */
void table_end(table_t *t);

/* What stands in the cell; out is within b, which is cleared first. */
KMS_MUST column_text(const column_t *col, const json_t *row, buf_t *b, const char **out);

KMS_MUST record_print(const column_t *columns, size_t n, const json_t *j, FILE *out);

#endif
