/* Hours of the week: what is read, and what they contain to the minute. */
#include "policy/hours.h"

#include "tests/unit/policy/policy_support.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define FRIDAY DAY /* 1970-01-02; 1970-01-01 was a Thursday */

typedef struct text_row {
	const char *reason, *text;
	int value; /* REFUSED: none */
} text_row_t;

#define REFUSED 100000

static const text_row_t times[] = {
	{"the first", "00:00", 0},
	{"the last", "23:59", 1439},
	{"the hour and the minute", "08:09", 489},
	{"a day has no minute 1440", "24:00", REFUSED},
	{"an hour has no minute 60", "08:60", REFUSED},
	{"below the digits", "0/:00", REFUSED},
	{"above the digits, the hour", "0a:00", REFUSED},
	{"above the digits, the minute", "00:0a", REFUSED},
	{"another sign between", "08.00", REFUSED},
	{"short", "8:00", REFUSED},
	{"long", "08:00 ", REFUSED},
	{"nothing", "", REFUSED},
};

static const text_row_t zones[] = {
	{"UTC", "Z", 0},
	{"not in small letters", "z", REFUSED},
	{"east", "+01:30", 90},
	{"west", "-01:30", -90},
	{"the furthest east", "+14:00", 840},
	{"further than any", "+14:01", REFUSED},
	{"the furthest west", "-12:00", -720},
	{"further than any", "-12:01", REFUSED},
	{"another sign", "*01:00", REFUSED},
	{"no minutes", "+01:6:", REFUSED},
	{"short", "+1:00", REFUSED},
	{"a name", "Europe", REFUSED},
};

static const text_row_t days[] = {
	{"the first bit", "mon", 1},        {"the last bit", "sun", 64},      {"upper case", "Mon", REFUSED},
	{"written out", "monday", REFUSED}, {"the beginning", "mo", REFUSED}, {"nothing", "", REFUSED},
};

static int time_of(const char *text, diag_t *why)
{
	uint16_t out = 0;
	return hours_time(span_str(text), &out, why) == KMS_OK ? out : REFUSED;
}

static int zone_of(const char *text, diag_t *why)
{
	int16_t out = 0;
	return hours_zone(span_str(text), &out, why) == KMS_OK ? out : REFUSED;
}

static int day_of(const char *text, diag_t *why)
{
	uint8_t out = 0;
	return hours_day(span_str(text), &out, why) == KMS_OK ? out : REFUSED;
}

static void assert_texts(const text_row_t *rows, size_t n, int (*read)(const char *text, diag_t *why))
{
	for (size_t i = 0; i < n; i++) {
		diag_t why = {""};
		int got = read(rows[i].text, &why);
		if (got != rows[i].value || (got == REFUSED) != (strstr(why.text, "write ") != NULL))
			fail_msg("%s: \"%s\" is %d: %s", rows[i].reason, rows[i].text, got, why.text);
	}
}

static void test_texts(void **state)
{
	(void)state;
	assert_texts(times, COUNT(times), time_of);
	assert_texts(zones, COUNT(zones), zone_of);
	assert_texts(days, COUNT(days), day_of);
}

typedef struct row {
	const char *reason;
	hours_t hours;
	int64_t now_ms;
	bool contained;
} row_t;

#define FRI (1U << 4)
#define OFFICE                                                                                               \
	{                                                                                                    \
		FRI, 480, 1080, 0                                                                            \
	}
#define NIGHT                                                                                                \
	{                                                                                                    \
		FRI, 1320, 360, 0                                                                            \
	}
#define ALL_DAY                                                                                              \
	{                                                                                                    \
		FRI, 0, 0, 0                                                                                 \
	}
#define OFFICE_E                                                                                             \
	{                                                                                                    \
		FRI, 480, 1080, 60                                                                           \
	}
#define AT(h, m) (FRIDAY + (h)*HOUR + (m)*MINUTE)

static const row_t rows[] = {
	{"its first moment", OFFICE, AT(8, 0), true},
	{"just before", OFFICE, AT(8, 0) - 1, false},
	{"its last moment", OFFICE, AT(18, 0) - 1, true},
	{"its end is outside", OFFICE, AT(18, 0), false},
	{"the day before", OFFICE, AT(12, 0) - DAY, false},
	{"the day after", OFFICE, AT(12, 0) + DAY, false},
	{"a week later", OFFICE, AT(12, 0) + 7 * DAY, true},
	{"weeks before 1970", OFFICE, AT(12, 0) - 700 * DAY, true},
	{"a day before 1970 that it is not", OFFICE, AT(12, 0) - 701 * DAY, false},
	{"an hour east it has begun", OFFICE_E, AT(7, 0), true},
	{"and ended", OFFICE_E, AT(17, 0), false},
	{"over midnight: it begins", NIGHT, AT(22, 0), true},
	{"just before", NIGHT, AT(22, 0) - 1, false},
	{"the morning after is the same night", NIGHT, AT(24 + 6, 0) - 1, true},
	{"its end", NIGHT, AT(24 + 6, 0), false},
	{"the morning of the day belongs to the night before", NIGHT, AT(3, 0), false},
	{"the evening after is another night", NIGHT, AT(24 + 22, 0), false},
	{"the whole day from its first moment", ALL_DAY, AT(0, 0), true},
	{"to its last", ALL_DAY, AT(24, 0) - 1, true},
	{"not before", ALL_DAY, AT(0, 0) - 1, false},
	{"not after", ALL_DAY, AT(24, 0), false},
};

static void test_contain(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (hours_contain(&rows[i].hours, rows[i].now_ms) != rows[i].contained)
			fail_msg("%s", rows[i].reason);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_contain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
