#include "node-agent/core/rotate.h"

#include "tests/unit/node-agent/core/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define CALLS_MOST 200U

static kms_err_t rotate(sim_t *s, diag_t *why)
{
	const rotate_order_t order = {.volume = SIM_VOLUME, .device = SIM_DEVICE};
	rotate_done_t done = {0};
	why->text[0] = '\0';
	return rotate_run(&s->volumes, &s->kms, &order, &done, why);
}

static unsigned slots_used(const sim_t *s)
{
	unsigned n = 0;
	for (size_t i = 0; i < SIM_SLOTS; i++)
		n += s->disk.slots[i].used ? 1 : 0;
	return n;
}

/* One secret is live, it is the only one that opens, and nothing is left over. */
static void assert_clean(const sim_t *s)
{
	unsigned live = 0;
	uint32_t active = 0;
	for (uint32_t v = 1; v < SIM_VERSIONS; v++) {
		bool is_live = s->secrets[v] == SIM_ACTIVE || s->secrets[v] == SIM_PENDING ||
			       s->secrets[v] == SIM_PREVIOUS;
		live += is_live ? 1 : 0;
		if (s->secrets[v] == SIM_ACTIVE)
			active = v;
		assert_int_equal(sim_opens(&s->disk, v), is_live);
	}
	assert_int_equal(live, 1);
	assert_true(active > 1);
	assert_int_equal(slots_used(s), 1);
	assert_int_equal(s->broken, 0);
}

static void a_rotation_replaces_the_secret(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_clean(&s);
	assert_int_equal(s.secrets[1], SIM_DEACTIVATED);
	assert_int_equal(s.secrets[2], SIM_ACTIVE);
	/* what a rotation costs: n; n+1 as written; both before n goes; n+1 at the end */
	assert_int_equal(s.volumes.openings, 5);
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_int_equal(s.volumes.openings, 10);
	assert_clean(&s);
	assert_int_equal(s.secrets[3], SIM_ACTIVE);
}

/* Removing n would remove n+1. */
static void two_equal_secrets_are_refused(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.twins = true;
	assert_int_equal(rotate(&s, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "no two secrets"));
	assert_int_equal(s.adds + s.destroys, 0);
	assert_true(sim_opens(&s.disk, 1));
}

/* Promise 2: the power is cut at every call, before and after its effect; the volume opens at every instant
 * (checked in the simulation), and the next run ends clean. Returns false when the run was shorter than that.
 */
static bool cut_once(unsigned at, bool after)
{
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	sim_cut(&s, at, after);
	kms_err_t e = rotate(&s, &why);
	if (!s.dead) {
		assert_int_equal(e, KMS_OK);
		return false;
	}
	assert_int_not_equal(e, KMS_OK);
	assert_true(sim_safe(&s));
	sim_power_on(&s);
	/* a run cut after :retire had done all; the next one is a new rotation, and has to end clean too */
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_clean(&s);
	return true;
}

static void a_cut_anywhere_is_completed(void **state)
{
	(void)state;
	for (int after = 0; after < 2; after++) {
		unsigned at = 1;
		while (at < CALLS_MOST && cut_once(at, after == 1))
			at++;
		assert_in_range(at, 15, CALLS_MOST - 1); /* a rotation has so many steps at least */
	}
}

static void two_cuts_anywhere_are_completed(void **state)
{
	(void)state;
	diag_t why;
	for (unsigned first = 1; first < 40; first++) {
		for (unsigned second = 1; second < 40; second++) {
			sim_t s;
			sim_init_formatted(&s);
			sim_cut(&s, first, first % 2 == 0);
			(void)rotate(&s, &why);
			sim_power_on(&s);
			sim_cut(&s, second, second % 3 == 0);
			(void)rotate(&s, &why);
			sim_power_on(&s);
			assert_int_equal(rotate(&s, &why), KMS_OK);
			assert_clean(&s);
		}
	}
}

static void without_a_free_keyslot_nothing_changes(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	for (size_t i = 1; i < SIM_SLOTS; i++) {
		s.disk.slots[i].used = true;
		s.disk.slots[i].foreign = true;
	}
	sim_disk_t before = s.disk;
	assert_int_equal(rotate(&s, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, "no free keyslot"));
	assert_memory_equal(&before, &s.disk, sizeof before);
	assert_int_equal(s.aborts, 1);
	assert_int_equal(s.secrets[1], SIM_ACTIVE);
	assert_int_equal(s.secrets[2], SIM_DESTROYED);
	/* with room again the next rotation uses a fresh secret */
	memset(&s.disk.slots[1], 0, sizeof s.disk.slots[1]);
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_int_equal(s.secrets[3], SIM_ACTIVE);
	assert_int_equal(s.broken, 0);
}

