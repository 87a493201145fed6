#include "kms-server/http/route.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct row {
	const char *method;
	const char *path;
	int status;
	core_op_t op; /* of the route, where there is one */
	const char *reason;
} row_t;

#define V "/v1/customers/acme/services/kafka/volumes/data"
#define T "/v1/audit/log/tile/"
#define N "/v1/customers/acme/services/kafka/nodes/n1"

static const row_t good[] = {
	{"GET", "/v1/sys/seal-status", 0, OP_SEAL_STATUS, ""},
	{"POST", "/v1/sys/unseal", 0, OP_UNSEAL, ""},
	{"POST", "/v1/enroll", 0, OP_ENROLL, ""},
	{"POST", "/v1/enroll/operator", 0, OP_OPERATOR_ENROLL, ""},
	{"POST", "/v1/operators/mary:invite", 0, OP_OPERATOR_INVITE, ""},
	{"POST", "/v1/operators/mary:update", 0, OP_OPERATOR_UPDATE, ""},
	{"POST", "/v1/operators/mary:recertify", 0, OP_OPERATOR_RECERTIFY, ""},
	{"GET", "/v1/policies", 0, OP_POLICY_LIST, ""},
	{"GET", "/v1/policies/operators", 0, OP_POLICY_GET, ""},
	{"PUT", "/v1/policies/operators", 0, OP_POLICY_PUT, ""},
	{"DELETE", "/v1/policies/operators", 0, OP_POLICY_DELETE, ""},
	{"PUT", "/v1/customers/acme", 0, OP_CUSTOMER_PUT, ""},
	{"PUT", "/v1/customers/acme/services/kafka", 0, OP_SERVICE_PUT, ""},
	{"POST", N ":invite", 0, OP_NODE_INVITE, ""},
	{"GET", N, 0, OP_NODE_GET, ""},
	{"PUT", V, 0, OP_VOLUME_PUT, ""},
	{"DELETE", V, 0, OP_VOLUME_DELETE, ""},
	{"POST", V ":release", 0, OP_VOLUME_RELEASE, ""},
	{"POST", V "/rotation", 0, OP_ROTATION_STAGE, ""},
	{"POST", V "/rotation:promote", 0, OP_ROTATION_PROMOTE, ""},
	{"POST", V "/reencryption", 0, OP_REENCRYPTION_START, ""},
	{"POST", V "/reencryption:progress", 0, OP_REENCRYPTION_PROGRESS, ""},
	{"POST", V ":refused", 0, OP_VOLUME_REFUSED, ""},
	{"POST", V ":prove", 0, OP_VOLUME_PROVE, ""},
	{"PUT", V "/header", 0, OP_HEADER_PUT, ""},
	{"GET", V "/header", 0, OP_HEADER_GET, ""},
	{"POST", V "/reencryption:promote", 0, OP_REENCRYPTION_PROMOTE, ""},
	{"POST", V "/reencryption:abort", 0, OP_REENCRYPTION_ABORT, ""},
	{"POST", "/v1/node/tasks:report", 0, OP_NODE_REPORT, ""},
	{"POST", "/v1/maintenance/m-0a1b:halt", 0, OP_MAINT_HALT, ""},
	{"POST", "/v1/maintenance/m-0a1b:pause", 0, OP_MAINT_PAUSE, ""},
	{"POST", "/v1/maintenance/m-0a1b:abort", 0, OP_MAINT_ABORT, ""},
	{"POST", "/v1/maintenance:plan", 0, OP_MAINT_PLAN, ""},
	{"GET", "/v1/audit/events/18446744073709", 0, OP_AUDIT_GET, ""},
	{"GET", "/v1/audit/events/7/proof", 0, OP_AUDIT_PROOF, ""},
	{"GET", "/v1/audit/log/checkpoint", 0, OP_LOG_CHECKPOINT, ""},
	{"GET", "/v1/audit/log/vkey", 0, OP_LOG_VKEY, ""},
	{"GET", T "0/000", 0, OP_LOG_TILE, ""},
	{"GET", T "7/000.p/255", 0, OP_LOG_TILE, ""},
	{"GET", T "0/x001/x234/067.p/1", 0, OP_LOG_TILE, ""},
	{"GET", T "entries/000", 0, OP_LOG_ENTRIES, ""},
	{"GET", T "entries/x001/067.p/12", 0, OP_LOG_ENTRIES, ""},
};

