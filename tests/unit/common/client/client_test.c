#include "common/client/client.h"

#include "common/base/scope.h"
#include "tests/unit/common/client/tls_server.h"
#include "tests/unit/common/proto/alloc_fail.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#define DAY_MS INT64_C(86400000)
#define OK_ANSWER                                                                                            \
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}"

typedef struct world {
	pki_t pki;
	tls_server_t *server;
	client_t *client;
	char urls[256];
} world_t;

static void stop(world_t *w)
{
	client_freep(&w->client);
	if (w->server != NULL)
		tls_server_stop(w->server);
	pki_free(&w->pki);
}

static void start(world_t *w, const pki_options_t *o, server_manner_t manner, const char *answer)
{
	*w = (world_t){0};
	pki_make(&w->pki, o);
	w->server = tls_server_start(&w->pki, manner, span_str(answer));
	(void)snprintf(w->urls, sizeof w->urls, "https://127.0.0.1:%u", tls_server_port(w->server));
}

static void connect_with(world_t *w, const char *ca, bool identity)
{
	diag_t why = {{0}};
	client_options_t o = {.urls = w->urls,
			      .ca_file = ca != NULL ? ca : w->pki.ca,
			      .cert_file = identity ? w->pki.cert : NULL,
			      .key_file = identity ? w->pki.key : NULL,
			      .user_agent = "test/1"};
	if (client_new(&o, &w->client, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static kms_err_t get(world_t *w, client_reply_t *r, diag_t *why)
{
	return client_call(w->client, "GET", "/v1/x", span_of(NULL, 0), NULL, 10, r, why);
}

static void test_a_call_and_what_it_sends(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(client_reply_free) client_reply_t r = {0};
	diag_t why = {{0}};
	start(&w, &(pki_options_t){0}, SERVER_WANTS_CERT, OK_ANSWER);
	connect_with(&w, NULL, true);
	assert_int_equal(client_call(w.client, "PUT", "/v1/a", span_str("{\"b\":1}"), "key_1", 10, &r, &why),
			 KMS_OK);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.retry_after, 0);
	assert_true(span_eq(buf_span(&r.body), span_str("{\"ok\":true}")));
	assert_int_equal(client_status(&r, &why), KMS_OK);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_int_equal(strncmp(rq, "PUT /v1/a HTTP/1.1\r\n", 20), 0);
	assert_non_null(strstr(rq, "\r\nIdempotency-Key: key_1\r\n"));
	assert_non_null(strstr(rq, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(rq, "\r\nUser-Agent: test/1\r\n"));
	assert_non_null(strstr(rq, "\r\n\r\n{\"b\":1}"));
	assert_null(strstr(rq, "Expect"));
	assert_null(strcasestr(rq, "Authorization"));
}

static void test_methods_and_empty_bodies(void **state)
{
	(void)state;
	static const char *const methods[] = {"POST", "GET", "DELETE", "PUT", "GET"};
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	connect_with(&w, NULL, false);
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		SCOPED(client_reply_free) client_reply_t r = {0};
		char path[16];
		(void)snprintf(path, sizeof path, "/v1/%zu", i);
		assert_int_equal(
			client_call(w.client, methods[i], path, span_of(NULL, 0), NULL, 10, &r, NULL),
			KMS_OK);
		SCOPED(freep) char *rq = tls_server_requests(w.server);
		char want[64];
		(void)snprintf(want, sizeof want, "%s /v1/%zu HTTP/1.1\r\n", methods[i], i);
		const char *at = strstr(rq, want);
		assert_non_null(at);
		assert_null(strstr(at, "Content-Type"));
		assert_null(strstr(at, "Idempotency-Key"));
	}
}

/* All requests of a client go over one connection: one handshake. */
static void test_one_handshake(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	connect_with(&w, NULL, false);
	for (unsigned i = 0; i < 20; i++) {
		SCOPED(client_reply_free) client_reply_t r = {0};
		assert_int_equal(get(&w, &r, NULL), KMS_OK);
	}
	assert_int_equal(client_handshakes(w.client), 1);
	assert_int_equal(tls_server_handshakes(w.server), 1);
}

/* A kept connection that the server has closed meanwhile costs another handshake, not an error. */
static void test_closed_connections_are_made_anew(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_CLOSES_EACH, OK_ANSWER);
	connect_with(&w, NULL, false);
	for (unsigned i = 1; i <= 3; i++) {
		SCOPED(client_reply_free) client_reply_t r = {0};
		assert_int_equal(get(&w, &r, NULL), KMS_OK);
	}
	assert_int_equal(client_handshakes(w.client), 3);
}

static void expect_failure(world_t *w, kms_err_t want, const char *says)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	diag_t why = {{0}};
	kms_err_t e = client_call(w->client, "GET", "/v1/x", span_of(NULL, 0), NULL, 2, &r, &why);
	if (e != want || strstr(why.text, says) == NULL)
		fail_msg("%s: %s", kms_err_name(e), why.text);
	assert_int_equal(r.status, 0);
	assert_null(r.body.p);
}

