/* What somebody with the disk in hand can do to a header, on real files. */
#include "node-agent/luks/luks.h"

#include "common/base/scope.h"
#include "node-agent/core/verify.h"
#include "tests/unit/node-agent/luks/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <libcryptsetup.h>

#define DATA_CIPHER "\"iv_tweak\":\"0\",\"encryption\":\"aes-xts-plain64\""

static const struct {
	const char *from, *to, *message;
} refused[] = {
	{DATA_CIPHER, "\"iv_tweak\":\"0\",\"encryption\":\"cipher_null-ecb\"",
	 "data would be stored in clear"},
	{"\"encryption\":\"aes-xts-plain64\",\"key_size\":64",
	 "\"encryption\":\"cipher_null-ecb\",\"key_size\":64", "the volume key would lie open"},
	{DATA_CIPHER, "\"iv_tweak\":\"0\",\"encryption\":\"aes-cbc-essiv:sha256\"",
	 "the data segment's cipher"},
	{DATA_CIPHER, "\"iv_tweak\":\"8\",\"encryption\":\"aes-xts-plain64\"", "iv_tweak"},
	{"\"segments\":{\"0\":{\"type\":\"crypt\",\"offset\":\"16777216\",\"size\":\"dynamic\"",
	 "\"segments\":{\"1\":{\"type\":\"linear\",\"offset\":\"16781312\",\"size\":\"dynamic\"},\"0\":{"
	 "\"type\":\"crypt\","
	 "\"offset\":\"16777216\",\"size\":\"4096\"",
	 "segments instead of one"},
	{"\"config\":{", "\"config\":{\"requirements\":{\"mandatory\":[\"offline-reencrypt\"]},",
	 "a re-encryption is pending"},
	{"\"config\":{", "\"config\":{\"requirements\":{\"mandatory\":[\"from-the-future\"]},",
	 "is not known"},
	{"\"config\":{", "\"config\":{\"flags\":[\"no-journal\"],", "flag \"no-journal\""},
	{"\"hash\":\"sha256\",\"iterations\":1000,\"salt\"", "\"hash\":\"sha256\",\"iterations\":1,\"salt\"",
	 "iterations"},
};

static void rewritten_headers_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		SCOPED(disk_free) disk_t d;
		SCOPED(volume_closep) volume_t *v = NULL;
		diag_t why = {""};
		disk_formatted(&d);
		disk_edit(d.device, refused[i].from, refused[i].to);
		kms_err_t e = volume_load(d.port, d.device, &v, &why);
		if (e != KMS_E_INTEGRITY || strstr(why.text, refused[i].message) == NULL)
			fail_msg("row %zu: error %d, \"%s\", expected \"%s\"", i, e, why.text,
				 refused[i].message);
		assert_int_equal(d.port->openings, 0);
	}
}

/* A re-encryption as this agent begins it, by libcryptsetup itself. */
static void begin_reencryption(const disk_t *d)
{
	struct crypt_device *cd = NULL;
	const struct crypt_pbkdf_type pbkdf = {
		.type = "pbkdf2", .hash = "sha256", .iterations = 1000, .flags = CRYPT_PBKDF_NO_BENCHMARK};
	struct crypt_params_luks2 luks2 = {.sector_size = 4096, .pbkdf = &pbkdf};
	const struct crypt_params_reencrypt params = {.mode = CRYPT_REENCRYPT_REENCRYPT,
						      .direction = CRYPT_REENCRYPT_FORWARD,
						      .resilience = "checksum",
						      .hash = "sha256",
						      .luks2 = &luks2,
						      .flags = CRYPT_REENCRYPT_INITIALIZE_ONLY};
	span_t pass = secret_span(d->secret);
	const char *p = (const char *)pass.p;
	assert_int_equal(crypt_init(&cd, d->device), 0);
	assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
	assert_int_equal(crypt_set_pbkdf_type(cd, &pbkdf), 0);
	int fresh = crypt_keyslot_add_by_key(cd, CRYPT_ANY_SLOT, NULL, 64, p, pass.n,
					     CRYPT_VOLUME_KEY_NO_SEGMENT);
	assert_true(fresh > 0);
	assert_true(crypt_reencrypt_init_by_passphrase(cd, NULL, p, pass.n, 0, fresh, "aes", "xts-plain64",
						       &params) >= 0);
	crypt_free(cd);
}

