#include "tests/unit/tools/kmsctl/fake_kms.h"

#include "common/base/scope.h"
#include "common/proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_pages_are_followed(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/customers?limit=200", NULL, 200,
		 "{\"items\":[{\"customer\":\"a\",\"state\":\"active\"}],\"next_cursor\":\"x+/ &=\"}"},
		{"GET", "/v1/customers?limit=200&cursor=x%2B/%20%26%3D", NULL, 200,
		 "{\"items\":[{\"customer\":\"b\",\"state\":\"active\"}]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("customer", "list");
	assert_ran(&r);
	assert_string_equal(r.out, "CUSTOMER  STATE   CREATED\na         active  -\nb         active  -\n");
}

static void test_json_of_several_pages_is_one_document(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/customers?limit=200", NULL, 200,
		 "{\"items\":[{\"customer\":\"a\",\"x\":[1,{\"y\":null}]},{\"customer\":\"b\"}],\"next_"
		 "cursor\":\"2\"}"},
		{"GET", "/v1/customers?limit=200&cursor=2", NULL, 200,
		 "{\"items\":[],\"next_cursor\":\"3\"}"},
		{"GET", "/v1/customers?limit=200&cursor=3", NULL, 200, "{\"items\":[{\"customer\":\"c\"}]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("customer", "list", "-o", "json");
	assert_ran(&r);
	SCOPED(json_freep) json_t *j = NULL;
	assert_int_equal(json_parse(span_str(r.out), 65536, &j, NULL), KMS_OK);
	assert_int_equal(json_array_size(json_object_get(j, "items")), 3);
	assert_null(json_object_get(j, "next_cursor"));
}

static void test_an_empty_json_list(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/customers?limit=200", NULL, 200, "{\"items\":[]}"}, END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("-o", "json", "customer", "list");
	assert_ran(&r);
	assert_string_equal(r.out, "{\n  \"items\": []\n}\n");
}

