#include "kms-server/http/http_server.h"

#include "tests/unit/kms-server/http/edge_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define REQ(method, target, more) method " " target " HTTP/1.1\r\nHost: kms\r\n" more "\r\n"
#define LIST                      REQ("GET", "/v1/customers", "")
#define VOL                       "/v1/customers/acme/services/kafka/volumes/data"

static const http_options_t usual = {.max_connections = 64};

static fake_seen_t seen(edge_fixture_t *f)
{
	fake_seen_t s;
	fake_core_seen(f->core, &s);
	return s;
}

static void test_answer(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_answer_t a;
	edge_ask(f, &f->ours.node,
		 REQ("POST", VOL ":release",
		     "Idempotency-Key: k-1_A\r\nX-Forwarded-For: 192.0.2.9\r\nX-Client-Cert: operator\r\n"
		     "Forwarded: for=192.0.2.9\r\nContent-Length: 2\r\n") "{}",
		 &a);
	fake_seen_t s = seen(f);
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, "{\"ok\":true}");
	assert_int_equal(s.last.op, OP_VOLUME_RELEASE);
	assert_int_equal(s.last.refused, KMS_OK);
	assert_string_equal(s.last.customer, "acme");
	assert_string_equal(s.last.name, "data");
	assert_string_equal(s.last.idempotency_key, "k-1_A");
	assert_string_equal(s.body, "{}");
	assert_int_equal(s.last.caller.kind, CALLER_VERIFIED);
	assert_string_equal(s.last.caller.id.node.name, "n1");
	assert_string_equal(s.last.caller.ip, "127.0.0.1");
	assert_int_not_equal(s.last.caller.port, 0);
	assert_int_equal(strlen(s.last.request_id), 32);
	assert_non_null(strstr(a.head, s.last.request_id));
	assert_non_null(strcasestr(a.head, "\r\nCache-Control: no-store\r\n"));
	assert_non_null(strcasestr(a.head, "\r\nContent-Type: application/json\r\n"));
	edge_stop(f);
}

/* What core says of caches goes out, once; where it says nothing, nothing is kept. */
static void test_caches(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_answer_t a;
	edge_ask(f, &f->ours.node, REQ("GET", "/v1/audit/log/tile/entries/x001/067.p/12", ""), &a);
	fake_seen_t s = seen(f);
	assert_int_equal(s.last.op, OP_LOG_ENTRIES);
	assert_int_equal(s.last.tile.level, TILE_ENTRIES);
	assert_int_equal(s.last.tile.index, 1067);
	assert_int_equal(s.last.tile.width, 12);
	assert_non_null(strcasestr(a.head, "\r\nCache-Control: " FAKE_TILE_CACHE "\r\n"));
	assert_null(strcasestr(a.head, "no-store"));
	edge_ask(f, &f->ours.node, REQ("GET", "/v1/audit/log/tile/0/1", ""), &a);
	assert_int_equal(a.status, 400);
	assert_int_equal(seen(f).last.tile.width, 0);
	assert_non_null(strcasestr(a.head, "\r\nCache-Control: no-store\r\n"));
	edge_stop(f);
}

/* --- who is calling --- */

