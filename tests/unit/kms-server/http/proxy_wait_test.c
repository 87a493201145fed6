#include "kms-server/http/proxy_wait.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HEADER   "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\x00\x71\x09\x0a\x00\x00\x02\x11\x5c\x20\xfb"
#define HEADER_N (sizeof HEADER - 1)

typedef struct heard {
	unsigned whole, refused;
	endpoint_t source;
	int fd;    /* of the last whole one: the test's now */
	int first; /* the first that was refused */
	const char *why;
} heard_t;

static void on_whole(void *ctx, const proxy_peer_t *p, const proxy_v2_t *said)
{
	heard_t *h = ctx;
	h->whole++;
	h->source = said->source;
	h->fd = p->fd;
}

static void on_refused(void *ctx, const proxy_peer_t *p, const char *why)
{
	heard_t *h = ctx;
	if (h->refused++ == 0)
		h->first = p->fd;
	h->why = why;
}

static proxy_wait_t *wait_new(heard_t *h)
{
	proxy_wait_t *w = NULL;
	*h = (heard_t){.fd = -1, .first = -1};
	const proxy_wait_events_t events = {.whole = on_whole, .refused = on_refused, .ctx = h};
	assert_int_equal(proxy_wait_new(&events, &w), KMS_OK);
	return w;
}

/* The other end of a connection that is taken with these bytes in it. */
static int take(proxy_wait_t *w, const void *bytes, size_t n, int *ours)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(send(fd[1], bytes, n, 0), n);
	if (ours != NULL)
		*ours = fd[0];
	proxy_wait_take(w, &(proxy_peer_t){.fd = fd[0]});
	return fd[1];
}

static void look(proxy_wait_t *w)
{
	struct pollfd p[PROXY_WAIT_MAX];
	size_t n = proxy_wait_poll(w, p);
	assert_true(poll(p, n, 0) >= 0);
	proxy_wait_ready(w, p, n);
}

static bool ended(int fd)
{
	char ch;
	ssize_t n = recv(fd, &ch, 1, 0);
	return n == 0 || (n < 0 && errno != EAGAIN);
}

static void check_whole(const heard_t *h, const char *rest)
{
	char bytes[64] = "", ip[NETWORK_ADDR_CAP];
	assert_int_equal(h->whole, 1);
	assert_int_equal(h->refused, 0);
	network_addr_format(h->source.addr, ip);
	assert_string_equal(ip, "203.0.113.9");
	assert_int_equal(h->source.port, 4444);
	ssize_t n = recv(h->fd, bytes, sizeof bytes, 0);
	assert_int_equal(n, rest[0] != '\0' ? (ssize_t)strlen(rest) : -1);
	assert_memory_equal(bytes, rest, strlen(rest));
}

/* What stands behind the header stays in the socket, to the byte, even when it looks like another header. */
static void test_only_the_header_is_read(void **state)
{
	(void)state;
	static const char *const rest[] = {"", "\x16", "\x16\x03\x01 hello", "\r\n\r\n"};
	for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
		heard_t h;
		SCOPED(proxy_wait_freep) proxy_wait_t *w = wait_new(&h);
		char bytes[128] = HEADER;
		memcpy(bytes + HEADER_N, rest[i], strlen(rest[i]));
		int far = take(w, bytes, HEADER_N + strlen(rest[i]), NULL);
		check_whole(&h, rest[i]);
		assert_int_equal(proxy_wait_count(w), 0);
		(void)close(far);
		(void)close(h.fd);
	}
}

static void test_byte_by_byte(void **state)
{
	(void)state;
	heard_t h;
	SCOPED(proxy_wait_freep) proxy_wait_t *w = wait_new(&h);
	int far = take(w, "", 0, NULL);
	for (size_t i = 0; i < HEADER_N; i++) {
		assert_int_equal(h.whole, 0);
		assert_int_equal(proxy_wait_count(w), 1);
		assert_int_equal(send(far, &HEADER[i], 1, 0), 1);
		look(w);
	}
	assert_int_equal(send(far, "TLS", 3, 0), 3);
	check_whole(&h, "TLS");
	(void)close(far);
	(void)close(h.fd);
}