static const row_t bad[] = {
	{"GET", "", 400, OP_UNKNOWN, "empty"},
	{"GET", "v1/customers", 400, OP_UNKNOWN, "no leading slash"},
	{"GET", "https://kms/v1/customers", 400, OP_UNKNOWN, "absolute form"},
	{"OPTIONS", "*", 400, OP_UNKNOWN, "asterisk form"},
	{"GET", "/", 400, OP_UNKNOWN, "empty segment"},
	{"GET", "//v1/customers", 400, OP_UNKNOWN, "empty segment in front"},
	{"GET", "/v1//customers", 400, OP_UNKNOWN, "empty segment"},
	{"GET", "/v1/customers/", 400, OP_UNKNOWN, "slash at the end"},
	{"GET", "/v1/customers/acme//", 400, OP_UNKNOWN, "slashes at the end"},
	{"GET", "/v1/./customers", 400, OP_UNKNOWN, "dot segment"},
	{"GET", "/v1/customers/../customers", 400, OP_UNKNOWN, "dot-dot segment"},
	{"GET", "/v1/customers/%61cme", 400, OP_UNKNOWN, "an encoded letter is another spelling"},
	{"GET", "/v1/customers/%2e%2e", 400, OP_UNKNOWN, "encoded dots"},
	{"GET", "/v1/customers/acme%2fservices", 400, OP_UNKNOWN, "encoded slash"},
	{"GET", "/v1/customers/acme%00", 400, OP_UNKNOWN, "encoded NUL"},
	{"GET", "/v1/customers/ACME", 400, OP_UNKNOWN, "capitals"},
	{"GET", "/V1/customers", 400, OP_UNKNOWN, "capitals in a fixed part"},
	{"GET", "/v1/customers/*", 400, OP_UNKNOWN, "wildcard"},
	{"GET", "/v1/customers/ac me", 400, OP_UNKNOWN, "blank"},
	{"GET", "/v1/customers/ac+me", 400, OP_UNKNOWN, "plus"},
	{"GET", "/v1/customers/acme;v=1", 400, OP_UNKNOWN, "path parameter"},
	{"GET", "/v1/customers/acme#x", 400, OP_UNKNOWN, "fragment"},
	{"GET", "/v1/customers/acme\\x", 400, OP_UNKNOWN, "backslash"},
	{"GET",
	 "/v1/customers/\xc3\xa4"
	 "cme",
	 400, OP_UNKNOWN, "UTF-8"},
	{"GET", "/v1/customers/acm\xd0\xb5", 400, OP_UNKNOWN, "Cyrillic letter that looks alike"},
	{"GET", "/v1/customers/acme\t", 400, OP_UNKNOWN, "control character"},
	{"GET", "/v1/customers/acme\x7f", 400, OP_UNKNOWN, "delete character"},
	{"GET", "/v1/customers/-acme", 400, OP_CUSTOMER_GET, "name begins with a dash"},
	{"GET", "/v1/customers/ac_me", 400, OP_CUSTOMER_GET, "underscore in a name"},
	{"GET", "/v1/customers/a234567890123456789012345678901234567890123456789012345678901234", 400,
	 OP_CUSTOMER_GET, "64 characters"},
	{"GET", "/v1/audit/events/-1", 400, OP_AUDIT_GET, "negative index"},
	{"GET", "/v1/audit/events/01", 400, OP_AUDIT_GET, "leading zero: two spellings of one event"},
	{"GET", "/v1/audit/events/0x1", 400, OP_AUDIT_GET, "hexadecimal index"},
	{"GET", "/v1/audit/events/18446744073709551616", 400, OP_AUDIT_GET, "index over its range"},
	{"GET", "/v1/audit/events/01/proof", 400, OP_AUDIT_PROOF, "leading zero"},
	{"GET", T "0/1", 400, OP_LOG_TILE, "three digits"},
	{"GET", T "8/000", 400, OP_LOG_TILE, "no such level"},
	{"GET", T "00/000", 400, OP_LOG_TILE, "level with two digits"},
	{"GET", T "63/000", 400, OP_LOG_TILE, "a level of another numbering"},
	{"GET", T "0/x000/001", 400, OP_LOG_TILE, "a group of zeros in front"},
	{"GET", T "0/001/002", 400, OP_LOG_TILE, "a group without x"},
	{"GET", T "0/x001", 400, OP_LOG_TILE, "the last group has an x"},
	{"GET", T "0/x001/x002", 400, OP_LOG_TILE, "the last of two groups has an x"},
	{"GET", T "0/000.p/0", 400, OP_LOG_TILE, "no width"},
	{"GET", T "0/000.p/256", 400, OP_LOG_TILE, "a full tile is no partial one"},
	{"GET", T "0/000.p/01", 400, OP_LOG_TILE, "width with a zero in front"},
	{"GET", T "0/000.p/-1", 400, OP_LOG_TILE, "negative width"},
	{"GET", T "0/000.p/12/13", 400, OP_LOG_TILE, "more behind the width"},
	{"GET", T "0/000.p/1.p/2", 400, OP_LOG_TILE, "two widths"},
	{"GET", T "0/000/p/1", 400, OP_LOG_TILE, "a slash for the dot"},
	{"GET", T "0/x999/x999/x999/x999/x999/x999/999", 400, OP_LOG_TILE, "index over its range"},
	{"GET", T "0/000:x", 400, OP_LOG_TILE, "a verb"},
	{"GET", T "0/-01", 400, OP_LOG_TILE, "negative index"},
	{"GET", T "entries/1", 400, OP_LOG_ENTRIES, "three digits"},
	{"GET", T "entries/entries/000", 400, OP_LOG_ENTRIES, "twice"},
	{"GET", T "entries/000.p/256", 400, OP_LOG_ENTRIES, "a full bundle is no partial one"},
	{"GET", T "0/000.P/1", 400, OP_UNKNOWN, "capital"},
	{"GET", T "0/000.p", 400, OP_UNKNOWN, "a dot at the end"},
	{"GET", T "0/000.p/", 400, OP_UNKNOWN, "no width at all"},
	{"GET", T "0/000.q/1", 400, OP_UNKNOWN, "another letter"},
	{"GET", T "0/000..p/1", 400, OP_UNKNOWN, "two dots"},
	{"GET", T "0/../0/000", 400, OP_UNKNOWN, "dot-dot segment"},
	{"GET", T "../checkpoint", 400, OP_UNKNOWN, "dot-dot segment"},
	{"GET", T "./0/000", 400, OP_UNKNOWN, "dot segment"},
	{"GET", T "0/000%2ep/1", 400, OP_UNKNOWN, "encoded dot"},
	{"GET", "/v1/audit/log/tile.p/1", 400, OP_UNKNOWN, "a dot outside of a tile's path"},
	{"GET", "/v1/audit/log/checkpoint.p/1", 400, OP_UNKNOWN, "a dot outside of a tile's path"},
	{"GET", "/v1/audit/events/7.p/1", 400, OP_UNKNOWN, "a dot outside of a tile's path"},
	{"GET", "/v1/customers/acme.p/1", 400, OP_UNKNOWN, "a dot outside of a tile's path"},
	{"GET", "/v1/audit/log/tile", 404, OP_UNKNOWN, "no tile"},
	{"GET", T "0", 404, OP_UNKNOWN, "a level alone"},
	{"GET", T "entries", 404, OP_UNKNOWN, "no index"},
	{"GET", T "x/000", 404, OP_UNKNOWN, "a level that is no number"},
	{"GET", T "hashes/000", 404, OP_UNKNOWN, "another word"},
	{"GET", T "-1/000", 404, OP_UNKNOWN, "the level by which entries are known inside"},
	{"GET", "/v1/audit/log/tile:x/0/000", 404, OP_UNKNOWN, "a verb in the middle"},
	{"GET", T "0:x/000", 404, OP_UNKNOWN, "a verb in the middle"},
	{"GET", "/v1/audit/log", 404, OP_UNKNOWN, "the log itself"},
	{"GET", "/v1/audit/log/0/000", 404, OP_UNKNOWN, "no tile/"},
	{"GET", "/v1/audit/log/checkpoint/0", 404, OP_UNKNOWN, "too deep"},
	{"GET", "/v1/audit/events/7/proofs", 404, OP_UNKNOWN, "more than a word"},
	{"POST", "/v1/audit/log/checkpoint", 405, OP_UNKNOWN, "writing the checkpoint"},
	{"PUT", T "0/000", 405, OP_UNKNOWN, "writing a tile"},
	{"HEAD", T "entries/000", 405, OP_UNKNOWN, "HEAD"},
	{"GET", "/v1", 404, OP_UNKNOWN, "no such path"},
	{"GET", "/v2/customers", 404, OP_UNKNOWN, "other version"},
	{"GET", "/v1/customers/acme/x", 404, OP_UNKNOWN, "unknown segment"},
	{"GET", "/v1/customers/acme/services/kafka/volumes/data/rotation/x", 404, OP_UNKNOWN, "too deep"},
	{"POST", V ":relea", 404, OP_UNKNOWN, "part of a verb"},
	{"POST", V ":releases", 404, OP_UNKNOWN, "more than a verb"},
	{"POST", V ":", 404, OP_UNKNOWN, "empty verb"},
	{"POST", V ":release:release", 404, OP_UNKNOWN, "two verbs"},
	{"POST", V "::release", 404, OP_UNKNOWN, "two colons"},
	{"POST", "/v1/customers/acme:x/services/kafka", 404, OP_UNKNOWN, "verb in the middle"},
	{"POST", "/v1/customers:release", 404, OP_UNKNOWN, "verb of another route"},
	{"POST", "/v1/customers/acme/services/kafka/nodes/n1:release", 404, OP_UNKNOWN,
	 "a volume's verb on a node"},
	{"GET", V ":release", 405, OP_UNKNOWN, "reading a verb"},
	{"HEAD", "/v1/customers", 405, OP_UNKNOWN, "HEAD"},
	{"get", "/v1/customers", 405, OP_UNKNOWN, "methods have case"},
	{"PATCH", "/v1/customers/acme", 405, OP_UNKNOWN, "method of no route"},
	{"POST", "/v1/sys/health", 405, OP_UNKNOWN, "writing health"},
	{"DELETE", "/v1/customers/acme", 405, OP_UNKNOWN, "method of another route"},
};

