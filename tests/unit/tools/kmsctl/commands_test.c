#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "common/proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

/* What each command asks for, and with what body. */
static const fake_request_t requests[] = {
	{{"customer", "create", "a"}, {"PUT", "/v1/customers/a", "{}", 201, "{}"}},
	{{"customer", "show", "a"}, {"GET", "/v1/customers/a", "", 200, "{}"}},
	{{"service", "create", "a/s"}, {"PUT", "/v1/customers/a/services/s", "{}", 200, "{}"}},
	{{"service", "show", "a/s"}, {"GET", "/v1/customers/a/services/s", "", 200, "{}"}},
	{{"node", "show", "a/s/n"}, {"GET", "/v1/customers/a/services/s/nodes/n", "", 200, "{}"}},
	{{"node", "revoke", "a/s/n"}, {"POST", "/v1/customers/a/services/s/nodes/n:revoke", "{}", 200, "{}"}},
	{{"node", "suspend", "a/s/n"},
	 {"POST", "/v1/customers/a/services/s/nodes/n:suspend", "{}", 200, "{}"}},
	{{"node", "resume", "a/s/n"}, {"POST", "/v1/customers/a/services/s/nodes/n:resume", "{}", 200, "{}"}},
	{{"operator", "show", "o"}, {"GET", "/v1/operators/o", "", 200, "{}"}},
	{{"operator", "revoke", "o"}, {"POST", "/v1/operators/o:revoke", "{}", 200, "{}"}},
	{{"operator", "suspend", "o"}, {"POST", "/v1/operators/o:suspend", "{}", 200, "{}"}},
	{{"operator", "resume", "o"}, {"POST", "/v1/operators/o:resume", "{}", 200, "{}"}},
	{{"volume", "create", "a/s/v", "--node", "n"},
	 {"PUT", "/v1/customers/a/services/s/volumes/v", "{\"node\":\"n\"}", 201, "{}"}},
	{{"volume", "show", "a/s/v"}, {"GET", "/v1/customers/a/services/s/volumes/v", "", 200, "{}"}},
	{{"volume", "suspend", "a/s/v"},
	 {"POST", "/v1/customers/a/services/s/volumes/v:suspend", "{}", 200, "{}"}},
	{{"volume", "resume", "a/s/v"},
	 {"POST", "/v1/customers/a/services/s/volumes/v:resume", "{}", 200, "{}"}},
	{{"volume", "assign", "a/s/v", "--node", "m"},
	 {"POST", "/v1/customers/a/services/s/volumes/v:assign", "{\"node\":\"m\"}", 200, "{}"}},
	{{"volume", "delete", "a/s/v", "--confirm", "a/s/v"},
	 {"DELETE", "/v1/customers/a/services/s/volumes/v", "{}", 200, "{}"}},
	{{"volume", "restore", "a/s/v"},
	 {"POST", "/v1/customers/a/services/s/volumes/v:restore", "{}", 200, "{}"}},
	{{"maintenance", "create", "--customer", "c"},
	 {"POST", "/v1/maintenance", "{\"action\":\"rotate\",\"customer\":\"c\"}", 201, "{}"}},
	{{"maintenance", "create", "--customer=c", "--service=s", "--window=2h", "--wave=3",
	  "--max-failures=1", "--ticket=CHG 1"},
	 {"POST", "/v1/maintenance",
	  "{\"action\":\"rotate\",\"customer\":\"c\",\"max_failures\":1,\"service\":\"s\",\"ticket\":"
	  "\"CHG 1\","
	  "\"wave\":3,\"window_s\":7200}",
	  201, "{}"}},
	{{"maintenance", "create", "--customer=c", "--node=n1,web-*", "--wave=25%", "--gate=10m",
	  "--gate-failures=2", "--compromised", "--reencrypt", "--hours=22:00-05:00", "--zone=+01:00",
	  "--days=mon,fri"},
	 {"POST", "/v1/maintenance",
	  "{\"action\":\"reencrypt\",\"compromised\":true,\"customer\":\"c\",\"gate_failures\":2,\"gate_s\":"
	  "600,"
	  "\"hours\":{\"days\":[\"mon\",\"fri\"],\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":\"+01:00\"},"
	  "\"nodes\":[\"n1\",\"web-*\"],\"wave_percent\":25}",
	  201, "{}"}},
	{{"rotate", "--customer=c", "--dry-run", "--hours=22:00-05:00"},
	 {"POST", "/v1/maintenance:plan",
	  "{\"action\":\"rotate\",\"customer\":\"c\",\"hours\":{\"from\":\"22:00\",\"to\":\"05:00\",\"zone\":"
	  "\"Z\"}}",
	  200, "{\"volumes\":[],\"waves\":0}"}},
	{{"maintenance", "pause", "m-1"}, {"POST", "/v1/maintenance/m-1:pause", "{}", 200, "{}"}},
	{{"maintenance", "abort", "m-1"}, {"POST", "/v1/maintenance/m-1:abort", "{}", 200, "{}"}},
	{{"maintenance", "show", "m-1"}, {"GET", "/v1/maintenance/m-1", "", 200, "{}"}},
	{{"maintenance", "open", "m-1"}, {"POST", "/v1/maintenance/m-1:open", "{}", 200, "{}"}},
	{{"maintenance", "close", "m-1"}, {"POST", "/v1/maintenance/m-1:close", "{}", 200, "{}"}},
	{{"maintenance", "halt", "m-1"}, {"POST", "/v1/maintenance/m-1:halt", "{}", 200, "{}"}},
	{{"rotate", "--customer", "c", "--ticket", "T"},
	 {"POST", "/v1/maintenance", "{\"action\":\"rotate\",\"customer\":\"c\",\"ticket\":\"T\"}", 201,
	  "{\"id\":\"m-1\"}"}},
	{{"operator", "list", "--due"},
	 {"GET", "/v1/operators?limit=200&due=true", "", 200, "{\"items\":[]}"}},
	{{"operator", "recertify", "o"}, {"POST", "/v1/operators/o:recertify", "{}", 200, "{}"}},
	{{"operator", "update", "o", "--role", "auditor", "--customer", "c,d", "--group", "g,h"},
	 {"POST", "/v1/operators/o:update",
	  "{\"customers\":[\"c\",\"d\"],\"groups\":[\"g\",\"h\"],\"role\":\"auditor\"}", 200, "{}"}},
	{{"operator", "update", "o", "--no-groups", "--all-customers"},
	 {"POST", "/v1/operators/o:update", "{\"customers\":null,\"groups\":[]}", 200, "{}"}},
	{{"operator", "invite", "o", "--ttl", "2h", "--group", "g"},
	 {"POST", "/v1/operators/o:invite", "{\"groups\":[\"g\"],\"role\":\"operator\",\"ttl_s\":7200}", 201,
	  "{\"token\":\"clvt1.x\"}"}},
	{{"sys", "health"}, {"GET", "/v1/sys/health", "", 200, "{\"status\":\"ok\"}"}},
	{{"sys", "seal-status"}, {"GET", "/v1/sys/seal-status", "", 200, "{}"}},
	{{"sys", "seal"}, {"POST", "/v1/sys/seal", "{}", 200, "{}"}},
	{{"policy", "get", "p"}, {"GET", "/v1/policies/p", "", 200, "{\"text\":\"{}\"}"}},
	{{"policy", "list"}, {"GET", "/v1/policies?limit=200", "", 200, "{\"items\":[]}"}},
	{{"policy", "delete", "p"}, {"DELETE", "/v1/policies/p", "{}", 200, "{}"}},
	{{"audit", "show", "12"}, {"GET", "/v1/audit/events/12", "", 200, "{}"}},
};

