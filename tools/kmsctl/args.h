/* Words of the command line turned into values; everything is refused here before a request is made. */
#ifndef CLAVIGER_TOOLS_KMSCTL_ARGS_H
#define CLAVIGER_TOOLS_KMSCTL_ARGS_H

#include "common/base/name.h"

#include <stdint.h>

#define TIME_TEXT_CAP 32U

/* "90s", "15m", "1h30m", "7d", "2w": numbers with units, largest first is not asked for. `what` ("--ttl")
 * starts the message; the range is in seconds. */
KMS_MUST arg_duration(const char *what, const char *text, int64_t min_s, int64_t max_s, int64_t *out_s,
		      diag_t *why);

/* A moment: RFC 3339 ("2026-11-23T16:40:02Z", with fraction or "+02:00"; a blank instead of T), a day in UTC
 * ("2026-11-23"), or a duration, meaning so long before now. In ms since 1970. */
KMS_MUST arg_time(const char *what, const char *text, int64_t now_ms, int64_t *out_ms, diag_t *why);

/* "2026-11-23 16:40:02Z", in every locale and time zone; "-" outside the years 1970 to 9999. */
void time_text(int64_t ms, char out[TIME_TEXT_CAP]);

/* "customer/service" and a path of one or both ("customer" leaves service empty). */
KMS_MUST arg_path2(const char *text, path3_t *out, diag_t *why);
KMS_MUST arg_path1or2(const char *text, path3_t *out, diag_t *why);

#endif
