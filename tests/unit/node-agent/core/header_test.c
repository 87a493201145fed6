#include "node-agent/core/header.h"

#include "common/base/buf.h"
#include "common/base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define UUID "5fb3a826-a13d-490d-9c5e-9559043de331"

#define SEGMENT                                                                                              \
	"{\"type\":\"crypt\",\"offset\":\"16777216\",\"size\":\"dynamic\",\"iv_tweak\":\"0\","               \
	"\"encryption\":\"aes-xts-plain64\",\"sector_size\":4096}"
#define KDF "{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\"}"
#define AF  "{\"type\":\"luks1\",\"stripes\":4000,\"hash\":\"sha256\"}"
#define AREA                                                                                                 \
	"{\"type\":\"raw\",\"offset\":\"32768\",\"size\":\"258048\",\"encryption\":\"aes-xts-plain64\","     \
	"\"key_size\":64}"
#define SLOT "{\"type\":\"luks2\",\"key_size\":64,\"af\":" AF ",\"area\":" AREA ",\"kdf\":" KDF "}"
#define DIGEST                                                                                               \
	"{\"type\":\"pbkdf2\",\"keyslots\":[\"0\"],\"segments\":[\"0\"],\"hash\":\"sha256\","                \
	"\"iterations\":1000,\"salt\":\"AA==\",\"digest\":\"AA==\"}"
#define CONFIG "{\"json_size\":\"12288\",\"keyslots_size\":\"16744448\"}"
#define GOOD                                                                                                 \
	"{\"keyslots\":{\"0\":" SLOT "},\"tokens\":{},\"segments\":{\"0\":" SEGMENT                          \
	"},\"digests\":{\"0\":" DIGEST "},\"config\":" CONFIG "}"

static kms_err_t check(const char *json, volume_header_t *out, diag_t *why)
{
	why->text[0] = '\0';
	return header_check(span_str(json), UUID, out, why);
}

/* GOOD with the first `from` replaced. */
static void edited(const char *from, const char *to, buf_t *out, const char **text)
{
	const char *at = strstr(GOOD, from);
	if (at == NULL)
		fail_msg("the sample has no %s", from);
	buf_bytes(out, span_of(GOOD, (size_t)(at - GOOD)));
	buf_str(out, to);
	buf_str(out, at + strlen(from));
	assert_int_equal(buf_cstr(out, text), KMS_OK);
}

static void a_good_header_passes(void **state)
{
	(void)state;
	volume_header_t h;
	diag_t why;
	assert_int_equal(check(GOOD, &h, &why), KMS_OK);
	assert_string_equal(h.facts.uuid, UUID);
	assert_int_equal(h.facts.n_segments, 1);
	assert_string_equal(h.facts.segments[0].cipher, "aes-xts-plain64");
	assert_string_equal(h.facts.segments[0].sector_size, "4096");
	assert_int_equal(h.data_offset, 16777216);
	assert_true(h.used[0] && h.ours[0]);
	assert_false(h.used[1] || h.ours[1]);
}

typedef struct edit {
	const char *from, *to, *message;
} edit_t;

