#include "node-agent/app/kms_decode.h"

#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define S1   "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
#define S2   "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
#define FP   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define UUID "5fb3a826-a13d-490d-9c5e-9559043de331"
#define ENTRY                                                                                                \
	"{\"volume\":\"c/s/v\",\"status\":\"released\",\"event\":7,\"lineage\":1,\"luks_uuid\":\"" UUID      \
	"\","                                                                                                \
	"\"fingerprints\":[{\"state\":\"active\",\"value\":\"" FP "\"}],"                                    \
	"\"secrets\":[{\"version\":4,\"state\":\"pending\",\"secret\":\"" S2 "\"},"                          \
	"{\"version\":3,\"state\":\"active\",\"secret\":\"" S1 "\"}]}"
#define RELEASE "{\"volumes\":[" ENTRY ",{\"volume\":\"c/s/w\",\"status\":\"suspended\",\"event\":8}]}"
#define ROTATION                                                                                             \
	"{\"volume\":\"c/s/v\",\"event\":1,\"luks_uuid\":\"" UUID "\",\"lineage\":1,"                        \
	"\"fingerprints\":[{\"state\":\"active\",\"value\":\"" FP "\"}],"                                    \
	"\"secrets\":[{\"version\":4,\"state\":\"active\",\"secret\":\"" S2 "\"},"                           \
	"{\"version\":3,\"state\":\"active-previous\",\"secret\":\"" S1 "\"}],\"version\":4,\"nonce\":\"" S1 \
	"\"}"

static void a_release_is_read(void **state)
{
	(void)state;
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	diag_t why;
	assert_int_equal(kms_decode_releases(span_str(RELEASE), &all, &why), KMS_OK);
	assert_int_equal(all.n, 2);
	const kms_release_t *r = &all.list[0];
	assert_string_equal(r->volume.name, "v");
	assert_int_equal(r->status, KMS_RELEASED);
	assert_string_equal(r->luks_uuid, UUID);
	assert_int_equal(r->n_fingerprints, 1);
	assert_true(r->fingerprints[0].active);
	assert_int_equal(r->fingerprints[0].value[1], 0x11);
	assert_int_equal(r->n_secrets, 2);
	assert_int_equal(r->secrets[0].version, 4);
	assert_int_equal(r->secrets[0].state, KMS_SECRET_PENDING);
	assert_int_equal(secret_len(r->secrets[0].secret), 32);
	assert_int_equal(secret_span(r->secrets[0].secret).p[31], 'B');
	assert_int_equal(r->secrets[1].state, KMS_SECRET_ACTIVE);
	assert_int_equal(all.list[1].status, KMS_RELEASE_SUSPENDED);
	assert_int_equal(all.list[1].n_secrets, 0);
}

static void a_rotation_is_read(void **state)
{
	(void)state;
	SCOPED(kms_rotation_clear) kms_rotation_t r = {.version = 0};
	diag_t why;
	assert_int_equal(kms_decode_rotation(span_str(ROTATION), &r, &why), KMS_OK);
	assert_int_equal(r.version, 4);
	assert_int_equal(r.nonce[0], 'A');
	assert_int_equal(r.volume.secrets[1].state, KMS_SECRET_PREVIOUS);
}

/* Only what the server calls active or pending may be the disk's. */
static void fingerprints_of_other_states_are_passed_over(void **state)
{
	(void)state;
	static const char text[] =
		"{\"volumes\":[{\"volume\":\"c/s/v\",\"status\":\"released\",\"fingerprints\":["
		"{\"state\":\"former\",\"value\":\"" FP "\"},{\"state\":\"pending\",\"value\":\"" FP
		"\"}]}]}";
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	diag_t why;
	assert_int_equal(kms_decode_releases(span_str(text), &all, &why), KMS_OK);
	assert_int_equal(all.list[0].n_fingerprints, 1);
	assert_false(all.list[0].fingerprints[0].active);
	assert_int_equal(all.list[0].fingerprints[0].value[1], 0x11);
}

/* What a newer server may add, and what a pre-active volume leaves out. */
static void variants_are_read(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{\"volumes\":[],\"more\":1}",
		"{\"volumes\":[{\"volume\":\"c/s/"
		"v\",\"status\":\"released\",\"luks_uuid\":null,\"fingerprints\":[],\"secrets\":[]}]}",
		"{\"volumes\":[{\"volume\":\"c/s/"
		"v\",\"status\":\"denied\",\"fingerprints\":null,\"secrets\":null,\"new\":{}}]}",
	};
	diag_t why;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		SCOPED(kms_releases_clear) kms_releases_t all = {0};
		if (kms_decode_releases(span_str(texts[i]), &all, &why) != KMS_OK)
			fail_msg("row %zu: %s", i, why.text);
	}
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	assert_int_equal(
		kms_decode_releases(span_str("{\"volumes\":[{\"volume\":\"c/s/v\",\"status\":\"maybe\"}]}"),
				    &all, &why),
		KMS_OK);
	assert_int_equal(all.list[0].status, KMS_RELEASE_DENIED);
}