static void test_requests(void **state)
{
	(void)state;
	assert_requests(requests, sizeof requests / sizeof *requests);
}

static void test_exit_codes(void **state)
{
	(void)state;
	static const struct {
		int status, code;
	} rows[] = {{200, 0}, {201, 0}, {400, 2}, {401, 3}, {403, 3}, {404, 4}, {409, 1},
		    {413, 2}, {422, 1}, {429, 1}, {500, 1}, {501, 5}, {503, 5}, {0, 5}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const fake_step_t steps[] = {{"GET", "/v1/customers/a", NULL, rows[i].status, "{}"}, END};
		fake_kms_script(steps);
		SCOPED(ran_free) ran_t r = RUN("customer", "show", "a");
		assert_int_equal(kms_err_exit(r.e), rows[i].code);
	}
}

static void test_health_that_is_not_well(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/sys/health", NULL, 503, "{\"status\":\"sealed\",\"sealed\":true}"}, END};
	const fake_step_t odd[] = {{"GET", "/v1/sys/health", NULL, 200, "{}"}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("sys", "health");
	assert_int_equal(r.e, KMS_E_UNAVAILABLE);
	assert_non_null(strstr(r.why.text, "sealed"));
	assert_non_null(strstr(r.out, "sealed"));
	fake_kms_script(odd);
	SCOPED(ran_free) ran_t r2 = RUN("sys", "health");
	assert_int_equal(r2.e, KMS_E_IO);
}

