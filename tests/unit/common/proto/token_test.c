#include "common/proto/token.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/json.h"
#include "tests/unit/common/proto/alloc_fail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

#define PEM      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
#define PEM_JSON "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"
#define SECRET64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define GOOD     "{\"ca\":\"" PEM_JSON "\",\"node\":\"c/s/n\",\"secret\":\"" SECRET64 "\"}"

static const path3_t node = {.customer = "c", .service = "s", .name = "n"};

static secret_t *counting_secret(size_t n)
{
	secret_t *s = NULL;
	assert_int_equal(secret_new(n, &s), KMS_OK);
	for (size_t i = 0; i < n; i++)
		secret_data(s)[i] = (uint8_t)i;
	return s;
}

static void encoded(buf_t *out)
{
	SCOPED(secret_freep) secret_t *s = counting_secret(TOKEN_SECRET_LEN);
	assert_int_equal(token_encode(span_str(PEM), &node, s, out), KMS_OK);
}

/* The token of a JSON text, right or wrong. */
static void token_of(const char *before, const char *json, const char *after, buf_t *out)
{
	buf_str(out, before);
	buf_str(out, "clvt1.");
	base64_encode(span_str(json), out);
	buf_str(out, after);
}

static void assert_good(span_t text)
{
	SCOPED(secret_freep) secret_t *s = counting_secret(TOKEN_SECRET_LEN);
	SCOPED(token_free) token_t t = {.secret = NULL};
	diag_t why = {""};
	kms_err_t e = token_decode(text, &t, &why);
	if (e != KMS_OK)
		fail_msg("%s", why.text);
	assert_true(span_eq(buf_span(&t.ca_pem), span_str(PEM)));
	assert_string_equal(t.node.customer, "c");
	assert_string_equal(t.node.service, "s");
	assert_string_equal(t.node.name, "n");
	assert_true(secret_equal(t.secret, s));
}

static void test_round_trip(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t text = BUF_INIT, same = BUF_INIT;
	encoded(&text);
	token_of("", GOOD, "", &same);
	assert_true(span_eq(buf_span(&text), buf_span(&same)));
	assert_good(buf_span(&text));
}

static void test_operators(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "Mary", "a/b", "mary ", "-mary"};
	SCOPED(secret_freep) secret_t *s = counting_secret(TOKEN_SECRET_LEN);
	SCOPED(buf_free) buf_t text = BUF_INIT;
	SCOPED(token_free) token_t t = {.secret = NULL};
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_int_equal(token_encode_operator(span_str(PEM), bad[i], s, &text), KMS_E_INVALID);
		assert_int_equal(text.n, 0);
	}
	assert_int_equal(token_encode_operator(span_str(PEM), "mary", s, &text), KMS_OK);
	assert_int_equal(token_decode(buf_span(&text), &t, NULL), KMS_OK);
	assert_string_equal(t.operator_name, "mary");
	assert_string_equal(t.node.name, "");
	assert_true(secret_equal(t.secret, s));
}

static void test_white_space_around(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t text = BUF_INIT;
	token_of(" \t\r\n", GOOD, "\r\n \t\n", &text);
	assert_good(buf_span(&text));
}

static void assert_not_encoded(span_t pem, const path3_t *path, size_t secret_size, const char *reason)
{
	SCOPED(secret_freep) secret_t *s = counting_secret(secret_size);
	SCOPED(buf_free) buf_t out = BUF_INIT;
	kms_err_t e = token_encode(pem, path, s, &out);
	if (e != KMS_E_INVALID || out.n != 0)
		fail_msg("%s: %s", reason, kms_err_name(e));
}

