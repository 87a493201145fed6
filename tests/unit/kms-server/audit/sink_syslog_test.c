#include "kms-server/audit/sink_syslog.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/common/client/tls_server.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>

static atomic_bool stopping;

static sink_t *make(const char *target, const char *ca)
{
	sink_t *s = NULL;
	diag_t why = {{0}};
	atomic_store(&stopping, false);
	if (sink_syslog_new(target, ca, &s, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_true(s->repeats);
	s->stop = &stopping;
	return s;
}

static kms_err_t take(sink_t *s, uint64_t first, size_t n, diag_t *why)
{
	char text[64][32];
	sink_event_t e[64];
	assert_true(n <= 64);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(text[i], sizeof text[i], "{\"n\":%u}", (unsigned)(first + i));
		e[i] = (sink_event_t){.index = first + i, .bytes = span_str(text[i])};
	}
	return s->ops->take(s, e, n, why);
}

/* --- the local socket --- */

static int daemon_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && strlen(path) < sizeof at.sun_path);
	memcpy(at.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
	return fd;
}

static void assert_datagram(int fd, unsigned index)
{
	static char text[300000];
	char data[64], event[64];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&p, 1, 5000), 1);
	ssize_t n = recv(fd, text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	(void)snprintf(data, sizeof data, " [claviger@32473 index=\"%u\"] ", index);
	(void)snprintf(event, sizeof event, "{\"n\":%u}", index);
	assert_int_equal(strncmp(text, "<110>1 - ", 9), 0);
	assert_non_null(strstr(text, data));
	assert_string_equal(text + n - strlen(event), event);
}

static void test_datagrams_and_a_daemon_that_restarts(void **state)
{
	(void)state;
	char dir[TMPDIR_CAP], path[TMPDIR_CAP], target[TMPDIR_CAP + 8];
	tmpdir_make(dir);
	tmpdir_path(dir, "log", path);
	(void)snprintf(target, sizeof target, "unix:%s", path);
	SCOPED(sink_closep) sink_t *s = make(target, NULL);
	diag_t why = {{0}};
	assert_int_equal(take(s, 0, 1, &why), KMS_E_UNAVAILABLE); /* nobody there yet */
	assert_non_null(strstr(why.text, path));
	int fd = daemon_at(path);
	assert_int_equal(take(s, 0, 2, NULL), KMS_OK);
	assert_datagram(fd, 0);
	assert_datagram(fd, 1);
	(void)close(fd);
	assert_int_equal(take(s, 2, 1, NULL), KMS_E_UNAVAILABLE);
	fd = daemon_at(path);
	assert_int_equal(take(s, 2, 1, NULL), KMS_OK);
	assert_datagram(fd, 2);
	(void)close(fd);
	tmpdir_remove(dir);
}

static void test_the_largest_event(void **state)
{
	(void)state;
	static char text[65536];
	char dir[TMPDIR_CAP], path[TMPDIR_CAP], target[TMPDIR_CAP + 8];
	static char got[300000];
	tmpdir_make(dir);
	tmpdir_path(dir, "log", path);
	(void)snprintf(target, sizeof target, "unix:%s", path);
	SCOPED(sink_closep) sink_t *s = make(target, NULL);
	memset(text, 'x', 65535);
	memcpy(text, "{\"a\":\"", 6);
	memcpy(text + 65533, "\"}", 2);
	const sink_event_t e = {.index = 1, .bytes = span_of(text, 65535)};
	int fd = daemon_at(path);
	assert_int_equal(s->ops->take(s, &e, 1, NULL), KMS_OK);
	ssize_t n = recv(fd, got, sizeof got, 0);
	assert_true(n > 65535);
	assert_memory_equal(got + n - 65535, text, 65535);
	(void)close(fd);
	tmpdir_remove(dir);
}

/* A daemon that does not read: its queue fills up, and the stop ends the wait. */
static void test_a_daemon_that_hangs(void **state)
{
	(void)state;
	char dir[TMPDIR_CAP], path[TMPDIR_CAP], target[TMPDIR_CAP + 8];
	tmpdir_make(dir);
	tmpdir_path(dir, "log", path);
	(void)snprintf(target, sizeof target, "unix:%s", path);
	SCOPED(sink_closep) sink_t *s = make(target, NULL);
	int fd = daemon_at(path);
	kms_err_t e = KMS_OK;
	atomic_store(&stopping, true);
	for (unsigned i = 0; i < 1000 && e == KMS_OK; i++)
		e = take(s, i * 64, 64, NULL);
	assert_int_equal(e, KMS_E_UNAVAILABLE);
	(void)close(fd);
	tmpdir_remove(dir);
}

/* --- streams --- */

typedef struct remote {
	pki_t pki;
	tls_server_t *server;
	char target[64];
} remote_t;

static void remote_start(remote_t *r, bool tls)
{
	*r = (remote_t){.server = NULL};
	pki_make(&r->pki, &(pki_options_t){0});
	r->server = tls_server_start(&r->pki, tls ? SERVER_READS : SERVER_READS_PLAIN, span_str(""));
	(void)snprintf(r->target, sizeof r->target, "%s:127.0.0.1:%u", tls ? "tls" : "tcp",
		       tls_server_port(r->server));
}