typedef struct place {
	char dir[64], token[96], key[96], cert[96];
} place_t;

static int set_up(void **state)
{
	place_t *p = calloc(1, sizeof *p);
	if (p == NULL)
		return 1;
	(void)snprintf(p->dir, sizeof p->dir, "/tmp/claviger-ctl-XXXXXX");
	if (mkdtemp(p->dir) == NULL)
		return 1;
	(void)snprintf(p->token, sizeof p->token, "%s/token", p->dir);
	(void)snprintf(p->key, sizeof p->key, "%s/key", p->dir);
	(void)snprintf(p->cert, sizeof p->cert, "%s/cert", p->dir);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	place_t *p = *state;
	(void)unlink(p->token);
	(void)unlink(p->key);
	(void)unlink(p->cert);
	int rc = rmdir(p->dir);
	free(p);
	return rc;
}

static void assert_file(const char *path, mode_t mode, const char *starts)
{
	struct stat st;
	SCOPED(buf_free) buf_t b = BUF_INIT;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(file_read(path, 65536, &b, NULL), KMS_OK);
	assert_true(b.n >= strlen(starts) && memcmp(b.p, starts, strlen(starts)) == 0);
}

static void test_a_token_goes_to_its_file_alone(void **state)
{
	const place_t *p = *state;
	const fake_step_t steps[] = {{"POST", "/v1/customers/a/services/s/nodes/n:invite",
				      "{\"replace\":true,\"ttl_s\":7200}", 201,
				      "{\"node\":\"a/s/n\",\"token\":\"clvt1.abc\",\"generation\":2}"},
				     END};
	static const char *const formats[] = {"table", "json"};
	for (size_t i = 0; i < 2; i++) {
		fake_kms_script(steps);
		(void)umask(0);
		SCOPED(ran_free)
		ran_t r = RUN("node", "invite", "a/s/n", "--ttl", "2h", "--replace", "--out", p->token, "-o",
			      formats[i]);
		assert_int_equal(r.e, KMS_OK);
		assert_file(p->token, 0600, "clvt1.abc\n");
		assert_null(strstr(r.out, "clvt1"));
		assert_null(strstr(r.err, "clvt1"));
		/* a second one must not go over the first, and must not be asked for */
		fake_kms_script((const fake_step_t[]){END});
		SCOPED(ran_free) ran_t again = RUN("node", "invite", "a/s/n", "--out", p->token);
		assert_int_equal(again.e, KMS_E_INVALID);
		assert_int_equal(unlink(p->token), 0);
	}
}

static void test_a_token_on_standard_output_is_one_line(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"POST", "/v1/customers/a/services/s/nodes/n:invite", "{\"ttl_s\":3600}",
				      201, "{\"node\":\"a/s/n\",\"token\":\"clvt1.abc\"}"},
				     END};
	const fake_step_t none[] = {{"POST", "/v1/customers/a/services/s/nodes/n:invite", NULL, 201, "{}"},
				    END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("node", "invite", "a/s/n");
	assert_int_equal(r.e, KMS_OK);
	assert_string_equal(r.out, "clvt1.abc\n");
	fake_kms_script(none);
	SCOPED(ran_free) ran_t r2 = RUN("node", "invite", "a/s/n");
	assert_int_equal(r2.e, KMS_E_IO);
}