static void test_encode_refuses(void **state)
{
	(void)state;
	static const path3_t no_customer = {.service = "s", .name = "n"};
	static const path3_t upper_service = {.customer = "c", .service = "S", .name = "n"};
	static const path3_t slash_name = {.customer = "c", .service = "s", .name = "a/b"};
	static const char nul_pem[] = PEM "\0";
	static const char latin_pem[] = PEM "\xe4";
	SCOPED(buf_free) buf_t long_pem = BUF_INIT;
	buf_str(&long_pem, PEM);
	while (long_pem.n <= TOKEN_CA_MAX)
		buf_str(&long_pem, "A");
	assert_not_encoded(span_str(""), &node, 32, "no certificate");
	assert_not_encoded(span_str("-----BEGIN PRIVATE KEY-----\n"), &node, 32, "a private key");
	assert_not_encoded(span_of(nul_pem, sizeof nul_pem), &node, 32, "NUL in the certificate");
	assert_not_encoded(span_str(latin_pem), &node, 32, "no UTF-8 in the certificate");
	assert_not_encoded(buf_span(&long_pem), &node, 32, "a certificate over the limit");
	assert_not_encoded(span_str(PEM), &no_customer, 32, "no customer");
	assert_not_encoded(span_str(PEM), &upper_service, 32, "upper case");
	assert_not_encoded(span_str(PEM), &slash_name, 32, "slash in a name");
	assert_not_encoded(span_str(PEM), &node, 31, "a short secret");
	assert_not_encoded(span_str(PEM), &node, 33, "a long secret");
}

static void assert_not_decoded(span_t text, const char *says, const char *reason)
{
	diag_t why = {""};
	token_t t;
	memset(&t, 0x5a, sizeof t);
	token_t before = t;
	kms_err_t e = token_decode(text, &t, &why);
	if (e != KMS_E_INVALID || strstr(why.text, says) == NULL ||
	    strstr(why.text, "not an enrolment token") == NULL)
		fail_msg("%s: %s, \"%s\"", reason, kms_err_name(e), why.text);
	assert_null(strstr(why.text, "AAECAwQF"));
	assert_ptr_equal(t.secret, before.secret);
	assert_ptr_equal(t.ca_pem.p, before.ca_pem.p);
}

typedef struct row {
	const char *reason, *json, *says;
} row_t;

#define CA     "\"ca\":\"" PEM_JSON "\""
#define NODE   "\"node\":\"c/s/n\""
#define SECRET "\"secret\":\"" SECRET64 "\""

static const row_t bad_json[] = {
	{"nothing", "", "empty"},
	{"no object", "[]", "a JSON object is expected"},
	{"no JSON", "secret=" SECRET64, "a JSON object or array is expected"},
	{"something after it", GOOD "x", "something after the value"},
	{"no ca", "{" NODE "," SECRET "}", "\"ca\" is missing"},
	{"nobody", "{" CA "," SECRET "}", "one node or one operator"},
	{"two at once", "{" CA "," NODE ",\"operator\":\"mary\"," SECRET "}", "one node or one operator"},
	{"an operator with a path", "{" CA ",\"operator\":\"a/b\"," SECRET "}", "not a valid name"},
	{"an operator in upper case", "{" CA ",\"operator\":\"Mary\"," SECRET "}", "not a valid name"},
	{"an empty operator", "{" CA ",\"operator\":\"\"," SECRET "}", "operator"},
	{"no secret", "{" CA "," NODE "}", "\"secret\" is missing"},
	{"unknown field: a server to call", "{" CA "," NODE "," SECRET ",\"server\":\"https://evil\"}",
	 "\"server\" is not a known field"},
	{"secret twice", "{" CA "," NODE "," SECRET "," SECRET "}", "stands twice"},
	{"ca is a number", "{\"ca\":1," NODE "," SECRET "}", "\"ca\" must be a PEM certificate"},
	{"ca is null", "{\"ca\":null," NODE "," SECRET "}", "\"ca\" must be a PEM certificate"},
	{"ca is another thing", "{\"ca\":\"-----BEGIN PRIVATE KEY-----\\n\"," NODE "," SECRET "}",
	 "\"ca\" must be a PEM certificate"},
	{"ca is empty", "{\"ca\":\"\"," NODE "," SECRET "}", "\"ca\" must be"},
	{"node of two parts", "{" CA ",\"node\":\"c/s\"," SECRET "}", "customer/service/name"},
	{"node with dots", "{" CA ",\"node\":\"c/../n\"," SECRET "}", "not a valid name"},
	{"secret of 31 bytes",
	 "{" CA "," NODE ",\"secret\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==\"}",
	 "base64 of 32 bytes"},
	{"secret of 33 bytes",
	 "{" CA "," NODE ",\"secret\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\"}",
	 "base64 of 32 bytes"},
	{"secret too long", "{" CA "," NODE ",\"secret\":\"" SECRET64 "AAAA\"}", "at most 44 bytes"},
	{"secret not canonical",
	 "{" CA "," NODE ",\"secret\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\"}",
	 "base64 of 32 bytes"},
	{"secret in hex", "{" CA "," NODE ",\"secret\":\"000102030405060708090a0b0c0d0e0f1011121314\"}",
	 "base64 of 32 bytes"},
	{"secret empty", "{" CA "," NODE ",\"secret\":\"\"}", "base64 of 32 bytes"},
};

