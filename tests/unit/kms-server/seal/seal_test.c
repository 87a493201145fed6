#include "kms-server/ports/seal.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

typedef struct shamir {
	secret_t *key;
	secret_t *texts[SEAL_SHARES_MAX];
	buf_t config;
	seal_t *seal;
} shamir_t;

static void shamir_free(shamir_t *s)
{
	secret_freep(&s->key);
	for (size_t i = 0; i < SEAL_SHARES_MAX; i++)
		secret_freep(&s->texts[i]);
	buf_free(&s->config);
	seal_freep(&s->seal);
}

static void make(unsigned n, unsigned k, shamir_t *s)
{
	diag_t why;
	if (seal_create_shamir(n, k, &s->key, s->texts, &s->config, &why) != KMS_OK)
		fail_msg("%s", why.text);
	if (seal_load(buf_span(&s->config), "/", NULL, &s->seal, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static uint32_t progress(const seal_t *s)
{
	seal_info_t info;
	seal_info(s, &info);
	return info.progress;
}

static kms_err_t offer(shamir_t *s, size_t i)
{
	return seal_offer(s->seal, secret_span(s->texts[i]), NULL);
}

static void assert_opens(shamir_t *s)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	assert_int_equal(seal_try_open(s->seal, &key, NULL), KMS_OK);
	assert_true(secret_equal(key, s->key));
}

static void assert_waits(shamir_t *s)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	diag_t why;
	assert_int_equal(seal_try_open(s->seal, &key, &why), KMS_E_UNAVAILABLE);
	assert_null(key);
}

static void test_threshold(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(5, 3, &s);
	seal_info_t info;
	seal_info(s.seal, &info);
	assert_string_equal(info.type, "shamir");
	assert_int_equal(info.threshold, 3);
	assert_int_equal(info.shares, 5);
	assert_int_equal(info.progress, 0);
	static const size_t order[] = {4, 0, 2};
	for (uint32_t i = 0; i < 3; i++) {
		assert_waits(&s);
		assert_int_equal(offer(&s, order[i]), KMS_OK);
		assert_int_equal(progress(s.seal), i + 1);
	}
	assert_opens(&s);
	assert_int_equal(offer(&s, 1), KMS_OK); /* one more than needed */
	assert_opens(&s);
}

static void test_every_subset_opens(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(5, 3, &s);
	for (unsigned mask = 0; mask < 32; mask++) {
		seal_reset(s.seal);
		for (size_t i = 0; i < 5; i++)
			if ((mask >> i & 1U) != 0)
				assert_int_equal(offer(&s, i), KMS_OK);
		if (__builtin_popcount(mask) >= 3)
			assert_opens(&s);
		else
			assert_waits(&s);
	}
}

static void test_repeated_share_counts_once(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(3, 2, &s);
	assert_int_equal(offer(&s, 1), KMS_OK);
	assert_int_equal(offer(&s, 1), KMS_OK);
	assert_int_equal(progress(s.seal), 1);
	assert_waits(&s);
}

static void test_wrong_share_is_refused_and_nothing_lost(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	SCOPED(shamir_free) shamir_t other = {0};
	SCOPED(shamir_free) shamir_t four = {0};
	make(3, 2, &s);
	make(3, 2, &other);
	make(4, 3, &four);
	assert_int_equal(offer(&s, 0), KMS_OK);
	diag_t why;
	const span_t bad[] = {
		secret_span(other.texts[1]), /* another server's, same threshold and index */
		secret_span(other.texts[0]), /* in the place of one that is there */
		secret_span(four.texts[1]),  /* another threshold */
		secret_span(four.texts[3]),  /* an index that there is not */
		span_str(""),
		span_str("clvs1-2-2-xyz"),
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		why.text[0] = '\0';
		assert_int_equal(seal_offer(s.seal, bad[i], &why), KMS_E_INVALID);
		assert_string_not_equal(why.text, "");
		assert_int_equal(progress(s.seal), 1);
	}
	assert_int_equal(offer(&s, 2), KMS_OK);
	assert_opens(&s);
}

static void test_reset(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(2, 2, &s);
	assert_int_equal(offer(&s, 0), KMS_OK);
	assert_int_equal(offer(&s, 1), KMS_OK);
	assert_opens(&s);
	seal_reset(s.seal);
	assert_int_equal(progress(s.seal), 0);
	assert_waits(&s);
}

static void test_shape_refusals(void **state)
{
	(void)state;
	static const unsigned bad[][2] = {{1, 1}, {2, 1},  {5, 0},   {0, 0},
					  {2, 3}, {17, 3}, {17, 17}, {1000000, 2}};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		SCOPED(shamir_free) shamir_t s = {0};
		diag_t why = {{0}};
		assert_int_equal(seal_create_shamir(bad[i][0], bad[i][1], &s.key, s.texts, &s.config, &why),
				 KMS_E_INVALID);
		assert_string_not_equal(why.text, "");
		assert_null(s.key);
		assert_null(s.texts[0]);
		assert_int_equal(s.config.n, 0);
	}
	SCOPED(shamir_free) shamir_t most = {0};
	make(16, 16, &most);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(offer(&most, i), KMS_OK);
	assert_opens(&most);
}

