#include "node-agent/core/reencrypt.h"

#include "node-agent/core/unlock.h"
#include "tests/unit/node-agent/core/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define CALLS_MOST 300U

typedef struct stopper {
	unsigned left; /* steps until it says stop; 0: never */
} stopper_t;

static bool go_on(void *ctx, uint64_t done, uint64_t total)
{
	stopper_t *s = ctx;
	assert_true(done <= total);
	return s->left == 0 || --s->left > 0;
}

static kms_err_t run_until(sim_t *s, unsigned stop_after, diag_t *why)
{
	stopper_t stop = {.left = stop_after};
	const volume_progress_t progress = {.step = go_on, .ctx = &stop};
	const reencrypt_order_t order = {
		.volume = SIM_VOLUME, .device = SIM_DEVICE, .progress = &progress, .report_steps = 1};
	reencrypt_done_t done = {0};
	why->text[0] = '\0';
	return reencrypt_run(&s->volumes, &s->kms, &order, &done, why);
}

static kms_err_t reencrypt(sim_t *s, diag_t *why)
{
	return run_until(s, 0, why);
}

static unsigned slots_used(const sim_disk_t *d)
{
	unsigned n = 0;
	for (size_t i = 0; i < SIM_SLOTS; i++)
		n += d->slots[i].used ? 1 : 0;
	return n;
}

static uint32_t only_live(const sim_t *s)
{
	uint32_t live = 0;
	for (uint32_t v = 1; v < SIM_VERSIONS; v++) {
		if (s->secrets[v] != SIM_ACTIVE && s->secrets[v] != SIM_PENDING &&
		    s->secrets[v] != SIM_PREVIOUS)
			continue;
		assert_int_equal(live, 0);
		live = v;
	}
	return live;
}

