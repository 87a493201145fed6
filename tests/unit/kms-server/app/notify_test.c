#include "kms-server/app/notify.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static void test_nobody_asked(void **state)
{
	(void)state;
	assert_int_equal(notify_manager(NULL, "READY=1", NULL), KMS_OK);
}

static void test_abstract_socket(void **state)
{
	(void)state;
	static const char name[] = "claviger-notify-test";
	SCOPED(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	memcpy(a.sun_path + 1, name, sizeof name - 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof name)),
			 0);
	assert_int_equal(notify_manager("@claviger-notify-test", "READY=1", NULL), KMS_OK);
	char got[32] = "";
	assert_int_equal(recv(fd, got, sizeof got, 0), 7);
	assert_string_equal(got, "READY=1");
}

static void test_refused(void **state)
{
	(void)state;
	char longest[200];
	memset(longest, 'x', sizeof longest);
	longest[0] = '/';
	longest[sizeof longest - 1] = '\0';
	diag_t why = {.text = ""};
	assert_int_equal(notify_manager("relative", "READY=1", &why), KMS_E_INVALID);
	assert_int_equal(notify_manager(longest, "READY=1", &why), KMS_E_INVALID);
	assert_int_equal(notify_manager("/nowhere/at/all", "READY=1", &why), KMS_E_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_asked),
		cmocka_unit_test(test_abstract_socket),
		cmocka_unit_test(test_refused),
	};
	return cmocka_run_group_tests_name("app/notify", tests, NULL, NULL);
}
