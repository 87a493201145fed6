/* What `audit query` and `audit follow` filter by: flags turned into the query of /v1/audit/events. */
#ifndef CLAVIGER_TOOLS_KMSCTL_AUDIT_FILTER_H
#define CLAVIGER_TOOLS_KMSCTL_AUDIT_FILTER_H

#include "tools/kmsctl/cli.h"

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

#endif
