/* What goes wrong in time: slow and vanishing clients, many at once, stopping under load. */
#include "tests/unit/kms-server/http/edge_fixture.h"

#include "common/base/steady.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LIST "GET /v1/customers HTTP/1.1\r\nHost: kms\r\n\r\n"

static const http_options_t usual = {.max_connections = 64};
static const http_options_t hasty = {.max_connections = 64, .request_ms = 1200, .idle_ms = 60000};

static fake_seen_t seen(edge_fixture_t *f)
{
	fake_seen_t s;
	fake_core_seen(f->core, &s);
	return s;
}

/* One header byte every 20 ms never lets a limit of inactivity strike. */
static void test_slow_request(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	tls_client_t c = edge_open(f);
	int64_t from = edge_now_ms();
	bool open = tls_send_text(&c, "GET /v1/customers HTTP/1.1\r\nX-Slow: ");
	while (open && edge_now_ms() - from < 10000) {
		open = tls_send_text(&c, "x");
		steady_pause(20);
	}
	int64_t took = edge_now_ms() - from;
	assert_false(open);
	assert_in_range(took, 600, 6000);
	assert_int_equal(seen(f).submitted, 0);
	tls_close(&c);
	edge_stop(f);
}

static void test_slow_body(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	tls_client_t c = edge_open(f);
	int64_t from = edge_now_ms();
	bool open = tls_send_text(
		&c, "PUT /v1/customers/acme HTTP/1.1\r\nHost: kms\r\nContent-Length: 9999\r\n\r\n");
	while (open && edge_now_ms() - from < 10000) {
		open = tls_send_text(&c, "x");
		steady_pause(20);
	}
	assert_false(open);
	assert_int_equal(seen(f).submitted, 0);
	tls_close(&c);
	edge_stop(f);
}

static void test_silent_handshake(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	int64_t from = edge_now_ms();
	int fd = tcp_open(f->port);
	char ch;
	assert_int_equal(read(fd, &ch, 1), 0);
	assert_in_range(edge_now_ms() - from, 600, 9000);
	(void)close(fd);
	edge_stop(f);
}

static int64_t cpu_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The library itself would try the handshake again without pause, on all its threads. */
static void test_stalled_handshakes_cost_nothing(void **state)
{
	edge_fixture_t *f = *state;
	const credential_t *n = &f->ours.node;
	edge_start(f, &usual);
	tls_client_t c[8];
	for (size_t i = 0; i < 8; i++)
		assert_true(tls_hello(f->port, &n->cert, n->key, &c[i]));
	steady_pause(200);
	int64_t before = cpu_ms();
	steady_pause(500);
	assert_in_range(cpu_ms() - before, 0, 150);
	/* and they go on when the client does */
	for (size_t i = 0; i < 8; i++) {
		tls_answer_t a;
		assert_true(tls_finish(&c[i]));
		assert_true(tls_send_text(&c[i], LIST));
		tls_read(&c[i], &a);
		assert_int_equal(a.status, 200);
		tls_close(&c[i]);
	}
	edge_stop(f);
}

static void test_stalled_handshake_ends_in_time(void **state)
{
	edge_fixture_t *f = *state;
	const credential_t *n = &f->ours.node;
	edge_start(f, &hasty);
	tls_client_t c;
	int64_t from = edge_now_ms();
	assert_true(tls_hello(f->port, &n->cert, n->key, &c));
	char sink[4096];
	while (recv(c.fd, sink, sizeof sink, 0) > 0) {
	}
	assert_in_range(edge_now_ms() - from, 600, 9000);
	tls_close(&c);
	edge_stop(f);
}

static void test_stop_during_handshakes(void **state)
{
	edge_fixture_t *f = *state;
	const credential_t *n = &f->ours.node;
	edge_start(f, &usual);
	tls_client_t c[4];
	for (size_t i = 0; i < 4; i++)
		assert_true(tls_hello(f->port, &n->cert, n->key, &c[i]));
	steady_pause(100);
	edge_stop(f);
	for (size_t i = 0; i < 4; i++) {
		assert_false(tls_finish(&c[i]));
		tls_close(&c[i]);
	}
}

static void test_waiting_has_no_deadline(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	fake_core_hold(f->core, true);
	tls_client_t c = edge_open(f);
	assert_true(tls_send_text(&c, LIST));
	assert_true(fake_core_wait_submitted(f->core, 1));
	steady_pause(3000);
	fake_core_hold(f->core, false);
	tls_answer_t a;
	tls_read(&c, &a);
	assert_int_equal(a.status, 200);
	tls_close(&c);
	edge_stop(f);
}

