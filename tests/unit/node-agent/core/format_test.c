#include "node-agent/core/format.h"

#include "tests/unit/node-agent/core/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define CALLS_MOST 200U

static kms_err_t format_on(sim_t *s, const char *device, bool force, format_done_t *done, diag_t *why)
{
	const format_ports_t ports = {&s->volumes, &s->kms, &s->records};
	const format_order_t order = {.volume = SIM_VOLUME, .device = device, .force = force};
	why->text[0] = '\0';
	return format_run(&ports, &order, done, why);
}

static void assert_formatted(const sim_t *s)
{
	assert_int_equal(s->state, KMS_VOLUME_ACTIVE);
	assert_true(s->disk.present);
	assert_string_equal(s->disk.uuid, s->uuid);
	assert_false(s->header_file);
	assert_int_equal(s->record.state, RECORD_READY);
	assert_string_equal(s->record.device, SIM_DEVICE);
	assert_string_equal(s->record.uuid, s->uuid);
	assert_int_equal(s->broken, 0);
	assert_true(sim_safe(s));
}

static void an_empty_device_is_formatted(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	format_done_t done;
	sim_init(&s);
	assert_int_equal(format_on(&s, SIM_DEVICE, false, &done, &why), KMS_OK);
	assert_int_equal(done.result, FORMAT_DONE);
	assert_formatted(&s);
	assert_int_equal(format_on(&s, SIM_DEVICE, false, &done, &why), KMS_OK);
	assert_int_equal(done.result, FORMAT_ALREADY);
	assert_int_equal(s.writes, 1);
}

static void refusals_write_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *name, *device, *message;
		unsigned junk;
		bool formatted, other_luks;
		kms_err_t e;
	} rows[] = {
		{"holds a file system", SIM_DEVICE, "ext4 file system", 1, false, false, KMS_E_CONFLICT},
		{"holds a LUKS volume", SIM_DEVICE, "crypto_LUKS", 0, false, true, KMS_E_CONFLICT},
		{"does not exist", "/dev/none", "does not exist", 0, false, false, KMS_E_NOTFOUND},
		{"volume is on another device", SIM_OTHER, "formatted before", 0, true, false,
		 KMS_E_CONFLICT},
		{"device was exchanged", SIM_DEVICE, "formatted before", 0, true, true, KMS_E_CONFLICT},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		sim_t s;
		diag_t why;
		format_done_t done;
		if (rows[i].formatted)
			sim_init_formatted(&s);
		else
			sim_init(&s);
		s.disk.junk = rows[i].junk;
		if (rows[i].other_luks) {
			s.disk.present = true;
			(void)snprintf(s.disk.uuid, sizeof s.disk.uuid,
				       "ffffffff-0000-4000-8000-000000000009");
		}
		sim_disk_t disk = s.disk;
		assert_int_equal(format_on(&s, rows[i].device, false, &done, &why), rows[i].e);
		if (strstr(why.text, rows[i].message) == NULL)
			fail_msg("%s: %s", rows[i].name, why.text);
		assert_memory_equal(&disk, &s.disk, sizeof disk);
		assert_int_equal(s.writes, 0);
		assert_int_equal(s.reformats, 0);
	}
}

static void a_denied_secret_is_said(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	format_done_t done;
	sim_init(&s);
	s.status = KMS_RELEASE_DENIED;
	assert_int_equal(format_on(&s, SIM_DEVICE, false, &done, &why), KMS_E_DENIED);
	assert_int_equal(s.writes, 0);
}

/* Cut anywhere; a next run without force completes what was begun. */
static bool cut_once(unsigned at, bool after, unsigned junk, bool formatted)
{
	sim_t s;
	diag_t why;
	format_done_t done;
	if (formatted)
		sim_init_formatted(&s);
	else
		sim_init(&s);
	s.disk.junk = junk;
	bool force = junk != 0 || formatted;
	sim_cut(&s, at, after);
	kms_err_t e = format_on(&s, SIM_DEVICE, force, &done, &why);
	if (!s.dead) {
		assert_int_equal(e, KMS_OK);
		return false;
	}
	assert_true(sim_safe(&s));
	sim_power_on(&s);
	/* force is repeated only where nothing had been begun */
	e = format_on(&s, SIM_DEVICE, force && !s.has_record, &done, &why);
	if (e != KMS_OK)
		fail_msg("cut %s call %u: %s", after ? "after" : "before", at, why.text);
	assert_formatted(&s);
	return true;
}

static void cut_everywhere(unsigned junk, bool formatted)
{
	for (int after = 0; after < 2; after++) {
		unsigned at = 1;
		while (at < CALLS_MOST && cut_once(at, after == 1, junk, formatted))
			at++;
		assert_in_range(at, 15, CALLS_MOST - 1);
	}
}

static void a_cut_anywhere_is_completed(void **state)
{
	(void)state;
	cut_everywhere(0, false);
}

static void a_forced_format_is_completed_without_force(void **state)
{
	(void)state;
	cut_everywhere(7, false);
}

static void force_begins_a_new_lineage(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	format_done_t done;
	sim_init_formatted(&s);
	assert_int_equal(format_on(&s, SIM_DEVICE, true, &done, &why), KMS_OK);
	assert_int_equal(done.lineage, 2);
	assert_int_equal(s.reformats, 1);
	assert_int_equal(s.secrets[1], SIM_DEACTIVATED);
	assert_formatted(&s);
	cut_everywhere(0, true);
}

/* Half done on one disk; after a reboot the path is another one. */
static void an_interrupted_format_goes_on_nowhere_else(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	format_done_t done;
	unsigned at = 1;
	do {
		sim_init(&s);
		sim_cut(&s, at++, true);
		(void)format_on(&s, SIM_DEVICE, false, &done, &why);
	} while (s.state != KMS_VOLUME_ACTIVE);
	sim_power_on(&s);
	assert_int_equal(format_on(&s, SIM_OTHER, false, &done, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "begun on " SIM_DEVICE));
	s.disk.junk = 9; /* another disk under the same name */
	assert_int_equal(format_on(&s, SIM_DEVICE, false, &done, &why), KMS_E_CONFLICT);
	assert_non_null(strstr(why.text, "not what it was"));
	assert_int_equal(s.writes, 0);
}

/* The run was cut when all but the record was done; then the volume was rotated. The private header has the
 * retired secret only: written again it would lose the volume. */
static void a_rotated_volume_is_not_overwritten(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	format_done_t done;
	sim_init(&s);
	unsigned at = 1;
	do {
		sim_init(&s);
		sim_cut(&s, at++, true);
		(void)format_on(&s, SIM_DEVICE, false, &done, &why);
	} while (s.writes == 0);
	sim_power_on(&s);
	s.secrets[1] = SIM_DEACTIVATED;
	s.secrets[2] = SIM_ACTIVE;
	sim_secret(2, s.disk.slots[0].secret);
	assert_true(s.header_file);
	assert_int_equal(format_on(&s, SIM_DEVICE, false, &done, &why), KMS_OK);
	assert_int_equal(done.result, FORMAT_ALREADY);
	assert_int_equal(s.writes, 1);
	assert_formatted(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_device_is_formatted),
		cmocka_unit_test(refusals_write_nothing),
		cmocka_unit_test(a_denied_secret_is_said),
		cmocka_unit_test(a_cut_anywhere_is_completed),
		cmocka_unit_test(a_forced_format_is_completed_without_force),
		cmocka_unit_test(force_begins_a_new_lineage),
		cmocka_unit_test(an_interrupted_format_goes_on_nowhere_else),
		cmocka_unit_test(a_rotated_volume_is_not_overwritten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