/* Its form is let pass, and looking at it writes nothing (recovery would). Whether it is ours is for the
 * fingerprints to tell: neither volume key is the registered one of a forgery. */
static void a_pending_reencryption_is_only_looked_at(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t before[32];
	uint8_t after[32];
	diag_t why = {""};
	disk_formatted(&d);
	begin_reencryption(&d);
	disk_sha256(d.device, before);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *data = NULL;
	SCOPED(secret_freep) secret_t *next = NULL;
	assert_true(volume_header(v)->reencrypting);
	assert_int_equal(volume_open(v, d.secret, &data, NULL, &why), KMS_OK);
	assert_int_equal(volume_open_next(v, d.secret, &next, NULL, &why), KMS_OK);
	assert_memory_not_equal(secret_span(data).p, secret_span(next).p, VOLUME_KEY_LEN);
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof before);
}

/* CVE-2021-4122 and its kin: metadata that would write the data in clear, or elsewhere, or by another cipher.
 */
static void forged_reencryptions_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to, *says;
	} rows[] = {
		{"\"mode\":\"reencrypt\"", "\"mode\":\"decrypt\"", "only replaces one key by another"},
		{"\"mode\":\"reencrypt\"", "\"mode\":\"encrypt\"", "only replaces one key by another"},
		{"\"direction\":\"forward\"", "\"direction\":\"backward\"", "forward"},
		{"\"online-reencrypt-v2\"", "\"online-reencrypt\"", "that this agent did not begin"},
		{"\"requirements\":{\"mandatory\":[\"online-reencrypt-v2\"]}", "\"requirements\":{}",
		 "LUKS2 header"},
		{"\"sector_size\":4096,\"flags\":[\"backup-final\"]",
		 "\"sector_size\":512,\"flags\":[\"backup-final\"]", "more than the volume key"},
		{"\"encryption\":\"aes-xts-plain64\",\"sector_size\":4096,\"flags\":[\"backup-final\"]",
		 "\"encryption\":\"cipher_null-ecb\",\"sector_size\":4096,\"flags\":[\"backup-final\"]",
		 "null cipher"},
		{"\"sector_size\":4096,\"flags\":[\"backup-previous\"]",
		 "\"sector_size\":4096,\"flags\":[\"backup-moved-segment\"]", "LUKS2 header"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(disk_free) disk_t d;
		SCOPED(volume_closep) volume_t *v = NULL;
		diag_t why = {""};
		disk_formatted(&d);
		begin_reencryption(&d);
		disk_edit(d.device, rows[i].from, rows[i].to);
		assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
		if (strstr(why.text, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, why.text);
	}
}

/* The edit itself is sound: the same way of writing, with a harmless change, is accepted. */
static void an_edit_alone_is_not_what_is_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	disk_formatted(&d);
	disk_edit(d.device, "\"config\":{", "\"config\":{\"flags\":[\"allow-discards\"],");
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_int_equal(volume_facts(v)->n_flags, 1);
}

static void hostile_tokens_are_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(volume_closep) volume_t *v = NULL;
	diag_t why = {""};
	disk_formatted(&d);
	disk_edit(d.device, "\"tokens\":{}",
		  "\"tokens\":{\"0\":{\"type\":\"evil\",\"keyslots\":[\"0\"],\"url\":\"https://attacker/\","
		  "\"plugin\":\"../../tmp/evil.so\"}}");
	assert_null(crypt_token_external_path());
	assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "token 0 is of type \"evil\""));
	assert_int_equal(d.port->openings, 0);
}

/* A keyslot of another kind costs us nothing, whatever it asks for. */
static void expensive_keyslots_are_not_tried(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why;
	disk_formatted(&d);
	disk_edit(d.device, "\"kdf\":{\"type\":\"pbkdf2\",\"hash\":\"sha256\",\"iterations\":1000",
		  "\"kdf\":{\"type\":\"argon2id\",\"time\":4000000,\"memory\":4000000,\"cpus\":4");
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_int_equal(volume_open(v, d.secret, NULL, NULL, &why), KMS_E_NOTFOUND);
	assert_int_equal(d.port->openings, 0);
}

