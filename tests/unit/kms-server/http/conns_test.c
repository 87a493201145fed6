#include "kms-server/http/conns.h"

#include "common/base/scope.h"
#include "common/base/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

static endpoint_t from(const char *ip)
{
	endpoint_t e = {.port = 4711};
	assert_int_equal(network_addr(span_str(ip), e.addr), KMS_OK);
	return e;
}

typedef struct pair {
	int ours, theirs;
} pair_t;

static pair_t pair_new(void)
{
	int fd[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	return (pair_t){fd[0], fd[1]};
}

static void pair_end(pair_t p)
{
	(void)close(p.ours);
	(void)close(p.theirs);
}

static bool ended(pair_t p)
{
	char ch;
	return recv(p.theirs, &ch, 1, 0) == 0;
}

static kms_err_t admit(conns_t *c, pair_t p, const char *ip)
{
	endpoint_t client = from(ip);
	return conns_admit(c, p.ours, &client, NULL);
}

static kms_err_t admit_via(conns_t *c, pair_t p, const char *ip, const char *via)
{
	endpoint_t client = from(ip), bastion = from(via);
	return conns_admit(c, p.ours, &client, &bastion);
}

typedef struct source_row {
	const char *first, *second;
	kms_err_t want; /* of the second, with one allowed from each source */
	const char *reason;
} source_row_t;

static const source_row_t sources[] = {
	{"192.0.2.1", "192.0.2.1", KMS_E_FULL, "same address"},
	{"192.0.2.1", "192.0.2.2", KMS_OK, "another address"},
	{"192.0.2.1", "::ffff:192.0.2.1", KMS_E_FULL, "the same address in mapped form"},
	{"2001:db8::1", "2001:db8::ffff:2", KMS_E_FULL, "same /64"},
	{"2001:db8::1", "2001:db8:0:1::1", KMS_OK, "another /64"},
	{"127.0.0.1", "127.0.0.1", KMS_OK, "loopback may have all"},
	{"::1", "::1", KMS_OK, "loopback may have all"},
	{"::2", "::3", KMS_E_FULL, "not loopback"},
};

static void test_sources(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
		const conns_limits_t limits = {
			.all = 4, .per_source = 1, .request_ms = 1000, .idle_ms = 1000};
		SCOPED(conns_freep) conns_t *c = NULL;
		assert_int_equal(conns_new(&limits, &c), KMS_OK);
		pair_t a = pair_new(), b = pair_new();
		assert_int_equal(admit(c, a, sources[i].first), KMS_OK);
		if (admit(c, b, sources[i].second) != sources[i].want)
			fail_msg("%s then %s: %s", sources[i].first, sources[i].second, sources[i].reason);
		/* what was given back may be taken again */
		conns_close(c, conns_adopt(c, a.ours));
		conns_forget(c, b.ours);
		assert_int_equal(admit(c, b, sources[i].second), KMS_OK);
		pair_end(a);
		pair_end(b);
	}
}

static void test_nothing_was_admitted(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 4, .per_source = 1, .request_ms = 1000, .idle_ms = 1000};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	assert_null(conns_adopt(c, 0));
	assert_null(conns_adopt(c, 1000000));
}

typedef struct bastion_row {
	const char *first, *via, *second, *via2;
	kms_err_t want; /* of the second, with one allowed from each source */
	const char *reason;
} bastion_row_t;

static const bastion_row_t behind[] = {
	{"192.0.2.1", "10.0.0.1", "192.0.2.1", "10.0.0.1", KMS_E_FULL, "the same caller"},
	{"192.0.2.1", "10.0.0.1", "192.0.2.2", "10.0.0.1", KMS_OK, "another caller of the same bastion"},
	{"192.0.2.1", "10.0.0.1", "192.0.2.1", "10.0.0.2", KMS_E_FULL, "the same caller by another bastion"},
	{"192.0.2.1", "10.0.0.1", "192.0.2.1", NULL, KMS_E_FULL, "the same caller by itself"},
	{"192.0.2.1", "10.0.0.1", "10.0.0.1", NULL, KMS_OK, "the bastion itself"},
	{"127.0.0.1", "10.0.0.1", "127.0.0.1", "10.0.0.1", KMS_E_FULL, "somebody else's loopback"},
	{"::1", "127.0.0.1", "::1", "127.0.0.1", KMS_E_FULL, "loopback behind our own"},
};

static void test_sources_behind_bastions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
		const bastion_row_t *r = &behind[i];
		const conns_limits_t limits = {
			.all = 8, .per_source = 1, .request_ms = 1000, .idle_ms = 1000};
		SCOPED(conns_freep) conns_t *c = NULL;
		assert_int_equal(conns_new(&limits, &c), KMS_OK);
		pair_t a = pair_new(), b = pair_new();
		assert_int_equal(admit_via(c, a, r->first, r->via), KMS_OK);
		kms_err_t e = r->via2 != NULL ? admit_via(c, b, r->second, r->via2) : admit(c, b, r->second);
		if (e != r->want)
			fail_msg("%s: %d", r->reason, e);
		pair_end(a);
		pair_end(b);
	}
}

