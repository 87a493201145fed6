#include "kms-server/http/listen.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char *const bad[] = {
	"",
	":",
	":8443",
	"8443",
	"127.0.0.1",
	"127.0.0.1:",
	"127.0.0.1:x",
	"127.0.0.1:65536",
	"127.0.0.1:-1",
	"127.0.0.1:08443",
	"127.0.0.1: 1",
	"127.0.0.1:1 ",
	"localhost:8443",
	"127.1:8443",
	"127.0.0.1.:1",
	"::1:8443",
	"[::1]",
	"[::1:8443",
	"[::1]8443",
	"[]:1",
	"[127.0.0.1]:1",
	"[::1%lo]:1",
	"https://127.0.0.1:1",
	"1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9:1:2:3:4:5:6:7:8:9",
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int fd = -7;
		uint16_t port = 7;
		diag_t why = {.text = ""};
		if (listen_open(bad[i], &fd, &port, &why) != KMS_E_INVALID || fd != -7 || port != 7 ||
		    why.text[0] == '\0')
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

static void test_loopback(void **state)
{
	(void)state;
	static const char *const own[] = {"127.0.0.1:0", "127.255.255.254:9464", "[::1]:9464"};
	static const char *const others[] = {
		"0.0.0.0:9464",       "[::]:9464",      "192.0.2.1:9464",
		"126.0.0.1:9464",     "128.0.0.1:9464", "[::ffff:127.0.0.1]:9464",
		"[2001:db8::1]:9464", "[::2]:9464",     "localhost:9464"};
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		assert_int_equal(listen_check_loopback(own[i], NULL), KMS_OK);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		diag_t why = {.text = ""};
		if (listen_check_loopback(others[i], &why) != KMS_E_INVALID || why.text[0] == '\0')
			fail_msg("\"%s\" was taken", others[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(listen_check_loopback(bad[i], NULL), KMS_E_INVALID);
}

static void test_port_is_reported(void **state)
{
	(void)state;
	SCOPED(closep) int a = -1;
	SCOPED(closep) int b = -1;
	uint16_t port = 0, again = 0;
	assert_int_equal(listen_open("127.0.0.1:0", &a, &port, NULL), KMS_OK);
	assert_true(port > 0);
	char same[LISTEN_TEXT_CAP];
	(void)snprintf(same, sizeof same, "127.0.0.1:%u", port);
	diag_t why = {.text = ""};
	assert_int_equal(listen_open(same, &b, &again, &why), KMS_E_IO);
	assert_non_null(strstr(why.text, same));
}

static void test_ipv6(void **state)
{
	(void)state;
	SCOPED(closep) int fd = -1;
	uint16_t port = 0;
	diag_t why;
	kms_err_t e = listen_open("[::1]:0", &fd, &port, &why);
	if (e == KMS_E_IO)
		skip(); /* a machine without IPv6 */
	assert_int_equal(e, KMS_OK);
	assert_true(port > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_port_is_reported),
		cmocka_unit_test(test_ipv6),
	};
	return cmocka_run_group_tests_name("http/listen", tests, NULL, NULL);
}