/* Who is waited for is told; what could drive a terminal, or a shell, is not. */
static void what_is_waited_for(void **state)
{
	(void)state;
	static const struct {
		const char *fields, *reason, *grant, *why;
	} rows[] = {
		{"\"reason\":\"waits for 1 of group:approvers\",\"grant\":\"g-0123456789abcdef\"",
		 "waits for 1 of group:approvers", "g-0123456789abcdef", "as the server says it"},
		{"\"reason\":\"a\\u001b[2Jb\\u009bc\\nd\"", "a?[2Jb??c?d", "", "controls"},
		{"\"reason\":7,\"grant\":{}", "", "", "of another type"},
		{"\"reason\":null,\"grant\":null", "", "", "null"},
		{"\"x\":1", "", "", "none"},
		{"\"grant\":\"g-1; reboot\"", "", "", "no name"},
		{"\"grant\":\"../../x\"", "", "", "a path"},
		{"\"grant\":\"\"", "", "", "empty"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(kms_releases_clear) kms_releases_t all = {0};
		char text[400];
		diag_t why = {""};
		(void)snprintf(text, sizeof text,
			       "{\"volumes\":[{\"volume\":\"c/s/v\",\"status\":\"pending\",%s}]}",
			       rows[i].fields);
		if (kms_decode_releases(span_str(text), &all, &why) != KMS_OK)
			fail_msg("%s: %s", rows[i].why, why.text);
		if (strcmp(all.list[0].reason, rows[i].reason) != 0 ||
		    strcmp(all.list[0].grant, rows[i].grant) != 0)
			fail_msg("%s: \"%s\" \"%s\"", rows[i].why, all.list[0].reason, all.list[0].grant);
	}
}

/* A newer server may say more than there is room for: it is cut, and nothing is refused for it. */
static void a_long_reason_is_cut(void **state)
{
	(void)state;
	SCOPED(kms_releases_clear) kms_releases_t all = {0};
	char text[2000];
	diag_t why = {""};
	(void)snprintf(text, sizeof text,
		       "{\"volumes\":[{\"volume\":\"c/s/v\",\"status\":\"pending\",\"reason\":\"%01000d\"}]}",
		       7);
	assert_int_equal(kms_decode_releases(span_str(text), &all, &why), KMS_OK);
	assert_int_equal(strlen(all.list[0].reason), KMS_REASON_CAP - 1);
}

static const struct {
	const char *from, *to;
} bad[] = {
	{"\"volumes\"", "\"volume\""},
	{"c/s/v", "c/s"},
	{"c/s/v", "c/../v"},
	{"\"status\":\"released\"", "\"status\":7"},
	{"\"lineage\":1", "\"lineage\":-1"},
	{"\"lineage\":1", "\"lineage\":4294967296"},
	{UUID, UUID UUID},
	{FP, "0011"},
	{"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	 "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"},
	{"\"state\":\"pending\"", "\"state\":\"nearly\""},
	{"\"version\":4", "\"version\":3"},
	{"\"version\":4", "\"version\":2"},
	{S2, "QkI="},
	{S2, "!"},
	{"\"" S2 "\"", "null"},
	{"\"" S2 "\"", "{}"},
	{"\"secrets\":[", "\"secrets\":[1,2,3,"},
	{"\"fingerprints\":[", "\"fingerprints\":{},\"x\":["},
	{"\"event\":7", "\"event\":7,\"event\":7"},
	{"]}]}", "]}]"},
	{"{\"volumes\"", "[{\"volumes\""},
};

static void malformed_releases_are_refused(void **state)
{
	(void)state;
	static const char base[] = "{\"volumes\":[" ENTRY "]}";
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		SCOPED(kms_releases_clear) kms_releases_t all = {0};
		SCOPED(buf_free) buf_t b = BUF_INIT;
		diag_t why = {""};
		const char *at = strstr(base, bad[i].from);
		assert_non_null(at);
		buf_bytes(&b, span_of(base, (size_t)(at - base)));
		buf_str(&b, bad[i].to);
		buf_str(&b, at + strlen(bad[i].from));
		kms_err_t e = kms_decode_releases(buf_span(&b), &all, &why);
		if (e != KMS_E_INTEGRITY)
			fail_msg("row %zu: error %d %s", i, e, why.text);
		assert_int_equal(all.n, 0);
		/* nothing of a secret is in the message */
		assert_null(strstr(why.text, "QkJC"));
		assert_null(strstr(why.text, "QUFB"));
	}
}

static void every_cut_is_refused(void **state)
{
	(void)state;
	diag_t why;
	for (size_t n = 0; n < strlen(RELEASE); n++) {
		SCOPED(kms_releases_clear) kms_releases_t all = {0};
		assert_int_equal(kms_decode_releases(span_of(RELEASE, n), &all, &why), KMS_E_INTEGRITY);
	}
	for (size_t n = 0; n < strlen(ROTATION); n++) {
		SCOPED(kms_rotation_clear) kms_rotation_t r = {.version = 0};
		assert_int_equal(kms_decode_rotation(span_of(ROTATION, n), &r, &why), KMS_E_INTEGRITY);
	}
}

static void too_many_volumes_are_refused(void **state)
{
	(void)state;
	for (unsigned most = KMS_VOLUMES_MAX; most <= KMS_VOLUMES_MAX + 1; most++) {
		SCOPED(kms_releases_clear) kms_releases_t all = {0};
		SCOPED(buf_free) buf_t b = BUF_INIT;
		diag_t why;
		buf_str(&b, "{\"volumes\":[");
		for (unsigned i = 0; i < most; i++)
			buf_printf(&b, "%s{\"volume\":\"c/s/v%u\",\"status\":\"denied\"}", i > 0 ? "," : "",
				   i);
		buf_str(&b, "]}");
		assert_int_equal(kms_decode_releases(buf_span(&b), &all, &why),
				 most <= KMS_VOLUMES_MAX ? KMS_OK : KMS_E_INTEGRITY);
	}
}

static void volumes_tasks_certificates_health(void **state)
{
	(void)state;
	kms_volume_t v;
	SCOPED(kms_tasks_clear) kms_tasks_t tasks = {0};
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	char health[32];
	diag_t why;
	assert_int_equal(
		kms_decode_volume(
			span_str("{\"volume\":\"c/s/v\",\"node\":\"n\",\"state\":\"active\",\"lineage\":2,"
				 "\"luks_uuid\":\"" UUID
				 "\",\"secrets\":[{\"version\":5,\"state\":\"pending\"},"
				 "{\"version\":4,\"state\":\"active\"}],\"rotation\":{\"version\":5}}"),
			&v, &why),
		KMS_OK);
	assert_int_equal(v.version, 4);
	assert_int_equal(v.state, KMS_VOLUME_ACTIVE);
	assert_true(v.rotating);
	assert_int_equal(kms_decode_volume(span_str("{\"volume\":\"c/s/v\",\"state\":\"odd\"}"), &v, &why),
			 KMS_E_INTEGRITY);
	assert_int_equal(kms_decode_tasks(span_str("{\"tasks\":[{\"type\":\"rotate\",\"volume\":\"c/s/"
						   "v\",\"maintenance\":\"m-1\"}]}"),
					  &tasks, &why),
			 KMS_OK);
	assert_int_equal(tasks.n, 1);
	assert_string_equal(tasks.list[0].maintenance, "m-1");
	kms_tasks_t none = {0};
	assert_int_equal(kms_decode_tasks(span_str("{\"tasks\":[{\"type\":\"rotate\"}]}"), &none, &why),
			 KMS_E_INTEGRITY);
	assert_int_equal(kms_decode_tasks(span_str("{\"tasks\":{}}"), &none, &why), KMS_E_INTEGRITY);
	assert_int_equal(
		kms_decode_certificate(span_str("{\"certificate\":\"C\",\"ca\":\"A\"}"), &cert, &ca, &why),
		KMS_OK);
	assert_int_equal(cert.n, 1);
	assert_int_equal(kms_decode_certificate(span_str("{\"certificate\":\"C\"}"), &cert, &ca, &why),
			 KMS_E_INTEGRITY);
	assert_int_equal(
		kms_decode_certificate(span_str("{\"certificate\":7,\"ca\":\"A\"}"), &cert, &ca, &why),
		KMS_E_INTEGRITY);
	assert_int_equal(kms_decode_health(span_str("{\"status\":\"sealed\"}"), health, &why), KMS_OK);
	assert_string_equal(health, "sealed");
	assert_int_equal(kms_decode_health(span_str("{\"status\":[]}"), health, &why), KMS_E_INTEGRITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_release_is_read),
		cmocka_unit_test(a_rotation_is_read),
		cmocka_unit_test(fingerprints_of_other_states_are_passed_over),
		cmocka_unit_test(variants_are_read),
		cmocka_unit_test(what_is_waited_for),
		cmocka_unit_test(a_long_reason_is_cut),
		cmocka_unit_test(malformed_releases_are_refused),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(too_many_volumes_are_refused),
		cmocka_unit_test(volumes_tasks_certificates_health),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