static void test_paths_of_the_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		route_match_t m;
		route_find(good[i].method, span_str(good[i].path), &m);
		if (m.status != 0 || m.route == NULL || m.route->op != good[i].op)
			fail_msg("%s %s: status %d (%s)", good[i].method, good[i].path, m.status, m.why.text);
	}
}

static void test_refused_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		route_match_t m;
		route_find(bad[i].method, span_str(bad[i].path), &m);
		core_op_t op = m.route != NULL ? m.route->op : OP_UNKNOWN;
		if (m.status != bad[i].status || op != bad[i].op || m.why.text[0] == '\0')
			fail_msg("%s %s (%s): status %d, want %d", bad[i].method, bad[i].path, bad[i].reason,
				 m.status, bad[i].status);
	}
}

static void test_names_and_index(void **state)
{
	(void)state;
	route_match_t m;
	route_find("POST", span_str(V ":release"), &m);
	assert_string_equal(m.customer, "acme");
	assert_string_equal(m.service, "kafka");
	assert_string_equal(m.name, "data");
	route_find("GET", span_str("/v1/audit/events/907"), &m);
	assert_int_equal(m.index, 907);
	assert_string_equal(m.name, "");
	route_find("GET", span_str("/v1/audit/events/0"), &m);
	assert_int_equal(m.status, 0);
}

