#include "common/client/wire.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "tests/unit/common/client/tls_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <cmocka.h>

typedef struct world {
	pki_t pki;
	tls_server_t *server;
	wire_t *stream;
	char address[32];
	bool tls;
} world_t;

static void stop(world_t *w)
{
	wire_freep(&w->stream);
	tls_server_stop(w->server);
	pki_free(&w->pki);
}

static void start_with(world_t *w, server_manner_t manner, const pki_options_t *o)
{
	*w = (world_t){.tls = manner != SERVER_READS_PLAIN};
	pki_make(&w->pki, o);
	w->server = tls_server_start(&w->pki, manner, span_str(""));
	(void)snprintf(w->address, sizeof w->address, "127.0.0.1:%u", tls_server_port(w->server));
}

static void start(world_t *w, server_manner_t manner)
{
	start_with(w, manner, &(pki_options_t){0});
}

static kms_err_t connect_to(world_t *w, const char *ca, diag_t *why)
{
	const wire_options_t o = {
		.address = w->address, .tls = w->tls, .ca_file = ca != NULL ? ca : w->pki.ca, .connect_s = 5};
	return wire_connect(&o, &w->stream, why);
}

static bool arrives(world_t *w, const char *text)
{
	for (int i = 0; i < 500; i++) {
		SCOPED(freep) char *all = tls_server_requests(w->server);
		if (strstr(all, text) != NULL)
			return true;
		steady_pause(10);
	}
	return false;
}

static void test_bytes_arrive(void **state)
{
	(void)state;
	static const server_manner_t manners[] = {SERVER_READS, SERVER_READS_PLAIN};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(stop) world_t w;
		diag_t why = {{0}};
		start(&w, manners[i]);
		if (connect_to(&w, NULL, &why) != KMS_OK)
			fail_msg("%s", why.text);
		assert_int_equal(wire_alive(w.stream, &why), KMS_OK);
		assert_int_equal(wire_send(w.stream, span_str("one "), 5000, &why), KMS_OK);
		assert_int_equal(wire_alive(w.stream, &why), KMS_OK);
		assert_int_equal(wire_send(w.stream, span_str("two"), 5000, &why), KMS_OK);
		assert_true(arrives(&w, "one two"));
	}
}

static void test_much(void **state)
{
	(void)state;
	static const server_manner_t manners[] = {SERVER_READS, SERVER_READS_PLAIN};
	size_t n = 4U << 20;
	SCOPED(freep) char *all = malloc(n);
	assert_non_null(all);
	memset(all, 'x', n);
	memcpy(all + n - 4, "last", 4);
	for (size_t i = 0; i < 2; i++) {
		SCOPED(stop) world_t w;
		start(&w, manners[i]);
		assert_int_equal(connect_to(&w, NULL, NULL), KMS_OK);
		assert_int_equal(wire_send(w.stream, span_of(all, n), 30000, NULL), KMS_OK);
		assert_true(arrives(&w, "last"));
		SCOPED(freep) char *got = tls_server_requests(w.server);
		assert_int_equal(strlen(got), n);
	}
}

static void test_a_peer_that_closes_is_seen(void **state)
{
	(void)state;
	static const server_manner_t manners[] = {SERVER_READS, SERVER_READS_PLAIN};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(stop) world_t w;
		diag_t why = {{0}};
		kms_err_t e = KMS_OK;
		start(&w, manners[i]);
		assert_int_equal(connect_to(&w, NULL, NULL), KMS_OK);
		assert_int_equal(wire_send(w.stream, span_str("x"), 5000, NULL), KMS_OK);
		assert_true(arrives(&w, "x"));
		tls_server_hang_up(w.server);
		for (int k = 0; k < 500 && e == KMS_OK; k++) {
			steady_pause(10);
			e = wire_alive(w.stream, &why);
		}
		assert_int_equal(e, KMS_E_UNAVAILABLE);
		assert_non_null(strstr(why.text, "closed"));
	}
}

static void test_another_ca_is_refused(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(pki_free) pki_t other;
	diag_t why = {{0}};
	start(&w, SERVER_READS);
	pki_make(&other, &(pki_options_t){0});
	assert_int_equal(connect_to(&w, other.ca, &why), KMS_E_INTEGRITY);
	assert_null(w.stream);
	assert_int_equal(connect_to(&w, "/nonexistent/ca.pem", &why), KMS_E_NOTFOUND);
	assert_int_equal(tls_server_handshakes(w.server), 0);
}

static void test_another_name_is_refused(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start_with(&w, SERVER_READS, &(pki_options_t){.server_name = "other.example"});
	assert_int_equal(connect_to(&w, NULL, NULL), KMS_E_INTEGRITY);
}