static void test_another_ca_is_an_integrity_failure(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(pki_free) pki_t other;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	pki_make(&other, &(pki_options_t){0}); /* the same names, another key */
	connect_with(&w, other.ca, false);
	expect_failure(&w, KMS_E_INTEGRITY, "check the CA");
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_string_equal(rq, "");
}

static void test_another_name_is_an_integrity_failure(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){.server_name = "kms.example"}, SERVER_ANSWERS, OK_ANSWER);
	connect_with(&w, NULL, false);
	expect_failure(&w, KMS_E_INTEGRITY, "another name");
}

static void test_dates_name_the_clock(void **state)
{
	(void)state;
	static const int64_t shifts[] = {-20 * DAY_MS, 20 * DAY_MS};
	for (size_t i = 0; i < 2; i++) {
		SCOPED(stop) world_t w;
		start(&w, &(pki_options_t){.shift_ms = shifts[i]}, SERVER_ANSWERS, OK_ANSWER);
		connect_with(&w, NULL, false);
		expect_failure(&w, KMS_E_INTEGRITY, "clock");
	}
}

static void test_tls12_is_refused(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_TLS12, OK_ANSWER);
	connect_with(&w, NULL, false);
	expect_failure(&w, KMS_E_UNAVAILABLE, "127.0.0.1");
	assert_int_equal(tls_server_handshakes(w.server), 0);
}

static void test_no_certificate_is_denied(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_WANTS_CERT, OK_ANSWER);
	connect_with(&w, NULL, false);
	expect_failure(&w, KMS_E_DENIED, "refuses our certificate");
}

static void test_silence_and_hanging_up(void **state)
{
	(void)state;
	SCOPED(stop) world_t silent;
	start(&silent, &(pki_options_t){0}, SERVER_SILENT, "");
	connect_with(&silent, NULL, false);
	expect_failure(&silent, KMS_E_UNAVAILABLE, "no answer in time");
	SCOPED(stop) world_t rude;
	start(&rude, &(pki_options_t){0}, SERVER_HANGS_UP, "");
	connect_with(&rude, NULL, false);
	expect_failure(&rude, KMS_E_UNAVAILABLE, "https://127.0.0.1");
}

static void test_the_next_url_when_nobody_listens(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	(void)snprintf(w.urls, sizeof w.urls, "https://127.0.0.1:%u,https://127.0.0.1:%u/", closed_port(),
		       tls_server_port(w.server));
	connect_with(&w, NULL, false);
	for (unsigned i = 0; i < 3; i++) {
		SCOPED(client_reply_free) client_reply_t r = {0};
		assert_int_equal(get(&w, &r, NULL), KMS_OK);
	}
	assert_int_equal(tls_server_handshakes(w.server), 1);
}

static void test_all_reasons_are_named(void **state)
{
	(void)state;
	SCOPED(stop) world_t w = {0};
	unsigned a = closed_port(), b = closed_port();
	char text[48];
	pki_make(&w.pki, &(pki_options_t){0});
	(void)snprintf(w.urls, sizeof w.urls, "https://127.0.0.1:%u,https://127.0.0.1:%u", a, b);
	connect_with(&w, NULL, false);
	(void)snprintf(text, sizeof text, "127.0.0.1:%u", a);
	expect_failure(&w, KMS_E_UNAVAILABLE, text);
	(void)snprintf(text, sizeof text, "; https://127.0.0.1:%u", b);
	expect_failure(&w, KMS_E_UNAVAILABLE, text);
	assert_int_equal(client_handshakes(w.client), 0);
}

/* The second server must not get what the first one may have done already. */
static void test_never_the_next_url_after_sending(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(client_reply_free) client_reply_t r = {0};
	start(&w, &(pki_options_t){0}, SERVER_HANGS_UP, "");
	tls_server_t *second = tls_server_start(&w.pki, SERVER_ANSWERS, span_str(OK_ANSWER));
	(void)snprintf(w.urls, sizeof w.urls, "https://127.0.0.1:%u,https://127.0.0.1:%u",
		       tls_server_port(w.server), tls_server_port(second));
	connect_with(&w, NULL, false);
	assert_int_equal(client_call(w.client, "POST", "/v1/x", span_str("{}"), NULL, 5, &r, NULL),
			 KMS_E_UNAVAILABLE);
	assert_int_equal(tls_server_handshakes(second), 0);
	tls_server_stop(second);
}