static void test_tiles(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		tile_t want;
	} rows[] = {
		{T "0/000", {0, 0, 256}},
		{T "3/x001/067.p/12", {3, 1067, 12}},
		{T "entries/x001/x234/067", {TILE_ENTRIES, 1234067, 256}},
		{T "entries/005.p/1", {TILE_ENTRIES, 5, 1}},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		route_match_t m;
		route_find("GET", span_str(rows[i].path), &m);
		assert_int_equal(m.status, 0);
		assert_int_equal(m.tile.level, rows[i].want.level);
		assert_int_equal(m.tile.index, rows[i].want.index);
		assert_int_equal(m.tile.width, rows[i].want.width);
	}
	route_match_t m;
	route_find("GET", span_str(T "0/1"), &m);
	assert_int_equal(m.tile.width, 0);
	route_find("GET", span_str("/v1/audit/log/checkpoint"), &m);
	assert_int_equal(m.tile.width, 0);
	route_find("POST", span_str(T "entries/000"), &m);
	assert_string_equal(m.allow, "GET");
}

static void test_nul_and_length(void **state)
{
	(void)state;
	route_match_t m;
	route_find("GET", span_of("/v1/customers/acme\0x", 20), &m);
	assert_int_equal(m.status, 400);
	route_find("GET", span_of("/v1/customers\0", 14), &m);
	assert_int_equal(m.status, 400);
	char longest[ROUTE_PATH_MAX + 1];
	memset(longest, 'a', sizeof longest);
	longest[0] = '/';
	route_find("GET", span_of(longest, sizeof longest), &m);
	assert_int_equal(m.status, 400);
	route_find("GET", span_of(longest, sizeof longest - 1), &m);
	assert_int_equal(m.status, 404);
}