static void test_limit_stops_and_names_the_rest(void **state)
{
	(void)state;
	const fake_step_t steps[] = {{"GET", "/v1/customers?limit=2", NULL, 200,
				      "{\"items\":[{\"customer\":\"a\"}],\"next_cursor\":\"1\"}"},
				     {"GET", "/v1/customers?limit=1&cursor=1", NULL, 200,
				      "{\"items\":[{\"customer\":\"b\"}],\"next_cursor\":\"2\"}"},
				     END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("customer", "list", "--limit", "2", "-o", "json");
	assert_ran(&r);
	SCOPED(json_freep) json_t *j = NULL;
	assert_int_equal(json_parse(span_str(r.out), 65536, &j, NULL), KMS_OK);
	assert_string_equal(json_string_value(json_object_get(j, "next_cursor")), "2");
}

/* A server that is broken or hostile: no endless loop, no silence. */
static void test_bad_answers(void **state)
{
	(void)state;
	static const struct {
		fake_step_t steps[3];
		kms_err_t e;
		const char *says;
	} rows[] = {
		{{{"GET", "/v1/customers?limit=200", NULL, 200, "{\"items\":[],\"next_cursor\":\"1\"}"},
		  {"GET", "/v1/customers?limit=200&cursor=1", NULL, 200,
		   "{\"items\":[],\"next_cursor\":\"1\"}"},
		  END},
		 KMS_E_IO,
		 "same page"},
		{{{"GET", "/v1/customers?limit=200", NULL, 200, "{}"}, END}, KMS_E_IO, "no list \"items\""},
		{{{"GET", "/v1/customers?limit=200", NULL, 200, "{\"items\":{}}"}, END}, KMS_E_IO, "no list"},
		{{{"GET", "/v1/customers?limit=200", NULL, 200, "<html>"}, END}, KMS_E_IO, "not JSON"},
		{{{"GET", "/v1/customers?limit=200", NULL, 200, ""}, END}, KMS_E_IO, "not JSON"},
		{{{"GET", "/v1/customers?limit=200", NULL, 403, "{\"title\":\"denied\"}"}, END},
		 KMS_E_DENIED,
		 "denied"},
		{{{"GET", "/v1/customers?limit=200", NULL, 503, "{\"title\":\"sealed\"}"}, END},
		 KMS_E_UNAVAILABLE,
		 "sealed"},
		{{{"GET", "/v1/customers?limit=200", NULL, 0, ""}, END}, KMS_E_UNAVAILABLE, "nobody there"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		fake_kms_script(rows[i].steps);
		SCOPED(ran_free) ran_t r = RUN("customer", "list");
		assert_int_equal(r.e, rows[i].e);
		assert_non_null(strstr(r.why.text, rows[i].says));
		assert_true(fake_kms_done());
	}
}

static void test_nodes_of_all_services(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/customers?limit=200", NULL, 200,
		 "{\"items\":[{\"customer\":\"a\"},{\"customer\":\"b\"}]}"},
		{"GET", "/v1/customers/a/services?limit=200", NULL, 200,
		 "{\"items\":[{\"service\":\"a/s\"},{\"service\":\"a/t\"}]}"},
		{"GET", "/v1/customers/a/services/s/nodes?limit=200", NULL, 200,
		 "{\"items\":[{\"node\":\"a/s/n\"}]}"},
		{"GET", "/v1/customers/a/services/t/nodes?limit=200", NULL, 200,
		 "{\"items\":[{\"node\":\"a/t/n\"}]}"},
		{"GET", "/v1/customers/b/services?limit=200", NULL, 200, "{\"items\":[]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("node", "list", "-o", "json");
	assert_ran(&r);
	SCOPED(json_freep) json_t *j = NULL;
	assert_int_equal(json_parse(span_str(r.out), 65536, &j, NULL), KMS_OK);
	assert_int_equal(json_array_size(json_object_get(j, "items")), 2);
}

static void test_scopes(void **state)
{
	(void)state;
	const fake_step_t one[] = {
		{"GET", "/v1/customers/a/services/s/volumes?limit=200", NULL, 200, "{\"items\":[]}"}, END};
	const fake_step_t customer[] = {
		{"GET", "/v1/customers/a/services?limit=200", NULL, 200,
		 "{\"items\":[{\"service\":\"a/s\"}]}"},
		{"GET", "/v1/customers/a/services/s/volumes?limit=200", NULL, 200, "{\"items\":[]}"},
		END};
	const fake_step_t services[] = {
		{"GET", "/v1/customers/a/services?limit=200", NULL, 200, "{\"items\":[]}"}, END};
	fake_kms_script(one);
	SCOPED(ran_free) ran_t r1 = RUN("volume", "list", "a/s");
	assert_ran(&r1);
	fake_kms_script(customer);
	SCOPED(ran_free) ran_t r2 = RUN("volume", "list", "a");
	assert_ran(&r2);
	fake_kms_script(services);
	SCOPED(ran_free) ran_t r3 = RUN("service", "list", "a");
	assert_ran(&r3);
}

#define VOLUME(name, state, changed)                                                                         \
	"{\"volume\":\"a/s/" name "\",\"state\":\"" state                                                    \
	"\",\"secrets\":[{\"version\":3,\"state\":\"pending\",\"changed_ms\":1},{\"version\":2,\"state\":"   \
	"\"active\",\"changed_ms\":" changed "}]}"

/* Whose secret has been used for longer than it may. */
static void test_overdue_volumes(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/customers/a/services/s/volumes?limit=200", NULL, 200,
		 "{\"items\":[" VOLUME("old", "active", "1000") "," VOLUME(
			 "gone", "destroyed",
			 "1000") "," VOLUME("fresh", "active",
					    "9007199254740991") "],\"next_cursor\":\"x\"}"},
		{"GET", "/v1/customers/a/services/s/volumes?limit=200&cursor=x", NULL, 200,
		 "{\"items\":[" VOLUME("held", "suspended", "1000") "," VOLUME("third", "active",
									       "1000") "]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("volume", "list", "a/s", "--due", "--limit", "2");
	assert_ran(&r);
	assert_non_null(strstr(r.out, "a/s/old"));
	assert_non_null(strstr(r.out, "a/s/held"));
	assert_null(strstr(r.out, "gone"));
	assert_null(strstr(r.out, "fresh"));
	assert_null(strstr(r.out, "third"));
	const fake_step_t short_period[] = {{"GET", "/v1/customers/a/services/s/volumes?limit=200", NULL, 200,
					     "{\"items\":[" VOLUME("old", "active", "1000") "]}"},
					    END};
	fake_kms_script(short_period);
	SCOPED(ran_free)
	ran_t r2 = RUN("volume", "list", "a/s", "--due", "--cryptoperiod", "90d", "-o", "json");
	assert_ran(&r2);
	assert_non_null(strstr(r2.out, "a/s/old"));
}

/* A name from the server becomes part of a path: it is held to the rule. */
static void test_a_servers_bad_name_goes_nowhere(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET", "/v1/customers?limit=200", NULL, 200, "{\"items\":[{\"customer\":\"../sys/seal\"}]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free) ran_t r = RUN("node", "list");
	assert_int_equal(r.e, KMS_E_INVALID);
	assert_true(fake_kms_done());
}

static void test_audit_query(void **state)
{
	(void)state;
	const fake_step_t steps[] = {
		{"GET",
		 "/v1/audit/events?limit=100&customer=a&service=s&volume=a/s/"
		 "v&actor=x%20y&status=failure&from=1795452002000&order=asc",
		 NULL, 200,
		 "{\"events\":[{\"index\":7,\"event\":{\"time\":1795452002000,\"status_id\":2,\"status_"
		 "detail\":\"no\","
		 "\"actor\":{\"user\":{\"name\":\"\"}},\"api\":{\"operation\":\"key.release\"},"
		 "\"resources\":[{\"uid\":\"a/s/v\"}],\"src_endpoint\":{\"ip\":\"10.0.0.1\"}}}]}"},
		END};
	fake_kms_script(steps);
	SCOPED(ran_free)
	ran_t r = RUN("audit", "query", "--service", "a/s", "--volume", "v", "--actor", "x y", "--status",
		      "failure", "--from", "2026-11-23T16:40:02Z", "--order", "asc");
	assert_ran(&r);
	assert_string_equal(
		r.out,
		"INDEX  TIME                  ACTOR     OPERATION    RESOURCE  STATUS   FROM      DETAIL\n"
		"7      2026-11-23 16:40:02Z  (nobody)  key.release  a/s/v     failure  10.0.0.1  no\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages_are_followed),
		cmocka_unit_test(test_json_of_several_pages_is_one_document),
		cmocka_unit_test(test_an_empty_json_list),
		cmocka_unit_test(test_limit_stops_and_names_the_rest),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_nodes_of_all_services),
		cmocka_unit_test(test_scopes),
		cmocka_unit_test(test_overdue_volumes),
		cmocka_unit_test(test_a_servers_bad_name_goes_nowhere),
		cmocka_unit_test(test_audit_query),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
