#include "tools/kmsctl/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define NOW INT64_C(1795452002000) /* 2026-11-23T16:40:02Z */

static void test_durations(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t want; /* 0: refused */
	} rows[] = {
		{"90s", 90},
		{"1s", 1},
		{"15m", 900},
		{"1h", 3600},
		{"1h30m", 5400},
		{"7d", 604800},
		{"2w", 1209600},
		{"1d1h1m1s", 90061},
		{"30m1h", 5400},
		{"007d", 604800},
		{"", 0},
		{"1", 0},
		{"h", 0},
		{"1x", 0},
		{"1H", 0},
		{"-1h", 0},
		{"+1h", 0},
		{" 1h", 0},
		{"1h ", 0},
		{"1 h", 0},
		{"1.5h", 0},
		{"1h30", 0},
		{"0s", 0},
		{"0h0m", 0},
		{"1hh", 0},
		{"9999999999s", 0},
		{"99999999999999999999d", 0},
		{"1ms", 0},
		{"1h,2m", 0},
		{"\xc2\xb2h", 0},
		{"1s1s1s1s1s1s1s1s1s1s", 0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int64_t got = -7;
		diag_t why = {{0}};
		kms_err_t e = arg_duration("--ttl", rows[i].text, 1, 99999999, &got, &why);
		if (e != (rows[i].want != 0 ? KMS_OK : KMS_E_INVALID) ||
		    got != (rows[i].want != 0 ? rows[i].want : -7))
			fail_msg("\"%s\": %lld", rows[i].text, (long long)got);
		if (rows[i].want == 0)
			assert_int_equal(strncmp(why.text, "--ttl: ", 7), 0);
	}
}

static void test_duration_range(void **state)
{
	(void)state;
	int64_t got = 0;
	diag_t why = {{0}};
	assert_int_equal(arg_duration("--ttl", "60s", 60, 604800, &got, &why), KMS_OK);
	assert_int_equal(arg_duration("--ttl", "7d", 60, 604800, &got, &why), KMS_OK);
	assert_int_equal(arg_duration("--ttl", "59s", 60, 604800, &got, &why), KMS_E_INVALID);
	assert_non_null(strstr(why.text, "60 to 604800"));
	assert_int_equal(arg_duration("--ttl", "8d", 60, 604800, &got, &why), KMS_E_INVALID);
}

static void test_times(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t want; /* -1: refused */
	} rows[] = {
		{"2026-11-23T16:40:02Z", NOW},
		{"2026-11-23t16:40:02z", NOW},
		{"2026-11-23 16:40:02Z", NOW},
		{"2026-11-23T16:40:02.5Z", NOW + 500},
		{"2026-11-23T16:40:02.123456789Z", NOW + 123},
		{"2026-11-23T18:40:02+02:00", NOW},
		{"2026-11-23T11:10:02-05:30", NOW},
		{"2026-11-23", NOW - 60002000},
		{"2h", NOW - 7200000},
		{"7d", NOW - 604800000},
		{"1970-01-01", 0},
		{"2024-02-29", INT64_C(1709164800000)},
		{"2000-02-29", INT64_C(951782400000)},
		{"2026-02-29", -1},
		{"1900-02-29", -1},
		{"2026-11-31", -1},
		{"2026-13-01", -1},
		{"2026-00-01", -1},
		{"2026-01-00", -1},
		{"1969-12-31", -1},
		{"1970-01-01T00:00:00+01:00", -1},
		{"2026-11-23T16:40:02", -1}, /* no zone: whose midnight? */
		{"2026-11-23T16:40Z", -1},
		{"2026-11-23T24:00:00Z", -1},
		{"2026-11-23T16:60:00Z", -1},
		{"2026-11-23T16:40:61Z", -1},
		{"2026-11-23T16:40:02.Z", -1},
		{"2026-11-23T16:40:02Zx", -1},
		{"2026-11-23T16:40:02+24:00", -1},
		{"2026-11-23T16:40:02+0200", -1},
		{"2026-11-23x", -1},
		{"26-11-23", -1},
		{"2026/11/23", -1},
		{"yesterday", -1},
		{"", -1},
		{"now", -1},
		{"1795452002000", -1}, /* ms or s? */
		{"999999999w", -1},    /* before 1970 */
		{"-2h", -1},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int64_t got = -1;
		diag_t why = {{0}};
		kms_err_t e = arg_time("--from", rows[i].text, NOW, &got, &why);
		if (e != (rows[i].want >= 0 ? KMS_OK : KMS_E_INVALID) || got != rows[i].want)
			fail_msg("\"%s\": %lld", rows[i].text, (long long)got);
	}
}

static void test_time_text_in_every_zone(void **state)
{
	(void)state;
	static const struct {
		int64_t ms;
		const char *want;
	} rows[] = {{NOW, "2026-11-23 16:40:02Z"},
		    {NOW + 999, "2026-11-23 16:40:02Z"},
		    {0, "1970-01-01 00:00:00Z"},
		    {-1, "-"},
		    {INT64_C(253402300799999), "9999-12-31 23:59:59Z"},
		    {INT64_C(253402300800000), "-"},
		    {INT64_MAX, "-"},
		    {INT64_MIN, "-"}};
	assert_int_equal(setenv("TZ", "Asia/Tokyo", 1), 0);
	tzset();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[TIME_TEXT_CAP];
		time_text(rows[i].ms, text);
		assert_string_equal(text, rows[i].want);
	}
	int64_t got = 0;
	assert_int_equal(arg_time("--from", "2026-11-23T16:40:02Z", NOW, &got, NULL), KMS_OK);
	assert_int_equal(got, NOW);
}

static void test_paths(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		kms_err_t one_or_two, two;
	} rows[] = {
		{"a", KMS_OK, KMS_E_INVALID},
		{"a/b", KMS_OK, KMS_OK},
		{"", KMS_E_INVALID, KMS_E_INVALID},
		{"/", KMS_E_INVALID, KMS_E_INVALID},
		{"a/", KMS_E_INVALID, KMS_E_INVALID},
		{"/b", KMS_E_INVALID, KMS_E_INVALID},
		{"a/b/c", KMS_E_INVALID, KMS_E_INVALID},
		{"a//b", KMS_E_INVALID, KMS_E_INVALID},
		{"A/b", KMS_E_INVALID, KMS_E_INVALID},
		{"a/..", KMS_E_INVALID, KMS_E_INVALID},
		{"a/%2e", KMS_E_INVALID, KMS_E_INVALID},
		{"a/b?x", KMS_E_INVALID, KMS_E_INVALID},
		{"a/*", KMS_E_INVALID, KMS_E_INVALID},
		{"a/b ", KMS_E_INVALID, KMS_E_INVALID},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		path3_t p = {0};
		assert_int_equal(arg_path1or2(rows[i].text, &p, NULL), rows[i].one_or_two);
		assert_int_equal(arg_path2(rows[i].text, &p, NULL), rows[i].two);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations), cmocka_unit_test(test_duration_range),
		cmocka_unit_test(test_times),     cmocka_unit_test(test_time_text_in_every_zone),
		cmocka_unit_test(test_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