/* The config says nothing that helps: no share, no key in it. */
static void test_config_holds_no_secret(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(3, 2, &s);
	assert_null(memmem(s.config.p, s.config.n, secret_span(s.key).p, 8));
	assert_int_equal(s.config.n, 2 + 32 + 32 + 2 + 3 * 32);
}

static void test_changed_config(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(3, 2, &s);
	for (size_t n = 0; n < s.config.n; n++) {
		SCOPED(seal_freep) seal_t *loaded = NULL;
		assert_int_equal(seal_load(span_of(s.config.p, n), "/", NULL, &loaded, NULL),
				 KMS_E_INTEGRITY);
		assert_null(loaded);
	}
	static const struct {
		const char *reason;
		size_t at;
		uint8_t to;
	} rows[] = {{"version", 0, 2},
		    {"kind 0", 1, 0},
		    {"kind 3", 1, 3},
		    {"kind key file", 1, 2},
		    {"threshold 1", 66, 1},
		    {"threshold 0", 66, 0},
		    {"threshold over shares", 66, 4},
		    {"more shares", 67, 4},
		    {"fewer shares", 67, 2},
		    {"shares 17", 67, 17}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(seal_freep) seal_t *loaded = NULL;
		uint8_t old = s.config.p[rows[i].at];
		s.config.p[rows[i].at] = rows[i].to;
		if (seal_load(buf_span(&s.config), "/", NULL, &loaded, NULL) != KMS_E_INTEGRITY)
			fail_msg("%s", rows[i].reason);
		s.config.p[rows[i].at] = old;
	}
	buf_u8(&s.config, 0);
	SCOPED(seal_freep) seal_t *loaded = NULL;
	assert_int_equal(seal_load(buf_span(&s.config), "/", NULL, &loaded, NULL), KMS_E_INTEGRITY);
}

/* Shares that are all good, combined under a threshold that somebody lowered: another key comes out, and is
 * found. */
static void test_other_key_is_integrity(void **state)
{
	(void)state;
	SCOPED(shamir_free) shamir_t s = {0};
	make(3, 3, &s);
	SCOPED(seal_freep) seal_t *loaded = NULL;
	s.config.p[2 + 32] ^= 1; /* the key's commitment */
	assert_int_equal(seal_load(buf_span(&s.config), "/", NULL, &loaded, NULL), KMS_OK);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(seal_offer(loaded, secret_span(s.texts[i]), NULL), KMS_OK);
	SCOPED(secret_freep) secret_t *key = NULL;
	assert_int_equal(seal_try_open(loaded, &key, NULL), KMS_E_INTEGRITY);
	assert_null(key);
	assert_int_equal(progress(loaded), 3);
}

typedef struct folder {
	char path[64];
	char key_path[128];
	char other_path[128];
} folder_t;