typedef struct row {
	const char *reason;
	const char *bytes;
	size_t n;
	bool closes;
	const char *says; /* NULL: nobody is told */
} row_t;

static const row_t rows[] = {
	{"another protocol", "GET", 3, false, "no PROXY header"},
	{"version 1", "P", 1, false, "version 1"},
	{"closes within the fixed part", HEADER, 7, true, "closed within"},
	{"closes before the last byte", HEADER, HEADER_N - 1, true, "closed within"},
	{"closes without a byte", "", 0, true, NULL},
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const row_t *r = &rows[i];
		heard_t h;
		SCOPED(proxy_wait_freep) proxy_wait_t *w = wait_new(&h);
		int far = take(w, r->bytes, r->n, NULL);
		if (r->closes)
			(void)close(far);
		look(w);
		if (proxy_wait_count(w) != 0 || h.whole != 0 || h.refused != (r->says != NULL ? 1 : 0) ||
		    (r->says != NULL && strstr(h.why, r->says) == NULL))
			fail_msg("%s: %u refused: %s", r->reason, h.refused, h.why != NULL ? h.why : "");
		if (!r->closes) {
			assert_true(ended(far));
			(void)close(far);
		}
	}
}

static void test_deadline(void **state)
{
	(void)state;
	heard_t h;
	SCOPED(proxy_wait_freep) proxy_wait_t *w = wait_new(&h);
	int half = take(w, HEADER, 20, NULL), none = take(w, "", 0, NULL);
	steady_pause(60);
	int late = take(w, HEADER, 20, NULL);
	/* a byte now and then is no reason to wait longer */
	assert_int_equal(send(half, &HEADER[20], 1, 0), 1);
	look(w);
	proxy_wait_expire(w, 1000);
	assert_int_equal(h.refused, 0);
	proxy_wait_expire(w, 50);
	assert_int_equal(h.refused, 2);
	assert_non_null(strstr(h.why, "in time"));
	assert_int_equal(proxy_wait_count(w), 1);
	assert_true(ended(half) && ended(none) && !ended(late));
	/* nobody waits: nothing to do */
	proxy_wait_expire(NULL, 0);
	assert_int_equal(proxy_wait_count(NULL), 0);
	(void)close(half);
	(void)close(none);
	(void)close(late);
}

/* More than may wait: the one that has waited longest goes, and the newest may be whole at once. */
static void test_bounded(void **state)
{
	(void)state;
	heard_t h;
	SCOPED(proxy_wait_freep) proxy_wait_t *w = wait_new(&h);
	int far[PROXY_WAIT_MAX + 1], oldest = -1;
	far[0] = take(w, HEADER, 5, &oldest);
	steady_pause(5);
	for (unsigned i = 1; i < PROXY_WAIT_MAX; i++)
		far[i] = take(w, HEADER, 5, NULL);
	assert_int_equal(h.refused, 0);
	far[PROXY_WAIT_MAX] = take(w, HEADER, HEADER_N, NULL);
	assert_int_equal(h.refused, 1);
	assert_int_equal(h.first, oldest);
	assert_int_equal(h.whole, 1);
	assert_true(ended(far[0]));
	assert_int_equal(proxy_wait_count(w), PROXY_WAIT_MAX - 1);
	/* all of them get their header in the same round */
	for (unsigned i = 1; i < PROXY_WAIT_MAX; i++)
		assert_int_equal(send(far[i], &HEADER[5], HEADER_N - 5, 0), HEADER_N - 5);
	(void)close(h.fd);
	look(w);
	assert_int_equal(h.whole, PROXY_WAIT_MAX);
	assert_int_equal(proxy_wait_count(w), 0);
	for (unsigned i = 0; i <= PROXY_WAIT_MAX; i++)
		(void)close(far[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_header_is_read),
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_bounded),
	};
	return cmocka_run_group_tests_name("http/proxy_wait", tests, NULL, NULL);
}
