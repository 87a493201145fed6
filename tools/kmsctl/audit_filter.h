/* What `audit query` and `audit follow` filter by: flags turned into the query of /v1/audit/events; and the
 * list of one customer, which export and verify walk. */
#ifndef CLAVIGER_TOOLS_KMSCTL_AUDIT_FILTER_H
#define CLAVIGER_TOOLS_KMSCTL_AUDIT_FILTER_H

#include "tools/kmsctl/list.h"

#define AUDIT_FILTER_ROWS                                                                                    \
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "of this customer"},           \
		{.key = "service",                                                                           \
		 .type = CONF_TEXT,                                                                          \
		 .max = 127,                                                                                 \
		 .arg = "[C/]S",                                                                             \
		 .help = "of this service"},                                                                 \
		{.key = "volume",                                                                            \
		 .type = CONF_TEXT,                                                                          \
		 .max = 191,                                                                                 \
		 .arg = "[C/S/]V",                                                                           \
		 .help = "on this volume"},                                                                  \
		{.key = "node",                                                                              \
		 .type = CONF_TEXT,                                                                          \
		 .max = 191,                                                                                 \
		 .arg = "[C/S/]N",                                                                           \
		 .help = "on or by this node"},                                                              \
		{.key = "actor",                                                                             \
		 .type = CONF_TEXT,                                                                          \
		 .max = 255,                                                                                 \
		 .arg = "NAME",                                                                              \
		 .help = "by this operator or node"},                                                        \
		{.key = "operation",                                                                         \
		 .type = CONF_TEXT,                                                                          \
		 .max = 63,                                                                                  \
		 .arg = "OP",                                                                                \
		 .help = "such as key.release"},                                                             \
		{.key = "status",                                                                            \
		 .type = CONF_TEXT,                                                                          \
		 .max = 16,                                                                                  \
		 .arg = "STATUS",                                                                            \
		 .help = "success or failure"},                                                              \
		{.key = "grant", .type = CONF_TEXT, .max = 63, .arg = "ID", .help = "under this grant"},     \
	{                                                                                                    \
		.key = "maintenance", .type = CONF_TEXT, .max = 63, .arg = "ID",                             \
		.help = "within this maintenance event"                                                      \
	}
#define AUDIT_FILTER_N 9U

/* Appends "&customer=…" and so on; all are checked here, before anything is asked. */
KMS_MUST audit_filter_add(const cli_t *c, buf_t *q, diag_t *why);

/* What the server lists of a customer's events, in the log's order from index `from` on, until *stop. */
KMS_MUST audit_walk_customer(cli_t *c, const char *customer, uint64_t from, const bool *stop, page_fn_t each,
			     void *ctx, diag_t *why);
/* The index and the event, which is the row's, of a row of such a list. */
KMS_MUST audit_row(const json_t *row, uint64_t *index, const json_t **event, diag_t *why);

#endif
