#include "common/crypto/digest.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/unit/common/crypto/vectors.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void assert_hex(const uint8_t *got, size_t n, const char *want)
{
	char text[257];
	assert_in_range(n, 0, 128);
	hex_encode(span_of(got, n), text);
	assert_string_equal(text, want);
}

/* FIPS 180-2 appendix B. */
static void test_sha256(void **state)
{
	(void)state;
	static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	uint8_t d[SHA256_LEN];
	assert_int_equal(crypto_sha256(span_of(NULL, 0), d), KMS_OK);
	assert_hex(d, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(crypto_sha256(span_str("abc"), d), KMS_OK);
	assert_hex(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	span_t parts[] = {span_of(two_blocks, 1), span_of(NULL, 0),
			  span_of(two_blocks + 1, sizeof two_blocks - 2)};
	assert_int_equal(crypto_sha256_parts(parts, 3, d), KMS_OK);
	assert_hex(d, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	assert_int_equal(crypto_sha256_parts(NULL, 0, d), KMS_OK);
	assert_hex(d, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 4231 sections 4.3 and 4.7, and an empty key. */
static void test_hmac(void **state)
{
	(void)state;
	uint8_t d[SHA256_LEN];
	assert_int_equal(crypto_hmac_sha256(span_str("Jefe"), span_str("what do ya want for nothing?"), d),
			 KMS_OK);
	assert_hex(d, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	uint8_t key[131];
	memset(key, 0xaa, sizeof key);
	span_t parts[] = {span_str("Test Using Larger Than Block-Size Key"), span_str(" - Hash Key First")};
	assert_int_equal(crypto_hmac_sha256_parts(span_of(key, sizeof key), parts, 2, d), KMS_OK);
	assert_hex(d, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	assert_int_equal(crypto_hmac_sha256(span_of(NULL, 0), span_of(NULL, 0), d), KMS_OK);
	assert_hex(d, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869 appendix A.1 and A.3. */
static void test_hkdf(void **state)
{
	(void)state;
	uint8_t ikm[22], salt[13], info[10], okm[42];
	memset(ikm, 0x0b, sizeof ikm);
	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof info; i++)
		info[i] = (uint8_t)(0xf0 + i);
	span_t key = span_of(ikm, sizeof ikm);
	assert_int_equal(crypto_hkdf_sha256(key, span_of(salt, 13), span_of(info, 10), okm, 42), KMS_OK);
	assert_hex(okm, 42,
		   "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
	assert_int_equal(crypto_hkdf_sha256(key, span_of(NULL, 0), span_of(NULL, 0), okm, 42), KMS_OK);
	assert_hex(okm, 42,
		   "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
	SCOPED(secret_freep) secret_t *k = NULL;
	SCOPED(secret_freep) secret_t *derived = NULL;
	assert_int_equal(secret_from(key, &k), KMS_OK);
	assert_int_equal(crypto_hkdf_secret(k, span_of(NULL, 0), span_of(NULL, 0), 42, &derived), KMS_OK);
	assert_memory_equal(secret_span(derived).p, okm, 42);
}

static void test_hkdf_refusals(void **state)
{
	(void)state;
	static uint8_t out[8161];
	span_t none = span_of(NULL, 0);
	assert_int_equal(crypto_hkdf_sha256(none, none, none, out, 32), KMS_E_INVALID);
	assert_int_equal(crypto_hkdf_sha256(span_str("k"), none, none, out, 0), KMS_E_INVALID);
	assert_int_equal(crypto_hkdf_sha256(span_str("k"), none, none, out, 8161), KMS_E_INVALID);
	assert_int_equal(crypto_hkdf_sha256(span_str("k"), none, none, out, 8160), KMS_OK);
}

static void check_hkdf(const json_t *test)
{
	static bytes_t ikm, salt, info, okm;
	static uint8_t out[VECTOR_MAX];
	vectors_hex(test, "ikm", &ikm);
	vectors_hex(test, "salt", &salt);
	vectors_hex(test, "info", &info);
	vectors_hex(test, "okm", &okm);
	size_t n = (size_t)json_integer_value(json_object_get(test, "size"));
	assert_in_range(n, 1, sizeof out);
	bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
	kms_err_t e = crypto_hkdf_sha256(bytes_span(&ikm), bytes_span(&salt), bytes_span(&info), out, n);
	if (e != (valid ? KMS_OK : KMS_E_INVALID))
		fail_msg("tcId %d: %s", (int)json_integer_value(json_object_get(test, "tcId")),
			 kms_err_name(e));
	if (valid)
		assert_memory_equal(out, okm.p, n);
}

static void test_hkdf_wycheproof(void **state)
{
	(void)state;
	json_t *all = vectors_load("hkdf_sha256_test.json");
	if (all == NULL)
		skip();
	size_t i, k, done = 0;
	json_t *group, *test;
	json_array_foreach(json_object_get(all, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), k, test)
		{
			check_hkdf(test);
			done++;
		}
	}
	json_decref(all);
	assert_int_equal(done, 86);
}

static void test_random(void **state)
{
	(void)state;
	uint8_t a[32] = {0}, b[32] = {0};
	assert_int_equal(crypto_random(a, 32), KMS_OK);
	assert_int_equal(crypto_random(b, 32), KMS_OK);
	assert_memory_not_equal(a, b, 32);
	SCOPED(secret_freep) secret_t *s = NULL;
	assert_int_equal(crypto_random_secret(32, &s), KMS_OK);
	uint8_t zeros[32] = {0};
	assert_memory_not_equal(secret_span(s).p, zeros, 32);
	assert_int_equal(crypto_random_secret(0, &s), KMS_E_INVALID);
	assert_int_equal(crypto_random(a, SIZE_MAX), KMS_E_INVALID);
}

#define THREADS 8

static void *hash_much(void *arg)
{
	bool *ok = arg;
	uint8_t d[SHA256_LEN], m[SHA256_LEN], k[SHA256_LEN];
	*ok = true;
	for (int i = 0; i < 200; i++)
		if (crypto_sha256(span_str("abc"), d) != KMS_OK || d[0] != 0xba ||
		    crypto_hmac_sha256(span_str("k"), span_str("m"), m) != KMS_OK ||
		    crypto_hkdf_sha256(span_str("k"), span_str("s"), span_str("i"), k, 32) != KMS_OK)
			*ok = false;
	return NULL;
}

/* The algorithms are fetched by whichever thread comes first. */
static void test_threads(void **state)
{
	(void)state;
	pthread_t t[THREADS];
	bool ok[THREADS] = {false};
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hash_much, &ok[i]), 0);
	for (size_t i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(t[i], NULL), 0);
		assert_true(ok[i]);
	}
}

/* Memory that was handed out by the old allocator cannot go to the new one. */
static void test_wipe_on_free_comes_too_late(void **state)
{
	(void)state;
	assert_int_equal(crypto_wipe_on_free(), KMS_E_CONFLICT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads), /* first, while nothing is fetched */
		cmocka_unit_test(test_sha256),
		cmocka_unit_test(test_hmac),
		cmocka_unit_test(test_hkdf),
		cmocka_unit_test(test_hkdf_refusals),
		cmocka_unit_test(test_hkdf_wycheproof),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_wipe_on_free_comes_too_late),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
