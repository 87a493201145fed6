#include "kms-server/core/event.h"

#include "common/base/scope.h"
#include "tests/unit/kms-server/core/core_fixture.h"

/* DESIGN.md section 10; type: s text, i integer, o object, a array, p integer or null */
static const struct {
	const char *path;
	char type;
} fields[] = {
	{"metadata", 'o'},
	{"metadata.version", 's'},
	{"metadata.uid", 's'},
	{"metadata.sequence", 'i'},
	{"metadata.product", 'o'},
	{"metadata.product.name", 's'},
	{"metadata.product.vendor_name", 's'},
	{"metadata.product.version", 's'},
	{"metadata.tenant_uid", 's'},
	{"metadata.correlation_uid", 's'},
	{"time", 'i'},
	{"category_uid", 'i'},
	{"class_uid", 'i'},
	{"activity_id", 'i'},
	{"type_uid", 'i'},
	{"severity_id", 'i'},
	{"status_id", 'i'},
	{"status_code", 's'},
	{"status_detail", 's'},
	{"actor.user.name", 's'},
	{"actor.user.type", 's'},
	{"actor.authorizations.0.decision", 's'},
	{"actor.authorizations.0.policy", 's'},
	{"src_endpoint.ip", 's'},
	{"src_endpoint.port", 'i'},
	{"api.operation", 's'},
	{"api.request.uid", 's'},
	{"resources.0.uid", 's'},
	{"resources.0.type", 's'},
	{"resources.0.namespace", 's'},
	{"unmapped.claviger.reason", 's'},
	{"unmapped.claviger.justification", 's'},
	{"unmapped.claviger.ticket", 's'},
	{"unmapped.claviger.grant", 's'},
	{"unmapped.claviger.approvals", 'a'},
	{"unmapped.claviger.salt", 's'},
	{"unmapped.claviger.previous", 'p'},
};

static bool has_type(const json_t *j, char type)
{
	return (type == 's' && json_is_string(j)) || (type == 'i' && json_is_integer(j)) ||
	       (type == 'o' && json_is_object(j)) || (type == 'a' && json_is_array(j)) ||
	       (type == 'p' && (json_is_integer(j) || json_is_null(j)));
}

static void assert_whole(const json_t *e)
{
	for (size_t i = 0; i < COUNT(fields); i++)
		if (!has_type(json_at(e, fields[i].path), fields[i].type))
			fail_msg("%s: %s", text_at(e, "api.operation"), fields[i].path);
	int64_t class_uid = number_at(e, "class_uid"), status = number_at(e, "status_id");
	assert_int_equal(number_at(e, "category_uid"), class_uid / 1000);
	assert_int_equal(number_at(e, "type_uid"), class_uid * 100 + number_at(e, "activity_id"));
	assert_true(status == 1 || status == 2);
	assert_int_equal(strlen(text_at(e, "unmapped.claviger.salt")), 32);
	assert_int_equal(strlen(text_at(e, "metadata.uid")), 32);
	assert_string_equal(text_at(e, "metadata.tenant_uid"), text_at(e, "resources.0.namespace"));
}

static void assert_canonical(span_t bytes)
{
	SCOPED(json_freep) json_t *j = NULL;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	assert_int_equal(json_parse(bytes, EVENT_MAX, &j, NULL), KMS_OK);
	assert_int_equal(json_write(j, &again), KMS_OK);
	assert_true(span_eq(bytes, buf_span(&again)));
	assert_whole(j);
}

static json_t *encoded(const event_t *e)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	json_t *j = NULL;
	assert_int_equal(event_encode(e, &b), KMS_OK);
	assert_canonical(buf_span(&b));
	assert_int_equal(json_parse(buf_span(&b), EVENT_MAX, &j, NULL), KMS_OK);
	return j;
}

static void test_empty_event_has_every_field(void **state)
{
	(void)state;
	const event_t e = {.class_uid = 6003, .activity_id = 2, .uid = "00112233445566778899aabbccddeeff"};
	SCOPED(json_freep) json_t *j = encoded(&e);
	assert_int_equal(number_at(j, "status_id"), 2);
	assert_int_equal(number_at(j, "severity_id"), 3);
	assert_true(json_is_null(json_at(j, "unmapped.claviger.previous")));
	assert_null(json_at(j, "unmapped.claviger.count"));
}

static void test_who_spoke_for_the_caller(void **state)
{
	(void)state;
	static const char *const none[] = {NULL, ""};
	event_t e = {.class_uid = 6003,
		     .activity_id = 2,
		     .uid = "00112233445566778899aabbccddeeff",
		     .ip = "203.0.113.9",
		     .port = 4444};
	for (size_t i = 0; i < COUNT(none); i++) {
		e.via = none[i];
		SCOPED(json_freep) json_t *direct = encoded(&e);
		assert_int_equal(json_object_size(json_at(direct, "src_endpoint")), 2);
	}
	e.via = "198.51.100.1";
	SCOPED(json_freep) json_t *j = encoded(&e);
	assert_string_equal(text_at(j, "src_endpoint.ip"), "203.0.113.9");
	assert_int_equal(number_at(j, "src_endpoint.port"), 4444);
	assert_int_equal(json_array_size(json_at(j, "src_endpoint.intermediate_ips")), 1);
	assert_string_equal(text_at(j, "src_endpoint.intermediate_ips.0"), "198.51.100.1");
}

