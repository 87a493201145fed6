/* kmsctl audit report: what is in it, what it proves, what it does not show; and a server that leaves
 * something out or changes it. The server is a folder with a log, and lists beside it. */
#include "tests/unit/tools/kmsctl/fake_kms.h"
#include "tests/unit/tools/kmsctl/tamper.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/tlog/proof.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#define T0       INT64_C(1782864000000) /* 2026-07-01 */
#define STEP     INT64_C(3600000)
#define NONE     UINT64_MAX
#define EVIL     "<script>alert('1')</script>\"&"
#define EVIL_WHY "<script>alert('1')</script>\"&: a disk died"
#define ESC      "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"
#define FROM     "--from=2026-07-01T02:00:00Z" /* from acme's event 2 on */
#define PERIOD   "--customer=acme", FROM, "--to=2026-07-01T23:00:00Z"

int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
	assert_true(fd >= 0);
	return 0;
}

typedef struct spec {
	const char *operation;
	int class_uid, activity;
	const char *actor, *type, *resource, *code, *ticket, *why, *grant, *approver;
	bool refused;
} spec_t;

/* Of each customer, in turn: the first and the last two are outside the period. */
static const spec_t specs[] = {
	{"customer.create", 3004, 1, "root", "operator", "acme", "done", "", "", "", NULL, false},
	{"grant.request", 3005, 1, "bob", "operator", "g-1", "done", EVIL, "a disk died", "g-1", NULL, false},
	{"grant.approve", 3005, 1, "sue", "operator", "g-1", "done", EVIL, "a disk died", "g-1", NULL, false},
	{"node.invite", 3004, 1, "bob", "operator", "acme/db/n1", "done", EVIL, "a disk died", "g-1", "sue",
	 false},
	{"key.release", 6003, 2, "acme/db/n1", "node", "acme/db/v1", "intent", "", "", "", NULL, false},
	{"node.list", 6003, 2, "bob", "operator", "acme/db", "done", "", "", "", NULL, false},
	{"key.release", 6003, 2, "bob", "operator", "acme/db/v1", "intent", "T-3", "look", "g-1", "sue",
	 false},
	{"key.release", 6003, 2, "bob", "operator", "acme/db/v1", "released", "", "", "", NULL, false},
	{"volume.read", 6003, 2, "mallory", "operator", "acme/db/v1", "denied", "", "", "", NULL, true},
	{"volume.read", 6003, 2, "mallory", "operator", "acme/db/v1", "denied", "", "", "", NULL, true},
	{"grant.request", 3005, 1, "bob", "operator", "g-2", "done", "T-2", "never used", "g-2", NULL, false},
	{"grant.expire", 3005, 2, "kms-server", "system", "g-2", "done", "T-2", "", "g-2", NULL, false},
	{"volume.suspend", 3004, 3, "bob", "operator", "acme/db/v1", "done", "", "", "", NULL, false},
	{"volume.resume", 3004, 3, "bob", "operator", "acme/db/v1", "done", "", "", "", NULL, false},
};
#define N      (sizeof specs / sizeof *specs)
#define EVENTS (2 * N)

typedef struct server {
	tamper_t log;
	uint64_t hide, alter;
	bool blind;    /* the lists beside the log are not for this caller */
	bool careless; /* and show what was not asked for */
} server_t;

/* Event i is acme's or beta's, in turn. */
static json_t *event_json(uint64_t i)
{
	const spec_t *s = &specs[i / 2 % N];
	bool beta = i % 2 != 0;
	char uid[24], before[24]; /* an outcome names its intent, the one before */
	(void)snprintf(uid, sizeof uid, "u%" PRIu64, i);
	(void)snprintf(before, sizeof before, "u%" PRIu64, i - 2);
	json_t *previous = i < 2 ? json_null() : json_integer((json_int_t)i - 2);
	json_t *approvals = s->approver != NULL ? json_pack("[s]", s->approver) : json_array();
	return json_pack(
		"{s:{s:s, s:I, s:s, s:s}, s:I, s:i, s:i, s:i, s:s, s:s, s:{s:{s:s, s:s}, "
		"s:[{s:s}]}, s:{s:s}, s:{s:s}, "
		"s:[{s:s}], s:{s:{s:s, s:s, s:s, s:s, s:o, s:o}}}",
		"metadata", "tenant_uid", beta ? "beta" : "acme", "sequence", (json_int_t)i / 2 + 1, "uid",
		uid, "correlation_uid", before, "time", (json_int_t)(T0 + (int64_t)i * STEP), "class_uid",
		s->class_uid, "activity_id", s->activity, "status_id", s->refused ? 2 : 1, "status_code",
		s->code, "status_detail", s->refused ? "the policy" : "", "actor", "user", "name",
		beta ? "betas-own" : s->actor, "type", s->type, "authorizations", "policy",
		strcmp(s->code, "released") == 0 ? "outcome" : "x", "src_endpoint", "ip", "192.0.2.9", "api",
		"operation", s->operation, "resources", "uid", s->resource, "unmapped", "claviger", "reason",
		s->grant[0] != '\0' ? "repair" : "", "ticket", s->ticket, "justification", s->why, "grant",
		s->grant, "approvals", approvals, "previous", previous);
}