static void test_callers(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	const struct {
		const credential_t *cred;
		caller_kind_t want;
		const char *reason;
	} rows[] = {
		{&f->ours.node, CALLER_VERIFIED, "our CA"},
		{NULL, CALLER_NONE, "no certificate"},
		{&f->other.node, CALLER_BAD, "another CA, same trust domain and names"},
		{&f->ours.ended, CALLER_BAD, "ended"},
		{&f->ours.server, CALLER_BAD, "not for clients"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		tls_answer_t a;
		edge_ask(f, rows[i].cred, REQ("PUT", VOL, "Content-Length: 14\r\n") "{\"node\":\"n1\"}\n",
			 &a);
		fake_seen_t s = seen(f);
		if (s.submitted != i + 1 || s.last.caller.kind != rows[i].want)
			fail_msg("%s: kind %d", rows[i].reason, s.last.caller.kind);
		assert_int_equal(s.last.caller.reason[0] != '\0', rows[i].want == CALLER_BAD);
		/* what a stranger sends to a route that needs a certificate is not kept */
		assert_int_equal(s.body_len, rows[i].want == CALLER_VERIFIED ? 14 : 0);
	}
	edge_stop(f);
}

static void test_stranger_may_enrol(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_answer_t a;
	edge_ask(f, NULL, REQ("POST", "/v1/enroll", "Content-Length: 2\r\n") "{}", &a);
	fake_seen_t s = seen(f);
	assert_int_equal(a.status, 200);
	assert_int_equal(s.last.op, OP_ENROLL);
	assert_int_equal(s.last.caller.kind, CALLER_NONE);
	assert_int_equal(s.body_len, 2);
	edge_stop(f);
}

static void test_connection_does_not_outlive_certificate(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	assert_true(tls_send_text(&c, LIST));
	tls_read(&c, &a);
	assert_int_equal(seen(f).last.caller.kind, CALLER_VERIFIED);
	atomic_fetch_add(&f->now_ms, 11 * 3600000LL);
	assert_true(tls_send_text(&c, LIST));
	tls_read(&c, &a);
	assert_int_equal(seen(f).submitted, 2);
	assert_int_equal(seen(f).last.caller.kind, CALLER_BAD);
	tls_close(&c);
	edge_stop(f);
}

static void test_tls_versions_and_tickets(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c;
	const credential_t *n = &f->ours.node;
	assert_false(tls_open(f->port, &n->cert, n->key, "NORMAL:-VERS-ALL:+VERS-TLS1.2", &c));
	assert_true(tls_open(f->port, &n->cert, n->key, "NORMAL:-VERS-ALL:+VERS-TLS1.3", &c));
	tls_answer_t a;
	assert_true(tls_send_text(&c, LIST));
	tls_read(&c, &a);
	assert_int_equal(a.status, 200);
	/* no ticket was sent with or before the answer: there is nothing to resume by */
	assert_int_equal(gnutls_session_get_flags(c.session) & GNUTLS_SFLAGS_SESSION_TICKET, 0);
	assert_int_equal(gnutls_protocol_get_version(c.session), GNUTLS_TLS1_3);
	assert_int_equal(gnutls_cipher_get(c.session), GNUTLS_CIPHER_AES_128_GCM);
	tls_close(&c);
	edge_stop(f);
}

/* --- refusals --- */

typedef struct refusal {
	const char *request;
	int status;
	core_op_t op;
	const char *reason;
} refusal_t;

static const refusal_t refusals[] = {
	{REQ("GET", "/v1/%63ustomers", ""), 400, OP_UNKNOWN, "percent sign"},
	{REQ("GET", "//v1/customers", ""), 400, OP_UNKNOWN, "empty segment"},
	{REQ("GET", "/v1/customers/", ""), 400, OP_UNKNOWN, "slash at the end"},
	{REQ("GET", "/v1/customers/..", ""), 400, OP_UNKNOWN, "dots"},
	{REQ("GET", "/v1/customers/ACME", ""), 400, OP_UNKNOWN, "capitals"},
	{REQ("GET", "/v1/customers/-a", ""), 400, OP_CUSTOMER_GET, "name"},
	{REQ("GET", "/v1/nothing", ""), 404, OP_UNKNOWN, "unknown path"},
	{REQ("DELETE", "/v1/customers", ""), 405, OP_UNKNOWN, "method"},
	{REQ("HEAD", "/v1/customers", ""), 405, OP_UNKNOWN, "HEAD"},
	{REQ("POST", "/v1/sys/health", "Content-Length: 0\r\n"), 405, OP_UNKNOWN, "health is read only"},
	{REQ("GET", "/v1/audit/events?limit=1&limit=2", ""), 400, OP_AUDIT_LIST, "query key twice"},
	{REQ("GET", "/v1/audit/events?actor=%00", ""), 400, OP_AUDIT_LIST, "NUL in the query"},
	{REQ("GET", "/v1/audit/events?", "Idempotency-Key: a b\r\n"), 400, OP_AUDIT_LIST, "key's characters"},
	{REQ("GET", "/v1/customers", "Idempotency-Key: \r\n"), 400, OP_CUSTOMER_LIST, "empty key"},
	{REQ("GET", "/v1/customers", "Idempotency-Key: a\r\nidempotency-key: a\r\n"), 400, OP_CUSTOMER_LIST,
	 "two keys"},
	{REQ("GET", "/v1/customers",
	     "Idempotency-Key: "
	     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
	 400, OP_CUSTOMER_LIST, "key of 65 characters"},
	{REQ("PUT", "/v1/customers/acme", "Content-Length: 2\r\nContent-Length: 2\r\n") "{}", 400,
	 OP_CUSTOMER_PUT, "two lengths"},
	{REQ("GET", "/v1/customers", "Content-Length: 2\r\n") "{}", 413, OP_CUSTOMER_LIST,
	 "body where none belongs"},
	{REQ("PUT", "/v1/customers/acme", "Content-Length: 99999999\r\n"), 413, OP_CUSTOMER_PUT,
	 "announced too much: answered without reading"},
	{REQ("PUT", "/v1/customers/acme", "Content-Length: 999999999999999999999\r\n"), 0, OP_UNKNOWN,
	 "a length over 64 bit is the library's 4xx"},
};

static void test_refusals(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	size_t want = 0;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		const refusal_t *r = &refusals[i];
		tls_answer_t a;
		edge_ask(f, &f->ours.node, r->request, &a);
		fake_seen_t s = seen(f);
		if (r->status == 0) {
			if (s.submitted != want || (a.status != 0 && (a.status < 400 || a.status > 499)))
				fail_msg("%s: %d", r->reason, a.status);
			continue;
		}
		want++;
		if (strncmp(r->request, "HEAD", 4) == 0)
			a.status = (int)strtol(a.head + 9, NULL,
					       10); /* Content-Length of a body that is not sent */
		if (s.submitted != want || a.status != r->status || s.last.refused == KMS_OK ||
		    s.last.refused_status != r->status || s.last.op != r->op || s.last.why.text[0] == '\0' ||
		    s.body_len != 0)
			fail_msg("%s: answered %d, recorded %d, op %d, \"%s\"", r->reason, a.status,
				 s.last.refused_status, s.last.op, s.last.why.text);
		assert_int_equal(strcasestr(a.head, "\r\nAllow: ") != NULL, r->status == 405);
	}
	edge_stop(f);
}

static void test_nul_in_path(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	static const char req[] = "GET /v1/customers\0/acme HTTP/1.1\r\nHost: kms\r\n\r\n";
	static const char req2[] = "GET /v1/audit/events?limit=1\0&x HTTP/1.1\r\nHost: kms\r\n\r\n";
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	assert_true(tls_send(&c, req, sizeof req - 1));
	tls_read(&c, &a);
	assert_int_equal(a.status, 400);
	assert_int_equal(seen(f).last.refused_status, 400);
	assert_true(tls_send(&c, req2, sizeof req2 - 1));
	tls_read(&c, &a);
	assert_int_equal(a.status, 400);
	tls_close(&c);
	edge_stop(f);
}

static void send_filler(tls_client_t *c, size_t n)
{
	static const char zeros[4096];
	bool open = true;
	for (size_t at = 0; open && at < n; at += sizeof zeros)
		open = tls_send(c, zeros, n - at < sizeof zeros ? n - at : sizeof zeros);
}

static void test_body_over_limit_by_length(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	assert_true(tls_send_text(&c, REQ("PUT", VOL, "Content-Length: 65537\r\n")));
	send_filler(&c, 65537);
	tls_read(&c, &a);
	assert_int_equal(a.status, 413);
	assert_int_equal(seen(f).last.refused_status, 413);
	assert_int_equal(seen(f).body_len, 0);
	/* the rest was read: the connection is still good, and the limit itself is allowed */
	assert_true(tls_send_text(&c, REQ("PUT", VOL, "Content-Length: 65536\r\n")));
	send_filler(&c, 65536);
	tls_read(&c, &a);
	assert_int_equal(a.status, 200);
	assert_int_equal(seen(f).body_len, 65536);
	tls_close(&c);
	edge_stop(f);
}

static bool send_chunk(tls_client_t *c, size_t n)
{
	char head[32];
	(void)snprintf(head, sizeof head, "%zx\r\n", n);
	if (!tls_send_text(c, head))
		return false;
	send_filler(c, n);
	return tls_send_text(c, "\r\n");
}

static void test_body_over_limit_in_chunks(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	assert_true(tls_send_text(&c, REQ("PUT", VOL, "Transfer-Encoding: chunked\r\n")));
	for (int i = 0; i < 17; i++)
		assert_true(send_chunk(&c, 4096));
	assert_true(tls_send_text(&c, "0\r\n\r\n"));
	tls_read(&c, &a);
	assert_int_equal(a.status, 413);
	assert_int_equal(seen(f).last.refused_status, 413);
	tls_close(&c);
	edge_stop(f);
}

static void test_endless_body_is_cut(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c = edge_open(f);
	assert_true(tls_send_text(&c, REQ("PUT", VOL, "Transfer-Encoding: chunked\r\n")));
	bool open = true;
	size_t sent = 0;
	for (; open && sent < 64 * 1024 * 1024; sent += 16384)
		open = send_chunk(&c, 16384);
	assert_false(open);
	assert_int_equal(seen(f).submitted, 1);
	assert_int_equal(seen(f).last.refused_status, 413);
	tls_close(&c);
	edge_stop(f);
	/* stopping waits for it: the job was finished */
}

static void test_headers_too_large(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_client_t c = edge_open(f);
	tls_answer_t a;
	bool open = tls_send_text(&c, "GET /v1/customers HTTP/1.1\r\nHost: kms\r\n");
	for (int i = 0; open && i < 1000; i++)
		open = tls_send_text(
			&c, "X-Filler: 0123456789012345678901234567890123456789012345678901234567890\r\n");
	tls_read(&c, &a);
	assert_true(a.status == 431 || a.status == 0);
	assert_int_equal(seen(f).submitted, 0);
	tls_close(&c);
	edge_stop(f);
}

/* --- core that does not take it --- */

static void test_submit_fails(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	tls_answer_t a;
	fake_core_submit_returns(f->core, KMS_E_FULL);
	edge_ask(f, &f->ours.node, LIST, &a);
	assert_int_equal(a.status, 429);
	assert_non_null(strcasestr(a.head, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strcasestr(a.head, "\r\nContent-Type: application/problem+json\r\n"));
	fake_core_submit_returns(f->core, KMS_E_UNAVAILABLE);
	edge_ask(f, &f->ours.node, LIST, &a);
	assert_int_equal(a.status, 503);
	assert_non_null(strstr(a.body, "stopping"));
	assert_non_null(strcasestr(a.head, "\r\nRetry-After: "));
	assert_int_equal(seen(f).submitted, 0);
	edge_stop(f);
}

static void test_health_needs_no_core(void **state)
{
	edge_fixture_t *f = *state;
	edge_start(f, &usual);
	fake_core_hold(f->core, true);
	tls_answer_t a;
	edge_ask(f, NULL, REQ("GET", "/v1/sys/health", ""), &a);
	assert_int_equal(a.status, 503);
	assert_non_null(strcasestr(a.head, "\r\nRetry-After: 7\r\n"));
	assert_non_null(strcasestr(a.head, "\r\nX-Request-Id: "));
	assert_int_equal(seen(f).submitted, 0);
	edge_stop(f);
}

static void test_wrong_key_refuses_start(void **state)
{
	edge_fixture_t *f = *state;
	core_t *core = fake_core_new();
	http_options_t o = {.core = core,
			    .clock = clock_system(),
			    .ca = f->ours.ca,
			    .ca_pem = buf_span(&f->ours.ca_pem),
			    .cert_pem = buf_span(&f->ours.server.cert),
			    .key_pem = f->other.server.key,
			    .listen = "127.0.0.1:0"};
	http_server_t *s = NULL;
	diag_t why = {.text = ""};
	assert_int_equal(http_server_start(&o, &s, &why), KMS_E_INVALID);
	assert_null(s);
	assert_true(why.text[0] != '\0');
	o.key_pem = f->ours.server.key;
	o.listen = "localhost:1";
	assert_int_equal(http_server_start(&o, &s, &why), KMS_E_INVALID);
	assert_null(s);
	fake_core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_caches),
		cmocka_unit_test(test_callers),
		cmocka_unit_test(test_stranger_may_enrol),
		cmocka_unit_test(test_connection_does_not_outlive_certificate),
		cmocka_unit_test(test_tls_versions_and_tickets),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_nul_in_path),
		cmocka_unit_test(test_body_over_limit_by_length),
		cmocka_unit_test(test_body_over_limit_in_chunks),
		cmocka_unit_test(test_endless_body_is_cut),
		cmocka_unit_test(test_headers_too_large),
		cmocka_unit_test(test_submit_fails),
		cmocka_unit_test(test_health_needs_no_core),
		cmocka_unit_test(test_wrong_key_refuses_start),
	};
	return cmocka_run_group_tests_name("http/http_server", tests, edge_setup, edge_teardown);
}