static void test_client_vanishes_while_waiting(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	fake_core_hold(f->core, true);
	for (size_t i = 0; i < 20; i++) {
		tls_client_t c = edge_open(f);
		assert_true(tls_send_text(&c, LIST));
		assert_true(fake_core_wait_submitted(f->core, i + 1));
		tls_close(&c);
	}
	fake_core_hold(f->core, false);
	for (int i = 0; i < 500 && seen(f).finished < 20; i++)
		steady_pause(10);
	assert_int_equal(seen(f).finished, 20);
	/* and the server is as good as before */
	tls_answer_t a;
	edge_ask(f, &f->ours.node, LIST, &a);
	assert_int_equal(a.status, 200);
	edge_stop(f);
}

static void test_idle_make_room(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.max_connections = 4, .idle_ms = 60000});
	tls_client_t c[4];
	tls_answer_t a;
	for (size_t i = 0; i < 4; i++) {
		c[i] = edge_open(f);
		assert_true(tls_send_text(&c[i], LIST));
		tls_read(&c[i], &a);
		assert_int_equal(a.status, 200);
	}
	edge_ask(f, &f->ours.node, LIST, &a);
	assert_int_equal(a.status, 200);
	for (size_t i = 0; i < 4; i++)
		tls_close(&c[i]);
	edge_stop(f);
}

/* As many as are allowed say nothing, or only half of a request: a node gets in all the same, and soon. */
static void test_silent_make_room(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.max_connections = 6});
	tls_client_t half[3];
	tls_answer_t a;
	int silent[3];
	/* these first: while there is room a handshake may take as long as a busy machine needs */
	for (size_t i = 0; i < 3; i++) {
		assert_true(tls_open(f->port, NULL, NULL, NULL, &half[i]));
		assert_true(tls_send_text(&half[i], "GET /v1/customers HTTP/1.1\r\nX-Slow: "));
	}
	for (size_t i = 0; i < 3; i++)
		silent[i] = tcp_open(f->port);
	int64_t from = edge_now_ms();
	for (size_t i = 0; i < 4; i++) {
		edge_ask(f, &f->ours.node, LIST, &a);
		assert_int_equal(a.status, 200);
	}
	assert_in_range(edge_now_ms() - from, 0, 8000);
	for (size_t i = 0; i < 3; i++) {
		(void)close(silent[i]);
		tls_close(&half[i]);
	}
	edge_stop(f);
}

#define BURST 63

/* As many as are allowed within an instant, however libmicrohttpd spreads them over its threads: a thread
 * that got more than its share would hang with all its connections. */
static void test_a_burst_up_to_the_limit(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.max_connections = 64, .threads = 2});
	tls_answer_t a;
	int burst[BURST];
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < BURST; i++)
			burst[i] = tcp_open(f->port);
		edge_ask(f, &f->ours.node, LIST, &a);
		assert_int_equal(a.status, 200);
		for (size_t i = 0; i < BURST; i++)
			(void)close(burst[i]);
	}
	edge_stop(f);
}

static void test_idle_ends(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.idle_ms = 300});
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	assert_true(tls_send_text(&c, LIST));
	tls_read(&c, &a);
	int64_t from = edge_now_ms();
	assert_true(tls_ended(&c));
	assert_in_range(edge_now_ms() - from, 200, 8000);
	tls_close(&c);
	edge_stop(f);
}

/* --- many at once --- */

#define CLIENTS  8
#define REQUESTS 40

typedef struct worker {
	pthread_t thread;
	edge_fixture_t *f;
	unsigned answered;
} worker_t;

static void *ask_often(void *arg)
{
	worker_t *w = arg;
	const credential_t *n = &w->f->ours.node;
	tls_client_t c;
	for (int i = 0; i < REQUESTS; i++) {
		/* ten on one connection, then a new one */
		if (i % 10 == 0 && !tls_open(w->f->port, &n->cert, n->key, NULL, &c))
			return NULL;
		tls_answer_t a = {.status = 0};
		if (tls_send_text(&c, LIST))
			tls_read(&c, &a);
		w->answered += a.status == 200 || a.status == 503;
		if (i % 10 == 9)
			tls_close(&c);
	}
	return NULL;
}

static void start_workers(edge_fixture_t *f, worker_t *w)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		w[i] = (worker_t){.f = f};
		assert_int_equal(pthread_create(&w[i].thread, NULL, ask_often, &w[i]), 0);
	}
}

static void test_many(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.max_connections = 0});
	worker_t w[CLIENTS];
	start_workers(f, w);
	for (size_t i = 0; i < CLIENTS; i++) {
		(void)pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].answered, REQUESTS);
	}
	edge_stop(f);
}

