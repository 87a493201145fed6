/* kmsctl audit review: what is asked for, what is shown of it, and what is refused before a request. */
#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define REVIEW(id, more)                                                                                     \
	"{\"id\":\"" id "\",\"kind\":\"denied\",\"state\":\"open\",\"overdue\":true,\"finding\":null,"       \
	"\"customer\":\"acme\",\"actor\":\"bob\",\"action\":\"node.invite\",\"resource\":\"acme/db/n1\","    \
	"\"approvers\":[],\"event\":5,\"last_event\":9,\"count\":2,\"opened_ms\":1700000000000,"             \
	"\"deadline_ms\":1700000001000,\"closed_ms\":null,\"reviewer\":null,\"note\":null" more "}"
#define OLD    REVIEW("r-5", ",\"grant\":null")
#define UNDER  REVIEW("r-5", ",\"grant\":\"g-1\"")
#define FAR    "{\"id\":\"r-7\",\"state\":\"open\",\"deadline_ms\":9999999999999,\"opened_ms\":1}"
#define CLOSED "{\"id\":\"r-5\",\"state\":\"closed\",\"finding\":\"invalid\",\"maintenance\":\"m-1\"}"
#define EVENT(i, uid)                                                                                        \
	"{\"index\":" i ",\"event\":{\"time\":1700000000000,\"actor\":{\"user\":{\"name\":\"bob\"}},"        \
	"\"api\":{\"operation\":\"node.invite\"},\"resources\":[{\"uid\":\"" uid "\"}],\"status_id\":2}}"
#define EVENTS                                                                                               \
	"{\"events\":[" EVENT("5", "acme/db/n1") "," EVENT("6", "acme/db/other") "," EVENT(                  \
		"9", "acme/db/n1") "," EVENT("10", "acme/db/n1") "]}"
#define EVENTS_PATH                                                                                          \
	"/v1/audit/events?limit=200&actor=bob&operation=node.invite&status=failure&order=asc&cursor=5"

static const fake_request_t asked[] = {
	{{"audit", "review", "list"},
	 {"GET", "/v1/audit/reviews?limit=200&state=open", "", 200, "{\"items\":[]}"}},
	{{"audit", "review", "list", "--state=overdue", "--customer=acme", "--limit=3"},
	 {"GET", "/v1/audit/reviews?limit=3&state=overdue&customer=acme", "", 200, "{\"items\":[]}"}},
	{{"audit", "review", "close", "r-5", "--finding=valid", "--note=as agreed"},
	 {"POST", "/v1/audit/reviews/r-5:close", "{\"finding\":\"valid\",\"note\":\"as agreed\"}", 200,
	  CLOSED}},
	{{"audit", "review", "close", "r-5", "--finding=invalid", "--note=x", "--suspend", "--rotate"},
	 {"POST", "/v1/audit/reviews/r-5:close",
	  "{\"finding\":\"invalid\",\"note\":\"x\",\"rotate\":true,\"suspend\":true}", 200, CLOSED}},
	{{"audit", "review", "close", "r-5", "--finding=invalid", "--note=x", "--revoke"},
	 {"POST", "/v1/audit/reviews/r-5:close", "{\"finding\":\"invalid\",\"note\":\"x\",\"revoke\":true}",
	  200, CLOSED}},
};

static void test_requests(void **state)
{
	(void)state;
	assert_requests(asked, sizeof asked / sizeof *asked);
}

static void test_the_list_says_what_is_urgent(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/audit/reviews?limit=200&state=open", "", 200,
				      "{\"items\":[" OLD "],\"next_cursor\":\"o/1\"}"},
				     {"GET", "/v1/audit/reviews?limit=200&state=open&cursor=o/1", "", 200,
				      "{\"items\":[" FAR "]}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "review", "list");
	assert_ran(&r);
	const char *first = strstr(r.out, "r-5"), *second = strstr(r.out, "r-7");
	assert_true(first != NULL && second != NULL && first < second);
	const char *late = strstr(r.out, "OVERDUE by ");
	assert_true(late != NULL && late > first && late < second);
	assert_null(strstr(second, "OVERDUE"));
}

