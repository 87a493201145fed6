#include "common/client/client.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "tests/unit/common/client/tls_server.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

typedef struct world {
	pki_t pki;
	tls_server_t *server;
	client_t *client;
	char url[64];
	char token[96];
} world_t;

static void stop(world_t *w)
{
	client_freep(&w->client);
	tls_server_stop(w->server);
	(void)unlink(w->token);
	pki_free(&w->pki);
}

static void start(world_t *w, server_manner_t manner)
{
	*w = (world_t){0};
	pki_make(&w->pki, &(pki_options_t){0});
	w->server = tls_server_start(&w->pki, manner, span_str(ANSWER));
	(void)snprintf(w->url, sizeof w->url, "http%s://127.0.0.1:%u", manner == SERVER_PLAIN ? "" : "s",
		       tls_server_port(w->server));
	(void)snprintf(w->token, sizeof w->token, "%s/token", w->pki.dir);
}

static kms_err_t make(world_t *w, client_options_t o, diag_t *why)
{
	o.urls = w->url;
	o.ca_file = w->pki.ca;
	return client_new(&o, &w->client, why);
}

static kms_err_t send_lines(world_t *w, unsigned timeout_s, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	const client_request_t rq = {.method = "POST",
				     .path = "/in?x=1",
				     .body = span_str("{}\n{}\n"),
				     .content_type = "application/x-ndjson",
				     .header = "X-First: 7",
				     .timeout_s = timeout_s};
	return client_send(w->client, &rq, &r, why);
}

static void test_type_header_and_token(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_ANSWERS);
	assert_int_equal(file_write(w.token, span_str("abc.DEF-1\n"), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(make(&w, (client_options_t){.token_file = w.token}, NULL), KMS_OK);
	assert_int_equal(send_lines(&w, 10, NULL), KMS_OK);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_int_equal(strncmp(rq, "POST /in?x=1 HTTP/1.1\r\n", 23), 0);
	assert_non_null(strstr(rq, "\r\nContent-Type: application/x-ndjson\r\n"));
	assert_non_null(strstr(rq, "\r\nX-First: 7\r\n"));
	assert_non_null(strstr(rq, "\r\nAuthorization: Bearer abc.DEF-1\r\n"));
	assert_non_null(strstr(rq, "\r\n\r\n{}\n{}\n"));
}

static void test_plain(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_PLAIN);
	assert_int_equal(make(&w, (client_options_t){.plain_loopback = true}, NULL), KMS_OK);
	assert_int_equal(send_lines(&w, 10, NULL), KMS_OK);
	assert_int_equal(client_handshakes(w.client), 0);
}

static void test_tls12_where_it_is_enough(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_TLS12);
	assert_int_equal(make(&w, (client_options_t){.tls12 = true}, NULL), KMS_OK);
	assert_int_equal(send_lines(&w, 10, NULL), KMS_OK);
	client_freep(&w.client);
	assert_int_equal(make(&w, (client_options_t){0}, NULL), KMS_OK);
	assert_int_not_equal(send_lines(&w, 10, NULL), KMS_OK);
}

static void test_headers_that_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *type, *header;
	} rows[] = {{"text/plain\r\nA: b", NULL},
		    {"", NULL},
		    {NULL, "A: b\r\nC: d"},
		    {NULL, "A: b\n"},
		    {NULL, ""},
		    {NULL, "A"}};
	SCOPED(stop) world_t w;
	SCOPED(client_reply_free) client_reply_t r = {0};
	start(&w, SERVER_ANSWERS);
	assert_int_equal(make(&w, (client_options_t){0}, NULL), KMS_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const client_request_t rq = {.method = "POST",
					     .path = "/",
					     .body = span_str("x"),
					     .content_type = rows[i].type,
					     .header = rows[i].header,
					     .timeout_s = 5};
		assert_int_equal(client_send(w.client, &rq, &r, NULL), KMS_E_INVALID);
	}
	assert_int_equal(tls_server_handshakes(w.server), 0);
}

static void test_token_files_that_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned mode;
		kms_err_t e;
	} rows[] = {{"s3cr3t", 0644, KMS_E_DENIED},
		    {"\n", 0600, KMS_E_INVALID},
		    {"two words", 0600, KMS_E_INVALID},
		    {"two\nlines\n", 0600, KMS_E_INVALID},
		    {"nbsp\xa0", 0600, KMS_E_INVALID}};
	SCOPED(stop) world_t w;
	start(&w, SERVER_ANSWERS);
	assert_int_equal(make(&w, (client_options_t){.token_file = w.token}, NULL), KMS_E_NOTFOUND);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		assert_int_equal(
			file_write(w.token, span_str(rows[i].text), rows[i].mode, FILE_REPLACE, NULL),
			KMS_OK);
		assert_int_equal(make(&w, (client_options_t){.token_file = w.token}, &why), rows[i].e);
		assert_null(w.client);
		assert_null(strstr(why.text, rows[i].text[0] == '\n' ? "\n" : rows[i].text));
	}
}

static void *stop_soon(void *arg)
{
	const struct timespec ms300 = {.tv_nsec = 300000000};
	(void)nanosleep(&ms300, NULL);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

static void test_stop_ends_a_call(void **state)
{
	(void)state;
	atomic_bool stopping = false;
	pthread_t t;
	diag_t why = {{0}};
	SCOPED(stop) world_t w;
	start(&w, SERVER_SILENT);
	assert_int_equal(make(&w, (client_options_t){.stop = &stopping}, NULL), KMS_OK);
	assert_int_equal(pthread_create(&t, NULL, stop_soon, &stopping), 0);
	int64_t began = steady_ms();
	assert_int_equal(send_lines(&w, 30, &why), KMS_E_UNAVAILABLE);
	assert_true(steady_ms() - began < 1900);
	assert_non_null(strstr(why.text, "stops"));
	assert_int_equal(pthread_join(t, NULL), 0);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_type_header_and_token),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_tls12_where_it_is_enough),
		cmocka_unit_test(test_headers_that_are_refused),
		cmocka_unit_test(test_token_files_that_are_refused),
		cmocka_unit_test(test_stop_ends_a_call),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