static void test_operator_with_a_new_key(void **state)
{
	const place_t *p = *state;
	SCOPED(secret_freep) secret_t *key = NULL;
	const fake_step_t steps[] = {{"PUT", "/v1/operators/bob", NULL, 201,
				      "{\"operator\":\"bob\",\"certificate\":\"-----BEGIN C\"}"},
				     END};
	fake_kms_script(steps);
	(void)umask(0);
	SCOPED(ran_free) ran_t r = RUN("operator", "create", "bob", "--new-key", p->key, "--out", p->cert);
	if (r.e != KMS_OK)
		fail_msg("%s", r.why.text);
	assert_file(p->key, 0600, "-----BEGIN PRIVATE KEY-----");
	assert_file(p->cert, 0644, "-----BEGIN C");
	assert_null(strstr(r.out, "PRIVATE"));
	/* what is there already is never replaced */
	fake_kms_script((const fake_step_t[]){END});
	assert_int_equal(file_read_secret(p->key, &key, NULL), KMS_OK);
	assert_int_equal(unlink(p->cert), 0);
	SCOPED(ran_free)
	ran_t again = RUN("operator", "create", "bob", "--new-key", p->key, "--out", p->cert);
	assert_int_equal(again.e, KMS_E_INVALID);
	SCOPED(secret_freep) secret_t *after = NULL;
	assert_int_equal(file_read_secret(p->key, &after, NULL), KMS_OK);
	assert_true(secret_equal(key, after));
}

/* The body's names are the flag's; a flag that is wrong asks nothing and leaves no key. */
static void test_auditor_of_customers(void **state)
{
	const place_t *p = *state;
	static const char *const bad[] = {",", "a,", ",a", "a,,b", "A", "a b", "*"};
	fake_kms_script((const fake_step_t[]){END});
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		SCOPED(ran_free)
		ran_t r = RUN("operator", "create", "eve", "--new-key", p->key, "--role", "auditor",
			      "--customer", bad[i], "--out", p->cert);
		assert_int_equal(r.e, KMS_E_INVALID);
		assert_int_equal(access(p->key, F_OK), -1);
	}
	SCOPED(ran_free)
	ran_t role =
		RUN("operator", "create", "eve", "--new-key", p->key, "--customer", "a", "--out", p->cert);
	assert_int_equal(role.e, KMS_E_INVALID);
	const fake_step_t steps[] = {{"PUT", "/v1/operators/eve", NULL, 201,
				      "{\"operator\":\"eve\",\"customers\":[\"acme\",\"beta\"],"
				      "\"certificate\":\"-----BEGIN C\"}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free)
	ran_t r = RUN("operator", "create", "eve", "--new-key", p->key, "--role", "auditor", "--customer",
		      "acme,beta", "--out", p->cert);
	assert_int_equal(r.e, KMS_OK);
	assert_non_null(strstr(r.out, "acme,beta"));
}

static void test_no_key_is_left_without_a_certificate(void **state)
{
	const place_t *p = *state;
	static const fake_step_t rows[] = {
		{"PUT", "/v1/operators/bob", NULL, 403, "{}"},
		{"PUT", "/v1/operators/bob", NULL, 0, ""},
		{"PUT", "/v1/operators/bob", NULL, 201, "{}"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const fake_step_t steps[] = {rows[i], END};
		fake_kms_script(steps);
		SCOPED(ran_free)
		ran_t r = RUN("operator", "create", "bob", "--new-key", p->key, "--out", p->cert);
		assert_true(r.e != KMS_OK);
		assert_int_equal(access(p->key, F_OK), -1);
		assert_int_equal(access(p->cert, F_OK), -1);
	}
}

static void test_json_is_the_servers(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/customers/a", NULL, 200,
				      "{\"z\":1,\"new_field\":{\"x\":[null]},\"a\":\"\xc3\xa4\"}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("customer", "show", "a", "-o", "json");
	SCOPED(json_freep) json_t *got = NULL;
	SCOPED(json_freep) json_t *want = NULL;
	assert_int_equal(json_parse(span_str(r.out), 65536, &got, NULL), KMS_OK);
	assert_int_equal(json_parse(span_str(steps[0].answer), 65536, &want, NULL), KMS_OK);
	assert_true(json_equal(got, want));
}

#define IN_PLACE(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_health_that_is_not_well),
		IN_PLACE(test_a_token_goes_to_its_file_alone),
		cmocka_unit_test(test_a_token_on_standard_output_is_one_line),
		IN_PLACE(test_operator_with_a_new_key),
		IN_PLACE(test_auditor_of_customers),
		IN_PLACE(test_no_key_is_left_without_a_certificate),
		cmocka_unit_test(test_json_is_the_servers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
