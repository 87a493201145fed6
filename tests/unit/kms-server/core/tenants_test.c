#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

static int setup(void **state)
{
	*state = fixture_new(FIXTURE_KEYFILE);
	return 0;
}

static void test_create_and_read(void **state)
{
	fixture_t *f = *state;
	answer_t a = fixture_expect(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme", .body = "{}"});
	assert_string_equal(text_at(a.json, "customer"), "acme");
	assert_string_equal(text_at(a.json, "state"), "active");
	assert_int_equal(number_at(a.json, "created_ms"), START_MS);
	answer_free(&a);
	fixture_pass(f, 5);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_CUSTOMER_PUT, .path = "acme"}); /* again: as it is */
	assert_int_equal(number_at(a.json, "created_ms"), START_MS);
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .path = "acme"});
	a = fixture_expect(f, 201, &(ask_t){.op = OP_SERVICE_PUT, .path = "acme/db"});
	assert_string_equal(text_at(a.json, "service"), "acme/db");
	answer_free(&a);
	fixture_must(f, 200, &(ask_t){.op = OP_SERVICE_PUT, .path = "acme/db"});
	fixture_must(f, 200, &(ask_t){.op = OP_SERVICE_GET, .path = "acme/db"});
}

static void test_refusals(void **state)
{
	fixture_t *f = *state;
	make_service(f, "acme", "db");
	caller_t node = make_node(f, "acme/db/n1");
	caller_t maintainer = make_operator(f, "mary", "operator");
	caller_t auditor = make_operator(f, "adam", "auditor");
	const struct {
		int status;
		const char *slug;
		ask_t ask;
	} rows[] = {
		{404, "not-found", {.op = OP_CUSTOMER_GET, .path = "none"}},
		{404, "not-found", {.op = OP_SERVICE_GET, .path = "acme/none"}},
		{404, "not-found", {.op = OP_SERVICE_PUT, .path = "none/db"}},
		{404, "not-found", {.op = OP_SERVICE_LIST, .path = "none"}},
		{400, "bad-request", {.op = OP_CUSTOMER_PUT, .path = "x", .body = "{\"a\":1}"}},
		{400, "bad-request", {.op = OP_CUSTOMER_PUT, .path = "x", .body = "[]"}},
		{400, "bad-request", {.op = OP_CUSTOMER_PUT, .path = "x", .body = "{"}},
		{400, "bad-request", {.op = OP_CUSTOMER_PUT, .path = "x", .query = "force=1"}},
		{400, "bad-request", {.op = OP_SERVICE_PUT, .path = "acme/x", .body = "{\"x\":{}}"}},
		{400, "bad-request", {.op = OP_CUSTOMER_GET, .path = "acme", .body = "{}"}},
		{400, "bad-request", {.op = OP_CUSTOMER_GET, .path = "acme", .query = "a=b"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "limit=0"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "limit=1001"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "limit=1x"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "limit=-1"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "limit=99999999999999999999"}},
		{400, "bad-request", {.op = OP_CUSTOMER_LIST, .query = "offset=1"}},
		{400, "bad-request", {.op = OP_SERVICE_LIST, .path = "acme", .query = "cursor=evil/db"}},
		{403, "denied", {.op = OP_CUSTOMER_PUT, .who = &maintainer, .path = "x"}},
		{403, "denied", {.op = OP_SERVICE_PUT, .who = &auditor, .path = "acme/x"}},
		{404, "not-found", {.op = OP_CUSTOMER_PUT, .who = &node, .path = "x"}},
		{404, "not-found", {.op = OP_CUSTOMER_GET, .who = &node, .path = "acme"}},
		{404, "not-found", {.op = OP_CUSTOMER_LIST, .who = &node}},
		{401, "no-certificate", {.op = OP_CUSTOMER_GET, .who = &nobody, .path = "acme"}},
		{404, "not-found", {.op = OP_UNKNOWN}},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t before = log_size(f);
		fixture_refused(f, rows[i].status, rows[i].slug, &rows[i].ask);
		if (rows[i].status != 401) /* those are gathered */
			assert_int_equal(events_since(f, before), 1);
	}
	fixture_must(f, 404, &(ask_t){.op = OP_CUSTOMER_GET, .path = "x"});
	fixture_must(f, 200, &(ask_t){.op = OP_CUSTOMER_GET, .who = &auditor, .path = "acme"});
	fixture_must(f, 200, &(ask_t){.op = OP_SERVICE_LIST, .who = &maintainer, .path = "acme"});
}

/* Pages: every one once, in order, whatever the size. */
static void test_pages(void **state)
{
	fixture_t *f = *state;
	for (int i = 0; i < 7; i++) {
		char path[16];
		(void)snprintf(path, sizeof path, "c%d", i);
		fixture_must(f, 201, &(ask_t){.op = OP_CUSTOMER_PUT, .path = path});
	}
	for (int limit = 1; limit <= 8; limit++) {
		char query[128];
		int seen = 0, pages = 0;
		(void)snprintf(query, sizeof query, "limit=%d", limit);
		for (;;) {
			answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_CUSTOMER_LIST, .query = query});
			size_t n = json_array_size(json_at(a.json, "items"));
			assert_true(n <= (size_t)limit && n > 0);
			for (size_t k = 0; k < n; k++, seen++) {
				char want[16];
				(void)snprintf(want, sizeof want, "c%d", seen);
				assert_string_equal(
					text_at(json_array_get(json_at(a.json, "items"), k), "customer"),
					want);
			}
			pages++;
			const char *next = text_at(a.json, "next_cursor");
			bool more = next[0] != '\0';
			(void)snprintf(query, sizeof query, "limit=%d&cursor=%s", limit, next);
			answer_free(&a);
			if (!more)
				break;
		}
		assert_int_equal(seen, 7);
		assert_int_equal(pages, (7 + limit - 1) / limit);
	}
}

/* A list of one tenant never shows one whose name begins alike. */
static void test_prefixes_are_whole_names(void **state)
{
	fixture_t *f = *state;
	make_service(f, "acme", "db");
	make_service(f, "acme2", "db");
	make_service(f, "acme", "db2");
	answer_t a = fixture_expect(f, 200, &(ask_t){.op = OP_SERVICE_LIST, .path = "acme"});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 2);
	answer_free(&a);
	caller_t n = make_node(f, "acme/db/n1");
	make_volume(f, &n, "acme/db/v1");
	caller_t n2 = make_node(f, "acme/db2/n1");
	make_volume(f, &n2, "acme/db2/v1");
	a = fixture_expect(f, 200, &(ask_t){.op = OP_VOLUME_LIST, .path = "acme/db"});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 1);
	assert_string_equal(text_at(a.json, "items.0.volume"), "acme/db/v1");
	answer_free(&a);
	a = fixture_expect(f, 200, &(ask_t){.op = OP_NODE_LIST, .path = "acme/db"});
	assert_int_equal(json_array_size(json_at(a.json, "items")), 1);
	answer_free(&a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_create_and_read),
		T(test_refusals),
		T(test_pages),
		T(test_prefixes_are_whole_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