static void test_json_is_the_servers(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/audit/reviews?limit=200&state=all", "", 200, "{\"items\":[" OLD "]}"}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "review", "list", "--state", "all", "-o", "json");
	assert_ran(&r);
	assert_non_null(strstr(r.out, "\"deadline_ms\": 1700000001000"));
	assert_null(strstr(r.out, "\"left\""));
}

/* The events from the first to the last of this resource, and no other. */
static void test_show(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/audit/reviews/r-5", "", 200, UNDER},
		{"GET", EVENTS_PATH, "", 200, EVENTS},
		{"GET", "/v1/grants/g-1", "", 200,
		 "{\"id\":\"g-1\",\"state\":\"used\",\"requester\":\"bob\",\"ticket\":\"T-77\"}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "review", "show", "r-5");
	assert_ran(&r);
	const char *events = strstr(r.out, "\nevents\n");
	assert_non_null(events);
	assert_non_null(strstr(events, "\n5 "));
	assert_non_null(strstr(events, "\n9 "));
	assert_null(strstr(events, "\n6 "));
	assert_null(strstr(events, "\n10 "));
	assert_non_null(strstr(events, "T-77"));
}

/* A reviewer of some customers sees no grants: that is no failure. */
static void test_show_without_the_grant(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/audit/reviews/r-5", "", 200, UNDER},
				     {"GET", EVENTS_PATH, "", 200, EVENTS},
				     {"GET", "/v1/grants/g-1", "", 404, "{\"title\":\"not-found\"}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "review", "show", "r-5", "-o", "json");
	assert_ran(&r);
	assert_non_null(strstr(r.out, "\"grant\": null"));
	assert_non_null(strstr(r.out, "\"index\": 9"));
	assert_null(strstr(r.out, "\"index\": 6"));
}

static void test_a_refusal_is_told(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"POST", "/v1/audit/reviews/r-5:close", NULL, 403,
		 "{\"title\":\"own-review\",\"detail\":\"somebody else closes this review.\"}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("audit", "review", "close", "r-5", "--finding=valid", "--note=x");
	assert_int_equal(r.e, KMS_E_DENIED);
	assert_non_null(strstr(r.why.text, "somebody else"));
}

static void test_refused_before_a_request(void **state)
{
	(void)state;
	static const fake_refusal_t rows[] = {
		{{"audit", "review", "open"}, "list, show ID or close ID"},
		{{"audit", "review", "list", "r-5"}, "takes no ID"},
		{{"audit", "review", "show"}, "which review"},
		{{"audit", "review", "close", "--finding=valid"}, "which review"},
		{{"audit", "review", "show", "../x"}, "review"},
		{{"audit", "review", "list", "--state=late"}, "--state"},
		{{"audit", "review", "list", "--customer=A"}, "customer"},
		{{"audit", "review", "list", "--note=x"}, "--note does not go with"},
		{{"audit", "review", "show", "r-5", "--rotate"}, "--rotate does not go with"},
		{{"audit", "review", "close", "r-5", "--limit=3"}, "--limit does not go with"},
		{{"audit", "review", "close", "r-5", "--note=x"}, "--finding is missing"},
		{{"audit", "review", "close", "r-5", "--finding=VALID", "--note=x"}, "--finding is"},
		{{"audit", "review", "close", "r-5", "--finding=valid"}, "--note is missing"},
		{{"audit", "review", "close", "r-5", "--finding=valid", "--note=  "}, "--note is missing"},
		{{"audit", "review", "close", "r-5", "--finding=valid", "--note=x", "--suspend"}, "go with"},
		{{"audit", "review", "close", "r-5", "--finding=invalid", "--note=x", "--suspend",
		  "--revoke"},
		 "exclude"},
		{{"audit", "review", "list", "-o", "csv"}, "csv"},
	};
	assert_refused_before_a_request(rows, sizeof rows / sizeof *rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_the_list_says_what_is_urgent),
		cmocka_unit_test(test_json_is_the_servers),
		cmocka_unit_test(test_show),
		cmocka_unit_test(test_show_without_the_grant),
		cmocka_unit_test(test_a_refusal_is_told),
		cmocka_unit_test(test_refused_before_a_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
