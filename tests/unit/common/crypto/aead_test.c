#include "common/crypto/aead.h"

#include "common/base/encode.h"
#include "tests/unit/common/crypto/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13, 14 and 16. */
typedef struct row {
	const char *key, *nonce, *aad, *plain, *sealed;
} row_t;

static const row_t rows[] = {
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
	 "", "530f8afbc74536b9a963b4f1c4cb738b"},
	{"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
	 "00000000000000000000000000000000",
	 "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
	{"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	 "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	 "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16"
	 "aedf5"
	 "aa0de657ba637b39",
	 "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f"
	 "61e63"
	 "93ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
};

static size_t hex(const char *text, uint8_t *out)
{
	size_t n = strlen(text) / 2;
	assert_int_equal(hex_decode(span_str(text), out, n), KMS_OK);
	return n;
}

static void test_known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t key[32], nonce[12], aad[64], plain[128], sealed[128], got[128];
		(void)hex(rows[i].key, key);
		(void)hex(rows[i].nonce, nonce);
		span_t a = span_of(aad, hex(rows[i].aad, aad));
		span_t p = span_of(plain, hex(rows[i].plain, plain));
		span_t s = span_of(sealed, hex(rows[i].sealed, sealed));
		assert_int_equal(aead_seal(key, nonce, a, p, got), KMS_OK);
		assert_memory_equal(got, s.p, s.n);
		assert_int_equal(aead_open(key, nonce, a, s, got), KMS_OK);
		assert_memory_equal(got, p.p, p.n);
	}
}

static void test_every_changed_byte_is_refused(void **state)
{
	(void)state;
	uint8_t in[4][128]; /* key, nonce, aad, sealed */
	size_t n[4] = {hex(rows[2].key, in[0]), hex(rows[2].nonce, in[1]), hex(rows[2].aad, in[2]),
		       hex(rows[2].sealed, in[3])};
	for (size_t part = 0; part < 4; part++)
		for (size_t i = 0; i < n[part]; i++) {
			uint8_t out[128];
			memset(out, 0xaa, sizeof out);
			in[part][i] ^= 0x01;
			assert_int_equal(
				aead_open(in[0], in[1], span_of(in[2], n[2]), span_of(in[3], n[3]), out),
				KMS_E_INTEGRITY);
			in[part][i] ^= 0x01;
			for (size_t k = 0; k < n[3] - AEAD_TAG; k++)
				assert_int_equal(out[k], 0); /* unauthenticated plaintext is gone */
		}
	for (size_t cut = 0; cut < n[3]; cut++) {
		uint8_t out[128];
		assert_int_equal(aead_open(in[0], in[1], span_of(in[2], n[2]), span_of(in[3], cut), out),
				 KMS_E_INTEGRITY);
	}
}

static bool ours(const json_t *group)
{
	return json_integer_value(json_object_get(group, "keySize")) == 256 &&
	       json_integer_value(json_object_get(group, "ivSize")) == 96 &&
	       json_integer_value(json_object_get(group, "tagSize")) == 128;
}

static void check(const json_t *test)
{
	static bytes_t key, nonce, aad, plain, sealed, tag;
	static uint8_t out[VECTOR_MAX];
	vectors_hex(test, "key", &key);
	vectors_hex(test, "iv", &nonce);
	vectors_hex(test, "aad", &aad);
	vectors_hex(test, "msg", &plain);
	vectors_hex(test, "ct", &sealed);
	vectors_hex(test, "tag", &tag);
	memcpy(sealed.p + sealed.n, tag.p, tag.n);
	sealed.n += tag.n;
	const char *result = json_string_value(json_object_get(test, "result"));
	bool valid = strcmp(result, "valid") == 0;
	kms_err_t e = aead_open(key.p, nonce.p, bytes_span(&aad), bytes_span(&sealed), out);
	if (e != (valid ? KMS_OK : KMS_E_INTEGRITY))
		fail_msg("tcId %d: %s is %s", (int)json_integer_value(json_object_get(test, "tcId")), result,
			 kms_err_name(e));
	if (!valid)
		return;
	assert_memory_equal(out, plain.p, plain.n);
	assert_int_equal(aead_seal(key.p, nonce.p, bytes_span(&aad), bytes_span(&plain), out), KMS_OK);
	assert_memory_equal(out, sealed.p, sealed.n);
}

static void test_wycheproof(void **state)
{
	(void)state;
	json_t *all = vectors_load("aes_gcm_test.json");
	if (all == NULL)
		skip();
	size_t i, k, done = 0;
	json_t *group, *test;
	json_array_foreach(json_object_get(all, "testGroups"), i, group)
	{
		if (!ours(group))
			continue;
		json_array_foreach(json_object_get(group, "tests"), k, test)
		{
			check(test);
			done++;
		}
	}
	json_decref(all);
	assert_int_equal(done, 66);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_every_changed_byte_is_refused),
		cmocka_unit_test(test_wycheproof),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