static void event_bytes(void *ctx, uint64_t i, buf_t *out)
{
	SCOPED(json_freep) json_t *e = event_json(i);
	(void)ctx;
	assert_int_equal(json_write(e, out), KMS_OK);
}

static uint64_t number_in(const char *query, const char *key, uint64_t otherwise)
{
	const char *at = strstr(query, key);
	return at != NULL ? strtoull(at + strlen(key), NULL, 10) : otherwise;
}

static int list(const server_t *s, const char *query, buf_t *body)
{
	bool up = strstr(query, "order=asc") != NULL;
	uint64_t at = number_in(query, "cursor=", up ? 0 : EVENTS - 1);
	uint64_t limit = number_in(query, "limit=", 100), n = 0;
	assert_non_null(strstr(query, "customer=acme"));
	buf_str(body, "{\"events\":[");
	for (; at < EVENTS && n < limit; at += up ? 1 : UINT64_MAX) {
		uint64_t time = (uint64_t)T0 + at * (uint64_t)STEP;
		if (at % 2 != 0 || at == s->hide || time < number_in(query, "from=", 0) ||
		    time > number_in(query, "to=", UINT64_MAX))
			continue;
		buf_printf(body, "%s{\"index\":%" PRIu64 ",\"event\":", n++ > 0 ? "," : "", at);
		size_t begin = body->n;
		event_bytes(NULL, at, body);
		if (at == s->alter)
			((uint8_t *)memmem(body->p + begin, body->n - begin, "192.0.2.9", 9))[8] = '8';
		buf_str(body, "}");
	}
	buf_str(body, "]");
	if (at < EVENTS)
		buf_printf(body, ",\"next_cursor\":\"%" PRIu64 "\"", at);
	buf_str(body, "}");
	return 200;
}

/* mallory's two attempts, one still open and late; one of another customer's. */
static const char reviews[] =
	"{\"items\":[{\"id\":\"r-c\",\"kind\":\"denied\",\"state\":\"open\",\"overdue\":true,\"finding\":"
	"null,"
	"\"customer\":\"acme\",\"actor\":\"mallory\",\"action\":\"volume.read\",\"resource\":\"acme/db/v1\","
	"\"event\":16,\"last_event\":18,\"count\":2,\"opened_ms\":1782907200000,\"deadline_ms\":"
	"1782907200001,"
	"\"closed_ms\":null,\"reviewer\":null,\"note\":null},"
	"{\"id\":\"r-6\",\"kind\":\"break-glass\",\"state\":\"closed\",\"overdue\":false,\"finding\":"
	"\"valid\","
	"\"customer\":\"acme\",\"actor\":\"bob\",\"action\":\"node.invite\",\"resource\":\"acme/db/n1\","
	"\"event\":6,\"last_event\":6,\"count\":1,\"opened_ms\":1782885600000,\"deadline_ms\":1782885600001,"
	"\"closed_ms\":1782900000000,\"reviewer\":\"eve\",\"note\":\""
	"seen <b>"
	"\"}%s]}";
static const char foreign[] =
	",{\"id\":\"r-7\",\"kind\":\"denied\",\"state\":\"open\",\"customer\":\"beta\",\"actor\":\"betas-"
	"own\","
	"\"action\":\"volume.read\",\"resource\":\"betas-volume\",\"event\":7,\"last_event\":7,"
	"\"opened_ms\":1782885600000,\"deadline_ms\":1782885600001}";

