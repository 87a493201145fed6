#include "node-agent/luks/luks.h"

#include "common/base/scope.h"
#include "tests/unit/node-agent/luks/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER (16U << 20)

static void image_of(const disk_t *d, buf_t *out)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	diag_t why = {""};
	if (volume_image(v, out, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void fill(const char *path, uint64_t from, uint64_t to, uint8_t with)
{
	uint8_t block[4096];
	memset(block, with, sizeof block);
	for (uint64_t at = from; at < to; at += sizeof block)
		disk_write(path, block, sizeof block, at);
}

static void opens(const disk_t *d)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	diag_t why = {""};
	if (volume_open(v, d->secret, NULL, NULL, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

/* The whole header is overwritten, and comes back with all that was in use; the data, to the last byte of the
 * device, are as they were. */
static void there_and_back(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(buf_free) buf_t image = BUF_INIT;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	diag_t why = {""};
	disk_formatted(&d);
	fill(d.device, HEADER, DISK_SIZE, 0x5a);
	image_of(&d, &image);
	image_of(&d, &again);
	assert_true(span_eq(buf_span(&image), buf_span(&again)));
	assert_in_range(image.n, 32U << 10, 1U << 20);
	fill(d.device, 0, HEADER, 0xff);
	assert_int_equal(volume_image_file(d.port, buf_span(&image), d.header, &why), KMS_OK);
	disk_t file = d;
	memcpy(file.device, d.header, sizeof file.device);
	opens(&file);
	if (volume_put_back(d.port, buf_span(&image), d.header, d.device, &why) != KMS_OK)
		fail_msg("%s", why.text);
	opens(&d);
	buf_clear(&again);
	image_of(&d, &again);
	assert_true(span_eq(buf_span(&image), buf_span(&again)));
	for (uint64_t at = HEADER; at < DISK_SIZE; at += 4096) {
		uint8_t block[4096];
		disk_read(d.device, block, sizeof block, at);
		for (size_t i = 0; i < sizeof block; i++)
			assert_int_equal(block[i], 0x5a);
	}
}

static void a_device_of_another_size(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(buf_free) buf_t image = BUF_INIT;
	uint8_t before[32], after[32];
	diag_t why = {""};
	disk_formatted(&d);
	image_of(&d, &image);
	assert_int_equal(volume_image_file(d.port, buf_span(&image), d.header, &why), KMS_OK);
	assert_int_equal(truncate(d.device, DISK_SIZE + 4096), 0);
	disk_sha256(d.device, before);
	assert_int_equal(volume_put_back(d.port, buf_span(&image), d.header, d.device, &why), KMS_E_CONFLICT);
	disk_sha256(d.device, after);
	assert_memory_equal(before, after, sizeof after);
	assert_int_equal(volume_put_back(d.port, buf_span(&image), d.header, "/nonexistent", &why),
			 KMS_E_NOTFOUND);
}

/* The KMS keeps it sealed, so none of this comes from there; but what reads bytes refuses what it cannot
 * read. */
static void what_is_no_image(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	SCOPED(buf_free) buf_t image = BUF_INIT;
	diag_t why = {""};
	disk_formatted(&d);
	image_of(&d, &image);
	(void)unlink(d.header);
	for (size_t n = 0; n < 64; n++)
		assert_int_equal(volume_image_file(d.port, span_of(image.p, n), d.header, &why),
				 KMS_E_INTEGRITY);
	assert_int_equal(volume_image_file(d.port, span_of(image.p, image.n - 1), d.header, &why),
			 KMS_E_INTEGRITY);
	for (size_t at = 8; at < 36; at++) { /* the offset, how many areas, where the first is, how long */
		if (at >= 25 && at < 28)
			continue; /* another place within the header: the seal around the image tells */
		image.p[at] ^= 0x80U;
		if (volume_image_file(d.port, buf_span(&image), d.header, &why) != KMS_E_INTEGRITY)
			fail_msg("byte %zu", at);
		image.p[at] ^= 0x80U;
	}
	assert_int_equal(access(d.header, F_OK), -1); /* nothing was made of them */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(a_device_of_another_size),
		cmocka_unit_test(what_is_no_image),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
