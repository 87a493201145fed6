/* Hours of the week in one zone: "Monday to Friday, 08:00 to 18:00, +01:00". Zones are fixed offsets: rules
 * of summer time are other people's data, and change. */
#ifndef CLAVIGER_POLICY_HOURS_H
#define CLAVIGER_POLICY_HOURS_H

#include "common/base/err.h"
#include "common/base/span.h"

#define HOURS_ALL_DAYS 0x7fU

typedef struct hours {
	uint8_t days; /* bit 0 is Monday: those on which it begins */
	uint16_t from,
		to;   /* minutes of the day, `to` excluded; to before from: over midnight; both 0: all day */
	int16_t zone; /* minutes east of UTC */
} hours_t;

/* "mon" to "sun": its bit. */
KMS_MUST hours_day(span_t text, uint8_t *out, diag_t *why);
/* "HH:MM", 00:00 to 23:59. */
KMS_MUST hours_time(span_t text, uint16_t *out, diag_t *why);
/* "Z", or "+HH:MM" and "-HH:MM" from -12:00 to +14:00. */
KMS_MUST hours_zone(span_t text, int16_t *out, diag_t *why);

bool hours_contain(const hours_t *h, int64_t now_ms);

#endif