/* Three quarters are what a bastion may have, whomever it speaks for: a refusal leaves no count behind. */
static void test_a_bastion_leaves_room(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 8, .per_source = 2, .request_ms = 1000, .idle_ms = 1000};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	pair_t p[8];
	char ip[32];
	for (unsigned i = 0; i < 6; i++) {
		p[i] = pair_new();
		(void)snprintf(ip, sizeof ip, "192.0.2.%u", i);
		assert_int_equal(admit_via(c, p[i], ip, "127.0.0.1"), KMS_OK);
	}
	p[6] = pair_new();
	p[7] = pair_new();
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(admit_via(c, p[6], "192.0.2.77", "127.0.0.1"), KMS_E_FULL);
	assert_int_equal(conns_open(c), 6);
	assert_int_equal(admit(c, p[6], "192.0.2.77"), KMS_OK);
	assert_int_equal(admit_via(c, p[7], "192.0.2.77", "127.0.0.2"), KMS_OK);
	conns_close(c, conns_adopt(c, p[0].ours));
	assert_int_equal(admit_via(c, p[0], "192.0.2.78", "127.0.0.1"), KMS_OK);
	for (unsigned i = 0; i < 8; i++)
		pair_end(p[i]);
}

static void test_caller_is_the_tcp_peer_or_whom_it_speaks_for(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 4, .per_source = 4, .request_ms = 1000, .idle_ms = 1000};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	pair_t a = pair_new();
	assert_int_equal(admit(c, a, "::ffff:192.0.2.7"), KMS_OK);
	conn_t *conn = conns_adopt(c, a.ours);
	assert_string_equal(conn->caller.ip, "192.0.2.7");
	assert_int_equal(conn->caller.port, 4711);
	assert_int_equal(conn->caller.kind, CALLER_NONE);
	assert_string_equal(conn->caller.via, "");
	conns_close(c, conn);
	assert_int_equal(admit_via(c, a, "2001:db8::7", "::ffff:10.0.0.1"), KMS_OK);
	conn = conns_adopt(c, a.ours);
	assert_string_equal(conn->caller.ip, "2001:db8::7");
	assert_int_equal(conn->caller.port, 4711);
	assert_string_equal(conn->caller.via, "10.0.0.1");
	conns_close(c, conn);
	pair_end(a);
}

static void test_room_and_shedding(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 2, .per_source = 2, .request_ms = 10000, .idle_ms = 10000};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	pair_t a = pair_new(), b = pair_new();
	assert_true(conns_room(c, 0));
	assert_true(conns_room(c, 1));
	assert_false(conns_room(c, 2));
	assert_int_equal(admit(c, a, "192.0.2.1"), KMS_OK);
	assert_int_equal(admit(c, b, "192.0.2.2"), KMS_OK);
	assert_false(conns_room(c, 0));
	assert_false(conns_shed(c)); /* both are at work */
	conns_phase(c, conns_adopt(c, b.ours), CONN_IDLE);
	assert_true(conns_shed(c));
	assert_true(ended(b));
	assert_false(ended(a));
	assert_false(conns_shed(c)); /* not the same one twice */
	/* what only just began its handshake is left alone; what does not get on with it is not */
	(void)nanosleep(&(struct timespec){.tv_sec = CONNS_HANDSHAKE_MS / 1000, .tv_nsec = 50000000}, NULL);
	assert_true(conns_shed(c));
	assert_true(ended(a));
	pair_end(a);
	pair_end(b);
}

static void test_deadlines(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 4, .per_source = 4, .request_ms = 30, .idle_ms = 10000};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	pair_t slow = pair_new(), waiting = pair_new(), idle = pair_new();
	assert_int_equal(admit(c, slow, "192.0.2.1"), KMS_OK);
	assert_int_equal(admit(c, waiting, "192.0.2.1"), KMS_OK);
	assert_int_equal(admit(c, idle, "192.0.2.1"), KMS_OK);
	conns_phase(c, conns_adopt(c, waiting.ours), CONN_WAITING);
	conns_phase(c, conns_adopt(c, idle.ours), CONN_IDLE);
	assert_non_null(conns_adopt(c, slow.ours));
	assert_int_equal(conns_reap(c), 3);
	assert_false(ended(slow));
	steady_pause(60);
	assert_int_equal(conns_reap(c), 3); /* closing is the owner's */
	assert_true(ended(slow));
	assert_false(ended(waiting));
	assert_false(ended(idle));
	conns_phase(c, conns_adopt(c, waiting.ours), CONN_ANSWER);
	steady_pause(60);
	(void)conns_reap(c);
	assert_true(ended(waiting));
	pair_end(slow);
	pair_end(waiting);
	pair_end(idle);
}

/* A socket closed without a word, its number taken by somebody else: that one is not shut down. */
static void test_reused_number(void **state)
{
	(void)state;
	const conns_limits_t limits = {.all = 4, .per_source = 4, .request_ms = 20, .idle_ms = 20};
	SCOPED(conns_freep) conns_t *c = NULL;
	assert_int_equal(conns_new(&limits, &c), KMS_OK);
	pair_t a = pair_new(), b = pair_new();
	assert_int_equal(admit(c, a, "192.0.2.1"), KMS_OK);
	assert_int_equal(dup2(b.ours, a.ours), a.ours);
	steady_pause(40);
	assert_int_equal(conns_reap(c), 0); /* and the note is dropped: nobody will close it */
	assert_false(ended(b));
	pair_end(a);
	pair_end(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_nothing_was_admitted),
		cmocka_unit_test(test_sources_behind_bastions),
		cmocka_unit_test(test_a_bastion_leaves_room),
		cmocka_unit_test(test_caller_is_the_tcp_peer_or_whom_it_speaks_for),
		cmocka_unit_test(test_room_and_shedding),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_reused_number),
	};
	return cmocka_run_group_tests_name("http/conns", tests, NULL, NULL);
}
