#include "common/client/client.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static kms_err_t status_of(int status, const char *body, uint32_t retry, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {.status = status, .retry_after = retry};
	buf_str(&r.body, body);
	return client_status(&r, why);
}

static void test_statuses(void **state)
{
	(void)state;
	static const struct {
		int status;
		kms_err_t e;
	} rows[] = {
		{200, KMS_OK},
		{201, KMS_OK},
		{204, KMS_OK},
		{202, KMS_E_PENDING},
		{400, KMS_E_INVALID},
		{413, KMS_E_INVALID},
		{405, KMS_E_INVALID},
		{499, KMS_E_INVALID},
		{401, KMS_E_DENIED},
		{403, KMS_E_DENIED},
		{404, KMS_E_NOTFOUND},
		{409, KMS_E_CONFLICT},
		{412, KMS_E_CONFLICT},
		{422, KMS_E_CONFLICT},
		{429, KMS_E_FULL},
		{507, KMS_E_FULL},
		{501, KMS_E_UNAVAILABLE},
		{502, KMS_E_UNAVAILABLE},
		{503, KMS_E_UNAVAILABLE},
		{504, KMS_E_UNAVAILABLE},
		{500, KMS_E_IO},
		{599, KMS_E_IO},
		{301, KMS_E_IO},
		{307, KMS_E_IO},
		{100, KMS_E_IO},
		{0, KMS_E_IO},
		{-1, KMS_E_IO},
		{700, KMS_E_IO},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		assert_int_equal(status_of(rows[i].status, "{}", 0, &why), rows[i].e);
		assert_true((rows[i].e == KMS_OK) == (why.text[0] == '\0'));
	}
}

static void test_words(void **state)
{
	(void)state;
	static const struct {
		int status;
		uint32_t retry;
		const char *body, *want;
	} rows[] = {
		{403, 0,
		 "{\"type\":\"urn:x\",\"title\":\"Denied\",\"status\":403,\"detail\":\"by "
		 "node-own\",\"request_id\":\"r1\",\"z\":[]}",
		 "Denied: by node-own (request r1)"},
		{503, 9, "{\"title\":\"Sealed\",\"request_id\":\"r1\"}",
		 "Sealed, try again in 9 s (request r1)"},
		{404, 0, "{\"detail\":\"no such volume\"}", "no such volume"},
		{404, 0, "{\"detail\":\"No such volume.\",\"request_id\":\"r1\"}",
		 "No such volume (request r1)"},
		{500, 0, "", "the server answered HTTP 500"},
		{502, 0, "<html>Bad Gateway</html>", "the server answered HTTP 502"},
		{400, 0, "[1]", "the server answered HTTP 400"},
		{400, 0, "{\"title\":1,\"detail\":\"d\"}", "d"},
		{400, 0, "{\"title\":\"a\",\"title\":\"b\"}", "the server answered HTTP 400"},
		{400, 0, "{\"title\":\"x\\u001b[2J\\ny\"}", "x [2J y"},
		{400, 0, "{\"title\":\"x\\u009b2Jy\\u007f\"}", "x  2Jy "},
		{400, 0, "{\"title\":\"\xc3\xa4\"}", "\xc3\xa4"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		assert_true(status_of(rows[i].status, rows[i].body, rows[i].retry, &why) != KMS_OK);
		assert_string_equal(why.text, rows[i].want);
	}
}

/* A detail beyond its bound costs itself, not the rest. */
static void test_long_words(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	const char *text = NULL;
	diag_t why = {{0}};
	buf_str(&body, "{\"title\":\"Denied\",\"detail\":\"");
	for (unsigned i = 0; i < 5000; i++)
		buf_u8(&body, 'x');
	buf_str(&body, "\",\"request_id\":\"r1\"}");
	assert_int_equal(buf_cstr(&body, &text), KMS_OK);
	assert_int_equal(status_of(403, text, 0, &why), KMS_E_DENIED);
	assert_string_equal(why.text, "Denied (request r1)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_long_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