static int lists(const server_t *s, const char *path, buf_t *body)
{
	if (s->blind)
		return strncmp(path, "/v1/operators", 13) == 0 ? 404 : 403;
	if (strncmp(path, "/v1/audit/reviews?", 18) == 0) {
		assert_non_null(strstr(path, "customer=acme"));
		buf_printf(body, reviews, s->careless ? foreign : "");
	} else if (strncmp(path, "/v1/customers/acme/services?", 28) == 0) {
		buf_str(body, "{\"items\":[{\"service\":\"acme/db\"}]}");
	} else if (strncmp(path, "/v1/customers/acme/services/db/volumes?", 39) == 0) {
		buf_str(body,
			"{\"items\":[{\"volume\":\"acme/db/v1\",\"node\":\"n1\",\"state\":\"active\","
			"\"created_ms\":1600000000000,\"rotated_ms\":null,\"last_released_ms\":1782878400000,"
			"\"secrets\":[{\"state\":\"active\"},{\"state\":\"destroyed\"},"
			"{\"state\":\"destroyed\"}]}]}");
	} else if (strncmp(path, "/v1/operators?", 14) == 0) {
		buf_str(body,
			"{\"items\":[{\"operator\":\"bob\",\"role\":\"operator\",\"state\":\"active\","
			"\"created_ms\":1600000000000,\"recertified_ms\":null,\"recertification_due\":true},"
			"{\"operator\":\"idle-of-others\",\"role\":\"operator\",\"state\":\"active\","
			"\"created_ms\":1}]}");
	} else {
		fail_msg("asked %s", path);
	}
	return 200;
}

static int serve(void *ctx, const char *path, buf_t *body)
{
	server_t *s = ctx;
	static const char log[] = "/v1/audit/log/";
	char file[2 * TMPDIR_CAP];
	if (strncmp(path, "/v1/audit/events?", 17) == 0)
		return list(s, path, body);
	if (strncmp(path, log, sizeof log - 1) != 0)
		return lists(s, path, body);
	const char *name = path + sizeof log - 1;
	assert_null(strstr(name, "entries")); /* everybody's events are in them */
	(void)snprintf(file, sizeof file, "%s/%s", s->log.log, name);
	return file_read(strcmp(name, "vkey") == 0 ? s->log.vkey : file, 16U << 20, body, NULL) == KMS_OK
		       ? 200
		       : 404;
}

static int set_up(void **state)
{
	server_t *s = calloc(1, sizeof *s);
	assert_non_null(s);
	tamper_begin(&s->log, EVENTS, event_bytes);
	s->hide = s->alter = NONE;
	fake_kms_answer(serve, s);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	server_t *s = *state;
	tamper_end(&s->log);
	free(s);
	fake_kms_answer(NULL, NULL);
	return 0;
}

static void assert_well(const ran_t *r)
{
	if (r->e != KMS_OK)
		fail_msg("%s: %s", kms_err_name(r->e), r->why.text);
}

static void assert_says(const char *text, const char *what)
{
	if (strstr(text, what) == NULL)
		fail_msg("\"%s\" is not in\n%s", what, text);
}

static void assert_silent(const char *text, const char *what)
{
	if (strstr(text, what) != NULL)
		fail_msg("\"%s\" is in\n%s", what, text);
}

/* --- what is in it --- */

static void test_text(void **state)
{
	server_t *s = *state;
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "--key", s->log.vkey);
	assert_well(&r);
	static const char *const says[] = {
		"customer   acme\n",
		"11 events, index 2 to 22, of a log of 28",
		"none is missing between the first and the last.\n",
		"2026-07-01 06:00:00Z", /* when */
		"bob from 192.0.2.9",   /* who */
		"node.invite",          /* what */
		EVIL_WHY,               /* why */
		"valid by eve",         /* reviewed */
		"open: r-c",
		"2026-07-01 16:00:00Z (2 times, to event 18)",
		"0 (UNUSED), expire",
		"1 active, 2 destroyed",
		"- OVERDUE",
		"\nOverdue (1)\n",
		"\nRotations overdue (1)\n",
		"\nRecertifications overdue (1)\n",
		"\nGrants (2)\n",
		"\nkey.release    success  node      1\n", /* counted, not named */
	};
	for (size_t i = 0; i < sizeof says / sizeof *says; i++)
		assert_says(r.out, says[i]);
	static const char *const silent[] = {"betas-own",       "idle-of-others", "customer.create",
					     "volume.suspend ", "NOT COMPLETE",   "what the server said"};
	for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
		assert_silent(r.out, silent[i]);
}

