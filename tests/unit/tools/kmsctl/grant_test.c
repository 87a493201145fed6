/* kmsctl grant, and what --grant, --request-grant and --output-policy do to every command. */
#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define PENDING                                                                                              \
	"{\"id\":\"g-1\",\"state\":\"pending\",\"action\":\"node.invite\",\"resource\":\"a/s/n\","           \
	"\"requester\":\"ann\",\"reason\":\"replacement\",\"digest\":\"d1\",\"change\":4,"                   \
	"\"needs\":[{\"statement\":\"second\",\"from\":\"group:approvers\",\"count\":1,"                     \
	"\"eligible\":[\"bob\",\"eve\"]}],\"approvals\":[],\"body\":{\"ttl_s\":60}}"

static const fake_request_t requests[] = {
	{{"grant", "request", "--action", "node.invite", "--resource", "a/s/n", "--reason", "replacement"},
	 {"POST", "/v1/grants",
	  "{\"action\":\"node.invite\",\"reason\":\"replacement\",\"resource\":\"a/s/n\"}", 201, PENDING}},
	{{"grant", "request", "--action=volume.assign", "--resource=a/s", "--nodes=n1,n2",
	  "--reason=replacement", "--ticket=CHG 1", "--for=2h", "--uses=3", "--maintenance=m-1",
	  "--break-glass", "--justification=why"},
	 {"POST", "/v1/grants",
	  "{\"action\":\"volume.assign\",\"break_glass\":true,\"for_s\":7200,\"justification\":\"why\","
	  "\"maintenance\":\"m-1\",\"nodes\":[\"n1\",\"n2\"],\"reason\":\"replacement\",\"resource\":\"a/s\","
	  "\"ticket\":\"CHG 1\",\"uses\":3}",
	  201, PENDING}},
	{{"grant", "show", "g-1"}, {"GET", "/v1/grants/g-1", "", 200, PENDING}},
	{{"grant", "list", "--state", "pending", "--requester", "ann"},
	 {"GET", "/v1/grants?limit=200&state=pending&requester=ann", "", 200, "{\"items\":[" PENDING "]}"}},
	{{"grant", "deny", "g-1", "--note", "not today"},
	 {"POST", "/v1/grants/g-1:deny", "{\"note\":\"not today\"}", 200, PENDING}},
	{{"grant", "revoke", "g-1"}, {"POST", "/v1/grants/g-1:revoke", "{}", 200, PENDING}},
	{{"grant", "approve", "g-1", "--digest", "d7"},
	 {"POST", "/v1/grants/g-1:approve", "{\"digest\":\"d7\"}", 200, PENDING}},
	/* instead of the act, exactly it is asked for */
	{{"node", "invite", "a/s/n", "--ttl", "60s", "--request-grant", "replacement:CHG 2"},
	 {"POST", "/v1/grants",
	  "{\"action\":\"node.invite\",\"body\":{\"ttl_s\":60},\"reason\":\"replacement\",\"resource\":\"a/s/"
	  "n\","
	  "\"ticket\":\"CHG 2\"}",
	  201, PENDING}},
	{{"volume", "restore", "a/s/v", "--request-grant", "mistake"},
	 {"POST", "/v1/grants",
	  "{\"action\":\"volume.restore\",\"reason\":\"mistake\",\"resource\":\"a/s/v\"}", 201, PENDING}},
};

static void test_requests(void **state)
{
	(void)state;
	assert_requests(requests, sizeof requests / sizeof *requests);
}

static void test_show_says_what_is_missing(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/grants/g-1", "", 200, PENDING}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("grant", "show", "g-1");
	assert_ran(&r);
	assert_non_null(strstr(r.out, "1 of bob,eve (group:approvers, asked by second)"));
	assert_non_null(strstr(r.out, "\"ttl_s\": 60")); /* what it will send is what is approved */
}

