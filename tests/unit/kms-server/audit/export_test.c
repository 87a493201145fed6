#include "kms-server/audit/export.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "kms-server/store/memory_store.h"
#include "tests/support/iofail.h"
#include "tests/support/tmpdir.h"
#include "tests/unit/common/client/tls_server.h"
#include "tests/unit/kms-server/audit/fake_log.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <cmocka.h>

#define EVENTS 700U

typedef struct world {
	char dir[TMPDIR_CAP], file[TMPDIR_CAP];
	store_t *store;
	audit_t *log;
	export_t *export;
	export_settings_t set;
} world_t;

static void open_world(world_t *w)
{
	*w = (world_t){.set = {.file_mib = 100, .file_keep = 3}};
	tmpdir_make(w->dir);
	tmpdir_path(w->dir, "events", w->file);
	assert_int_equal(memory_store_new(&w->store), KMS_OK);
	w->log = fake_log_new("log.example", 1, 0);
}

static void close_world(world_t *w)
{
	export_stop(&w->export);
	fake_log_free(w->log);
	store_closep(&w->store);
	tmpdir_remove(w->dir);
}

static kms_err_t start(world_t *w, diag_t *why)
{
	const export_options_t o = {.settings = w->set,
				    .dir = w->dir,
				    .store = w->store,
				    .audit = w->log,
				    .clock = clock_system()};
	return export_start(&o, &w->export, why);
}

static bool takes_all(world_t *w, const char *sink, uint64_t n)
{
	for (int i = 0; i < 1000; i++) {
		audit_party_t p = fake_log_party(w->log, sink);
		if (p.ok && p.size == n)
			return true;
		steady_pause(10);
	}
	return false;
}

/* Which indexes a text of lines or frames has; each line is whole. */
static void mark_indexes(span_t text, bool seen[EVENTS])
{
	static const char key[] = "{\"index\":";
	while (text.n > 0) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		assert_non_null(end);
		assert_memory_equal(text.p, key, sizeof key - 1);
		unsigned long i = strtoul((const char *)text.p + sizeof key - 1, NULL, 10);
		assert_true(i < EVENTS);
		assert_memory_equal(end - 2, "}}", 2);
		seen[i] = true;
		text = span_of(end + 1, text.n - (size_t)(end + 1 - text.p));
	}
}

static void assert_none_missing(const world_t *w)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	bool seen[EVENTS] = {false};
	assert_int_equal(file_read(w->file, 8U << 20, &text, NULL), KMS_OK);
	mark_indexes(buf_span(&text), seen);
	for (unsigned i = 0; i < EVENTS; i++)
		if (!seen[i])
			fail_msg("event %u is missing", i);
}