static void test_html_is_escaped(void **state)
{
	(void)state;
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "--format", "html");
	assert_well(&r);
	assert_says(r.out, ESC ": a disk died");
	assert_says(r.out, "seen &lt;b&gt;");
	assert_says(r.out, "default-src 'none'");
	assert_says(r.out, "what the server said");
	static const char *const never[] = {
		"<script", "<b>", "src=", "href=", "alert('1')", "onload", "url("};
	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		assert_silent(r.out, never[i]);
	assert_true(strlen(r.out) > 16 && strcmp(r.out + strlen(r.out) - 16, "</body>\n</html>\n") == 0);
}

/* Every event that is named can be checked by whoever has the key alone. */
static void test_json_has_proofs(void **state)
{
	server_t *s = *state;
	note_vkey_t key;
	diag_t why;
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "-o", "json", "--key", s->log.vkey);
	assert_well(&r);
	assert_int_equal(json_parse(span_str(r.out), 1U << 20, &doc, &why), KMS_OK);
	assert_int_equal(loghead_vkey(s->log.vkey, &key, &why), KMS_OK);
	const json_t *rows = json_object_get(doc, "accesses");
	assert_int_equal(json_array_size(rows), 7);
	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		SCOPED(buf_free) buf_t bytes = BUF_INIT;
		tlog_proof_t p;
		assert_int_equal(json_write(json_object_get(row, "event"), &bytes), KMS_OK);
		assert_int_equal(proof_parse(span_str(value_text(row, "proof")), &p, &why), KMS_OK);
		assert_int_equal(p.index, value_number(row, "index"));
		assert_int_equal(proof_verify(&p, buf_span(&bytes), &key, NULL, &why), KMS_OK);
	}
	assert_true(json_is_true(value_at(doc, "log.complete")));
	assert_true(json_is_true(value_at(doc, "log.end_proved")));
	assert_int_equal(value_number(doc, "log.events"), 11);
}

/* A release and its outcome are one access, each with its proof. */
static void test_an_outcome_stands_with_its_intent(void **state)
{
	server_t *s = *state;
	diag_t why;
	SCOPED(json_freep) json_t *doc = NULL;
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "-o", "json", "--key", s->log.vkey);
	assert_well(&r);
	assert_int_equal(json_parse(span_str(r.out), 1U << 20, &doc, &why), KMS_OK);
	const json_t *rows = json_object_get(doc, "accesses"), *row = NULL;
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (value_number(json_array_get(rows, i), "index") == 12)
			row = json_array_get(rows, i);
	assert_string_equal(value_text(row, "outcome.code"), "released");
	assert_int_equal(value_number(row, "outcome.index"), 14);
	assert_says(value_text(row, "outcome.proof"), "index 14\n");
	assert_string_equal(value_text(row, "ticket"), "T-3");
	SCOPED(ran_free) ran_t text = RUN("audit", "report", PERIOD);
	assert_well(&text);
	assert_string_equal(value_text(row, "reason"), "repair");
	assert_says(text.out, "repair, T-3: look");
	assert_says(text.out, "released");
	assert_silent(text.out, "intent");
}

static void test_a_scoped_auditor(void **state)
{
	server_t *s = *state;
	s->blind = true;
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD);
	assert_well(&r);
	assert_says(r.out, "\nReviews (0)\nOf the period, and older ones that are open.\n\nNot shown:");
	assert_says(r.out, "node.invite");
	assert_says(r.out, "sue"); /* who approved is in the events */
}

/* A server that shows more than it was asked for does not get it into the report. */
static void test_others_do_not_appear(void **state)
{
	server_t *s = *state;
	static const char *const formats[] = {"text", "html", "json"};
	s->careless = true;
	for (size_t i = 0; i < 3; i++) {
		SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "--format", formats[i]);
		assert_well(&r);
		assert_silent(r.out, "beta");
		assert_silent(r.out, "r-7");
	}
}

static void test_a_period_without_events(void **state)
{
	(void)state;
	SCOPED(ran_free)
	ran_t r = RUN("audit", "report", "--customer=acme", "--from=2020-01-01", "--to=2020-02-01");
	assert_well(&r);
	assert_says(r.out, "no events");
	SCOPED(ran_free)
	ran_t late = RUN("audit", "report", "--customer=acme", "--from=2027-01-01", "--to=2027-02-01");
	assert_well(&late);
	assert_says(late.out, "No later event proves yet");
}

