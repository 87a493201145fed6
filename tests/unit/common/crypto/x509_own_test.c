/* The quick check of a certificate held against OpenSSL's whole one: wherever the quick one says yes, the
 * whole one says yes and reads the same identity. */
#include "common/crypto/x509_own.h"

#include "common/base/scope.h"
#include "common/crypto/x509_internal.h"
#include "tests/unit/common/crypto/issuer.h"

#include <openssl/pem.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const int64_t now = INT64_C(1700000000000);
static const int64_t hour = INT64_C(3600000);
static const int64_t year = INT64_C(365) * 24 * 3600000;

static issuer_t S;

static int set_up(void **state)
{
	(void)state;
	return issuer_make(&S, now - 24 * hour, 100 * year);
}

static int tear_down(void **state)
{
	(void)state;
	issuer_free(&S);
	return 0;
}

static void issue(const x509_identity_t *who, int64_t lifetime, buf_t *der)
{
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	assert_int_equal(x509_issue_client(S.ca, S.ca_key, buf_span(&S.csr), who, now, lifetime, &pem, NULL),
			 KMS_OK);
	SCOPED(x509_freep) X509 *cert = NULL;
	assert_int_equal(x509_cert_read(buf_span(&pem), &cert), KMS_OK);
	SCOPED(ossl_bytes_freep) unsigned char *out = NULL;
	int n = i2d_X509(cert, &out);
	assert_true(n > 0);
	buf_bytes(der, span_of(out, (size_t)n));
}

static const x509_identity_t node = {.kind = X509_NODE,
				     .node = {.customer = "acme", .service = "db", .name = "n1"}};
static const x509_identity_t longest = {.kind = X509_NODE,
					.node = {.customer = A63, .service = A63, .name = A63}};
static const x509_identity_t person = {.kind = X509_OPERATOR, .operator_name = "a"};

/* The form is the issuer's: were it to change, this would be slow and nothing else would tell. */
static void test_what_is_issued_goes_the_quick_way(void **state)
{
	(void)state;
	const x509_identity_t *const who[] = {&node, &longest, &person};
	const int64_t lifetimes[] = {hour, year, 40 * year}; /* the last ends after 2049: GeneralizedTime */
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++)
			for (int again = 0; again < 8; again++) { /* serial numbers of several lengths */
				SCOPED(buf_free) buf_t der = BUF_INIT;
				issue(who[i], lifetimes[k], &der);
				x509_own_t cert;
				assert_true(x509_own_read(S.ca, buf_span(&der), &cert));
				assert_true(x509_own_good(S.ca, &cert, now));
				x509_identity_t quick, whole;
				diag_t why;
				assert_int_equal(x509_verify_client(S.ca, buf_span(&der), now, &quick, &why),
						 KMS_OK);
				assert_int_equal(x509_verify_wholly(S.ca, buf_span(&der), now, &whole, &why),
						 KMS_OK);
				assert_memory_equal(&quick, &whole, sizeof whole);
			}
}

static void test_edges_of_the_dates(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue(&node, hour, &der);
	x509_own_t cert;
	assert_true(x509_own_read(S.ca, buf_span(&der), &cert));
	const int64_t edges[] = {cert.not_before_ms, cert.not_after_ms, S.ca->not_before_ms[0],
				 S.ca->not_after_ms[0], 0};
	for (size_t i = 0; i < 5; i++)
		for (int64_t d = -2001; d <= 2001; d += 667) {
			x509_identity_t id;
			bool quick = x509_own_good(S.ca, &cert, edges[i] + d);
			bool whole =
				x509_verify_wholly(S.ca, buf_span(&der), edges[i] + d, &id, NULL) == KMS_OK;
			if (quick != whole)
				fail_msg("edge %zu at %d ms: quick %d, whole %d", i, (int)d, quick, whole);
		}
}

static void put_tlv(buf_t *b, uint8_t tag, span_t body)
{
	buf_u8(b, tag);
	if (body.n >= 256) {
		buf_u8(b, 0x82);
		buf_u16(b, (uint16_t)body.n);
	} else if (body.n >= 128) {
		buf_u8(b, 0x81);
		buf_u8(b, (uint8_t)body.n);
	} else {
		buf_u8(b, (uint8_t)body.n);
	}
	buf_bytes(b, body);
}

