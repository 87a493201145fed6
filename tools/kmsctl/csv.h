/* Values as fields of CSV (RFC 4180) that a spreadsheet may open: every field in quotes, control characters
 * replaced, and what a spreadsheet would take for a formula made a text by an apostrophe in front. */
#ifndef CLAVIGER_TOOLS_KMSCTL_CSV_H
#define CLAVIGER_TOOLS_KMSCTL_CSV_H

#include "tools/kmsctl/table.h"

/* One line, ended by CR LF. */
KMS_MUST csv_heading(const column_t *columns, size_t n, FILE *out);
KMS_MUST csv_row(const column_t *columns, size_t n, const json_t *row, FILE *out);

#endif