/* --- what does not hold --- */

static void test_gaps(void **state)
{
	server_t *s = *state;
	static const uint64_t hidden[] = {
		8,  /* in the middle */
		2,  /* the first */
		22, /* the last: the one behind it tells */
	};
	for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
		s->hide = hidden[i];
		SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD);
		if (r.e != KMS_E_INTEGRITY || kms_err_exit(r.e) != 6)
			fail_msg("event %" PRIu64 " hidden: %s", hidden[i], kms_err_name(r.e));
		assert_says(r.why.text, "not complete");
		assert_says(r.out, "NOT COMPLETE");
		assert_says(r.out, "\nGAP        gap in the sequence of acme");
		SCOPED(ran_free) ran_t h = RUN("audit", "report", PERIOD, "--format=html");
		assert_int_equal(h.e, KMS_E_INTEGRITY);
		assert_says(h.out, "class=\"bad\">GAP ");
	}
}

static void test_a_changed_event(void **state)
{
	server_t *s = *state;
	s->alter = 8; /* of a node: counted, not named, and checked all the same */
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD);
	assert_int_equal(r.e, KMS_E_INTEGRITY);
	assert_says(r.why.text, "bad leaf at index 8");
	assert_string_equal(r.out, "");
}

/* --- where it goes --- */

static void test_folder(void **state)
{
	server_t *s = *state;
	char dir[TMPDIR_CAP], file[TMPDIR_CAP];
	static const char *const files[] = {"report.txt", "report.html", "report.json",
					    "checkpoint", "log.vkey",    "SHA256SUMS"};
	tmpdir_path(s->log.base, "q3", dir);
	SCOPED(ran_free) ran_t r = RUN("audit", "report", PERIOD, "--format=all", "--out", dir);
	assert_well(&r);
	assert_string_equal(r.out, "");
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct stat st;
		tmpdir_path(dir, files[i], file);
		assert_int_equal(stat(file, &st), 0);
		assert_true(st.st_size > 60);
	}
	SCOPED(ran_free) ran_t again = RUN("audit", "report", PERIOD, "--format=all", "--out", dir);
	assert_int_equal(again.e, KMS_E_CONFLICT);
	tmpdir_path(s->log.base, "one.html", file);
	SCOPED(ran_free) ran_t one = RUN("audit", "report", PERIOD, "--format=html", "--out", file);
	assert_well(&one);
	SCOPED(ran_free) ran_t twice = RUN("audit", "report", PERIOD, "--format=html", "--out", file);
	assert_int_equal(twice.e, KMS_E_CONFLICT);
}

static void test_refused_before_a_request(void **state)
{
	static const struct {
		const char *args[8], *says;
	} rows[] = {
		{{"audit", "report"}, "--customer C and --from TIME"},
		{{"audit", "report", "--customer=acme"}, "--customer C and --from TIME"},
		{{"audit", "report", FROM}, "--customer C and --from TIME"},
		{{"audit", "report", "--customer=A", FROM}, "customer"},
		{{"audit", "report", "--customer=acme", "--from=noon"}, "--from"},
		{{"audit", "report", "--customer=acme", FROM, "--to=noon"}, "--to"},
		{{"audit", "report", "--customer=acme", FROM, "--to=2026-06-30"}, "--from is after --to"},
		{{"audit", "report", "--customer=acme", FROM, "--format=pdf"}, "--format is"},
		{{"audit", "report", "--customer=acme", FROM, "--format=all"}, "--out DIR"},
		{{"audit", "report", "--customer=acme", FROM, "-o", "csv"}, "csv"},
		{{"audit", "report", "acme"}, "unexpected argument"},
	};
	const fake_step_t none[] = {END};
	fake_kms_script(none);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		SCOPED(ran_free) ran_t r = fake_kms_run(rows[i].args);
		if (r.e != KMS_E_INVALID || strstr(r.why.text, rows[i].says) == NULL)
			fail_msg("row %zu: %d %s", i, (int)r.e, r.why.text);
	}
	fake_kms_answer(serve, *state);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_text),
		T(test_html_is_escaped),
		T(test_json_has_proofs),
		T(test_an_outcome_stands_with_its_intent),
		T(test_a_scoped_auditor),
		T(test_others_do_not_appear),
		T(test_a_period_without_events),
		T(test_gaps),
		T(test_a_changed_event),
		T(test_folder),
		T(test_refused_before_a_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
