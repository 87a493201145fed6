#include "common/crypto/sign.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/unit/common/crypto/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* RFC 8032 section 7.1, tests 1 to 3. */
typedef struct known {
	const char *seed, *public_key, *message, *signature;
} known_t;

static const known_t known[] = {
	{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	 "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
	 "d25bf5f0595bbe24655141438e7a100b"},
	{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	 "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
	 "387b2eaeb4302aeeb00d291612bb0c00"},
	{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	 "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
	 "4a7c15e9716ed28dc027beceea1ec40a"},
};

static span_t hex(const char *text, uint8_t *out, size_t n)
{
	assert_int_equal(hex_decode(span_str(text), out, n), KMS_OK);
	return span_of(out, n);
}

static void test_rfc8032(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		uint8_t seed_bytes[32], key[32], message[2], want[64], public_key[32], signature[64];
		SCOPED(secret_freep) secret_t *seed = NULL;
		assert_int_equal(secret_from(hex(known[i].seed, seed_bytes, 32), &seed), KMS_OK);
		span_t m = hex(known[i].message, message, strlen(known[i].message) / 2);
		(void)hex(known[i].public_key, key, 32);
		(void)hex(known[i].signature, want, 64);
		assert_int_equal(ed25519_public(seed, public_key), KMS_OK);
		assert_memory_equal(public_key, key, 32);
		assert_int_equal(ed25519_sign(seed, m, signature), KMS_OK);
		assert_memory_equal(signature, want, 64);
		assert_int_equal(ed25519_verify(key, m, span_of(want, 64)), KMS_OK);
	}
}

static void test_refusals(void **state)
{
	(void)state;
	uint8_t seed_bytes[32], key[32], good[64], bad[65];
	SCOPED(secret_freep) secret_t *seed = NULL;
	SCOPED(secret_freep) secret_t *shorter = NULL;
	(void)hex(known[1].seed, seed_bytes, 32);
	(void)hex(known[1].public_key, key, 32);
	(void)hex(known[1].signature, good, 64);
	span_t m = span_of("\x72", 1);
	for (size_t i = 0; i < 64; i++) {
		memcpy(bad, good, 64);
		bad[i] ^= 1;
		assert_int_equal(ed25519_verify(key, m, span_of(bad, 64)), KMS_E_INTEGRITY);
	}
	memcpy(bad, good, 64);
	bad[64] = 0;
	assert_int_equal(ed25519_verify(key, m, span_of(bad, 65)), KMS_E_INTEGRITY);
	assert_int_equal(ed25519_verify(key, m, span_of(good, 63)), KMS_E_INTEGRITY);
	assert_int_equal(ed25519_verify(key, m, span_of(NULL, 0)), KMS_E_INTEGRITY);
	assert_int_equal(ed25519_verify(key, span_of(NULL, 0), span_of(good, 64)), KMS_E_INTEGRITY);
	assert_int_equal(ed25519_verify(key, span_of("\x73", 1), span_of(good, 64)), KMS_E_INTEGRITY);
	uint8_t no_point[32];
	memset(no_point, 0xff, sizeof no_point);
	assert_int_equal(ed25519_verify(no_point, m, span_of(good, 64)), KMS_E_INTEGRITY);
	assert_int_equal(secret_new(31, &shorter), KMS_OK);
	memset(bad, 7, sizeof bad);
	assert_int_equal(ed25519_sign(shorter, m, bad), KMS_E_INVALID);
	assert_int_equal(ed25519_public(shorter, bad), KMS_E_INVALID);
	assert_int_equal(bad[0], 7);
	assert_int_equal(secret_from(span_of(seed_bytes, 32), &seed), KMS_OK);
}

static void check(const uint8_t key[32], const json_t *test)
{
	static bytes_t message, signature;
	vectors_hex(test, "msg", &message);
	vectors_hex(test, "sig", &signature);
	bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
	kms_err_t e = ed25519_verify(key, bytes_span(&message), bytes_span(&signature));
	if (e != (valid ? KMS_OK : KMS_E_INTEGRITY))
		fail_msg("tcId %d: %s", (int)json_integer_value(json_object_get(test, "tcId")),
			 kms_err_name(e));
}

static void test_wycheproof(void **state)
{
	(void)state;
	static bytes_t key;
	json_t *all = vectors_load("ed25519_test.json");
	if (all == NULL)
		skip();
	size_t i, k, done = 0;
	json_t *group, *test;
	json_array_foreach(json_object_get(all, "testGroups"), i, group)
	{
		vectors_hex(json_object_get(group, "publicKey"), "pk", &key);
		assert_int_equal(key.n, 32);
		json_array_foreach(json_object_get(group, "tests"), k, test)
		{
			check(key.p, test);
			done++;
		}
	}
	json_decref(all);
	assert_int_equal(done, 151);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc8032),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_wycheproof),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
