#include "kms-server/http/metrics_server.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct fixture {
	metrics_server_t *server;
	atomic_uint pages;
	atomic_bool fail;
} fixture_t;

static kms_err_t page(void *ctx, buf_t *out)
{
	fixture_t *f = ctx;
	atomic_fetch_add(&f->pages, 1);
	buf_str(out, "claviger_test 1\n");
	return atomic_load(&f->fail) ? KMS_E_NOMEM : KMS_OK;
}

static int setup(void **state)
{
	fixture_t *f = calloc(1, sizeof *f);
	diag_t why = {.text = ""};
	if (f == NULL || metrics_server_start("127.0.0.1:0", page, f, &f->server, &why) != KMS_OK)
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_t *f = *state;
	metrics_server_stop(&f->server);
	free(f);
	return 0;
}

static int connect_to(const fixture_t *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(metrics_server_port(f->server))};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* Everything until the end of the stream; false when that does not come within the time. */
static bool read_to_end(int fd, char *out, size_t cap, int ms)
{
	size_t n = 0;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		out[n] = '\0';
		if (poll(&p, 1, ms) != 1)
			return false;
		ssize_t got = recv(fd, out + n, cap - 1 - n, 0);
		if (got <= 0)
			return true;
		n += (size_t)got;
	}
}

static void ask(const fixture_t *f, const char *request, char *out, size_t cap)
{
	SCOPED(closep) int fd = connect_to(f);
	assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
	if (!read_to_end(fd, out, cap, 4000))
		fail_msg("no end: %s", request);
}

#define HOST " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void test_answers(void **state)
{
	fixture_t *f = *state;
	static const struct {
		const char *request, *status;
		bool page;
	} rows[] = {
		{"GET /metrics" HOST, "HTTP/1.1 200 ", true},
		{"GET /metrics?x=1" HOST, "HTTP/1.1 200 ", true},
		{"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 405 ", false},
		{"PUT /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", "HTTP/1.1 405 ",
		 false},
		{"HEAD /metrics" HOST, "HTTP/1.1 405 ", false},
		{"GET /" HOST, "HTTP/1.1 404 ", false},
		{"GET /metrics/" HOST, "HTTP/1.1 404 ", false},
		{"GET /%6detrics" HOST, "HTTP/1.1 404 ", false},
		{"GET /METRICS" HOST, "HTTP/1.1 404 ", false},
		{"GET /../metrics" HOST, "HTTP/1.1 404 ", false},
		{"GET /v1/sys/health" HOST, "HTTP/1.1 404 ", false},
		{"POST /v1/node/release" HOST, "HTTP/1.1 404 ", false},
		{"\x16\x03\x01\x02\r\n\r\n", "", false},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char out[4096];
		unsigned before = atomic_load(&f->pages);
		ask(f, rows[i].request, out, sizeof out);
		bool has = strstr(out, "claviger_test 1\n") != NULL;
		if (strncmp(out, rows[i].status, strlen(rows[i].status)) != 0 || has != rows[i].page ||
		    atomic_load(&f->pages) - before != (rows[i].page ? 1U : 0U))
			fail_msg("%s: %s", rows[i].request, out);
		if (rows[i].page)
			assert_non_null(
				strstr(out, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	}
}

static void test_a_page_that_cannot_be_made(void **state)
{
	fixture_t *f = *state;
	char out[4096];
	atomic_store(&f->fail, true);
	ask(f, "GET /metrics" HOST, out, sizeof out);
	assert_int_equal(strncmp(out, "HTTP/1.1 500 ", 13), 0);
	assert_null(strstr(out, "claviger_test"));
}

static void test_refused_addresses(void **state)
{
	(void)state;
	static const char *const bad[] = {"0.0.0.0:0",   "[::]:0",    "192.0.2.1:0",
					  "localhost:0", "127.0.0.1", ""};
	for (size_t i = 0; i < COUNT(bad); i++) {
		metrics_server_t *s = NULL;
		diag_t why = {.text = ""};
		assert_int_equal(metrics_server_start(bad[i], page, NULL, &s, &why), KMS_E_INVALID);
		assert_null(s);
		assert_true(why.text[0] != '\0');
	}
}

static void test_address_in_use(void **state)
{
	fixture_t *f = *state;
	metrics_server_t *s = NULL;
	char where[32];
	diag_t why = {.text = ""};
	(void)snprintf(where, sizeof where, "127.0.0.1:%u", metrics_server_port(f->server));
	assert_int_equal(metrics_server_start(where, page, f, &s, &why), KMS_E_IO);
	assert_null(s);
}

/* One byte now and then: the connection ends when its time is up, whatever it sends. Meanwhile others are
 * served, and when all places are taken the next one waits. */
static void test_slow_clients(void **state)
{
	fixture_t *f = *state;
	int fd[METRICS_SERVER_CONNECTIONS];
	char out[4096];
	for (size_t i = 0; i < COUNT(fd) - 1; i++)
		fd[i] = connect_to(f);
	ask(f, "GET /metrics" HOST, out, sizeof out);
	assert_int_equal(strncmp(out, "HTTP/1.1 200 ", 13), 0);
	fd[COUNT(fd) - 1] = connect_to(f);
	int64_t began = steady_ms();
	bool open = true;
	while (open && steady_ms() - began < METRICS_SERVER_MS + 3000) {
		struct pollfd p = {.fd = fd[0], .events = POLLIN | POLLRDHUP};
		open = send(fd[0], "G", 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, 200) == 0;
	}
	assert_false(open);
	assert_true(steady_ms() - began > 500); /* all places are taken: sooner than with room left */
	for (size_t i = 0; i < COUNT(fd); i++)
		closep(&fd[i]);
	ask(f, "GET /metrics" HOST, out, sizeof out);
	assert_int_equal(strncmp(out, "HTTP/1.1 200 ", 13), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_page_that_cannot_be_made, setup, teardown),
		cmocka_unit_test_setup_teardown(test_address_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_clients, setup, teardown),
		cmocka_unit_test(test_refused_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