static void another_volume_is_not_touched(void **state)
{
	(void)state;
	static const struct {
		const char *name, *message;
	} rows[] = {
		{"uuid", "registered as"},
		{"volume key", "fingerprint mismatch"},
		{"cipher", "fingerprint mismatch"},
		{"no secret opens", "neither secret"},
		{"no header", "no valid LUKS2 header"},
		{"nothing registered", "no active fingerprint"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		sim_t s;
		diag_t why;
		sim_init_formatted(&s);
		if (i == 0)
			s.disk.uuid[0] = 'f';
		else if (i == 1)
			s.disk.key[0] ^= 1;
		else if (i == 2)
			(void)snprintf(s.disk.cipher, sizeof s.disk.cipher, "cipher_null-ecb");
		else if (i == 3)
			s.disk.slots[0].secret[0] ^= 1;
		else if (i == 4)
			s.disk.present = false;
		else
			s.has_fingerprint = false;
		sim_disk_t before = s.disk;
		assert_int_equal(rotate(&s, &why), KMS_E_INTEGRITY);
		if (strstr(why.text, rows[i].message) == NULL)
			fail_msg("%s: %s", rows[i].name, why.text);
		assert_memory_equal(&before, &s.disk, sizeof before);
		assert_int_equal(s.secrets[1], SIM_ACTIVE);
	}
}

/* A header restored from an old copy after :promote: the server believes in n+1, which does not open any
 * more. */
static void an_old_header_gets_its_keyslot_again(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.secrets[1] = SIM_PREVIOUS;
	s.secrets[2] = SIM_ACTIVE;
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_clean(&s);
	assert_int_equal(s.adds, 1);
}

/* A header that is put back while the rotation runs, at any call until a keyslot is destroyed: n is not given
 * up on the word of a header that was. */
static void an_old_header_put_back_midway_loses_nothing(void **state)
{
	(void)state;
	for (unsigned at = 1; at < 40; at++) {
		sim_t s;
		diag_t why;
		sim_init_formatted(&s);
		s.restore_at = at;
		kms_err_t e = rotate(&s, &why);
		if (e != KMS_OK && e != KMS_E_CONFLICT) /* found out by the agent, not by the KMS */
			assert_int_equal(e, KMS_E_INTEGRITY);
		assert_true(sim_safe(&s));
		s.restore_at = 0;
		assert_int_equal(rotate(&s, &why), KMS_OK);
		assert_clean(&s);
	}
}

/* A device that is gone is not one that the old secret does not open any more. */
static void a_device_that_vanishes_midway_loses_nothing(void **state)
{
	(void)state;
	for (unsigned at = 1; at < 40; at++) {
		sim_t s;
		diag_t why;
		sim_init_formatted(&s);
		s.vanish_at = at;
		kms_err_t e = rotate(&s, &why);
		if (e != KMS_OK)
			assert_int_equal(e, KMS_E_NOTFOUND);
		assert_true(sim_safe(&s));
		s.vanish_at = 0;
		assert_int_equal(rotate(&s, &why), KMS_OK);
		assert_clean(&s);
	}
}

static void every_keyslot_of_the_old_secret_goes(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.disk.slots[3] = s.disk.slots[0];
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_clean(&s);
	assert_int_equal(s.destroys, 2);
}

static void peoples_keyslots_stay(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.disk.slots[2].used = true;
	s.disk.slots[2].foreign = true;
	assert_int_equal(rotate(&s, &why), KMS_OK);
	assert_true(s.disk.slots[2].used);
	assert_int_equal(slots_used(&s), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rotation_replaces_the_secret),
		cmocka_unit_test(two_equal_secrets_are_refused),
		cmocka_unit_test(a_cut_anywhere_is_completed),
		cmocka_unit_test(two_cuts_anywhere_are_completed),
		cmocka_unit_test(without_a_free_keyslot_nothing_changes),
		cmocka_unit_test(another_volume_is_not_touched),
		cmocka_unit_test(an_old_header_gets_its_keyslot_again),
		cmocka_unit_test(an_old_header_put_back_midway_loses_nothing),
		cmocka_unit_test(a_device_that_vanishes_midway_loses_nothing),
		cmocka_unit_test(every_keyslot_of_the_old_secret_goes),
		cmocka_unit_test(peoples_keyslots_stay),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