static void folder_new(folder_t *f)
{
	(void)snprintf(f->path, sizeof f->path, "/tmp/claviger-seal-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	(void)snprintf(f->key_path, sizeof f->key_path, "%s/seal.key", f->path);
	(void)snprintf(f->other_path, sizeof f->other_path, "%s/moved.key", f->path);
}

static void folder_free(folder_t *f)
{
	(void)unlink(f->key_path);
	(void)unlink(f->other_path);
	(void)rmdir(f->path);
}

static kms_err_t open_keyfile(const buf_t *config, const char *dir, const char *override,
			      const secret_t *want, diag_t *why)
{
	SCOPED(seal_freep) seal_t *seal = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(seal_load(buf_span(config), dir, override, &seal, why));
	kms_err_t e = seal_try_open(seal, &key, why);
	assert_int_equal(key != NULL, e == KMS_OK);
	if (key != NULL)
		assert_true(secret_equal(key, want));
	return e;
}

static void test_keyfile(void **state)
{
	(void)state;
	SCOPED(folder_free) folder_t f = {0};
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *second = NULL;
	SCOPED(buf_free) buf_t config = BUF_INIT;
	SCOPED(seal_freep) seal_t *seal = NULL;
	diag_t why = {{0}};
	folder_new(&f);
	assert_int_equal(seal_create_keyfile(f.path, "seal.key", &key, &config, &why), KMS_OK);
	struct stat st;
	assert_int_equal(stat(f.key_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 32);
	assert_null(memmem(config.p, config.n, secret_span(key).p, 8));
	assert_int_equal(open_keyfile(&config, f.path, NULL, key, &why), KMS_OK);
	assert_int_equal(open_keyfile(&config, "/nowhere", f.key_path, key, &why), KMS_OK);
	/* an existing file is never overwritten, and the config of the refused one is not there */
	size_t before = config.n;
	assert_int_equal(seal_create_keyfile(f.path, "seal.key", &second, &config, &why), KMS_E_CONFLICT);
	assert_null(second);
	assert_int_equal(config.n, before);
	assert_int_equal(open_keyfile(&config, f.path, NULL, key, &why), KMS_OK);
	assert_int_equal(seal_load(buf_span(&config), f.path, NULL, &seal, &why), KMS_OK);
	seal_info_t info;
	seal_info(seal, &info);
	assert_string_equal(info.type, "keyfile");
	assert_int_equal(info.threshold + info.shares + info.progress, 0);
	assert_int_equal(seal_offer(seal, span_str("x"), &why), KMS_E_INVALID);
}

static void test_keyfile_refusals(void **state)
{
	(void)state;
	SCOPED(folder_free) folder_t f = {0};
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t config = BUF_INIT;
	diag_t why = {{0}};
	folder_new(&f);
	assert_int_equal(seal_create_keyfile(f.path, "", &key, &config, &why), KMS_E_INVALID);
	char long_path[SEAL_PATH_CAP + 1];
	memset(long_path, 'a', SEAL_PATH_CAP);
	long_path[SEAL_PATH_CAP] = '\0';
	assert_int_equal(seal_create_keyfile(f.path, long_path, &key, &config, &why), KMS_E_INVALID);
	assert_int_equal(seal_create_keyfile(f.path, f.key_path, &key, &config, &why), KMS_OK); /* absolute */
	assert_int_equal(open_keyfile(&config, f.path, "", key, &why), KMS_E_INVALID);

	assert_int_equal(rename(f.key_path, f.other_path), 0);
	assert_int_equal(open_keyfile(&config, f.path, NULL, key, &why), KMS_E_UNAVAILABLE);
	assert_non_null(strstr(why.text, f.key_path));
	assert_int_equal(open_keyfile(&config, f.path, "moved.key", key, &why), KMS_OK);

	assert_int_equal(chmod(f.other_path, 0640), 0);
	assert_int_equal(open_keyfile(&config, f.path, "moved.key", key, &why), KMS_E_DENIED);
	assert_int_equal(chmod(f.other_path, 0600), 0);

	uint8_t wrong[33] = {0};
	static const size_t sizes[] = {31, 32, 33};
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(file_write(f.key_path, span_of(wrong, sizes[i]), 0600, FILE_REPLACE, &why),
				 KMS_OK);
		assert_int_equal(open_keyfile(&config, f.path, NULL, key, &why), KMS_E_INTEGRITY);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threshold),
		cmocka_unit_test(test_every_subset_opens),
		cmocka_unit_test(test_repeated_share_counts_once),
		cmocka_unit_test(test_wrong_share_is_refused_and_nothing_lost),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_shape_refusals),
		cmocka_unit_test(test_config_holds_no_secret),
		cmocka_unit_test(test_changed_config),
		cmocka_unit_test(test_other_key_is_integrity),
		cmocka_unit_test(test_keyfile),
		cmocka_unit_test(test_keyfile_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