static void assert_opens(sim_t *s)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	const char *const names[] = {SIM_VOLUME};
	const unlock_order_t order = {.device = SIM_DEVICE, .mapper = "data", .test_open = true};
	unlock_done_t done;
	diag_t why = {""};
	assert_int_equal(kms_release(&s->kms, names, 1, &answer, &why), KMS_OK);
	if (unlock_volume(&s->volumes, &answer.list[0], &order, &done, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

/* Another volume key than before, one keyslot, one secret, nothing pending anywhere. */
static void assert_clean(sim_t *s)
{
	uint32_t live = only_live(s);
	assert_true(live > 1);
	assert_true(sim_opens(&s->disk, live));
	assert_int_equal(slots_used(&s->disk), 1);
	assert_false(s->disk.reencrypting);
	assert_int_equal(s->reencryption, SIM_NO_REENCRYPTION);
	assert_memory_not_equal(s->disk.key, s->first.key, sizeof s->disk.key);
	assert_int_equal(s->broken, 0);
	assert_opens(s);
}

static void the_volume_key_and_the_secret_are_replaced(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	if (reencrypt(&s, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_clean(&s);
	assert_true(s.reports >= SIM_STEPS);
	assert_int_equal(s.secrets[1], SIM_DEACTIVATED);
	uint8_t key[64];
	memcpy(key, s.disk.key, sizeof key);
	assert_int_equal(reencrypt(&s, &why), KMS_OK);
	assert_clean(&s);
	assert_memory_not_equal(s.disk.key, key, sizeof key);
}

/* Promise 2, at every call, before and after its effect. False when the run was shorter than that. */
static bool cut_once(unsigned at, bool after)
{
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	sim_cut(&s, at, after);
	kms_err_t e = reencrypt(&s, &why);
	if (!s.dead) {
		assert_int_equal(e, KMS_OK);
		return false;
	}
	assert_int_not_equal(e, KMS_OK);
	assert_true(sim_safe(&s));
	sim_power_on(&s);
	assert_opens(&s);
	if (reencrypt(&s, &why) != KMS_OK)
		fail_msg("cut %s call %u: %s", after ? "after" : "before", at, why.text);
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
		assert_in_range(at, 40, CALLS_MOST - 1); /* so many calls at least */
	}
}

static void two_cuts_anywhere_are_completed(void **state)
{
	(void)state;
	diag_t why;
	for (unsigned first = 1; first < 75; first++) {
		for (unsigned second = 1; second < 75; second += 2) {
			sim_t s;
			sim_init_formatted(&s);
			sim_cut(&s, first, first % 2 == 0);
			(void)reencrypt(&s, &why);
			sim_power_on(&s);
			sim_cut(&s, second, second % 3 == 0);
			(void)reencrypt(&s, &why);
			sim_power_on(&s);
			if (reencrypt(&s, &why) != KMS_OK)
				fail_msg("cut at %u, then at %u: %s", first, second, why.text);
			assert_clean(&s);
		}
	}
}

static void a_stop_leaves_it_usable_and_the_next_run_goes_on(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	assert_int_equal(run_until(&s, 2, &why), KMS_E_PENDING);
	assert_non_null(strstr(why.text, "the next run goes on"));
	assert_true(s.disk.reencrypting);
	assert_int_equal(s.disk.steps, 2);
	assert_opens(&s);
	uint32_t secret = only_live(&s);
	assert_int_equal(reencrypt(&s, &why), KMS_OK);
	assert_clean(&s);
	assert_int_equal(only_live(&s), secret); /* the secret was rotated once */
}

/* A request of an earlier run that comes late: the disk never goes to one key while another is registered. */
static void a_late_registration_changes_nothing(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.late_at = 1;
	if (reencrypt(&s, &why) != KMS_OK)
		fail_msg("%s", why.text);
	assert_int_equal(s.late_at, 0);
	assert_clean(&s);
}

/* A mapped volume is mapped again after a crash, before it is mounted. */
static void a_volume_in_reencryption_is_unlocked(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	unlock_done_t done;
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	const char *const names[] = {SIM_VOLUME};
	const unlock_order_t order = {.device = SIM_DEVICE, .mapper = "data"};
	sim_init_formatted(&s);
	assert_int_equal(run_until(&s, 1, &why), KMS_E_PENDING);
	assert_int_equal(kms_release(&s.kms, names, 1, &answer, &why), KMS_OK);
	assert_int_equal(unlock_volume(&s.volumes, &answer.list[0], &order, &done, &why), KMS_OK);
	assert_true(s.mapped);
}

static void refuse(sim_t *s, kms_err_t e, const char *words)
{
	diag_t why;
	sim_disk_t before = s->disk;
	assert_int_equal(reencrypt(s, &why), e);
	if (strstr(why.text, words) == NULL)
		fail_msg("%s", why.text);
	assert_memory_equal(before.key, s->disk.key, sizeof before.key);
	assert_false(s->disk.reencrypting);
	assert_int_equal(s->reencryption, SIM_NO_REENCRYPTION);
	assert_int_equal(s->broken, 0);
	assert_opens(s);
}

static void a_library_that_corrupts_is_refused(void **state)
{
	(void)state;
	sim_t s;
	sim_init_formatted(&s);
	s.corrupting = true;
	refuse(&s, KMS_E_CONFLICT, "corrupts");
	assert_int_equal(s.adds, 0);
}

static void keyslots_of_others_are_not_lost(void **state)
{
	(void)state;
	sim_t s;
	sim_init_formatted(&s);
	s.disk.slots[2].used = true;
	s.disk.slots[2].foreign = true;
	refuse(&s, KMS_E_CONFLICT, "keyslot 2 (a recovery or offline key?)");
	assert_true(s.disk.slots[2].used);
}

/* The header in a re-encryption that the KMS has never heard of: nothing is written, nothing is mapped. */
static void a_foreign_reencryption_is_refused(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	sim_init_formatted(&s);
	s.disk.reencrypting = true;
	s.disk.slots[1].used = s.disk.slots[1].next = true;
	sim_secret(1, s.disk.slots[1].secret);
	memset(s.disk.next_key, 0x66, sizeof s.disk.next_key);
	sim_disk_t before = s.disk;
	assert_int_equal(reencrypt(&s, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "the KMS knows nothing"));
	/* and one that was registered, to another volume key */
	s.reencryption = SIM_RUNNING;
	memset(s.next_fingerprint, 1, sizeof s.next_fingerprint);
	assert_int_equal(reencrypt(&s, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "not the registered ones"));
	/* and one that the secret opens only half */
	s.disk.slots[1].used = false;
	assert_int_equal(reencrypt(&s, &why), KMS_E_INTEGRITY);
	assert_non_null(strstr(why.text, "opens both volume keys"));
	before.slots[1].used = false;
	assert_memory_equal(&before, &s.disk, sizeof before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_volume_key_and_the_secret_are_replaced),
		cmocka_unit_test(a_cut_anywhere_is_completed),
		cmocka_unit_test(two_cuts_anywhere_are_completed),
		cmocka_unit_test(a_stop_leaves_it_usable_and_the_next_run_goes_on),
		cmocka_unit_test(a_late_registration_changes_nothing),
		cmocka_unit_test(a_volume_in_reencryption_is_unlocked),
		cmocka_unit_test(a_library_that_corrupts_is_refused),
		cmocka_unit_test(keyslots_of_others_are_not_lost),
		cmocka_unit_test(a_foreign_reencryption_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
