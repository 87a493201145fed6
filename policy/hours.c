#include "policy/hours.h"

#include "policy/pattern.h"

#define DAY 1440

kms_err_t hours_day(span_t text, uint8_t *out, diag_t *why)
{
	static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		if (span_eq(text, span_str(names[i]))) {
			*out = (uint8_t)(1U << i);
			return KMS_OK;
		}
	return diag_fail(why, KMS_E_INVALID, "\"%s\" is no day: write mon, tue, wed, thu, fri, sat or sun",
			 pattern_shown(text).text);
}

/* "HH:MM" in minutes, or more than any. */
static unsigned minutes(const uint8_t *p)
{
	for (size_t i = 0; i < 5; i++)
		if (i == 2 ? p[i] != ':' : p[i] < '0' || p[i] > '9')
			return UINT16_MAX;
	unsigned h = (p[0] - '0') * 10U + (p[1] - '0'), m = (p[3] - '0') * 10U + (p[4] - '0');
	return m < 60 ? h * 60 + m : UINT16_MAX;
}

kms_err_t hours_time(span_t text, uint16_t *out, diag_t *why)
{
	unsigned m = text.n == 5 ? minutes(text.p) : UINT16_MAX;
	if (m >= DAY)
		return diag_fail(why, KMS_E_INVALID, "\"%s\" is no time: write HH:MM, 00:00 to 23:59",
				 pattern_shown(text).text);
	*out = (uint16_t)m;
	return KMS_OK;
}

kms_err_t hours_zone(span_t text, int16_t *out, diag_t *why)
{
	bool utc = span_eq(text, span_str("Z"));
	bool east = text.n == 6 && text.p[0] == '+', west = text.n == 6 && text.p[0] == '-';
	unsigned m = utc ? 0 : east || west ? minutes(text.p + 1) : UINT16_MAX;
	if (m > (west ? 12U : 14U) * 60)
		return diag_fail(why, KMS_E_INVALID,
				 "\"%s\" is no zone: write Z or a fixed offset, -12:00 to +14:00 (names with "
				 "rules of summer time are not known here)",
				 pattern_shown(text).text);
	*out = (int16_t)(west ? -(int)m : (int)m);
	return KMS_OK;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0 ? 1 : 0);
}

bool hours_contain(const hours_t *h, int64_t now_ms)
{
	int64_t local = floor_div(now_ms, 60000) + h->zone;
	int64_t day = floor_div(local, DAY);
	int64_t minute = local - day * DAY;
	unsigned today = (unsigned)(((day + 3) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
	unsigned yesterday = (today + 6) % 7;
	bool begins_today = (h->days >> today & 1U) != 0, began_yesterday = (h->days >> yesterday & 1U) != 0;
	if (h->from == h->to)
		return begins_today;
	if (h->from < h->to)
		return begins_today && minute >= h->from && minute < h->to;
	return (begins_today && minute >= h->from) || (began_yesterday && minute < h->to);
}
