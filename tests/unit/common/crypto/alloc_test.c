/* Every allocation of every call (of the X.509 calls, which make thousands, every eleventh behind the
 * hundredth) is made to fail in turn, ours (by the linker's --wrap) and OpenSSL's (by its own hooks): the
 * call says so, hands nothing out and loses nothing. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/crypto/stream.h"
#include "common/crypto/wrap.h"
#include "common/crypto/x509.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool counting;
static unsigned seen, fail_at;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
int __real_mlock(const void *p, size_t n);
int __wrap_mlock(const void *p, size_t n);

static bool fails_now(void)
{
	if (!counting)
		return false;
	seen++;
	return seen == fail_at;
}

void *__wrap_malloc(size_t n)
{
	return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails_now() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails_now() ? NULL : __real_strdup(s);
}

int __wrap_mlock(const void *p, size_t n)
{
	if (fails_now()) {
		errno = ENOMEM;
		return -1;
	}
	return __real_mlock(p, n);
}

static void *lib_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return fails_now() ? NULL : __real_malloc(n);
}

static void *lib_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	return fails_now() ? NULL : __real_realloc(p, n);
}

static void lib_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

typedef struct fixture {
	secret_t *parent, *plain, *ca_key, *key;
	buf_t blob, ca_pem, csr, cert, der;
	x509_ca_t *ca;
} fixture_t;

static fixture_t F;
static const int64_t now = INT64_C(1700000000000);
static const int64_t year = INT64_C(31536000000);
static const wrap_id_t id = {"acme", "db", "vol", 1, "active", "volume-secret"};
static const x509_identity_t who = {.kind = X509_OPERATOR, .operator_name = "root"};

/* Each returns what the call returned and checks that a failure left its output alone. */
static kms_err_t call_wrap_seal(void)
{
	SCOPED(buf_free) buf_t out = BUF_INIT;
	kms_err_t e = wrap_seal(F.parent, &id, F.plain, &out);
	assert_int_equal(out.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_wrap_open(void)
{
	SCOPED(secret_freep) secret_t *out = NULL;
	kms_err_t e = wrap_open(F.parent, &id, buf_span(&F.blob), &out);
	assert_int_equal(out != NULL, e == KMS_OK);
	if (e == KMS_OK)
		assert_true(secret_equal(out, F.plain));
	return e;
}

static kms_err_t call_stream(void)
{
	SCOPED(stream_freep) stream_t *s = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	KMS_TRY(stream_new(F.parent, &s));
	kms_err_t e = stream_seal(s, span_str("tail"), true, &out);
	assert_int_equal(out.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_digests(void)
{
	uint8_t out[32];
	KMS_TRY(crypto_sha256(span_str("a"), out));
	return crypto_hmac_sha256(span_str("k"), span_str("a"), out);
}

static kms_err_t call_ca_load(void)
{
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	kms_err_t e = x509_ca_load(buf_span(&F.ca_pem), &ca, NULL);
	assert_int_equal(ca != NULL, e == KMS_OK);
	return e;
}

static kms_err_t call_issue(void)
{
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	kms_err_t e = x509_issue_client(F.ca, F.ca_key, buf_span(&F.csr), &who, now, year, &pem, NULL);
	assert_int_equal(pem.n > 0, e == KMS_OK);
	return e;
}

static kms_err_t call_key_new(void)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	kms_err_t e = x509_key_new(&key);
	assert_int_equal(key != NULL, e == KMS_OK);
	return e;
}

static kms_err_t call_verify(void)
{
	x509_identity_t out = {.serial = "kept"};
	kms_err_t e = x509_verify_client(F.ca, buf_span(&F.der), now, &out, NULL);
	if (e != KMS_OK)
		assert_string_equal(out.serial, "kept");
	else
		assert_string_equal(out.operator_name, "root");
	return e;
}

typedef struct call {
	const char *name;
	kms_err_t (*run)(void);
	/* OpenSSL's X.509 code blames some failures on the input, which refuses as well */
	bool by_input;
} call_t;

static const call_t calls[] = {
	{"wrap_seal", call_wrap_seal, false},    {"wrap_open", call_wrap_open, false},
	{"stream_seal", call_stream, false},     {"digests", call_digests, false},
	{"x509_key_new", call_key_new, true},    {"x509_ca_load", call_ca_load, true},
	{"x509_issue_client", call_issue, true}, {"x509_verify_client", call_verify, true},
};

#define MOST 20000U

static void fail_each(const call_t *c)
{
	unsigned n;
	for (n = 1; n < MOST; n += c->by_input && n > 100 ? 11 : 1) {
		seen = 0;
		fail_at = n;
		counting = true;
		kms_err_t e = c->run();
		counting = false;
		if (seen < n) {
			assert_int_equal(e, KMS_OK);
			break;
		}
		/* IO: the library does not always say that it was memory. Never INTEGRITY, which would send
		 * people to a backup. OK: the library went on without that memory, and the checks of run()
		 * held */
		if (!c->by_input && e != KMS_E_NOMEM && e != KMS_E_IO && e != KMS_OK)
			fail_msg("%s: allocation %u: %s", c->name, n, kms_err_name(e));
	}
	assert_in_range(n, 2, MOST - 1);
	assert_int_equal(c->run(), KMS_OK); /* nothing was broken for good */
}

static void test_each_allocation(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
		fail_each(&calls[i]);
}

static int set_up(void **state)
{
	(void)state;
	if (CRYPTO_set_mem_functions(lib_malloc, lib_realloc, lib_free) != 1)
		return -1;
	kms_err_t e = crypto_random_secret(32, &F.parent);
	if (e == KMS_OK)
		e = crypto_random_secret(32, &F.plain);
	if (e == KMS_OK)
		e = wrap_seal(F.parent, &id, F.plain, &F.blob);
	if (e == KMS_OK)
		e = x509_ca_new("test.example", now, 10 * year, &F.ca_key, &F.ca_pem);
	if (e == KMS_OK)
		e = x509_ca_load(buf_span(&F.ca_pem), &F.ca, NULL);
	if (e == KMS_OK)
		e = x509_key_new(&F.key);
	if (e == KMS_OK)
		e = x509_csr_new(F.key, &F.csr);
	if (e == KMS_OK)
		e = x509_issue_client(F.ca, F.ca_key, buf_span(&F.csr), &who, now, year, &F.cert, NULL);
	if (e != KMS_OK)
		return -1;
	/* PEM to DER: the base64 between the two lines */
	SCOPED(buf_free) buf_t b64 = BUF_INIT;
	bool inside = false;
	for (size_t i = 0; i < F.cert.n; i++) {
		if (F.cert.p[i] == '\n')
			inside = i + 1 < F.cert.n && F.cert.p[i + 1] != '-';
		else if (inside)
			buf_u8(&b64, F.cert.p[i]);
	}
	size_t n = 0;
	uint8_t *at = buf_reserve(&F.der, b64.n);
	if (at == NULL || base64_decode(buf_span(&b64), at, b64.n, &n) != KMS_OK)
		return -1;
	F.der.n = n;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	secret_freep(&F.parent);
	secret_freep(&F.plain);
	secret_freep(&F.ca_key);
	secret_freep(&F.key);
	buf_t *all[] = {&F.blob, &F.ca_pem, &F.csr, &F.cert, &F.der};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		buf_free(all[i]);
	x509_ca_freep(&F.ca);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