static kms_release_t registered(const disk_t *d)
{
	kms_release_t r = {.status = KMS_RELEASED, .n_fingerprints = 1, .n_secrets = 1};
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	SCOPED(secret_freep) secret_t *key = NULL;
	diag_t why;
	(void)snprintf(r.volume.name, sizeof r.volume.name, "data");
	memcpy(r.luks_uuid, volume_facts(v)->uuid, sizeof r.luks_uuid);
	r.fingerprints[0].active = true;
	r.secrets[0].secret = disk_secret(1);
	assert_int_equal(volume_open(v, d->secret, &key, NULL, &why), KMS_OK);
	assert_int_equal(fingerprint_make(volume_facts(v), key, r.fingerprints[0].value), KMS_OK);
	return r;
}

static void set_uuid(const char *path, const char *uuid)
{
	struct crypt_device *cd = NULL;
	assert_int_equal(crypt_init(&cd, path), 0);
	assert_int_equal(crypt_load(cd, CRYPT_LUKS2, NULL), 0);
	assert_int_equal(crypt_set_uuid(cd, uuid), 0);
	crypt_free(cd);
}

static kms_err_t open_registered(const disk_t *d, const kms_release_t *r, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(volume_load(d->port, d->device, &v, why));
	return verify_open(v, r, &key, why);
}

/* Another disk, with the same UUID and even a keyslot that our secret opens. */
static void another_volume_with_our_uuid_is_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t ours;
	SCOPED(disk_free) disk_t theirs;
	diag_t why = {""};
	disk_formatted(&ours);
	disk_formatted(&theirs);
	SCOPED(kms_release_clear) kms_release_t r = registered(&ours);
	assert_int_equal(open_registered(&ours, &r, &why), KMS_OK);
	assert_int_equal(open_registered(&theirs, &r, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "wrong device"));
	assert_int_equal(theirs.port->openings, 0);
	set_uuid(theirs.device, r.luks_uuid);
	assert_int_equal(open_registered(&theirs, &r, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "fingerprint mismatch"));
}

/* Allowed by the list, but not what was registered. */
static void allowed_changes_break_the_fingerprint(void **state)
{
	(void)state;
	static const char *const edits[][2] = {
		{"\"config\":{", "\"config\":{\"flags\":[\"allow-discards\"],"},
		{"\"sector_size\":4096", "\"sector_size\":512"},
		{"\"size\":\"dynamic\"", "\"size\":\"4194304\""},
		{"\"offset\":\"16777216\",\"size\":\"dynamic\"",
		 "\"offset\":\"20971520\",\"size\":\"dynamic\""},
	};
	for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
		SCOPED(disk_free) disk_t d;
		diag_t why = {""};
		disk_formatted(&d);
		SCOPED(kms_release_clear) kms_release_t r = registered(&d);
		disk_edit(d.device, edits[i][0], edits[i][1]);
		kms_err_t e = open_registered(&d, &r, &why);
		if (e != KMS_E_INTEGRITY || strstr(why.text, "fingerprint mismatch") == NULL)
			fail_msg("row %zu: error %d, %s", i, e, why.text);
	}
}

/* Exchanged after the check: what is opened is the copy that was checked, and what would be written is
 * refused. */
static void a_header_swapped_after_the_check_has_no_effect(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t ours;
	SCOPED(disk_free) disk_t theirs;
	SCOPED(secret_freep) secret_t *before = NULL;
	SCOPED(secret_freep) secret_t *after = NULL;
	SCOPED(secret_freep) secret_t *fresh = disk_secret(2);
	uint8_t have[32];
	uint8_t want[32];
	diag_t why = {""};
	disk_formatted(&ours);
	disk_formatted(&theirs);
	SCOPED(volume_closep) volume_t *v = disk_load(&ours);
	assert_int_equal(volume_open(v, ours.secret, &before, NULL, &why), KMS_OK);
	SCOPED(freep) uint8_t *header = malloc(16U << 20);
	assert_non_null(header);
	disk_read(theirs.device, header, 16U << 20, 0);
	disk_write(ours.device, header, 16U << 20, 0);
	disk_sha256(ours.device, want);
	assert_int_equal(volume_open(v, ours.secret, &after, NULL, &why), KMS_OK);
	assert_true(secret_equal(before, after));
	assert_int_equal(volume_add(v, before, fresh, &why), KMS_E_CONFLICT);
	assert_int_equal(volume_destroy(v, 0, &why), KMS_E_CONFLICT);
	disk_sha256(ours.device, have);
	assert_memory_equal(have, want, sizeof have);
}