static void test_a_false_server_is_not_walked_around(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(stop) world_t false_one;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	start(&false_one, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	(void)snprintf(w.urls, sizeof w.urls, "https://127.0.0.1:%u,https://127.0.0.1:%u",
		       tls_server_port(false_one.server), tls_server_port(w.server));
	connect_with(&w, NULL, false);
	expect_failure(&w, KMS_E_INTEGRITY, "not of this deployment");
	assert_int_equal(tls_server_handshakes(w.server), 0);
}

static void test_redirects_are_not_followed(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(client_reply_free) client_reply_t r = {0};
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS,
	      "HTTP/1.1 307 Over There\r\nLocation: /v1/y\r\nContent-Length: 0\r\n\r\n");
	connect_with(&w, NULL, false);
	assert_int_equal(get(&w, &r, NULL), KMS_OK);
	assert_int_equal(r.status, 307);
	assert_int_equal(client_status(&r, NULL), KMS_E_IO);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_null(strstr(rq, "/v1/y"));
}

static void test_too_large_an_answer(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(buf_free) buf_t big = {.limit = 32U << 20};
	buf_str(&big, "HTTP/1.1 200 OK\r\nContent-Length: 16777217\r\n\r\n");
	uint8_t *at = buf_reserve(&big, (16U << 20) + 1);
	assert_non_null(at);
	memset(at, 'x', (16U << 20) + 1);
	pki_make(&w.pki, &(pki_options_t){0});
	w.client = NULL;
	w.server = tls_server_start(&w.pki, SERVER_ANSWERS, buf_span(&big));
	(void)snprintf(w.urls, sizeof w.urls, "https://127.0.0.1:%u", tls_server_port(w.server));
	connect_with(&w, NULL, false);
	SCOPED(client_reply_free) client_reply_t r = {0};
	diag_t why = {{0}};
	assert_int_equal(client_call(w.client, "GET", "/", span_of(NULL, 0), NULL, 60, &r, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, "larger than 16 MiB"));
}

/* Answers hold secrets: no block of ours or libcurl's goes back to the heap with one in it. */
static void test_answers_are_wiped(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS,
	      "HTTP/1.1 200 OK\r\nX-Also: clear-secret-text\r\nContent-Length: 17\r\n\r\nclear-secret-text");
	connect_with(&w, NULL, false);
	client_reply_t r = {0};
	alloc_watch("clear-secret-text");
	assert_int_equal(get(&w, &r, NULL), KMS_OK);
	assert_int_equal(r.body.n, 17);
	client_reply_free(&r);
	client_freep(&w.client);
	assert_int_equal(alloc_seen(), 0);
	alloc_watch(NULL);
}

static void test_retry_after(void **state)
{
	(void)state;
	static const struct {
		const char *header;
		uint32_t want;
	} rows[] = {{"Retry-After: 7\r\n", 7},
		    {"Retry-After: 0\r\n", 0},
		    {"Retry-After: 4000000000\r\n", 86400},
		    {"Retry-After: -5\r\n", 0},
		    {"Retry-After: soon\r\n", 0},
		    {"", 0}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(stop) world_t w;
		SCOPED(client_reply_free) client_reply_t r = {0};
		char answer[256];
		(void)snprintf(answer, sizeof answer, "HTTP/1.1 503 No\r\n%sContent-Length: 0\r\n\r\n",
			       rows[i].header);
		start(&w, &(pki_options_t){0}, SERVER_ANSWERS, answer);
		connect_with(&w, NULL, false);
		assert_int_equal(get(&w, &r, NULL), KMS_OK);
		assert_int_equal(r.status, 503);
		assert_int_equal(r.retry_after, rows[i].want);
	}
}

