#include "tools/kmsctl/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define YEAR_10000_MS INT64_C(253402300800000)

static int64_t unit_seconds(char c)
{
	switch (c) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	case 'w':
		return 7 * 86400;
	default: /* any other character */
		return 0;
	}
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* At most 9 digits a part and 9 parts: no sum can overflow. */
static bool parse_duration(const char *s, int64_t *out)
{
	int64_t sum = 0;
	for (unsigned parts = 0; *s != '\0'; parts++) {
		int64_t v = 0;
		unsigned n = 0;
		for (; digit(*s) && n < 10; n++)
			v = v * 10 + (*s++ - '0');
		int64_t unit = unit_seconds(*s);
		if (n == 0 || n > 9 || unit == 0 || parts == 9)
			return false;
		s++;
		sum += v * unit;
		*out = sum;
	}
	return sum > 0;
}

kms_err_t arg_duration(const char *what, const char *text, int64_t min_s, int64_t max_s, int64_t *out_s,
		       diag_t *why)
{
	int64_t v = 0;
	if (!parse_duration(text, &v))
		return diag_fail(why, KMS_E_INVALID,
				 "%s: \"%.40s\" is not a duration: write 90s, 15m, 1h30m, 7d or 2w", what,
				 text);
	if (v < min_s || v > max_s)
		return diag_fail(why, KMS_E_INVALID, "%s: %.40s is %lld seconds, it must be %lld to %lld",
				 what, text, (long long)v, (long long)min_s, (long long)max_s);
	*out_s = v;
	return KMS_OK;
}

/* Exactly n digits at *s, which moves behind them. */
static bool digits(const char **s, unsigned n, int *out)
{
	int v = 0;
	for (unsigned i = 0; i < n; i++) {
		if (!digit(**s))
			return false;
		v = v * 10 + (*(*s)++ - '0');
	}
	*out = v;
	return true;
}

static bool take(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return month == 2 && leap ? 29 : days[month - 1];
}

static bool parse_day(const char **s, struct tm *tm)
{
	int y = 0, m = 0, d = 0;
	if (!digits(s, 4, &y) || !take(s, '-') || !digits(s, 2, &m) || !take(s, '-') || !digits(s, 2, &d))
		return false;
	if (y < 1970 || m < 1 || m > 12 || d < 1 || d > days_in(y, m))
		return false;
	tm->tm_year = y - 1900;
	tm->tm_mon = m - 1;
	tm->tm_mday = d;
	return true;
}

static bool parse_clock(const char **s, struct tm *tm, int *ms)
{
	if (!digits(s, 2, &tm->tm_hour) || !take(s, ':') || !digits(s, 2, &tm->tm_min) || !take(s, ':') ||
	    !digits(s, 2, &tm->tm_sec))
		return false;
	if (tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return false;
	if (!take(s, '.'))
		return true;
	int scale = 100;
	if (!digit(**s))
		return false;
	for (; digit(**s); (*s)++, scale /= 10)
		*ms += (**s - '0') * scale;
	return true;
}

static bool parse_zone(const char **s, int *minutes)
{
	if (take(s, 'Z') || take(s, 'z'))
		return true;
	int sign = **s == '-' ? -1 : 1;
	int h = 0, m = 0;
	if (!take(s, '+') && !take(s, '-'))
		return false;
	if (!digits(s, 2, &h) || !take(s, ':') || !digits(s, 2, &m) || h > 23 || m > 59)
		return false;
	*minutes = sign * (h * 60 + m);
	return true;
}

static bool parse_moment(const char *s, int64_t *out)
{
	struct tm tm = {0};
	int ms = 0, minutes = 0;
	if (!parse_day(&s, &tm))
		return false;
	if (*s != '\0') {
		if (!take(&s, 'T') && !take(&s, 't') && !take(&s, ' '))
			return false;
		if (!parse_clock(&s, &tm, &ms) || !parse_zone(&s, &minutes) || *s != '\0')
			return false;
	}
	int64_t v = ((int64_t)timegm(&tm) - (int64_t)minutes * 60) * 1000 + ms;
	if (v < 0)
		return false;
	*out = v;
	return true;
}

kms_err_t arg_time(const char *what, const char *text, int64_t now_ms, int64_t *out_ms, diag_t *why)
{
	int64_t v = 0;
	if (parse_moment(text, &v)) {
		*out_ms = v;
		return KMS_OK;
	}
	if (parse_duration(text, &v) && v <= now_ms / 1000) {
		*out_ms = now_ms - v * 1000;
		return KMS_OK;
	}
	return diag_fail(why, KMS_E_INVALID,
			 "%s: \"%.40s\" is not a time: write 2026-11-23T16:40:02Z, 2026-11-23, or 2h, 7d for "
			 "so long ago",
			 what, text);
}

void time_text(int64_t ms, char out[TIME_TEXT_CAP])
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	if (ms < 0 || ms >= YEAR_10000_MS || gmtime_r(&s, &tm) == NULL ||
	    strftime(out, TIME_TEXT_CAP, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
		(void)snprintf(out, TIME_TEXT_CAP, "-");
}

kms_err_t arg_path1or2(const char *text, path3_t *out, diag_t *why)
{
	path3_t p = {0};
	size_t n = strcspn(text, "/");
	KMS_TRY(name_parse("customer", span_of(text, n), p.customer, why));
	if (text[n] == '/')
		KMS_TRY(name_parse("service", span_str(text + n + 1), p.service, why));
	*out = p;
	return KMS_OK;
}

kms_err_t arg_path2(const char *text, path3_t *out, diag_t *why)
{
	if (strchr(text, '/') == NULL)
		return diag_fail(why, KMS_E_INVALID, "a service is written CUSTOMER/SERVICE, not \"%.63s\"",
				 text);
	return arg_path1or2(text, out, why);
}