/* What the CA's key would have signed, had it been asked for these bytes. */
static void sign(EVP_PKEY *key, span_t tbs, buf_t *der)
{
	static const uint8_t algorithm[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
					    0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
	SCOPED(md_ctx_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t signature[1 + 128] = {0};
	size_t n = 128;
	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
	assert_int_equal(EVP_DigestSign(ctx, signature + 1, &n, tbs.p, tbs.n), 1);
	SCOPED(buf_free) buf_t body = BUF_INIT;
	buf_bytes(&body, tbs);
	buf_bytes(&body, span_of(algorithm, sizeof algorithm));
	put_tlv(&body, 0x03, span_of(signature, n + 1));
	put_tlv(der, 0x30, buf_span(&body));
}

static bool same_identity(const x509_identity_t *a, const x509_identity_t *b)
{
	return a->kind == b->kind && strcmp(a->node.customer, b->node.customer) == 0 &&
	       strcmp(a->node.service, b->node.service) == 0 && strcmp(a->node.name, b->node.name) == 0 &&
	       strcmp(a->operator_name, b->operator_name) == 0 && strcmp(a->serial, b->serial) == 0 &&
	       memcmp(a->spki, b->spki, sizeof a->spki) == 0 && a->not_before_ms == b->not_before_ms &&
	       a->not_after_ms == b->not_after_ms;
}

/* Both ways on one certificate; true when it was accepted. */
static bool same_answer(span_t der, const char *what, size_t at)
{
	x509_identity_t quick, whole;
	memset(&quick, 0, sizeof quick);
	memset(&whole, 0, sizeof whole);
	kms_err_t e = x509_verify_client(S.ca, der, now, &quick, NULL);
	kms_err_t w = x509_verify_wholly(S.ca, der, now, &whole, NULL);
	if (e != w || !same_identity(&quick, &whole))
		fail_msg("%s %zu: %s, but wholly %s", what, at, kms_err_name(e), kms_err_name(w));
	return e == KMS_OK;
}

/* Every byte of what is signed is changed and signed anew, as only the CA itself could do it. */
static void test_every_byte_changed_and_signed_again(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	SCOPED(pkey_freep) EVP_PKEY *key = NULL;
	issue(&node, 40 * year, &der);
	assert_int_equal(x509_key_read(S.ca_key, &key), KMS_OK);
	x509_own_t cert;
	assert_true(x509_own_read(S.ca, buf_span(&der), &cert));
	size_t point = (size_t)(cert.spki.p - cert.signed_part.p) + 27;
	SCOPED(buf_free) buf_t tbs = BUF_INIT;
	buf_bytes(&tbs, cert.signed_part);
	static const uint8_t changes[] = {0x01, 0x20, 0x80};
	size_t accepted = 0, refused = 0;
	for (size_t i = 0; i < tbs.n; i++) {
		if (i >= point && i < point + 64)
			continue; /* see x509_own.h */
		for (size_t k = 0; k < sizeof changes; k++) {
			SCOPED(buf_free) buf_t changed = BUF_INIT;
			tbs.p[i] ^= changes[k];
			sign(key, buf_span(&tbs), &changed);
			if (same_answer(buf_span(&changed), "byte", i))
				accepted++;
			else
				refused++;
			tbs.p[i] ^= changes[k];
		}
	}
	/* serial number, dates, names, key identifier: still a certificate; structure: none */
	assert_in_range(accepted, 50, 1000);
	assert_in_range(refused, 300, 3000);
}

static void test_every_byte_changed(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue(&person, hour, &der);
	for (size_t i = 0; i < der.n; i++) {
		der.p[i] ^= 0x01;
		assert_false(same_answer(buf_span(&der), "byte", i));
		der.p[i] ^= 0x01;
		assert_false(same_answer(span_of(der.p, i), "length", i));
	}
	buf_u8(&der, 0);
	assert_false(same_answer(buf_span(&der), "one byte more", 0));
}

#define THREADS 4

static void *verify_much(void *arg)
{
	const buf_t *der = arg;
	uintptr_t wrong = 0;
	for (int i = 0; i < 40; i++) {
		x509_identity_t id;
		wrong += x509_verify_client(S.ca, buf_span(der), now, &id, NULL) != KMS_OK;
		wrong += x509_verify_wholly(S.ca, buf_span(der), now, &id, NULL) != KMS_OK;
		wrong += x509_verify_client(S.ca, buf_span(der), now + 2 * year, &id, NULL) != KMS_E_DENIED;
	}
	return (void *)wrong;
}

static void test_one_ca_for_several_threads(void **state)
{
	(void)state;
	SCOPED(buf_free) buf_t der = BUF_INIT;
	issue(&node, year, &der);
	/* loaded anew: nothing of it has been used yet */
	x509_ca_freep(&S.ca);
	assert_int_equal(x509_ca_load(buf_span(&S.ca_pem), &S.ca, NULL), KMS_OK);
	pthread_t t[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, verify_much, &der), 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *wrong = NULL;
		assert_int_equal(pthread_join(t[i], &wrong), 0);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_issued_goes_the_quick_way),
		cmocka_unit_test(test_edges_of_the_dates),
		cmocka_unit_test(test_every_byte_changed_and_signed_again),
		cmocka_unit_test(test_every_byte_changed),
		cmocka_unit_test(test_one_ca_for_several_threads),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
