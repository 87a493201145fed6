#include "kms-server/audit/syslog_message.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const syslog_origin_t FROM = {.host = "kms1", .pid = 42};

static void message(const char *event, uint64_t index, buf_t *out)
{
	const sink_event_t e = {.index = index, .bytes = span_str(event)};
	assert_int_equal(syslog_message(&FROM, &e, out), KMS_OK);
}

#define RELEASE                                                                                              \
	"{\"api\":{\"operation\":\"key.release\"},\"metadata\":{\"tenant_uid\":\"acme\"},\"severity_id\":1," \
	"\"time\":1700000000007}"

static void test_messages(void **state)
{
	(void)state;
	static const struct {
		const char *event, *header;
	} rows[] = {
		{RELEASE, "<110>1 2023-11-14T22:13:20.007Z kms1 claviger 42 key.release "
			  "[claviger@32473 index=\"7\" customer=\"acme\"] "},
		{"{\"severity_id\":0,\"time\":0}",
		 "<110>1 - kms1 claviger 42 - [claviger@32473 index=\"7\"] "},
		{"{\"severity_id\":2,\"time\":-1}", "<109>1 - "},
		{"{\"severity_id\":3}", "<108>1 - "},
		{"{\"severity_id\":4}", "<107>1 - "},
		{"{\"severity_id\":5}", "<106>1 - "},
		{"{\"severity_id\":6}", "<105>1 - "},
		{"{\"severity_id\":7}", "<109>1 - "},
		{"{\"severity_id\":99}", "<109>1 - "},
		{"{\"severity_id\":-1}", "<109>1 - "},
		{"{\"severity_id\":\"4\"}", "<110>1 - "},
		{"{\"time\":253402300800000}", "<110>1 - kms1"}, /* the year 10000 */
		{"{\"time\":9007199254740991}", "<110>1 - kms1"},
		{"{\"api\":{\"operation\":\"a b\"}}", "<110>1 - kms1 claviger 42 - ["},
		{"{\"api\":{\"operation\":\""
		 "\xc3\xa9"
		 "\"}}",
		 "<110>1 - kms1 claviger 42 - ["},
		{"{\"api\":{\"operation\":\"12345678901234567890123456789012\"}}",
		 "<110>1 - kms1 claviger 42 12345678901234567890123456789012 ["},
		{"{\"api\":{\"operation\":\"123456789012345678901234567890123\"}}",
		 "<110>1 - kms1 claviger 42 - ["},
		{"{\"api\":[1],\"metadata\":3}", "<110>1 - kms1 claviger 42 - [claviger@32473 index=\"7\"] "},
		{"{\"metadata\":{\"tenant_uid\":\"a\\\"]\\\\b\"}}",
		 "<110>1 - kms1 claviger 42 - [claviger@32473 index=\"7\" customer=\"a\\\"\\]\\\\b\"] "},
		{"no json", "<110>1 - kms1 claviger 42 - [claviger@32473 index=\"7\"] "},
		{"", "<110>1 - kms1 claviger 42 - [claviger@32473 index=\"7\"] "},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		const char *text = NULL;
		message(rows[i].event, 7, &out);
		assert_int_equal(buf_cstr(&out, &text), KMS_OK);
		if (strncmp(text, rows[i].header, strlen(rows[i].header)) != 0)
			fail_msg("%s: %s", rows[i].event, text);
		/* the event itself, byte for byte, is the rest */
		size_t n = strlen(rows[i].event);
		assert_true(out.n > n);
		assert_memory_equal(text + out.n - n, rows[i].event, n);
		assert_int_equal(text[out.n - n - 1], ' ');
	}
}

static void test_frames(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	SCOPED(buf_free) buf_t one = BUF_INIT;
	const sink_event_t e = {.index = 7, .bytes = span_str(RELEASE)};
	message(RELEASE, 7, &one);
	assert_int_equal(syslog_frame(&FROM, &e, &out), KMS_OK);
	assert_int_equal(syslog_frame(&FROM, &e, &out), KMS_OK);
	for (size_t at = 0; at < out.n;) {
		char *end = NULL;
		unsigned long n = strtoul((const char *)out.p + at, &end, 10);
		assert_int_equal(n, one.n);
		assert_int_equal(*end, ' ');
		assert_memory_equal(end + 1, one.p, n);
		at = (size_t)(end + 1 - (const char *)out.p) + n;
		assert_true(at <= out.n);
	}
}

/* The value as a reader of RFC 5424 finds it: up to the first quote that is not escaped. False: it never
 * ends, or a bracket stands in it that would end the element. */
static bool unescape(span_t text, buf_t *out)
{
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			return i + 1 == text.n;
		if (text.p[i] == ']')
			return false;
		if (text.p[i] == '\\') {
			i++;
			if (i == text.n || (text.p[i] != '"' && text.p[i] != '\\' && text.p[i] != ']'))
				return false;
		}
		buf_u8(out, text.p[i]);
	}
	return false;
}

static void assert_escapes(span_t value)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	SCOPED(buf_free) buf_t back = BUF_INIT;
	syslog_escape(value, &text);
	buf_str(&text, "\"");
	assert_true(unescape(buf_span(&text), &back));
	assert_true(span_eq(buf_span(&back), value));
}

/* Whatever the value: it ends where it ends, and nothing behind it can pass for structured data. */
static void test_every_escape_has_one_reading(void **state)
{
	(void)state;
	static const uint8_t letters[] = {'"', '\\', ']', '[', 'a', ' ', '=', 0xc3};
	uint8_t value[8];
	uint32_t seed = 12345;
	for (unsigned code = 0; code < 8 * 8 * 8 * 8; code++) {
		for (unsigned i = 0; i < 4; i++)
			value[i] = letters[code >> (3 * i) & 7];
		for (size_t n = 0; n <= 4; n++)
			assert_escapes(span_of(value, n));
	}
	for (unsigned round = 0; round < 20000; round++) {
		for (size_t i = 0; i < sizeof value; i++) {
			seed = seed * 1664525 + 1013904223;
			value[i] = (uint8_t)(seed >> 24);
		}
		assert_escapes(span_of(value, (seed >> 8) % (sizeof value + 1)));
	}
}

static void test_here(void **state)
{
	(void)state;
	syslog_origin_t o = syslog_here();
	assert_true(o.pid > 0);
	assert_true(o.host[0] != '\0');
	assert_null(strchr(o.host, ' '));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_every_escape_has_one_reading),
		cmocka_unit_test(test_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