static void test_allow(void **state)
{
	(void)state;
	route_match_t m;
	route_find("POST", span_str(V), &m);
	assert_int_equal(m.status, 405);
	assert_string_equal(m.allow, "GET, PUT, DELETE");
	route_find("PUT", span_str("/v1/maintenance"), &m);
	assert_string_equal(m.allow, "GET, POST");
}

/* Exactly one route for each operation, none for OP_UNKNOWN but health. */
static void test_every_operation_has_its_route(void **state)
{
	(void)state;
	size_t n = 0;
	unsigned seen[OP_COUNT] = {0};
	const route_t *t = route_table(&n);
	for (size_t i = 0; i < n; i++) {
		seen[t[i].op]++;
		assert_true(t[i].body_limit <=
			    (t[i].op == OP_HEADER_PUT ? CORE_HEADER_BODY_MAX : ROUTE_BODY_MAX));
		assert_int_equal(strcmp(t[i].method, "GET") == 0, t[i].body_limit == 0);
		if (t[i].op == OP_UNKNOWN)
			assert_int_equal(t[i].need, NEED_HEALTH);
		assert_int_equal(t[i].need == NEED_NOTHING,
				 t[i].op == OP_ENROLL || t[i].op == OP_OPERATOR_ENROLL);
	}
	for (int op = 0; op < OP_COUNT; op++)
		if (seen[op] != 1)
			fail_msg("operation %d has %u routes", op, seen[op]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_of_the_table),
		cmocka_unit_test(test_refused_paths),
		cmocka_unit_test(test_names_and_index),
		cmocka_unit_test(test_tiles),
		cmocka_unit_test(test_nul_and_length),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_every_operation_has_its_route),
	};
	return cmocka_run_group_tests_name("http/route", tests, NULL, NULL);
}