/* The path is exchanged, not the bytes: the descriptor stays with the device that was looked at. */
static void a_path_swapped_after_the_check_has_no_effect(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t ours;
	SCOPED(disk_free) disk_t theirs;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(secret_freep) secret_t *fresh = disk_secret(2);
	char aside[128];
	uint8_t have[32];
	uint8_t want[32];
	diag_t why = {""};
	disk_formatted(&ours);
	disk_formatted(&theirs);
	disk_sha256(theirs.device, want);
	SCOPED(volume_closep) volume_t *v = disk_load(&ours);
	assert_int_equal(volume_open(v, ours.secret, &key, NULL, &why), KMS_OK);
	(void)snprintf(aside, sizeof aside, "%s.aside", ours.device);
	assert_int_equal(rename(ours.device, aside), 0);
	assert_int_equal(rename(theirs.device, ours.device), 0);
	assert_int_equal(volume_add(v, key, fresh, &why), KMS_OK);
	disk_sha256(ours.device, have);
	assert_memory_equal(have, want, sizeof have);
	(void)unlink(aside);
}

static void what_is_no_luks2_is_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(volume_closep) volume_t *v = NULL;
	char path[128];
	diag_t why = {""};
	disk_new(&d);
	assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "no valid LUKS2 header"));
	assert_int_equal(truncate(d.device, 100), 0);
	assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
	assert_int_equal(truncate(d.device, 0), 0);
	assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
	assert_int_equal(volume_load(d.port, "/tmp/claviger-none", &v, &why), KMS_E_NOTFOUND);
	assert_int_equal(volume_load(d.port, d.dir, &v, &why), KMS_E_CONFLICT);
	(void)snprintf(path, sizeof path, "%s/fifo", d.dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(volume_load(d.port, path, &v, &why), KMS_E_CONFLICT);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(volume_load(d.port, "/dev/null", &v, &why), KMS_E_CONFLICT);
	assert_null(v);
}

static void luks1_is_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(volume_closep) volume_t *v = NULL;
	struct crypt_device *cd = NULL;
	struct crypt_params_luks1 params = {.hash = "sha256"};
	diag_t why = {""};
	disk_new(&d);
	assert_int_equal(crypt_init(&cd, d.device), 0);
	assert_int_equal(crypt_format(cd, CRYPT_LUKS1, "aes", "xts-plain64", NULL, NULL, 64, &params), 0);
	crypt_free(cd);
	assert_int_equal(volume_load(d.port, d.device, &v, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "LUKS1"));
}

/* One damaged copy is mended in the private copy only: looking at a device must not write to it. */
static void looking_writes_nothing(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(secret_freep) secret_t *key = NULL;
	uint8_t zeros[4096] = {0};
	uint8_t before[32];
	uint8_t after[32];
	diag_t why = {""};
	disk_formatted(&d);
	disk_write(d.device, zeros, sizeof zeros, 0);
	disk_sha256(d.device, before);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_int_equal(volume_open(v, d.secret, &key, NULL, &why), KMS_OK);
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof before);
	disk_write(d.device, zeros, sizeof zeros, 16384);
	SCOPED(volume_closep) volume_t *none = NULL;
	assert_int_equal(volume_load(d.port, d.device, &none, &why), KMS_E_INTEGRITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rewritten_headers_are_refused),
		cmocka_unit_test(a_pending_reencryption_is_only_looked_at),
		cmocka_unit_test(forged_reencryptions_are_refused),
		cmocka_unit_test(an_edit_alone_is_not_what_is_refused),
		cmocka_unit_test(hostile_tokens_are_refused),
		cmocka_unit_test(expensive_keyslots_are_not_tried),
		cmocka_unit_test(another_volume_with_our_uuid_is_refused),
		cmocka_unit_test(allowed_changes_break_the_fingerprint),
		cmocka_unit_test(a_header_swapped_after_the_check_has_no_effect),
		cmocka_unit_test(a_path_swapped_after_the_check_has_no_effect),
		cmocka_unit_test(what_is_no_luks2_is_refused),
		cmocka_unit_test(luks1_is_refused),
		cmocka_unit_test(looking_writes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
