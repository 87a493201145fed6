#include "kms-server/audit/sink_webhook.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tests/unit/common/client/tls_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <cmocka.h>

static atomic_bool stopping;

typedef struct world {
	pki_t pki;
	tls_server_t *server;
	sink_t *sink;
	char url[64], token[96];
} world_t;

static void stop(world_t *w)
{
	sink_closep(&w->sink);
	tls_server_stop(w->server);
	(void)unlink(w->token);
	pki_free(&w->pki);
}

static void start(world_t *w, server_manner_t manner, const char *answer)
{
	*w = (world_t){.sink = NULL};
	pki_make(&w->pki, &(pki_options_t){0});
	w->server = tls_server_start(&w->pki, manner, span_str(answer));
	(void)snprintf(w->url, sizeof w->url, "http%s://127.0.0.1:%u/in/claviger?a=b",
		       manner == SERVER_PLAIN ? "" : "s", tls_server_port(w->server));
	(void)snprintf(w->token, sizeof w->token, "%s/token", w->pki.dir);
}

static void make(world_t *w, bool token, unsigned timeout_s)
{
	diag_t why = {{0}};
	const sink_webhook_options_t o = {.url = w->url,
					  .ca_file = w->pki.ca,
					  .token_file = token ? w->token : NULL,
					  .timeout_s = timeout_s};
	atomic_store(&stopping, false);
	if (sink_webhook_new(&o, &w->sink, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_false(w->sink->repeats);
	w->sink->stop = &stopping;
}

static kms_err_t take(world_t *w, diag_t *why)
{
	static const sink_event_t e[] = {{7, {(const uint8_t *)"{\"a\":1}", 7}},
					 {8, {(const uint8_t *)"{\"b\":2}", 7}}};
	w->sink->retry_after = 0;
	return w->sink->ops->take(w->sink, e, 2, why);
}

#define BATCH "{\"index\":7,\"event\":{\"a\":1}}\n{\"index\":8,\"event\":{\"b\":2}}\n"

static void test_what_is_posted(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_ANSWERS, "HTTP/1.1 204 No Content\r\n\r\n");
	assert_int_equal(file_write(w.token, span_str("t0ken\n"), 0600, FILE_REPLACE, NULL), KMS_OK);
	make(&w, true, 0);
	assert_int_equal(take(&w, NULL), KMS_OK);
	assert_int_equal(take(&w, NULL), KMS_OK);
	assert_int_equal(tls_server_handshakes(w.server), 1);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_int_equal(strncmp(rq, "POST /in/claviger?a=b HTTP/1.1\r\n", 32), 0);
	assert_non_null(strstr(rq, "\r\nContent-Type: application/x-ndjson\r\n"));
	assert_non_null(strstr(rq, "\r\nX-Claviger-First-Index: 7\r\n"));
	assert_non_null(strstr(rq, "\r\nAuthorization: Bearer t0ken\r\n"));
	assert_non_null(strstr(rq, "\r\n\r\n" BATCH));
}

static void test_plain_to_loopback(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_PLAIN, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	make(&w, false, 0);
	assert_int_equal(take(&w, NULL), KMS_OK);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_non_null(strstr(rq, "\r\n\r\n" BATCH));
	assert_null(strstr(rq, "Authorization"));
}

static void test_answers(void **state)
{
	(void)state;
	static const struct {
		const char *status, *header;
		kms_err_t e;
		uint32_t retry_after;
	} rows[] = {
		{"200 OK", "", KMS_OK, 0},
		{"202 Accepted", "", KMS_OK, 0},
		{"299 Odd", "", KMS_OK, 0},
		{"301 Moved", "Location: https://127.0.0.1/\r\n", KMS_E_INVALID, 60},
		{"400 Bad", "", KMS_E_INVALID, 60},
		{"401 Who", "", KMS_E_INVALID, 60},
		{"404 None", "Retry-After: 300\r\n", KMS_E_INVALID, 300},
		{"408 Slow", "", KMS_E_UNAVAILABLE, 0},
		{"413 Large", "Retry-After: 1\r\n", KMS_E_INVALID, 60},
		{"429 Many", "Retry-After: 17\r\n", KMS_E_UNAVAILABLE, 17},
		{"500 Broken", "", KMS_E_UNAVAILABLE, 0},
		{"503 Later", "Retry-After: 5\r\n", KMS_E_UNAVAILABLE, 5},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(stop) world_t w;
		char answer[256];
		diag_t why = {{0}};
		(void)snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\n%sContent-Length: 0\r\n\r\n",
			       rows[i].status, rows[i].header);
		start(&w, SERVER_PLAIN, answer);
		make(&w, false, 0);
		kms_err_t e = take(&w, &why);
		if (e != rows[i].e || w.sink->retry_after != rows[i].retry_after)
			fail_msg("%s: %s, %u", rows[i].status, kms_err_name(e), w.sink->retry_after);
		if (e == KMS_E_INVALID)
			assert_non_null(strstr(why.text, "misconfigured"));
		if (e != KMS_OK)
			assert_non_null(strstr(why.text, (char[]){rows[i].status[0], rows[i].status[1],
								  rows[i].status[2], '\0'}));
	}
}