static void test_the_environments_proxy_is_not_used(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(client_reply_free) client_reply_t r = {0};
	assert_int_equal(setenv("https_proxy", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	connect_with(&w, NULL, false);
	assert_int_equal(get(&w, &r, NULL), KMS_OK);
	assert_int_equal(unsetenv("https_proxy"), 0);
	assert_int_equal(unsetenv("ALL_PROXY"), 0);
}

static void test_a_named_proxy_is_used_whatever_no_proxy_says(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	diag_t why = {{0}};
	char proxy[48];
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	assert_int_equal(setenv("no_proxy", "*", 1), 0);
	(void)snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", closed_port());
	client_options_t o = {.urls = w.urls, .ca_file = w.pki.ca, .proxy = proxy};
	assert_int_equal(client_new(&o, &w.client, &why), KMS_OK);
	expect_failure(&w, KMS_E_UNAVAILABLE, "https://");
	assert_int_equal(tls_server_handshakes(w.server), 0);
	assert_int_equal(unsetenv("no_proxy"), 0);
}

static void test_call_refusals(void **state)
{
	(void)state;
	static const struct {
		const char *method, *path, *key;
		unsigned timeout;
	} rows[] = {
		{"TRACE", "/v1", NULL, 5},
		{"get", "/v1", NULL, 5},
		{"", "/v1", NULL, 5},
		{"GET", "v1", NULL, 5},
		{"GET", "", NULL, 5},
		{"GET", "/v 1", NULL, 5},
		{"GET", "/v1\r\nX: y", NULL, 5},
		{"GET", "/v1#x", NULL, 5},
		{"GET", "/v1\xc3\xa4", NULL, 5},
		{"PUT", "/v1", "", 5},
		{"PUT", "/v1", "a\r\nb: c", 5},
		{"PUT", "/v1", "a b", 5},
		{"GET", "/v1", NULL, 0},
		{"GET", "/v1", NULL, 86401},
		{"PUT", "/v1", "12345678901234567890123456789012345678901234567890123456789012345", 5},
	};
	SCOPED(stop) world_t w;
	start(&w, &(pki_options_t){0}, SERVER_ANSWERS, OK_ANSWER);
	connect_with(&w, NULL, false);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(client_reply_free) client_reply_t r = {0};
		assert_int_equal(client_call(w.client, rows[i].method, rows[i].path, span_of(NULL, 0),
					     rows[i].key, rows[i].timeout, &r, NULL),
				 KMS_E_INVALID);
	}
	assert_int_equal(client_handshakes(w.client), 0);
}

static void test_files_that_cannot_be_used(void **state)
{
	(void)state;
	SCOPED(pki_free) pki_t p;
	pki_make(&p, &(pki_options_t){0});
	const client_options_t good = {
		.urls = "https://a", .ca_file = p.ca, .cert_file = p.cert, .key_file = p.key};
	struct {
		client_options_t o;
		kms_err_t e;
	} rows[] = {{good, KMS_E_NOTFOUND}, {good, KMS_E_NOTFOUND}, {good, KMS_E_NOTFOUND},
		    {good, KMS_E_INVALID},  {good, KMS_E_INVALID},  {good, KMS_E_INVALID}};
	rows[0].o.ca_file = "/nonexistent";
	rows[1].o.cert_file = "/nonexistent";
	rows[2].o.key_file = "/nonexistent";
	rows[3].o.ca_file = NULL;
	rows[4].o.cert_file = NULL;
	rows[5].o.key_file = NULL;
	client_t *c = NULL;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(client_new(&rows[i].o, &c, NULL), rows[i].e);
		assert_null(c);
	}
	assert_int_equal(chmod(p.key, 0640), 0);
	assert_int_equal(client_new(&good, &c, NULL), KMS_E_DENIED);
	assert_null(c);
}

/* A key that is not the certificate's, and files that hold no PEM, show when the first connection is made. */
static void test_a_key_of_another_certificate(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	SCOPED(pki_free) pki_t other;
	diag_t why = {{0}};
	start(&w, &(pki_options_t){0}, SERVER_WANTS_CERT, OK_ANSWER);
	pki_make(&other, &(pki_options_t){0});
	client_options_t o = {
		.urls = w.urls, .ca_file = w.pki.ca, .cert_file = w.pki.cert, .key_file = other.key};
	assert_int_equal(client_new(&o, &w.client, &why), KMS_OK);
	expect_failure(&w, KMS_E_INVALID, "certificate");
	client_freep(&w.client);
	o.key_file = w.pki.key;
	o.ca_file = w.pki.key; /* no certificate in it */
	assert_int_equal(client_new(&o, &w.client, &why), KMS_OK);
	expect_failure(&w, KMS_E_INVALID, "CA");
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_call_and_what_it_sends),
		cmocka_unit_test(test_methods_and_empty_bodies),
		cmocka_unit_test(test_one_handshake),
		cmocka_unit_test(test_closed_connections_are_made_anew),
		cmocka_unit_test(test_another_ca_is_an_integrity_failure),
		cmocka_unit_test(test_another_name_is_an_integrity_failure),
		cmocka_unit_test(test_dates_name_the_clock),
		cmocka_unit_test(test_tls12_is_refused),
		cmocka_unit_test(test_no_certificate_is_denied),
		cmocka_unit_test(test_silence_and_hanging_up),
		cmocka_unit_test(test_the_next_url_when_nobody_listens),
		cmocka_unit_test(test_all_reasons_are_named),
		cmocka_unit_test(test_never_the_next_url_after_sending),
		cmocka_unit_test(test_a_false_server_is_not_walked_around),
		cmocka_unit_test(test_redirects_are_not_followed),
		cmocka_unit_test(test_too_large_an_answer),
		cmocka_unit_test(test_answers_are_wiped),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_the_environments_proxy_is_not_used),
		cmocka_unit_test(test_a_named_proxy_is_used_whatever_no_proxy_says),
		cmocka_unit_test(test_call_refusals),
		cmocka_unit_test(test_files_that_cannot_be_used),
		cmocka_unit_test(test_a_key_of_another_certificate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