/* Details quote what strangers sent: nothing of it may leave the string or be anything but printable. */
static void test_hostile_detail(void **state)
{
	(void)state;
	static const char *const details[] = {
		"\",\"status_id\":1,\"x\":\"", "\\\"}]}", "line\nline\r\t\x1b[2J\x7f", "\xff\xfe\xc0\xaf",
		"\xe2\x80\xae\xd0\xb0",        "%s%n%p",
	};
	for (size_t i = 0; i < COUNT(details); i++) {
		const event_t e = {.class_uid = 6003,
				   .activity_id = 2,
				   .uid = "00112233445566778899aabbccddeeff",
				   .status_detail = details[i]};
		SCOPED(json_freep) json_t *j = encoded(&e);
		const char *shown = text_at(j, "status_detail");
		assert_int_equal(number_at(j, "status_id"), 2);
		assert_int_equal(strlen(shown), strlen(details[i]));
		for (const char *p = shown; *p != '\0'; p++)
			assert_true(*p >= 0x20 && *p < 0x7f);
	}
}

static void test_long_detail_is_cut_to_a_diag(void **state)
{
	(void)state;
	char detail[4096];
	memset(detail, 'a', sizeof detail);
	detail[sizeof detail - 1] = '\0';
	const event_t e = {.class_uid = 6003,
			   .activity_id = 2,
			   .uid = "00112233445566778899aabbccddeeff",
			   .status_detail = detail};
	SCOPED(json_freep) json_t *j = encoded(&e);
	assert_int_equal(strlen(text_at(j, "status_detail")), sizeof((diag_t *)0)->text);
}

static void test_over_the_limit(void **state)
{
	(void)state;
	static char ticket[EVENT_MAX + 1];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	memset(ticket, 'a', sizeof ticket - 1);
	const event_t e = {.class_uid = 6003, .activity_id = 2, .ticket = ticket};
	assert_int_equal(event_encode(&e, &b), KMS_E_INVALID);
}

static void test_salts_differ(void **state)
{
	(void)state;
	const event_t e = {.class_uid = 6003, .activity_id = 2, .uid = "00112233445566778899aabbccddeeff"};
	SCOPED(json_freep) json_t *a = encoded(&e);
	SCOPED(json_freep) json_t *b = encoded(&e);
	assert_string_not_equal(text_at(a, "unmapped.claviger.salt"), text_at(b, "unmapped.claviger.salt"));
}

/* Every operation, asked for by an admin on something: whatever comes of it, one event says so, in full.
 * Polls that find nothing are the one exception. */
static void test_every_operation_leaves_an_event(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	(void)make_main(f);
	for (core_op_t op = 0; op < OP_COUNT; op++) {
		uint64_t before = log_size(f);
		if (op == OP_SEAL)
			continue;
		answer_t a = fixture_ask(f, &(ask_t){.op = op, .path = "acme/db/v1"});
		SCOPED(json_freep) json_t *e = event_at(f, before);
		assert_whole(e);
		assert_string_equal(text_at(e, "api.operation"), core_op_info(op)->action);
		assert_int_equal(number_at(e, "class_uid"), core_op_info(op)->class_uid);
		assert_int_equal(number_at(e, "activity_id"), core_op_info(op)->activity_id);
		assert_string_equal(text_at(e, "actor.user.name"), "root");
		assert_string_equal(text_at(e, "actor.user.type"), "operator");
		assert_string_equal(text_at(e, "src_endpoint.ip"), "192.0.2.7");
		assert_int_equal(number_at(e, "src_endpoint.port"), 51000);
		assert_int_equal(number_at(e, "time"), START_MS);
		assert_int_equal(number_at(e, "status_id"), a.status < 300 ? 1 : 2);
		assert_int_equal(strlen(text_at(e, "api.request.uid")), 32);
		answer_free(&a);
	}
	fixture_free(f);
}

/* The bytes in the store are canonical: what an auditor hashes is what was meant. */
static void test_stored_bytes_are_canonical(void **state)
{
	(void)state;
	fixture_t *f = fixture_new(FIXTURE_KEYFILE);
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key, value;
	caller_t n1 = make_main(f);
	fixture_must(f, 200, &(ask_t){.op = OP_NODE_RELEASE, .who = &n1});
	fixture_must(f, 401, &(ask_t){.op = OP_NODE_RELEASE, .who = &nobody});
	assert_int_equal(store_begin_read(f->store, &t), KMS_OK);
	assert_int_equal(store_seek(t, STORE_EVENTS, span_of(NULL, 0), STORE_UP, &c), KMS_OK);
	unsigned n = 0;
	for (; store_next(c, &key, &value) == KMS_OK; n++)
		assert_canonical(value);
	assert_true(n > 5);
	store_cursor_freep(&c);
	store_abortp(&t);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_event_has_every_field),
		cmocka_unit_test(test_who_spoke_for_the_caller),
		cmocka_unit_test(test_hostile_detail),
		cmocka_unit_test(test_long_detail_is_cut_to_a_diag),
		cmocka_unit_test(test_over_the_limit),
		cmocka_unit_test(test_salts_differ),
		cmocka_unit_test(test_every_operation_leaves_an_event),
		cmocka_unit_test(test_stored_bytes_are_canonical),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