/* libmicrohttpd would abort the process if a connection were still suspended. */
static void test_stop_under_load(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &(http_options_t){.max_connections = 0});
	worker_t w[CLIENTS];
	start_workers(f, w);
	assert_true(fake_core_wait_submitted(f->core, 20));
	http_server_quiesce(f->server);
	core_stop(f->core);
	http_server_stop(&f->server);
	fake_seen_t s = seen(f);
	assert_int_equal(s.submitted, s.finished);
	for (size_t i = 0; i < CLIENTS; i++)
		(void)pthread_join(w[i].thread, NULL);
	fake_core_free(f->core);
}

static void test_stop_answers_who_waits(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &hasty);
	fake_core_hold(f->core, true);
	tls_client_t c = edge_open(f);
	assert_true(tls_send_text(&c, LIST));
	assert_true(fake_core_wait_submitted(f->core, 1));
	edge_stop(f);
	tls_answer_t a;
	tls_read(&c, &a);
	assert_int_equal(a.status, 200);
	tls_close(&c);
}

#define ENROL   "POST /v1/enroll HTTP/1.1\r\nHost: kms\r\nContent-Length: 2\r\n\r\n{}"
#define NOWHERE "GET /v1/nowhere HTTP/1.1\r\nHost: kms\r\n\r\n"

static const http_options_t calm = {.max_connections = 64, .strangers_rate = 5};

static int64_t time_of(tls_client_t *c, const char *request, size_t n, int status)
{
	int64_t from = edge_now_ms();
	for (size_t i = 0; i < n; i++) {
		tls_answer_t a;
		assert_true(tls_send_text(c, request));
		tls_read(c, &a);
		assert_int_equal(a.status, status);
	}
	return edge_now_ms() - from;
}

/* Refusals of strangers beyond the rate take their time; nobody else's answer does. */
static void test_strangers_wait(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &calm);
	tls_client_t stranger, node = edge_open(f);
	assert_true(tls_open(f->port, NULL, NULL, NULL, &stranger));
	assert_in_range(time_of(&stranger, NOWHERE, 5, 404), 0, 8000);
	assert_in_range(time_of(&stranger, NOWHERE, 12, 404), 700, 12000);
	/* what is taken of a stranger, and a node's refusals, are not slowed down */
	assert_in_range(time_of(&stranger, ENROL, 30, 200), 0, 9000);
	assert_in_range(time_of(&node, NOWHERE, 30, 404), 0, 9000);
	assert_in_range(time_of(&node, LIST, 30, 200), 0, 9000);
	tls_close(&stranger);
	tls_close(&node);
	edge_stop(f);
}

/* Held back, gone away, and stopped all the same. */
static void test_stop_while_strangers_wait(void **state)
{
	edge_fixture_t *f = *state;
	static const http_options_t slow = {.max_connections = 64, .strangers_rate = 1};
	tls_client_t c[8];
	edge_start(f, &slow);
	for (size_t i = 0; i < 8; i++) {
		assert_true(tls_open(f->port, NULL, NULL, NULL, &c[i]));
		assert_true(tls_send_text(&c[i], NOWHERE));
	}
	assert_true(fake_core_wait_submitted(f->core, 8));
	steady_pause(50);
	tls_close(&c[0]);
	tls_close(&c[1]);
	int64_t from = edge_now_ms();
	edge_stop(f);
	assert_in_range(edge_now_ms() - from, 0, 8000);
	for (size_t i = 2; i < 8; i++)
		tls_close(&c[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_request),
		cmocka_unit_test(test_slow_body),
		cmocka_unit_test(test_silent_handshake),
		cmocka_unit_test(test_stalled_handshakes_cost_nothing),
		cmocka_unit_test(test_stalled_handshake_ends_in_time),
		cmocka_unit_test(test_stop_during_handshakes),
		cmocka_unit_test(test_waiting_has_no_deadline),
		cmocka_unit_test(test_client_vanishes_while_waiting),
		cmocka_unit_test(test_idle_make_room),
		cmocka_unit_test(test_silent_make_room),
		cmocka_unit_test(test_a_burst_up_to_the_limit),
		cmocka_unit_test(test_idle_ends),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_stop_under_load),
		cmocka_unit_test(test_stop_answers_who_waits),
		cmocka_unit_test(test_strangers_wait),
		cmocka_unit_test(test_stop_while_strangers_wait),
	};
	return cmocka_run_group_tests_name("http/edge_time", tests, edge_setup, edge_teardown);
}
