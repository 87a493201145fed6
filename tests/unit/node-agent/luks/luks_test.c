#include "node-agent/luks/luks.h"

#include "common/base/scope.h"
#include "tests/unit/node-agent/luks/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <libcryptsetup.h>

static kms_err_t open_with(volume_t *v, unsigned which, secret_t **key, int *slot)
{
	SCOPED(secret_freep) secret_t *s = disk_secret(which);
	diag_t why;
	return volume_open(v, s, key, slot, &why);
}

static void add_secret(const disk_t *d, unsigned knows, unsigned fresh)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *s = disk_secret(fresh);
	diag_t why = {""};
	assert_int_equal(open_with(v, knows, &key, NULL), KMS_OK);
	if (volume_add(v, key, s, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void what_is_made_is_what_is_accepted(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	disk_formatted(&d);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *key = NULL;
	const volume_facts_t *f = volume_facts(v);
	int slot = -1;
	assert_int_equal(f->n_segments, 1);
	assert_string_equal(f->segments[0].cipher, "aes-xts-plain64");
	assert_string_equal(f->segments[0].offset, "16777216");
	assert_string_equal(f->segments[0].size, "dynamic");
	assert_string_equal(f->segments[0].sector_size, "4096");
	assert_int_equal(f->n_flags, 0);
	assert_int_equal(open_with(v, 1, &key, &slot), KMS_OK);
	assert_int_equal(slot, 0);
	assert_int_equal(secret_len(key), 64);
	assert_int_equal(d.port->openings, 1);
	assert_int_equal(open_with(v, 2, NULL, NULL), KMS_E_NOTFOUND);
}

static void odd_sizes_get_small_sectors(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why;
	disk_new(&d);
	assert_int_equal(truncate(d.device, DISK_SIZE + 512), 0);
	assert_int_equal(volume_build(d.port, d.header, d.device, NULL, d.secret, &why), KMS_OK);
	assert_int_equal(volume_write(d.port, d.header, d.device, &why), KMS_OK);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_string_equal(volume_facts(v)->segments[0].sector_size, "512");
}

static void the_private_file_is_private(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	struct stat st;
	diag_t why;
	uint8_t before[32];
	uint8_t after[32];
	disk_new(&d);
	disk_sha256(d.device, before);
	mode_t old = umask(0);
	assert_int_equal(volume_build(d.port, d.header, d.device, NULL, d.secret, &why), KMS_OK);
	(void)umask(old);
	assert_int_equal(stat(d.header, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof before);
}

static void keyslots_come_and_go(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why;
	int one = -1;
	int two = -1;
	disk_formatted(&d);
	add_secret(&d, 1, 2);
	{
		SCOPED(volume_closep) volume_t *v = disk_load(&d);
		assert_int_equal(open_with(v, 1, NULL, &one), KMS_OK);
		assert_int_equal(open_with(v, 2, NULL, &two), KMS_OK);
		assert_int_not_equal(one, two);
		assert_int_equal(volume_destroy(v, one, &why), KMS_OK);
		/* v is an old copy now: it must not be used to change anything */
		assert_int_equal(volume_destroy(v, two, &why), KMS_E_CONFLICT);
	}
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_int_equal(open_with(v, 1, NULL, NULL), KMS_E_NOTFOUND);
	assert_int_equal(open_with(v, 2, NULL, NULL), KMS_OK);
	assert_int_equal(volume_destroy(v, one, &why), KMS_E_INVALID);
	assert_int_equal(volume_destroy(v, -1, &why), KMS_E_INVALID);
	assert_int_equal(volume_destroy(v, 32, &why), KMS_E_INVALID);
}

static void a_full_header_is_not_forced(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t before[32];
	uint8_t after[32];
	diag_t why;
	disk_formatted(&d);
	for (unsigned i = 2; i <= 32; i++)
		add_secret(&d, 1, i);
	disk_sha256(d.device, before);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *s = disk_secret(33);
	assert_int_equal(open_with(v, 1, &key, NULL), KMS_OK);
	assert_int_equal(volume_add(v, key, s, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, "no free keyslot"));
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof before);
}

/* Numbers are left, the area for them is not: room for two keyslots. */
static void a_full_keyslot_area_is_not_forced(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	struct crypt_device *cd = NULL;
	diag_t why;
	disk_new(&d);
	const struct crypt_pbkdf_type pbkdf = {
		.type = "pbkdf2", .hash = "sha256", .iterations = 1000, .flags = CRYPT_PBKDF_NO_BENCHMARK};
	struct crypt_params_luks2 params = {.pbkdf = &pbkdf, .sector_size = 512};
	assert_int_equal(crypt_init(&cd, d.device), 0);
	assert_int_equal(crypt_set_pbkdf_type(cd, &pbkdf), 0);
	assert_int_equal(crypt_set_metadata_size(cd, 16384, 2 * 258048 + 8192), 0);
	assert_int_equal(crypt_set_data_offset(cd, 32768), 0);
	assert_int_equal(crypt_format(cd, CRYPT_LUKS2, "aes", "xts-plain64", NULL, NULL, 64, &params), 0);
	span_t pass = secret_span(d.secret);
	assert_int_equal(crypt_keyslot_add_by_volume_key(cd, 0, NULL, 0, (const char *)pass.p, pass.n), 0);
	crypt_free(cd);
	add_secret(&d, 1, 2);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *s = disk_secret(3);
	assert_int_equal(open_with(v, 1, &key, NULL), KMS_OK);
	assert_int_equal(volume_add(v, key, s, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, "no free keyslot"));
}

static void a_wrong_volume_key_is_not_added(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why;
	disk_formatted(&d);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *s = disk_secret(2);
	assert_int_equal(open_with(v, 1, &key, NULL), KMS_OK);
	secret_data(key)[0] ^= 1;
	assert_int_not_equal(volume_add(v, key, s, &why), KMS_OK);
	SCOPED(volume_closep) volume_t *again = disk_load(&d);
	assert_int_equal(open_with(again, 2, NULL, NULL), KMS_E_NOTFOUND);
}

static void without_dm_it_says_so(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why = {""};
	if (access("/sys/class/misc/device-mapper", F_OK) == 0)
		skip(); /* this kernel has it: the tests on a real kernel map */
	disk_formatted(&d);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *key = NULL;
	assert_int_equal(open_with(v, 1, &key, NULL), KMS_OK);
	assert_int_equal(volume_activate(v, key, "claviger-unit-test", &why), KMS_E_IO);
	assert_non_null(strstr(why.text, "this kernel has no device-mapper/dm-crypt"));
	assert_int_equal(volume_deactivate(d.port, "claviger-unit-test", &why), KMS_E_NOTFOUND);
	volume_mapping_t m;
	assert_int_equal(volume_mapping(d.port, volume_facts(v)->uuid, "x", d.device, &m, &why), KMS_OK);
	assert_false(m.found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_made_is_what_is_accepted),
		cmocka_unit_test(odd_sizes_get_small_sectors),
		cmocka_unit_test(the_private_file_is_private),
		cmocka_unit_test(keyslots_come_and_go),
		cmocka_unit_test(a_full_header_is_not_forced),
		cmocka_unit_test(a_full_keyslot_area_is_not_forced),
		cmocka_unit_test(a_wrong_volume_key_is_not_added),
		cmocka_unit_test(without_dm_it_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