/* The digest that goes back is that of what was shown. */
static void test_approve_shows_first(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/grants/g-1", "", 200, PENDING},
				     {"POST", "/v1/grants/g-1:approve", "{\"digest\":\"d1\"}", 200,
				      "{\"id\":\"g-1\",\"state\":\"approved\"}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("grant", "approve", "g-1", "--yes");
	assert_ran(&r);
	const char *shown = strstr(r.out, "node.invite a/s/n");
	assert_non_null(shown);
	assert_non_null(strstr(shown, "grant g-1 is now approved"));
}

static void test_a_changed_grant_is_not_approved(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/grants/g-1", "", 200, PENDING},
		{"POST", "/v1/grants/g-1:approve", NULL, 409, "{\"title\":\"Conflict\"}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("grant", "approve", "g-1", "--yes");
	assert_int_equal(r.e, KMS_E_CONFLICT);
	assert_null(strstr(r.out, "is now"));
}

static void test_refused_before_a_request(void **state)
{
	(void)state;
	static const fake_refusal_t rows[] = {
		{{"grant", "request"}, "--action is missing"},
		{{"grant", "request", "--action", "a.b"}, "--resource is missing"},
		{{"grant", "request", "--action", "a.b", "--resource", "r"}, "--reason is missing"},
		{{"grant", "request", "--action=a.b", "--resource=r", "--reason=x", "--for=9h"}, "--for"},
		{{"grant", "request", "--action=a.b", "--resource=r", "--reason=x", "--uses=0"}, "uses"},
		{{"grant", "request", "--action=a.b", "--resource=r", "--reason=x", "--nodes=a,,b"},
		 "--nodes"},
		{{"grant", "request", "--action=a.b", "--resource=r", "--reason=x", "--nodes=A"}, "--nodes"},
		{{"grant", "request", "--action=a.b", "--resource=r", "--reason=x", "--body=/nowhere"},
		 "/nowhere"},
		{{"grant", "show", "../g"}, "grant"},
		{{"grant", "approve", "G-1"}, "grant"},
		{{"node", "invite", "a/s/n", "--request-grant", ":T"}, "--request-grant"},
		{{"node", "invite", "a/s/n", "--request-grant", "Not A Code"}, "--request-grant"},
		{{"node", "show", "a/s/n", "--output-policy"}, "/c"},
	};
	assert_refused_before_a_request(rows, sizeof rows / sizeof *rows);
}

static void test_the_grant_goes_with_writes_alone(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"POST", "/v1/customers/a/services/s/nodes/n:resume", "{}", 200, "{}"},
				     {"GET", "/v1/customers/a/services/s/nodes/n", "", 200, "{}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t w = RUN("node", "resume", "a/s/n", "--grant", "g-7");
	assert_int_equal(w.e, KMS_OK);
	assert_string_equal(fake_kms_header(), "Claviger-Grant: g-7");
	SCOPED(ran_free) ran_t r = RUN("node", "show", "a/s/n", "--grant", "g-7");
	assert_ran(&r);
	assert_string_equal(fake_kms_header(), "");
}

/* A read is no act that a grant could be asked for: it is done. */
static void test_reads_are_done(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/customers/a", "", 200, "{\"customer\":\"a\"}"}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("customer", "show", "a", "--request-grant", "x");
	assert_ran(&r);
}

static void make_certificate(char file[64])
{
	SCOPED(secret_freep) secret_t *ca_key = NULL, *key = NULL;
	SCOPED(buf_free) buf_t ca_pem = BUF_INIT, csr = BUF_INIT, pem = BUF_INIT;
	x509_ca_t *ca = NULL;
	diag_t why;
	const x509_identity_t id = {.kind = X509_OPERATOR, .operator_name = "ann"};
	const int64_t now = INT64_C(1790000000000), day = INT64_C(86400000);
	assert_int_equal(x509_ca_new("test.example", now, 10 * day, &ca_key, &ca_pem), KMS_OK);
	assert_int_equal(x509_ca_load(buf_span(&ca_pem), &ca, &why), KMS_OK);
	assert_int_equal(x509_key_new(&key), KMS_OK);
	assert_int_equal(x509_csr_new(key, &csr), KMS_OK);
	assert_int_equal(x509_issue_client(ca, ca_key, buf_span(&csr), &id, now, day, &pem, &why), KMS_OK);
	x509_ca_freep(&ca);
	(void)snprintf(file, 64, "/tmp/claviger-grant-%d.crt", (int)getpid());
	assert_int_equal(file_write(file, buf_span(&pem), 0644, FILE_CREATE_ONLY, &why), KMS_OK);
}

static void test_output_policy(void **state)
{
	(void)state;
	char file[64], flag[80];
	const fake_step_t none[] = {END};
	make_certificate(file);
	(void)snprintf(flag, sizeof flag, "--cert=%s", file);
	fake_kms_certificate(flag);
	fake_kms_script(none);
	SCOPED(ran_free) ran_t r = RUN("node", "invite", "a/s/n", "--output-policy");
	SCOPED(ran_free) ran_t list = RUN("grant", "list", "--output-policy");
	fake_kms_certificate("--cert=/c");
	(void)unlink(file);
	assert_ran(&r); /* nothing was sent */
	assert_string_equal(r.out, "{\n  \"name\": \"allow-ann-node-invite\",\n  \"effect\": \"allow\",\n"
				   "  \"principals\": [\n    \"operator:ann\"\n  ],\n"
				   "  \"actions\": [\n    \"node.invite\"\n  ],\n"
				   "  \"resources\": [\n    \"node:a/s/n\"\n  ]\n}\n");
	assert_int_equal(list.e, KMS_OK);
	assert_non_null(strstr(list.out, "\"grant:*\""));
}

static void test_follow(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/grants?state=open&limit=200", "", 200, "{\"items\":[" PENDING "],\"change\":4}"},
		{"GET", "/v1/grants?limit=200&wait=30&since=4", "", 200, "{\"items\":[],\"change\":4}"},
		{"GET", "/v1/grants?limit=200&wait=30&since=4", "", 200,
		 "{\"items\":[{\"id\":\"g-2\",\"state\":\"denied\",\"change\":5}," PENDING "],\"change\":5}"},
		{"GET", "/v1/grants?limit=200&wait=30&since=5", "", FAKE_INTERRUPT, NULL},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("grant", "follow");
	assert_ran(&r);
	const char *first = strstr(r.out, "g-1");
	assert_non_null(first);
	assert_null(strstr(first + 1, "g-1")); /* what has not changed is not shown again */
	assert_non_null(strstr(first, "g-2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_show_says_what_is_missing),
		cmocka_unit_test(test_approve_shows_first),
		cmocka_unit_test(test_a_changed_grant_is_not_approved),
		cmocka_unit_test(test_refused_before_a_request),
		cmocka_unit_test(test_the_grant_goes_with_writes_alone),
		cmocka_unit_test(test_reads_are_done),
		cmocka_unit_test(test_output_policy),
		cmocka_unit_test(test_follow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
