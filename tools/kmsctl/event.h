/* What `maintenance create` and `rotate` share: the flags that describe a maintenance event, and its JSON. */
#ifndef CLAVIGER_TOOLS_KMSCTL_EVENT_H
#define CLAVIGER_TOOLS_KMSCTL_EVENT_H

#include "common/io/config.h"
#include "common/proto/json.h"

#define EVENT_FLAG_ROWS                                                                                      \
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "whose volumes (wanted)"},     \
		{.key = "service",                                                                           \
		 .type = CONF_TEXT,                                                                          \
		 .max = 63,                                                                                  \
		 .arg = "S",                                                                                 \
		 .help = "of this service only"},                                                            \
		{.key = "window",                                                                            \
		 .type = CONF_TEXT,                                                                          \
		 .max = 40,                                                                                  \
		 .arg = "DUR",                                                                               \
		 .help = "how long it stays open"},                                                          \
		{.key = "wave",                                                                              \
		 .type = CONF_NUMBER,                                                                        \
		 .min = 0,                                                                                   \
		 .max = 1000000,                                                                             \
		 .arg = "N",                                                                                 \
		 .help = "at most N volumes at a time (all)"},                                               \
		{.key = "max-failures",                                                                      \
		 .type = CONF_NUMBER,                                                                        \
		 .min = 0,                                                                                   \
		 .max = 1000000,                                                                             \
		 .arg = "N",                                                                                 \
		 .help = "halt after more failures than this (0)"},                                          \
	{                                                                                                    \
		.key = "ticket", .type = CONF_TEXT, .max = 128, .arg = "T", .help = "why: goes into the log" \
	}
#define EVENT_N_FLAGS 6U

extern const conf_setting_t event_flags[EVENT_N_FLAGS];

KMS_MUST event_body(const conf_t *conf, json_t **out, diag_t *why);
/* --timeout in seconds, 0 when not given. */
KMS_MUST event_timeout(const conf_t *conf, int64_t *out_s, diag_t *why);

#endif