static void test_tls12_is_enough(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_TLS12);
	assert_int_equal(connect_to(&w, NULL, NULL), KMS_OK);
	assert_int_equal(wire_alive(w.stream, NULL), KMS_OK);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	wire_t *s = NULL;
	char address[32];
	(void)snprintf(address, sizeof address, "127.0.0.1:%u", closed_port());
	const wire_options_t o = {.address = address, .connect_s = 5};
	assert_int_equal(wire_connect(&o, &s, NULL), KMS_E_UNAVAILABLE);
	assert_null(s);
}

/* Accepts in the kernel's queue, and nobody reads. */
static int deaf_listener(char address[32])
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof at;
	int small = 4096;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	assert_int_equal(listen(fd, 4), 0);
	(void)snprintf(address, 32, "127.0.0.1:%u", (unsigned)ntohs(at.sin_port));
	return fd;
}

static void test_a_peer_that_reads_nothing(void **state)
{
	(void)state;
	static uint8_t much[1U << 20];
	SCOPED(wire_freep) wire_t *s = NULL;
	char address[32];
	diag_t why = {{0}};
	SCOPED(closep) int listener = deaf_listener(address);
	assert_true(listener >= 0);
	const wire_options_t o = {.address = address, .connect_s = 5};
	assert_int_equal(wire_connect(&o, &s, NULL), KMS_OK);
	int64_t began = steady_ms();
	/* less than the socket's buffer holds: taken by our kernel, not by the peer's */
	assert_int_equal(wire_send(s, span_of(much, sizeof much), 500, &why), KMS_E_UNAVAILABLE);
	assert_true(steady_ms() - began < 2000);
	assert_non_null(strstr(why.text, "in time"));
}

static void *stop_soon(void *arg)
{
	steady_pause(200);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

static void test_stop_ends_the_waits(void **state)
{
	(void)state;
	static uint8_t much[1U << 20];
	SCOPED(wire_freep) wire_t *s = NULL;
	SCOPED(wire_freep) wire_t *none = NULL;
	char address[32];
	atomic_bool stopping = false;
	pthread_t t;
	SCOPED(closep) int listener = deaf_listener(address);
	assert_true(listener >= 0);
	wire_options_t o = {.address = address, .connect_s = 30, .stop = &stopping};
	assert_int_equal(wire_connect(&o, &s, NULL), KMS_OK);
	assert_int_equal(pthread_create(&t, NULL, stop_soon, &stopping), 0);
	int64_t began = steady_ms();
	assert_int_equal(wire_send(s, span_of(much, sizeof much), 30000, NULL), KMS_E_UNAVAILABLE);
	assert_true(steady_ms() - began < 1500);
	assert_int_equal(pthread_join(t, NULL), 0);
	/* a handshake that nobody answers */
	atomic_store(&stopping, false);
	o.tls = true;
	SCOPED(pki_free) pki_t pki;
	pki_make(&pki, &(pki_options_t){0});
	o.ca_file = pki.ca;
	assert_int_equal(pthread_create(&t, NULL, stop_soon, &stopping), 0);
	began = steady_ms();
	assert_int_equal(wire_connect(&o, &none, NULL), KMS_E_UNAVAILABLE);
	assert_true(steady_ms() - began < 1900);
	assert_int_equal(pthread_join(t, NULL), 0);
}

static void test_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *address;
		kms_err_t e;
	} rows[] = {{"127.0.0.1:514", KMS_OK},     {"[::1]:6514", KMS_OK},   {"log.example:6514", KMS_OK},
		    {"", KMS_E_INVALID},           {":514", KMS_E_INVALID},  {"a", KMS_E_INVALID},
		    {"a:", KMS_E_INVALID},         {"[::1]", KMS_E_INVALID}, {"a:99999", KMS_E_INVALID},
		    {"a:x", KMS_E_INVALID},        {"a:1/", KMS_E_INVALID},  {"a:1/b", KMS_E_INVALID},
		    {"u@a:1", KMS_E_INVALID},      {"a:1?b", KMS_E_INVALID}, {"a b:1", KMS_E_INVALID},
		    {"https://a:1", KMS_E_INVALID}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (wire_check_address(rows[i].address, NULL) != rows[i].e)
			fail_msg("%s", rows[i].address);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_arrive),
		cmocka_unit_test(test_much),
		cmocka_unit_test(test_a_peer_that_closes_is_seen),
		cmocka_unit_test(test_another_ca_is_refused),
		cmocka_unit_test(test_another_name_is_refused),
		cmocka_unit_test(test_tls12_is_enough),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_a_peer_that_reads_nothing),
		cmocka_unit_test(test_stop_ends_the_waits),
		cmocka_unit_test(test_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
