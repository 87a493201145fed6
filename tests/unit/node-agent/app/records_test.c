#include "node-agent/app/records.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

typedef struct box {
	char dir[64];
	state_t state;
	records_port_t *port;
} box_t;

static void box_new(box_t *b)
{
	diag_t why = {""};
	memset(b, 0, sizeof *b);
	(void)snprintf(b->dir, sizeof b->dir, "/tmp/claviger-records-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	assert_int_equal(state_paths(b->dir, &b->state, &why), KMS_OK);
	if (state_ensure(&b->state, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(records_new(&b->state, &b->port, &why), KMS_OK);
}

static void remove_in(const char *dir, const char *name)
{
	char path[256];
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	(void)unlink(path);
}

static void box_free(box_t *b)
{
	static const char *const names[] = {"data", "other", "data.lock", "data.hdr"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		remove_in(b->state.volumes, names[i]);
		remove_in(b->state.format, names[i]);
	}
	assert_int_equal(rmdir(b->state.volumes), 0);
	assert_int_equal(rmdir(b->state.format), 0);
	assert_int_equal(rmdir(b->dir), 0);
	records_freep(&b->port);
	state_clear(&b->state);
}

static void records_come_back(void **state)
{
	(void)state;
	static const char *const devices[] = {"/dev/sda", "/dev/disk/by-id/x y # ; z", "/srv/a=b"};
	SCOPED(box_free) box_t b;
	diag_t why = {""};
	box_new(&b);
	for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
		record_t in = {.state = RECORD_FORMATTING, .was = {1, 2, 0xff}};
		record_t out;
		(void)snprintf(in.device, sizeof in.device, "%s", devices[i]);
		assert_int_equal(records_put(b.port, "data", &in, &why), KMS_OK);
		assert_int_equal(records_get(b.port, "data", &out, &why), KMS_OK);
		assert_int_equal(out.state, RECORD_FORMATTING);
		assert_string_equal(out.device, devices[i]);
		assert_memory_equal(out.was, in.was, sizeof in.was);
		in.state = RECORD_READY;
		(void)snprintf(in.uuid, sizeof in.uuid, "5fb3a826-a13d-490d-9c5e-9559043de331");
		assert_int_equal(records_put(b.port, "data", &in, &why), KMS_OK);
		assert_int_equal(records_get(b.port, "data", &out, &why), KMS_OK);
		assert_int_equal(out.state, RECORD_READY);
		assert_string_equal(out.uuid, in.uuid);
	}
}

static void what_cannot_be_recorded_is_refused(void **state)
{
	(void)state;
	static const char *const devices[] = {"/dev/a\nuuid = x", "/dev/a\"b", "/dev/a\\b", "relative", ""};
	SCOPED(box_free) box_t b;
	diag_t why = {""};
	record_t out;
	box_new(&b);
	for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
		record_t in = {.state = RECORD_READY};
		(void)snprintf(in.device, sizeof in.device, "%s", devices[i]);
		assert_int_equal(records_put(b.port, "data", &in, &why), KMS_E_INVALID);
	}
	assert_int_equal(records_get(b.port, "data", &out, &why), KMS_E_NOTFOUND);
}

static void damaged_records_are_no_records(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"state = ready\n",
		"state = done\ndevice = /dev/a\n",
		"state = formatting\ndevice = /dev/a\n",
		"state = formatting\ndevice = /dev/a\nwas = 00\n",
		"state = ready\ndevice = dev\n",
		"state = ready\ndevice = /dev/a\nsurprise = 1\n",
		"\x01\x02",
	};
	SCOPED(box_free) box_t b;
	char path[256];
	box_new(&b);
	(void)snprintf(path, sizeof path, "%s/data", b.state.volumes);
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		record_t out;
		diag_t why = {""};
		assert_int_equal(file_write(path, span_str(texts[i]), 0600, FILE_REPLACE, &why), KMS_OK);
		kms_err_t e = records_get(b.port, "data", &out, &why);
		if (e != KMS_E_INTEGRITY)
			fail_msg("row %zu: error %d", i, e);
	}
}

static void one_agent_at_a_time(void **state)
{
	(void)state;
	SCOPED(box_free) box_t b;
	diag_t why = {""};
	int one = -1;
	int two = -1;
	box_new(&b);
	assert_int_equal(records_lock(&b.state, "data", &one, &why), KMS_OK);
	assert_int_equal(records_lock(&b.state, "data", &two, &why), KMS_E_CONFLICT);
	assert_int_equal(two, -1);
	closep(&one);
	assert_int_equal(records_lock(&b.state, "data", &two, &why), KMS_OK);
	closep(&two);
}

static void lists_hold_records_only(void **state)
{
	(void)state;
	SCOPED(box_free) box_t b;
	SCOPED(record_names_clear) record_names_t names = {0};
	diag_t why = {""};
	int lock = -1;
	record_t in = {.state = RECORD_READY, .device = "/dev/a"};
	box_new(&b);
	assert_int_equal(records_put(b.port, "other", &in, &why), KMS_OK);
	assert_int_equal(records_put(b.port, "data", &in, &why), KMS_OK);
	assert_int_equal(records_lock(&b.state, "data", &lock, &why), KMS_OK);
	assert_int_equal(records_list(&b.state, &names, &why), KMS_OK);
	closep(&lock);
	assert_int_equal(names.n, 2);
	assert_string_equal(names.list[0], "data");
	assert_string_equal(names.list[1], "other");
}

/* The old keyslot must not linger in free space: a link made before sees what is left in the file. */
static void a_header_file_is_overwritten(void **state)
{
	(void)state;
	SCOPED(box_free) box_t b;
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t left = BUF_INIT;
	char link_path[256];
	bool exists = true;
	diag_t why = {""};
	box_new(&b);
	assert_int_equal(records_header_path(b.port, "data", &path, &exists, &why), KMS_OK);
	assert_false(exists);
	assert_int_equal(records_header_remove(b.port, "data", &why), KMS_OK);
	assert_int_equal(file_write(path, span_str("keyslot"), 0600, FILE_CREATE_ONLY, &why), KMS_OK);
	(void)snprintf(link_path, sizeof link_path, "%s/link", b.dir);
	assert_int_equal(link(path, link_path), 0);
	assert_int_equal(records_header_remove(b.port, "data", &why), KMS_OK);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(file_read(link_path, 65536, &left, &why), KMS_OK);
	for (size_t i = 0; i < left.n; i++)
		assert_int_equal(left.p[i], 0);
	assert_int_equal(unlink(link_path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_back),
		cmocka_unit_test(what_cannot_be_recorded_is_refused),
		cmocka_unit_test(damaged_records_are_no_records),
		cmocka_unit_test(one_agent_at_a_time),
		cmocka_unit_test(lists_hold_records_only),
		cmocka_unit_test(a_header_file_is_overwritten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