static void remote_stop(remote_t *r)
{
	tls_server_stop(r->server);
	pki_free(&r->pki);
}

static bool arrives(remote_t *r, const char *text)
{
	for (int i = 0; i < 500; i++) {
		SCOPED(freep) char *all = tls_server_requests(r->server);
		if (strstr(all, text) != NULL)
			return true;
		steady_pause(10);
	}
	return false;
}

/* Reads frames; yields their number, and checks that they are the events first, first + 1 and so on. */
static size_t frames(const char *all, unsigned first)
{
	size_t count = 0;
	for (const char *at = all; *at != '\0'; count++) {
		char *end = NULL;
		char event[32];
		unsigned long n = strtoul(at, &end, 10);
		assert_true(*end == ' ' && n > 0 && strlen(end + 1) >= n);
		(void)snprintf(event, sizeof event, "{\"n\":%u}", first + (unsigned)count);
		assert_memory_equal(end + 1 + n - strlen(event), event, strlen(event));
		at = end + 1 + n;
	}
	return count;
}

static void test_octet_counting(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		SCOPED(remote_stop) remote_t r;
		remote_start(&r, tls == 1);
		SCOPED(sink_closep) sink_t *s = make(r.target, r.pki.ca);
		assert_int_equal(take(s, 0, 40, NULL), KMS_OK);
		assert_int_equal(take(s, 40, 2, NULL), KMS_OK);
		assert_true(arrives(&r, "{\"n\":41}"));
		SCOPED(freep) char *all = tls_server_requests(r.server);
		assert_int_equal(frames(all, 0), 42);
		assert_int_equal(tls_server_handshakes(r.server), tls);
	}
}

static void test_a_closed_stream_is_seen_before_the_batch(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		SCOPED(remote_stop) remote_t r;
		remote_start(&r, tls == 1);
		SCOPED(sink_closep) sink_t *s = make(r.target, r.pki.ca);
		assert_int_equal(take(s, 0, 1, NULL), KMS_OK);
		assert_true(arrives(&r, "{\"n\":0}"));
		tls_server_hang_up(r.server);
		steady_pause(200);
		assert_int_equal(take(s, 1, 1, NULL), KMS_E_UNAVAILABLE);
		assert_int_equal(take(s, 0, 3, NULL), KMS_OK);
		assert_true(arrives(&r, "{\"n\":2}"));
		SCOPED(freep) char *all = tls_server_requests(r.server);
		const char *again = strstr(strstr(all, "{\"n\":0}") + 1, "{\"n\":0}");
		assert_non_null(again);
	}
}

static void test_another_ca(void **state)
{
	(void)state;
	SCOPED(remote_stop) remote_t r;
	SCOPED(pki_free) pki_t other;
	remote_start(&r, true);
	pki_make(&other, &(pki_options_t){0});
	SCOPED(sink_closep) sink_t *s = make(r.target, other.ca);
	assert_int_equal(take(s, 0, 1, NULL), KMS_E_INTEGRITY);
	assert_int_equal(tls_server_handshakes(r.server), 0);
}

static void test_settings(void **state)
{
	(void)state;
	static const struct {
		const char *target, *ca;
		kms_err_t e;
	} rows[] = {
		{"", NULL, KMS_E_INVALID},
		{"/dev/log", NULL, KMS_E_INVALID},
		{"udp:127.0.0.1:514", NULL, KMS_E_INVALID},
		{"TCP:127.0.0.1:514", NULL, KMS_E_INVALID},
		{"unix:", NULL, KMS_E_INVALID},
		{"unix:dev/log", NULL, KMS_E_INVALID},
		{"unix:/"
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		 "a"
		 "aaaaaaaaaaaaaaa",
		 NULL, KMS_E_INVALID},
		{"unix:/dev/log", NULL, KMS_OK},
		{"tcp:", NULL, KMS_E_INVALID},
		{"tcp:host", NULL, KMS_E_INVALID},
		{"tcp:host:0x10", NULL, KMS_E_INVALID},
		{"tcp:host:514/x", NULL, KMS_E_INVALID},
		{"tcp:host:514", NULL, KMS_OK},
		{"tls:host:6514", NULL, KMS_E_INVALID},
		{"tls:host:6514", "/nonexistent/ca.pem", KMS_E_NOTFOUND},
		{"tls:host", "/dev/null", KMS_E_INVALID},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(sink_closep) sink_t *s = NULL;
		diag_t why = {{0}};
		kms_err_t e = sink_syslog_new(rows[i].target, rows[i].ca, &s, &why);
		if (e != rows[i].e || (e != KMS_OK) != (s == NULL) ||
		    (e != KMS_OK && strstr(why.text, "export-syslog") == NULL))
			fail_msg("%s: %s", rows[i].target, why.text);
	}
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagrams_and_a_daemon_that_restarts),
		cmocka_unit_test(test_the_largest_event),
		cmocka_unit_test(test_a_daemon_that_hangs),
		cmocka_unit_test(test_octet_counting),
		cmocka_unit_test(test_a_closed_stream_is_seen_before_the_batch),
		cmocka_unit_test(test_another_ca),
		cmocka_unit_test(test_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