/* Each attack by its own words. */
static const edit_t refused[] = {
	{"\"dynamic\",\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\"",
	 "\"dynamic\",\"iv_tweak\":\"0\",\"encryption\":\"cipher_null-ecb\"",
	 "data would be stored in clear"},
	{"\"258048\",\"encryption\":\"aes-xts-plain64\"", "\"258048\",\"encryption\":\"cipher_null-ecb\"",
	 "the volume key would lie open"},
	{"\"258048\",\"encryption\":\"aes-xts-plain64\"", "\"258048\",\"encryption\":\"null\"",
	 "the volume key would lie open"},
	{"\"258048\",\"encryption\":\"aes-xts-plain64\"", "\"258048\",\"encryption\":\"aes-ecb\"",
	 "is not aes-xts-plain64"},
	{"\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\"",
	 "\"iv_tweak\":\"0\",\"encryption\":\"aes-cbc-plain\"", "the data segment's cipher"},
	{"\"segments\":{\"0\":", "\"segments\":{\"1\":" SEGMENT ",\"0\":", "2 segments instead of one"},
	{"\"segments\":{\"0\":" SEGMENT "}", "\"segments\":{}", "0 segments instead of one"},
	{"\"segments\":{\"0\":", "\"segments\":{\"1\":", "does not have the number 0"},
	{"{\"type\":\"crypt\"", "{\"type\":\"linear\"", "its data would not be encrypted"},
	{"\"sector_size\":4096", "\"sector_size\":4096,\"integrity\":{\"type\":\"hmac(sha256)\"}",
	 "dm-integrity"},
	{"\"sector_size\":4096", "\"sector_size\":4096,\"flags\":[\"in-reencryption\"]",
	 "only a re-encryption sets"},
	{"\"sector_size\":4096", "\"sector_size\":1024", "neither 512 nor 4096"},
	{"\"sector_size\":4096", "\"sector_size\":4096,\"surprise\":1", "surprise"},
	{"\"iv_tweak\":\"0\"", "\"iv_tweak\":\"8\"", "iv_tweak"},
	{"\"offset\":\"16777216\"", "\"offset\":\"016777216\"", "data offset"},
	{"\"offset\":\"16777216\"", "\"offset\":\"0\"", "data offset"},
	{"\"offset\":\"16777216\"", "\"offset\":\"67108864\"", "data offset"},
	{"\"offset\":\"16777216\"", "\"offset\":\"99999999999999999999\"", "data offset"},
	{"\"offset\":\"16777216\"", "\"offset\":\"16777217\"", "data offset"},
	{"\"size\":\"dynamic\"", "\"size\":\"all\"", "size"},
	{CONFIG,
	 "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"requirements\":{\"mandatory\":[\"online-"
	 "reencrypt-v2\"]}}",
	 "in re-encryption without a keyslot"},
	{CONFIG,
	 "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"requirements\":{\"mandatory\":[\"offline-"
	 "reencrypt\"]}}",
	 "a re-encryption is pending"},
	{CONFIG,
	 "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"requirements\":{\"mandatory\":[\"inline-hw-"
	 "tags\"]}}",
	 "is not known"},
	{CONFIG, "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"requirements\":[\"x\"]}",
	 "of an unknown form"},
	{CONFIG, "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"flags\":[\"no-journal\"]}",
	 "flag \"no-journal\""},
	{CONFIG, "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"flags\":[7]}", "flag"},
	{"\"digests\":{\"0\":", "\"digests\":{\"1\":" DIGEST ",\"0\":", "another volume key"},
	{"\"digests\":{\"0\":" DIGEST "}", "\"digests\":{}", "0 digests"},
	{"\"segments\":[\"0\"]", "\"segments\":[]", "not that of the data segment"},
	{"\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\",\"digest\"",
	 "\"hash\":\"sha256\",\"iterations\":4294967295,\"salt\":\"AA==\",\"digest\"",
	 "the digest's 4294967295 iterations"},
	{"\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\",\"digest\"",
	 "\"hash\":\"sha256\",\"iterations\":1,\"salt\":\"AA==\",\"digest\"", "the digest's 1 iterations"},
	{"\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\",\"digest\"",
	 "\"hash\":\"crc32\",\"iterations\":1000,\"salt\":\"AA==\",\"digest\"", "digest type"},
	{"{\"type\":\"luks2\"", "{\"type\":\"reencrypt\"", "not of type luks2"},
	{"\"luks2\",\"key_size\":64", "\"luks2\",\"key_size\":32", "key of 32 bytes"},
	{"\"aes-xts-plain64\",\"key_size\":64", "\"aes-xts-plain64\",\"key_size\":32",
	 "with 32 bytes of key"},
	{"\"stripes\":4000", "\"stripes\":1", "anti-forensic"},
	{"\"type\":\"raw\"", "\"type\":\"journal\"", "its area is not allowed"},
	{"\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\"}}",
	 "\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1,\"salt\":\"AA==\"}}", "fewer than 1000"},
	{"\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\"}}",
	 "\"type\":\"pbkdf2\",\"hash\":\"md5\",\"iterations\":1000,\"salt\":\"AA==\"}}", "key derivation"},
	{"\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000,\"salt\":\"AA==\"}}",
	 "\"type\":\"none\",\"salt\":\"AA==\"}}", "key derivation"},
	{"\"keyslots\":{\"0\"", "\"keyslots\":{\"32\"", "out of range"},
	{"\"keyslots\":{\"0\"", "\"keyslots\":{\"-1\"", "out of range"},
	{"\"keyslots\":{\"0\":" SLOT "}", "\"keyslots\":{\"0\":[]}", "not of type luks2"},
	{"\"tokens\":{}", "\"tokens\":{},\"more\":{}", "more"},
	{"\"tokens\":{},", "", "tokens"},
	{"\"tokens\":{}", "\"tokens\":{\"0\":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}", "nested deeper"},
	{"\"tokens\":{}", "\"tokens\":[]", "tokens are of an unknown form"},
	{"\"tokens\":{}", "\"tokens\":{\"32\":{\"type\":\"claviger\",\"keyslots\":[]}}",
	 "number is out of range"},
	{"\"tokens\":{}", "\"tokens\":{\"0\":{\"keyslots\":[]}}", "token 0 is of type \"?\""},
	{"\"tokens\":{}", "\"tokens\":{\"0\":7}", "token 0 is of type \"?\""},
	{"\"tokens\":{}",
	 "\"tokens\":{\"3\":{\"type\":\"clevis\",\"keyslots\":[\"0\"],\"url\":\"http://x\"}}",
	 "token 3 is of type \"clevis\""},
	{"\"tokens\":{}", "\"tokens\":{\"0\":{\"type\":\"a\\u001b[2Jb\",\"keyslots\":[]}}", "\"a?[2Jb\""},
	{"\"tokens\":{}",
	 "\"tokens\":{\"0\":{\"type\":\"claviger\",\"keyslots\":[\"0\"],\"url\":\"http://x\"}}", "url"},
	{"\"tokens\":{}", "\"tokens\":{\"0\":{\"type\":\"claviger\",\"keyslots\":\"0\"}}", "in no list"},
};

