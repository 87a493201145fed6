/* What counts as empty, and how a header gets onto a device. */
#include "node-agent/luks/luks.h"

#include "common/base/scope.h"
#include "tests/unit/node-agent/luks/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void an_empty_device_is_empty(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	device_facts_t f;
	diag_t why = {""};
	disk_new(&d);
	assert_int_equal(volume_probe(d.port, d.device, &f, &why), KMS_OK);
	assert_false(f.holds);
	assert_false(f.block);
	assert_int_equal(f.size, DISK_SIZE);
}

static void anything_counts(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		uint64_t at;
		const char *what;
	} rows[] = {
		{"x", 0, "not zero"},
		{"x", (16U << 20) - 1, "not zero"},
		{"x", DISK_SIZE - 1, "not zero"},
		{"x", DISK_SIZE - (1U << 20), "not zero"},
		{"LUKS\xba\xbe", 0, ""},
		{"_BHRfS_M", 65600, "btrfs"},
		{"\x55\xaa", 510, ""},
		{"CD001", 32769, ""},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		SCOPED(disk_free) disk_t d;
		device_facts_t empty;
		device_facts_t f;
		diag_t why = {""};
		disk_new(&d);
		assert_int_equal(volume_probe(d.port, d.device, &empty, &why), KMS_OK);
		disk_write(d.device, rows[i].bytes, strlen(rows[i].bytes), rows[i].at);
		assert_int_equal(volume_probe(d.port, d.device, &f, &why), KMS_OK);
		if (!f.holds || f.what[0] == '\0')
			fail_msg("row %zu passes as empty", i);
		if (strcmp(rows[i].what, "not zero") == 0)
			assert_non_null(strstr(f.what, rows[i].what));
		assert_memory_not_equal(f.digest, empty.digest, sizeof f.digest);
	}
}

static void a_volume_is_named(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	device_facts_t f;
	diag_t why = {""};
	disk_formatted(&d);
	assert_int_equal(volume_probe(d.port, d.device, &f, &why), KMS_OK);
	assert_true(f.holds);
	assert_string_equal(f.what, "crypto_LUKS");
}

static void unfit_devices_are_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	device_facts_t f;
	diag_t why = {""};
	disk_new(&d);
	assert_int_equal(truncate(d.device, 16U << 20), 0);
	assert_int_equal(volume_probe(d.port, d.device, &f, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "too small"));
	assert_int_equal(volume_probe(d.port, "/tmp/claviger-none", &f, &why), KMS_E_NOTFOUND);
	assert_int_equal(volume_probe(d.port, d.dir, &f, &why), KMS_E_CONFLICT);
	assert_int_equal(volume_probe(d.port, "/dev/null", &f, &why), KMS_E_CONFLICT);
}

static void writing_is_seen_as_begun_from_its_first_sector(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t mark[512];
	uint8_t old[1024];
	bool begun = true;
	diag_t why = {""};
	disk_new(&d);
	memset(old, 0x5a, sizeof old);
	disk_write(d.device, old, sizeof old, DISK_SIZE - sizeof old); /* an old signature at the end */
	assert_int_equal(volume_build(d.port, d.header, d.device, NULL, d.secret, &why), KMS_OK);
	assert_int_equal(volume_begun(d.port, d.header, d.device, &begun, &why), KMS_OK);
	assert_false(begun);
	disk_read(d.header, mark, sizeof mark, 32768);
	disk_write(d.device, mark, sizeof mark, 32768);
	assert_int_equal(volume_begun(d.port, d.header, d.device, &begun, &why), KMS_OK);
	assert_true(begun);
	assert_int_equal(volume_write(d.port, d.header, d.device, &why), KMS_OK);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_int_equal(volume_open(v, d.secret, NULL, NULL, &why), KMS_OK);
	disk_read(d.device, old, sizeof old, DISK_SIZE - sizeof old);
	for (size_t i = 0; i < sizeof old; i++)
		assert_int_equal(old[i], 0);
}

static void an_unfinished_header_is_not_written(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t before[32];
	uint8_t after[32];
	bool begun = false;
	diag_t why = {""};
	disk_new(&d);
	disk_sha256(d.device, before);
	disk_write(d.header, "LUKS", 4, 0);
	assert_int_equal(volume_write(d.port, d.header, d.device, &why), KMS_E_INTEGRITY);
	assert_int_equal(volume_begun(d.port, d.header, d.device, &begun, &why), KMS_E_INTEGRITY);
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_device_is_empty),
		cmocka_unit_test(anything_counts),
		cmocka_unit_test(a_volume_is_named),
		cmocka_unit_test(unfit_devices_are_refused),
		cmocka_unit_test(writing_is_seen_as_begun_from_its_first_sector),
		cmocka_unit_test(an_unfinished_header_is_not_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