static void test_decode_refuses_content(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_json); i++) {
		SCOPED(buf_free) buf_t text = BUF_INIT;
		token_of("", bad_json[i].json, "", &text);
		assert_not_decoded(buf_span(&text), bad_json[i].says, bad_json[i].reason);
	}
}

static void test_decode_refuses_form(void **state)
{
	(void)state;
	SCOPED(buf_free)
	buf_t good = BUF_INIT, two = BUF_INIT, upper = BUF_INIT, quoted = BUF_INIT, late = BUF_INIT,
	      longer = BUF_INIT;
	encoded(&good);
	assert_not_decoded(span_str(""), "does not start with", "empty");
	assert_not_decoded(span_str(" \n"), "does not start with", "blank");
	assert_not_decoded(span_str("clvt1"), "does not start with", "half a prefix");
	assert_not_decoded(span_str("clvt2.AAAA"), "does not start with", "another version");
	assert_not_decoded(span_str("clvt1.AA\nAA"), "cut off", "newline inside");
	for (size_t cut = 1; cut < good.n - 6; cut++)
		assert_not_decoded(span_of(good.p, good.n - cut), "", "cut off");
	buf_bytes(&two, buf_span(&good));
	buf_str(&two, "\n");
	buf_bytes(&two, buf_span(&good));
	assert_not_decoded(buf_span(&two), "cut off", "two lines");
	buf_str(&upper, "CLVT1.");
	buf_bytes(&upper, span_of(good.p + 6, good.n - 6));
	assert_not_decoded(buf_span(&upper), "does not start with", "upper case");
	token_of("\"", GOOD, "\"", &quoted);
	assert_not_decoded(buf_span(&quoted), "does not start with", "in quotes");
	buf_bytes(&late, buf_span(&good));
	buf_u8(&late, 0);
	assert_not_decoded(buf_span(&late), "cut off", "NUL at the end");
	buf_bytes(&longer, buf_span(&good));
	while (longer.n <= TOKEN_TEXT_MAX)
		buf_str(&longer, "\n");
	assert_not_decoded(buf_span(&longer), "too long", "over the limit by blank lines");
}

static void test_allocations_fail(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t good = BUF_INIT;
	SCOPED(secret_freep) secret_t *s = counting_secret(TOKEN_SECRET_LEN);
	encoded(&good);
	bool more = true;
	for (unsigned i = 1; more; i++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		alloc_fail_at(i);
		kms_err_t e = token_encode(span_str(PEM), &node, s, &out);
		more = alloc_fail_end();
		assert_int_equal(e, more ? KMS_E_NOMEM : KMS_OK);
	}
	more = true;
	for (unsigned i = 1; more; i++) {
		SCOPED(token_free) token_t t = {.secret = NULL};
		alloc_fail_at(i);
		kms_err_t e = token_decode(buf_span(&good), &t, NULL);
		more = alloc_fail_end();
		assert_int_equal(e, more ? KMS_E_NOMEM : KMS_OK);
		assert_true((t.secret == NULL) == more);
	}
}

int main(void)
{
	json_wipe_on_free();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_operators),
		cmocka_unit_test(test_white_space_around),
		cmocka_unit_test(test_encode_refuses),
		cmocka_unit_test(test_decode_refuses_content),
		cmocka_unit_test(test_decode_refuses_form),
		cmocka_unit_test(test_allocations_fail),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