static void attacks_are_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		const char *json = NULL;
		volume_header_t h;
		diag_t why;
		edited(refused[i].from, refused[i].to, &b, &json);
		kms_err_t e = check(json, &h, &why);
		if (e != KMS_E_INTEGRITY || strstr(why.text, refused[i].message) == NULL)
			fail_msg("row %zu: error %d, \"%s\", expected \"%s\"", i, e, why.text,
				 refused[i].message);
		assert_non_null(strstr(why.text, "LUKS2 header refused"));
	}
}

/* What may be there, and what of it the agent tries. */
static void allowed_variants(void **state)
{
	(void)state;
	static const struct {
		edit_t edit;
		bool ours;
	} rows[] = {
		{{"\"tokens\":{}", "\"tokens\":{\"0\":{\"type\":\"claviger\",\"keyslots\":[\"0\"]}}", NULL},
		 true},
		{{"\"kdf\":" KDF,
		  "\"kdf\":{\"type\":\"argon2id\",\"time\":4,\"memory\":1048576,\"cpus\":4,\"salt\":\"AA=="
		  "\"}",
		  NULL},
		 false},
		{{"\"kdf\":" KDF,
		  "\"kdf\":{\"type\":\"pbkdf2\",\"hash\":\"sha512\",\"iterations\":2000000,\"salt\":\"AA=="
		  "\"}",
		  NULL},
		 false},
		{{"\"kdf\":" KDF,
		  "\"kdf\":{\"type\":\"pbkdf2\",\"hash\":\"sha512\",\"iterations\":10000,\"salt\":\"AA==\"}",
		  NULL},
		 true},
		{{CONFIG,
		  "{\"json_size\":\"12288\",\"keyslots_size\":\"1\",\"flags\":[\"allow-discards\"],"
		  "\"requirements\":{\"mandatory\":[]}}",
		  NULL},
		 true},
		{{"\"sector_size\":4096", "\"sector_size\":512", NULL}, true},
		{{"\"luks2\",\"key_size\":64", "\"luks2\",\"priority\":2,\"key_size\":64", NULL}, true},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		const char *json = NULL;
		volume_header_t h;
		diag_t why;
		edited(rows[i].edit.from, rows[i].edit.to, &b, &json);
		if (check(json, &h, &why) != KMS_OK)
			fail_msg("row %zu: %s", i, why.text);
		assert_true(h.used[0]);
		assert_int_equal(h.ours[0], rows[i].ours);
	}
}

static void uuids_are_of_one_form(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"5FB3A826-a13d-490d-9c5e-9559043de331",
		"5fb3a826-a13d-490d-9c5e-9559043de33",
		"5fb3a826-a13d-490d-9c5e-9559043de3311",
		"5fb3a826aa13d-490d-9c5e-9559043de331",
		"../../../../../../../../../etc/passwd",
	};
	volume_header_t h;
	diag_t why;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(header_check(span_str(GOOD), bad[i], &h, &why), KMS_E_INTEGRITY);
	assert_int_equal(header_check(span_str(GOOD), NULL, &h, &why), KMS_E_INTEGRITY);
}

static void every_cut_is_refused(void **state)
{
	(void)state;
	volume_header_t h;
	diag_t why;
	for (size_t n = 0; n < strlen(GOOD); n++)
		assert_int_equal(header_check(span_of(GOOD, n), UUID, &h, &why), KMS_E_INTEGRITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_header_passes), cmocka_unit_test(attacks_are_refused_by_name),
		cmocka_unit_test(allowed_variants),     cmocka_unit_test(uuids_are_of_one_form),
		cmocka_unit_test(every_cut_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
