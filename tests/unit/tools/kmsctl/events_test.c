/* audit query, show and follow: what is asked for, and how events are printed. */
#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/proto/json.h"
#include "common/tlog/proof.h"
#include "tests/support/testlog.h"
#include "tests/support/tmpdir.h"
#include "tools/kmsctl/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define PAGE(events, cursor) "{\"events\":[" events "],\"next_cursor\":\"" cursor "\"}"
#define LAST(events)         "{\"events\":[" events "]}"
#define EVENT(index, detail)                                                                                 \
	"{\"index\":" index ",\"event\":{\"time\":1795452002123,\"status_id\":1,\"status_detail\":\"" detail \
	"\",\"actor\":{\"user\":{\"name\":\"bob\"}},\"api\":{\"operation\":\"key.release\"}}}"

static void test_every_filter(void **state)
{
	(void)state;
	static const struct {
		const char *args[6];
		const char *path;
	} rows[] = {
		{{"--customer=a"}, "limit=100&customer=a&order=desc"},
		{{"--service=a/s"}, "limit=100&customer=a&service=s&order=desc"},
		{{"--customer=a", "--service=s"}, "limit=100&customer=a&service=s&order=desc"},
		{{"--volume=a/s/v"}, "limit=100&volume=a/s/v&order=desc"},
		{{"--node=a/s/n"}, "limit=100&node=a/s/n&order=desc"},
		{{"--service=a/s", "--node=n"}, "limit=100&customer=a&service=s&node=a/s/n&order=desc"},
		{{"--actor=x y"}, "limit=100&actor=x%20y&order=desc"},
		{{"--operation=key.release"}, "limit=100&operation=key.release&order=desc"},
		{{"--status=failure"}, "limit=100&status=failure&order=desc"},
		{{"--grant=g-1"}, "limit=100&grant=g-1&order=desc"},
		{{"--maintenance=m-1"}, "limit=100&maintenance=m-1&order=desc"},
		{{"--from=2026-11-23", "--to=2026-11-24"},
		 "limit=100&from=1795392000000&to=1795478400000&order=desc"},
		{{"--order=newest"}, "limit=100&order=desc"},
		{{"--order=desc"}, "limit=100&order=desc"},
		{{"--order=oldest"}, "limit=100&order=asc"},
		{{"--order=asc"}, "limit=100&order=asc"},
		{{"--all", "--order=asc"}, "limit=200&order=asc"},
		{{"--limit=7", "--cursor=9"}, "limit=7&order=desc&cursor=9"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char path[256];
		const char *args[9] = {"audit", "query"};
		(void)snprintf(path, sizeof path, "/v1/audit/events?%s", rows[i].path);
		memcpy(args + 2, rows[i].args, sizeof rows[i].args);
		const fake_step_t steps[] = {{"GET", path, NULL, 200, LAST("")}, END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = fake_kms_run(args);
		assert_ran(&r);
	}
}

static void test_what_is_refused_before_asking(void **state)
{
	(void)state;
	static const struct {
		const char *args[5];
		const char *says;
	} rows[] = {
		{{"audit", "query", "--status=maybe"}, "success or failure"},
		{{"audit", "query", "--order=up"}, "newest or oldest"},
		{{"audit", "query", "--all", "--limit=1"}, "exclude one another"},
		{{"audit", "query", "--volume=v"}, "CUSTOMER/SERVICE/NAME"},
		{{"audit", "query", "--node=../x"}, "node"},
		{{"audit", "query", "--grant=G 1"}, "grant"},
		{{"audit", "query", "--maintenance=&limit=1"}, "maintenance"},
		{{"audit", "query", "--customer=a", "--service=b/s"}, "not of --customer"},
		{{"audit", "query", "--from=yesterday"}, "not a time"},
		{{"audit", "query", "-o", "xml"}, "-o is"},
		{{"audit", "show", "x"}, "is a number"},
		{{"audit", "show", "-1"}, "unknown flag"},
		{{"audit", "show", "1", "--key=k"}, "--proof"},
		{{"audit", "follow", "--order=asc"}, "unknown flag"},
		{{"audit", "follow", "--from=1x"}, "not a time"},
		{{"node", "list", "-o", "csv"}, "-o csv is for events"},
		{{"node", "list", "-o", "ndjson"}, "-o ndjson is for events"},
		{{"audit", "verify", "-o", "csv"}, "-o csv is for events"},
	};
	fake_kms_script((const fake_step_t[]){END});
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(ran_free) ran_t r = fake_kms_run(rows[i].args);
		if (r.e != KMS_E_INVALID || strstr(r.why.text, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, r.why.text);
	}
}

static void test_ndjson(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/audit/events?limit=3&order=desc", NULL, 200, PAGE(EVENT("2", "a"), "1")},
		{"GET", "/v1/audit/events?limit=2&order=desc&cursor=1", NULL, 200,
		 PAGE(EVENT("1", "b"), "0")},
		{"GET", "/v1/audit/events?limit=1&order=desc&cursor=0", NULL, 200, LAST(EVENT("0", "c"))},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "query", "--limit=3", "-o", "ndjson");
	assert_ran(&r);
	assert_string_equal(r.out, EVENT("2", "a") "\n" EVENT("1", "b") "\n" EVENT("0", "c") "\n");
	assert_string_equal(r.err, "");
}

static void test_more_than_asked_for_is_said(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/audit/events?limit=1&order=desc", NULL, 200, PAGE(EVENT("2", "a"), "1")}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "query", "--limit=1", "-o", "csv");
	assert_ran(&r);
	assert_non_null(strstr(r.err, "--cursor 1"));
}

/* A detail as a spreadsheet must not read it, and as it is written instead. */
static void test_csv(void **state)
{
	(void)state;
	static const struct {
		const char *json, *field;
	} rows[] = {
		{"plain", "\"plain\""},        {"a,b", "\"a,b\""},    {"say \\\"x\\\"", "\"say \"\"x\"\"\""},
		{"=1+1", "\"'=1+1\""},         {"+1", "\"'+1\""},     {"-1", "\"'-1\""},
		{"@SUM(A1)", "\"'@SUM(A1)\""}, {"  =1", "\"'  =1\""}, {"|cmd", "\"'|cmd\""},
		{"\\t=1", "\"?=1\""}, /* control characters are replaced first */
		{"a\\nb", "\"a?b\""},          {"", "\"\""},          {"a=1", "\"a=1\""},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char answer[512];
		(void)snprintf(answer, sizeof answer,
			       LAST("{\"index\":4,\"event\":{\"time\":1795452002007,"
				    "\"status_detail\":\"%s\"}}"),
			       rows[i].json);
		const fake_step_t steps[] = {
			{"GET", "/v1/audit/events?limit=100&order=desc", NULL, 200, answer}, END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("audit", "query", "-o", "csv");
		assert_ran(&r);
		char *second = strstr(r.out, "\r\n");
		assert_non_null(second);
		assert_memory_equal(r.out, "\"index\",\"time\",\"operation\",\"status\",\"code\",\"detail\",",
				    52);
		char want[128];
		(void)snprintf(want, sizeof want,
			       "\r\n\"4\",\"2026-11-23T16:40:02.007Z\",\"\",\"unknown\",\"\",%s,\"\"",
			       rows[i].field);
		if (strncmp(second, want, strlen(want)) != 0)
			fail_msg("row %zu: %s", i, second);
		assert_string_equal(r.out + strlen(r.out) - 2, "\r\n");
	}
}

static void test_show_in_every_format(void **state)
{
	(void)state;
	static const char *const formats[] = {"table", "json", "ndjson", "csv"};
	static const char *const has[] = {"approved by    ann, cy\n", "\"index\": 4", "{\"index\":4,",
					  "\"ann, cy\""};
	const fake_step_t steps[] = {
		{"GET", "/v1/audit/events/4", NULL, 200,
		 "{\"index\":4,\"event\":{\"time\":1,\"unmapped\":{\"claviger\":{\"approvals\":"
		 "[\"ann\",\"cy\"],\"grant\":\"g-1\"}}}}"},
		END};
	for (size_t i = 0; i < 4; i++) {
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("audit", "show", "4", "-o", formats[i]);
		assert_ran(&r);
		if (strstr(r.out, has[i]) == NULL)
			fail_msg("%s: %s", formats[i], r.out);
	}
}

/* --- a proof beside the event --- */

static void one_event(void *ctx, uint64_t i, buf_t *out)
{
	(void)ctx;
	buf_printf(out, "{\"n\":%llu}", (unsigned long long)i);
}

/* The proof of event 0 in a log of two. */
static void proof_text(const testlog_t *log, uint64_t index, buf_t *out)
{
	SCOPED(buf_free) buf_t note = BUF_INIT;
	SCOPED(buf_free) buf_t other = BUF_INIT;
	tlog_proof_t p = {.index = index, .n = 1};
	testlog_checkpoint(log, &note);
	one_event(NULL, 1 - index, &other);
	assert_int_equal(merkle_leaf(buf_span(&other), p.hash[0]), KMS_OK);
	p.checkpoint = buf_span(&note);
	assert_int_equal(proof_format(&p, out), KMS_OK);
}

static void test_show_with_its_proof(void **state)
{
	(void)state;
	char dir[TMPDIR_CAP], key[TMPDIR_CAP], wrong[TMPDIR_CAP], file[TMPDIR_CAP];
	SCOPED(note_signer_freep) note_signer_t *signer = testlog_signer("test.example/log", NOTE_ED25519);
	SCOPED(note_signer_freep) note_signer_t *other = testlog_signer("test.example/log", NOTE_ED25519);
	const testlog_t log = {.n = 2, .event = one_event, .signer = signer};
	SCOPED(buf_free) buf_t good = BUF_INIT;
	SCOPED(buf_free) buf_t of_another = BUF_INIT;
	const char *good_text = "", *another_text = "";
	tmpdir_make(dir);
	tmpdir_path(dir, "key", key);
	tmpdir_path(dir, "wrong", wrong);
	tmpdir_path(dir, "proof", file);
	testlog_vkey(signer, key);
	testlog_vkey(other, wrong);
	proof_text(&log, 0, &good);
	proof_text(&log, 1, &of_another);
	assert_int_equal(buf_cstr(&good, &good_text), KMS_OK);
	assert_int_equal(buf_cstr(&of_another, &another_text), KMS_OK);
	const struct {
		const char *event, *proof, *key;
		kms_err_t e;
	} rows[] = {
		{"{\"n\":1}", good_text, key, KMS_E_INTEGRITY},
		{"{\"n\":0}", good_text, wrong, KMS_E_INTEGRITY},
		{"{\"n\":0}", another_text, key, KMS_E_INTEGRITY},
		{"{\"n\":0}", "no proof", key, KMS_E_INTEGRITY},
		{"{\"n\":0}", good_text, "/nonexistent", KMS_E_NOTFOUND},
		{"{\"n\":0}", good_text, key, KMS_OK},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char answer[64];
		(void)snprintf(answer, sizeof answer, "{\"index\":0,\"event\":%s}", rows[i].event);
		const fake_step_t steps[] = {{"GET", "/v1/audit/events/0", NULL, 200, answer},
					     {"GET", "/v1/audit/events/0/proof", NULL, 200, rows[i].proof},
					     END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("audit", "show", "0", "--proof", file, "--key", rows[i].key);
		if (r.e != rows[i].e)
			fail_msg("row %zu: %s", i, r.why.text);
		assert_int_equal(access(file, F_OK) == 0, rows[i].e == KMS_OK);
	}
	SCOPED(buf_free) buf_t kept = BUF_INIT;
	assert_int_equal(file_read(file, PROOF_MAX, &kept, NULL), KMS_OK);
	assert_true(span_eq(buf_span(&kept), buf_span(&good)));
	tmpdir_remove(dir);
}

/* --- follow --- */

#define POLL(rest) "/v1/audit/events?order=asc&limit=200&wait=30" rest
#define HEALTH                                                                                               \
	{                                                                                                    \
		"GET", "/v1/sys/health", NULL, 200, "{\"status\":\"ok\",\"log_size\":5}"                     \
	}
#define STOP(rest)                                                                                           \
	{                                                                                                    \
		"GET", POLL(rest), NULL, FAKE_INTERRUPT, ""                                                  \
	}

static void test_follow_begins_with_what_comes_next(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		HEALTH,
		{"GET", POLL("&customer=a&cursor=5"), NULL, 200,
		 PAGE(EVENT("5", "a") "," EVENT("7", "b"), "8")},
		{"GET", POLL("&customer=a&cursor=8"), NULL, 200, PAGE("", "4008")},
		{"GET", POLL("&customer=a&cursor=4008"), NULL, 200, PAGE(EVENT("4100", "c"), "4101")},
		STOP("&customer=a&cursor=4101"),
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "follow", "--customer=a", "-o", "ndjson");
	assert_ran(&r);
	assert_string_equal(r.out, EVENT("5", "a") "\n" EVENT("7", "b") "\n" EVENT("4100", "c") "\n");
}

static void test_follow_from_a_time_or_index(void **state)
{
	(void)state;
	const fake_step_t at_time[] = {
		{"GET", POLL("&from=1795392000000"), NULL, 200, PAGE("", "3")}, STOP("&cursor=3"), END};
	const fake_step_t at_index[] = {STOP("&cursor=17"), END};
	fake_kms_script(at_time);
	SCOPED(ran_free) ran_t r = RUN("audit", "follow", "--from=2026-11-23");
	assert_ran(&r);
	fake_kms_script(at_index);
	SCOPED(ran_free) ran_t r2 = RUN("audit", "follow", "--from=17");
	assert_ran(&r2);
}

static void test_follow_outlives_the_server(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", POLL("&cursor=1"), NULL, 0, ""},
				     {"GET", POLL("&cursor=1"), NULL, 503, "{\"title\":\"sealed\"}"},
				     {"GET", POLL("&cursor=1"), NULL, 200, PAGE(EVENT("1", "a"), "2")},
				     {"GET", POLL("&cursor=2"), NULL, 429, "{\"title\":\"too many\"}"},
				     STOP("&cursor=2"),
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "follow", "--from=1", "-o", "json");
	assert_ran(&r);
	assert_string_equal(r.out, EVENT("1", "a") "\n");
	assert_string_equal(r.err, "(waiting: nobody there)\n(the KMS answers again)\n(waiting: too many)\n");
}

static void test_follow_ends_on_what_does_not_pass(void **state)
{
	(void)state;
	static const struct {
		fake_step_t step;
		kms_err_t e;
	} rows[] = {
		{{"GET", POLL("&cursor=1"), NULL, 403, "{}"}, KMS_E_DENIED},
		{{"GET", POLL("&cursor=1"), NULL, 400, "{}"}, KMS_E_INVALID},
		{{"GET", POLL("&cursor=1"), NULL, 200, "<html>"}, KMS_E_IO},
		{{"GET", POLL("&cursor=1"), NULL, 200, LAST("")}, KMS_E_IO}, /* a server that knows no wait */
		{{"GET", POLL("&cursor=1"), NULL, 200, PAGE(EVENT("1", "a"), "1")}, KMS_E_IO},
		{{"GET", POLL("&cursor=1"), NULL, 200, "{\"events\":{},\"next_cursor\":\"2\"}"}, KMS_E_IO},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const fake_step_t steps[] = {rows[i].step, END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("audit", "follow", "--from=1");
		assert_int_equal(r.e, rows[i].e);
		assert_true(fake_kms_done());
	}
}

static void test_follow_in_columns(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", POLL("&cursor=5"), NULL, 200, PAGE(EVENT("5", "a"), "6")}, STOP("&cursor=6"), END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "follow", "--from=5");
	assert_ran(&r);
	assert_string_equal(r.out, "INDEX   TIME                  ACTOR           OPERATION           "
				   "RESOURCE                STATUS   FROM"
				   "             DETAIL\n"
				   "5       2026-11-23 16:40:02Z  bob             key.release         -      "
				   "                 success  -"
				   "                a\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_filter),
		cmocka_unit_test(test_what_is_refused_before_asking),
		cmocka_unit_test(test_ndjson),
		cmocka_unit_test(test_more_than_asked_for_is_said),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_show_in_every_format),
		cmocka_unit_test(test_show_with_its_proof),
		cmocka_unit_test(test_follow_begins_with_what_comes_next),
		cmocka_unit_test(test_follow_from_a_time_or_index),
		cmocka_unit_test(test_follow_outlives_the_server),
		cmocka_unit_test(test_follow_ends_on_what_does_not_pass),
		cmocka_unit_test(test_follow_in_columns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