static void test_three_sinks(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	SCOPED(pki_free) pki_t pki;
	char hook[64], syslog[64];
	diag_t why = {{0}};
	pki_make(&pki, &(pki_options_t){0});
	tls_server_t *web = tls_server_start(&pki, SERVER_ANSWERS,
					     span_str("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
	tls_server_t *log = tls_server_start(&pki, SERVER_READS, span_str(""));
	open_world(&w);
	(void)snprintf(hook, sizeof hook, "https://127.0.0.1:%u/in", tls_server_port(web));
	(void)snprintf(syslog, sizeof syslog, "tls:127.0.0.1:%u", tls_server_port(log));
	w.set.file = w.file;
	w.set.webhook = hook;
	w.set.webhook_ca = pki.ca;
	w.set.syslog = syslog;
	w.set.syslog_ca = pki.ca;
	fake_log_grow(w.log, EVENTS - 100);
	if (start(&w, &why) != KMS_OK)
		fail_msg("%s", why.text);
	steady_pause(50);
	fake_log_grow(w.log, 100);
	assert_true(takes_all(&w, "file", EVENTS));
	assert_true(takes_all(&w, "webhook", EVENTS));
	assert_true(takes_all(&w, "syslog", EVENTS));
	export_stop(&w.export);
	assert_none_missing(&w);
	SCOPED(freep) char *posted = tls_server_requests(web);
	assert_non_null(strstr(posted, "X-Claviger-First-Index: 64\r\n"));
	assert_non_null(strstr(posted, "{\"index\":699,"));
	for (int i = 0; i < 500; i++) {
		SCOPED(freep) char *got = tls_server_requests(log);
		if (strstr(got, "index=\"699\"") != NULL)
			break;
		assert_true(i < 499);
		steady_pause(10);
	}
	char positions[TMPDIR_CAP];
	tmpdir_path(w.dir, "export", positions);
	assert_int_equal(tmpdir_entries(positions), 2); /* syslog repeats these few: it is still at 0 */
	tls_server_stop(web);
	tls_server_stop(log);
}

/* One that answers nothing, one that nobody listens at, and one that works: each for itself. */
static void test_dead_sinks_delay_neither_the_others_nor_the_stop(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	SCOPED(pki_free) pki_t pki;
	char hook[64], syslog[64];
	pki_make(&pki, &(pki_options_t){0});
	tls_server_t *hole = tls_server_start(&pki, SERVER_SILENT, span_str(""));
	open_world(&w);
	(void)snprintf(hook, sizeof hook, "https://127.0.0.1:%u", tls_server_port(hole));
	(void)snprintf(syslog, sizeof syslog, "tcp:127.0.0.1:%u", closed_port());
	w.set.file = w.file;
	w.set.webhook = hook;
	w.set.webhook_ca = pki.ca;
	w.set.syslog = syslog;
	fake_log_grow(w.log, EVENTS);
	assert_int_equal(start(&w, NULL), KMS_OK);
	assert_true(takes_all(&w, "file", EVENTS));
	steady_pause(300);
	audit_party_t p = fake_log_party(w.log, "syslog");
	assert_false(p.ok);
	assert_int_equal(p.size, 0);
	assert_non_null(strstr(p.error, syslog + strlen("tcp:")));
	int64_t began = steady_ms();
	export_stop(&w.export);
	assert_true(steady_ms() - began < 2000);
	assert_none_missing(&w);
	tls_server_stop(hole);
}

/* --- killed on the way --- */

typedef enum kill_at { AT_TAKEN, AT_RECORD, AT_WRITE, AT_FDATASYNC, AT_FSYNC } kill_at_t;

/* In a child: runs until the log's end or the kill; the log ends with 0 when it came to the end. */
static int run_and_die(world_t *w, kill_at_t at, unsigned nth)
{
	static const iofail_call_t calls[] = {
		[AT_WRITE] = IOFAIL_WRITE, [AT_FDATASYNC] = IOFAIL_FDATASYNC, [AT_FSYNC] = IOFAIL_FSYNC};
	char point[32];
	if (at >= AT_WRITE) {
		iofail_kill(calls[at], nth);
	} else {
		(void)snprintf(point, sizeof point, "export.%s:%u", at == AT_TAKEN ? "taken" : "record", nth);
		(void)setenv("CLAVIGER_FAILPOINT", point, 1);
	}
	if (start(w, NULL) != KMS_OK)
		return 1;
	for (unsigned i = 0; i < EVENTS / 100; i++) {
		fake_log_grow(w->log, 100);
		steady_pause(2);
	}
	if (!takes_all(w, "file", EVENTS))
		return 2;
	export_stop(&w->export);
	return 0;
}

static bool killed(world_t *w, kill_at_t at, unsigned nth)
{
	pid_t child = fork();
	int status = 0;
	assert_true(child >= 0);
	if (child == 0)
		_exit(run_and_die(w, at, nth));
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGKILL);
		return true;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	return false;
}

/* Between taking and recording, in every write and flush: the next run leaves no event out, and no torn line.
 */
static void test_killed_at_every_step(void **state)
{
	(void)state;
	for (kill_at_t at = AT_TAKEN; at <= AT_FSYNC; at++) {
		unsigned nth = 1;
		for (bool died = true; died && nth < 12; nth++) {
			SCOPED(close_world) world_t w;
			open_world(&w);
			w.set.file = w.file;
			died = killed(&w, at, nth);
			fake_log_grow(w.log, EVENTS);
			assert_int_equal(start(&w, NULL), KMS_OK);
			assert_true(takes_all(&w, "file", EVENTS));
			export_stop(&w.export);
			assert_none_missing(&w);
		}
		assert_true(nth > 2);
	}
}

static void test_settings(void **state)
{
	(void)state;
	static const struct {
		export_settings_t set;
		kms_err_t e;
		const char *says;
	} rows[] = {
		{{.file = NULL}, KMS_OK, ""},
		{{.file = "/tmp/events", .file_mib = 1, .file_keep = 1}, KMS_OK, ""},
		{{.file = "events"}, KMS_E_INVALID, "export-file"},
		{{.syslog = "unix:/dev/log"}, KMS_OK, ""},
		{{.syslog = "udp:a:514"}, KMS_E_INVALID, "export-syslog"},
		{{.syslog = "tls:a:6514", .syslog_ca = "/nonexistent"}, KMS_E_NOTFOUND, "export-syslog-ca"},
		{{.webhook = "http://127.0.0.1:1/"}, KMS_OK, ""},
		{{.webhook = "http://example/"}, KMS_E_INVALID, "export-webhook"},
		{{.webhook = "https://a/", .webhook_ca = "/nonexistent"}, KMS_E_NOTFOUND, "export-webhook"},
		{{.webhook = "http://127.0.0.1:1/", .webhook_token = "/etc/passwd"}, KMS_E_DENIED, "chmod"},
		{{.webhook_token = "/etc/passwd"}, KMS_E_INVALID, "export-webhook-token"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		if (export_check(&rows[i].set, &why) != rows[i].e || strstr(why.text, rows[i].says) == NULL)
			fail_msg("%zu: %s", i, why.text);
	}
}

static void test_without_sinks(void **state)
{
	(void)state;
	SCOPED(close_world) world_t w;
	open_world(&w);
	assert_int_equal(start(&w, NULL), KMS_OK);
	export_stop(&w.export);
	export_stop(&w.export);
	assert_int_equal(tmpdir_entries(w.dir), 0);
}

int main(void)
{
	(void)signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_at_every_step), /* forks: before there are threads */
		cmocka_unit_test(test_three_sinks),
		cmocka_unit_test(test_dead_sinks_delay_neither_the_others_nor_the_stop),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_without_sinks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