static void test_silence_and_the_stop(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	struct timespec a, b;
	start(&w, SERVER_SILENT, "");
	make(&w, false, 1);
	assert_int_equal(take(&w, NULL), KMS_E_UNAVAILABLE);
	sink_closep(&w.sink);
	make(&w, false, 30);
	atomic_store(&stopping, true);
	(void)clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(take(&w, NULL), KMS_E_UNAVAILABLE);
	(void)clock_gettime(CLOCK_MONOTONIC, &b);
	assert_true(b.tv_sec - a.tv_sec < 2);
}

/* A token that was changed is taken without a restart. */
static void test_files_are_read_again(void **state)
{
	(void)state;
	SCOPED(stop) world_t w;
	start(&w, SERVER_ANSWERS, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(file_write(w.token, span_str("old"), 0600, FILE_REPLACE, NULL), KMS_OK);
	make(&w, true, 0);
	assert_int_equal(take(&w, NULL), KMS_E_INVALID);
	assert_int_equal(file_write(w.token, span_str("new"), 0600, FILE_REPLACE, NULL), KMS_OK);
	assert_int_equal(take(&w, NULL), KMS_E_INVALID);
	assert_int_equal(unlink(w.token), 0);
	assert_int_equal(take(&w, NULL), KMS_E_NOTFOUND);
	SCOPED(freep) char *rq = tls_server_requests(w.server);
	assert_non_null(strstr(rq, "Bearer old\r\n"));
	assert_non_null(strstr(rq, "Bearer new\r\n"));
}

static void test_settings(void **state)
{
	(void)state;
	static const struct {
		const char *url, *ca, *token;
		kms_err_t e;
	} rows[] = {
		{"", NULL, NULL, KMS_E_INVALID},
		{"host/path", NULL, NULL, KMS_E_INVALID},
		{"ftp://host/", "/dev/null", NULL, KMS_E_INVALID},
		{"http://host/in", NULL, NULL, KMS_E_INVALID},
		{"http://localhost/in", NULL, NULL, KMS_E_INVALID},
		{"http://10.0.0.1/in", NULL, NULL, KMS_E_INVALID},
		{"https://user:password@host/in", "/dev/null", NULL, KMS_E_INVALID},
		{"https://host/in#x", "/dev/null", NULL, KMS_E_INVALID},
		{"https://a,https://b/in", "/dev/null", NULL, KMS_E_INVALID},
		{"https://host/in", NULL, NULL, KMS_E_INVALID},
		{"https://host/in", "/nonexistent/ca.pem", NULL, KMS_E_NOTFOUND},
		{"http://127.0.0.1/in", NULL, "/nonexistent/token", KMS_E_NOTFOUND},
		{"http://127.0.0.1/in", NULL, "/etc/passwd", KMS_E_DENIED},
		{"http://127.0.0.1/in", NULL, NULL, KMS_OK},
		{"http://[::1]:9000", NULL, NULL, KMS_OK},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(sink_closep) sink_t *s = NULL;
		diag_t why = {{0}};
		const sink_webhook_options_t o = {
			.url = rows[i].url, .ca_file = rows[i].ca, .token_file = rows[i].token};
		kms_err_t e = sink_webhook_new(&o, &s, &why);
		if (e != rows[i].e || (e != KMS_OK) != (s == NULL) ||
		    (e != KMS_OK && strstr(why.text, "export-webhook") == NULL))
			fail_msg("%s: %s: %s", rows[i].url, kms_err_name(e), why.text);
	}
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_posted),
		cmocka_unit_test(test_plain_to_loopback),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_silence_and_the_stop),
		cmocka_unit_test(test_files_are_read_again),
		cmocka_unit_test(test_settings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
