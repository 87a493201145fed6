#include "kms-server/http/query.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct row {
	const char *raw;
	const char *reason;
} row_t;

static const row_t bad[] = {
	{"&", "empty pairs"},
	{"a=1&", "empty pair at the end"},
	{"&a=1", "empty pair in front"},
	{"a=1&&b=2", "empty pair between"},
	{"a", "no '='"},
	{"=1", "no key"},
	{"a=1&a=2", "a key twice"},
	{"a=1&b=2&a=1", "a key twice, not side by side"},
	{"A=1", "capital key: another spelling"},
	{"%61=1", "encoded key: another spelling"},
	{"a[]=1", "key with brackets"},
	{"a.b=1", "key with a dot"},
	{"a=1=2", "bare '=' in a value"},
	{"a=1?b", "bare '?' in a value"},
	{"a=%", "cut escape"},
	{"a=%4", "cut escape"},
	{"a=%zz", "no hex"},
	{"a=%+1", "no hex"},
	{"a=%00", "NUL"},
	{"a=x%00y", "NUL inside"},
	{"a=%0a", "line feed"},
	{"a=%7f", "delete character"},
	{"a=%c3%a4", "not ASCII"},
	{"a=\xc3\xa4", "raw bytes"},
	{"a=1 2", "a bare blank"},
	{"abcdefghijabcdefghijabcdefghijab=1", "key of 32 bytes"},
	{"a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1&j=1&k=1&l=1&m=1&n=1&o=1&p=1&q=1", "17 pairs"},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		core_query_t q[CORE_QUERY_MAX];
		size_t n = 77;
		diag_t why = {.text = ""};
		kms_err_t e = query_parse(span_str(bad[i].raw), q, &n, &why);
		if (e != KMS_E_INVALID || n != 77 || why.text[0] == '\0')
			fail_msg("\"%s\" (%s): %s", bad[i].raw, bad[i].reason, kms_err_name(e));
	}
}

static void test_taken(void **state)
{
	(void)state;
	core_query_t q[CORE_QUERY_MAX];
	size_t n = 0;
	assert_int_equal(query_parse(span_str("customer=acme&from=0&cursor=a%2Fb%3d+&status="), q, &n, NULL),
			 KMS_OK);
	assert_int_equal(n, 4);
	assert_string_equal(q[0].key, "customer");
	assert_string_equal(q[0].value, "acme");
	assert_string_equal(q[2].value, "a/b=+");
	assert_string_equal(q[3].value, "");
	assert_int_equal(query_parse(span_of(NULL, 0), q, &n, NULL), KMS_OK);
	assert_int_equal(n, 0);
	assert_int_equal(
		query_parse(span_str("a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1&j=1&k=1&l=1&m=1&n=1&o=1&p=1"), q,
			    &n, NULL),
		KMS_OK);
	assert_int_equal(n, 16);
}

static void test_once_decoded(void **state)
{
	(void)state;
	core_query_t q[CORE_QUERY_MAX];
	size_t n = 0;
	assert_int_equal(query_parse(span_str("a=%2541"), q, &n, NULL), KMS_OK);
	assert_string_equal(q[0].value, "%41");
}

static void test_value_length(void **state)
{
	(void)state;
	core_query_t q[CORE_QUERY_MAX];
	size_t n = 0;
	char raw[CORE_QUERY_VALUE_CAP + 2];
	memset(raw, 'x', sizeof raw);
	raw[0] = 'a';
	raw[1] = '=';
	assert_int_equal(query_parse(span_of(raw, sizeof raw), q, &n, NULL), KMS_E_INVALID);
	assert_int_equal(query_parse(span_of(raw, sizeof raw - 1), q, &n, NULL), KMS_OK);
	assert_int_equal(strlen(q[0].value), CORE_QUERY_VALUE_CAP - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_once_decoded),
		cmocka_unit_test(test_value_length),
	};
	return cmocka_run_group_tests_name("http/query", tests, NULL, NULL);
}
