/* What `maintenance create` and `rotate` share: the flags that describe a maintenance event, and its JSON. */
#ifndef CLAVIGER_TOOLS_KMSCTL_EVENT_H
#define CLAVIGER_TOOLS_KMSCTL_EVENT_H

#include "common/io/config.h"
#include "common/proto/json.h"

/* A row of text; `longest` in bytes. */
#define EVENT_TEXT(name, longest, word, text)                                                                \
	{                                                                                                    \
		.key = name, .type = CONF_TEXT, .max = longest, .arg = word, .help = text                    \
	}
#define EVENT_COUNT(name, text)                                                                              \
	{                                                                                                    \
		.key = name, .type = CONF_NUMBER, .min = 0, .max = 100000, .arg = "N", .help = text          \
	}
#define EVENT_YES(name, text)                                                                                \
	{                                                                                                    \
		.key = name, .type = CONF_BOOL, .help = text                                                 \
	}
#define EVENT_FLAG_ROWS                                                                                      \
	EVENT_TEXT("customer", 63, "C", "whose volumes (wanted)"),                                           \
		EVENT_TEXT("service", 63, "S", "of this service only"),                                      \
		EVENT_TEXT("node", 4000, "N[,N…]", "of these nodes only; web-* is all that begin so"),       \
		EVENT_YES("reencrypt", "new volume keys too: all data are written anew, in place"),          \
		EVENT_YES("compromised", "destroy the former secrets at once, not a week later"),            \
		EVENT_TEXT("start", 40, "TIME", "begin then, or +2h: in two hours (now)"),                   \
		EVENT_TEXT("window", 40, "DUR", "how long it stays open (1d)"),                              \
		EVENT_TEXT("hours", 11, "H-H", "begin nothing outside of 22:00-05:00"),                      \
		EVENT_TEXT("zone", 6, "ZONE", "of --hours: Z or +01:00 (Z)"),                                \
		EVENT_TEXT("days", 40, "D[,D…]", "of --hours: mon,tue… on which they begin (all)"),          \
		EVENT_TEXT("wave", 12, "N|N%", "so many volumes, or percent of them, at a time (all)"),      \
		EVENT_TEXT("gate", 40, "DUR", "wait so long between two waves (not at all)"),                \
		EVENT_COUNT("gate-failures", "halt when more of a wave failed (with --gate 0)"),             \
		EVENT_COUNT("max-failures", "halt after so many failures (0: never)"),                       \
		EVENT_TEXT("ticket", 128, "T", "why: goes into the log")
#define EVENT_N_FLAGS 15U

extern const conf_setting_t event_flags[EVENT_N_FLAGS];

/* The request's body; what cannot be meant is refused here, before anything is sent. */
KMS_MUST event_body(const conf_t *conf, int64_t now_ms, json_t **out, diag_t *why);
/* --timeout in seconds, 0 when not given. */
KMS_MUST event_timeout(const conf_t *conf, int64_t *out_s, diag_t *why);

#endif
