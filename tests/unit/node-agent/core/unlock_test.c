#include "node-agent/core/unlock.h"

#include "tests/unit/node-agent/core/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static kms_err_t unlock(sim_t *s, bool test_open, unlock_done_t *done, diag_t *why)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	const char *const names[] = {SIM_VOLUME};
	const unlock_order_t order = {.device = SIM_DEVICE, .mapper = "data", .test_open = test_open};
	why->text[0] = '\0';
	KMS_TRY(kms_release(&s->kms, names, 1, &answer, why));
	KMS_TRY(unlock_released(&answer.list[0], why));
	return unlock_volume(&s->volumes, &answer.list[0], &order, done, why);
}

/* Each refusal is another thing to do for whoever reads it. */
static void refusals_say_why(void **state)
{
	(void)state;
	static const struct {
		kms_release_status_t status;
		const char *reason, *grant;
		kms_err_t e;
		const char *says;
	} rows[] = {
		{KMS_RELEASE_PENDING, "waits for the approval of 1 of role:admin", "g-1", KMS_E_PENDING,
		 "waits for the approval of 1 of role:admin"},
		{KMS_RELEASE_PENDING, "", "", KMS_E_PENDING, "waits for approval"},
		{KMS_RELEASE_DENIED, "approval-denied", "g-1", KMS_E_DENIED, "kmsctl grant show g-1"},
		{KMS_RELEASE_DENIED, "approval-denied", "", KMS_E_DENIED, "denied by a person"},
		{KMS_RELEASE_DENIED, "nobody-can-approve", "", KMS_E_DENIED, "too few active people"},
		{KMS_RELEASE_DENIED, "too-many-grants", "", KMS_E_DENIED, "too many wait"},
		{KMS_RELEASE_DENIED, "integrity", "", KMS_E_DENIED, "failed its integrity check"},
		{KMS_RELEASE_DENIED, "of-a-newer-server", "", KMS_E_DENIED, "denied by the KMS"},
		{KMS_RELEASE_DENIED, "", "", KMS_E_DENIED, "denied by the KMS"},
		{KMS_RELEASE_SUSPENDED, "", "", KMS_E_DENIED, "has to resume it"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		kms_release_t r = {.status = rows[i].status};
		diag_t why = {""};
		(void)snprintf(r.reason, sizeof r.reason, "%s", rows[i].reason);
		(void)snprintf(r.grant, sizeof r.grant, "%s", rows[i].grant);
		assert_int_equal(unlock_released(&r, &why), rows[i].e);
		if (strstr(why.text, rows[i].says) == NULL)
			fail_msg("%s: \"%s\"", rows[i].reason, why.text);
	}
}

static void one_keyslot_opening_and_a_mapping(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	unlock_done_t done = {.mapping = ""};
	sim_init_formatted(&s);
	assert_int_equal(unlock(&s, false, &done, &why), KMS_OK);
	assert_int_equal(done.result, UNLOCK_MAPPED);
	assert_int_equal(s.volumes.openings, 1);
	assert_true(s.mapped);
	assert_int_equal(unlock(&s, false, &done, &why), KMS_OK);
	assert_int_equal(done.result, UNLOCK_ALREADY);
	assert_string_equal(done.mapping, "data");
	assert_int_equal(s.volumes.openings, 1);
}

static void test_open_maps_nothing(void **state)
{
	(void)state;
	sim_t s;
	diag_t why;
	unlock_done_t done = {.mapping = ""};
	sim_init_formatted(&s);
	assert_int_equal(unlock(&s, true, &done, &why), KMS_OK);
	assert_int_equal(done.result, UNLOCK_OPENS);
	assert_false(s.mapped);
}

/* At every step of a rotation one of the two secrets opens. */
static void any_live_secret_will_do(void **state)
{
	(void)state;
	static const struct {
		sim_secret_state_t one, two;
		uint32_t in_slot;
	} rows[] = {
		{SIM_ACTIVE, SIM_PENDING, 1},
		{SIM_ACTIVE, SIM_PENDING, 2},
		{SIM_PREVIOUS, SIM_ACTIVE, 1},
		{SIM_PREVIOUS, SIM_ACTIVE, 2},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		sim_t s;
		diag_t why;
		unlock_done_t done = {.mapping = ""};
		sim_init_formatted(&s);
		s.secrets[1] = rows[i].one;
		s.secrets[2] = rows[i].two;
		sim_secret(rows[i].in_slot, s.disk.slots[0].secret);
		assert_int_equal(unlock(&s, false, &done, &why), KMS_OK);
		/* newest first */
		assert_int_equal(s.volumes.openings, rows[i].in_slot == 2 ? 1 : 2);
	}
}

static void set_up(sim_t *s, size_t i)
{
	sim_init_formatted(s);
	switch (i) {
	case 0:
		s->disk.uuid[0] = 'f';
		return;
	case 1:
		s->disk.key[63] ^= 0x80;
		return;
	case 2:
		(void)snprintf(s->disk.cipher, sizeof s->disk.cipher, "cipher_null-ecb");
		return;
	case 3:
		s->disk.slots[0].secret[31] ^= 1;
		return;
	case 4:
		s->has_fingerprint = false;
		return;
	case 5:
		s->fingerprint[0] ^= 1;
		return;
	case 6:
		s->status = KMS_RELEASE_DENIED;
		return;
	case 7:
		s->status = KMS_RELEASE_SUSPENDED;
		return;
	case 8:
		s->status = KMS_RELEASE_PENDING;
		return;
	case 9:
		s->secrets[1] = SIM_DESTROYED;
		return;
	case 10:
		s->state = KMS_VOLUME_PRE_ACTIVE;
		s->uuid[0] = '\0';
		return;
	case 11:
		s->mapped = true;
		(void)snprintf(s->mapped_as, sizeof s->mapped_as, "data");
		return;
	case 12:
		s->no_mapper = true;
		return;
	case 13:
		s->mapped = true;
		s->mapped_elsewhere = true;
		memcpy(s->mapped_uuid, s->uuid, sizeof s->mapped_uuid);
		return;
	default: /* the rows below */
		fail();
	}
}

static void refusals_map_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *message;
		kms_err_t e;
	} rows[] = {
		{"wrong device", KMS_E_INTEGRITY},
		{"fingerprint mismatch", KMS_E_INTEGRITY},
		{"fingerprint mismatch", KMS_E_INTEGRITY},
		{"none of the 1 secrets", KMS_E_INTEGRITY},
		{"no active fingerprint", KMS_E_INTEGRITY},
		{"fingerprint mismatch", KMS_E_INTEGRITY},
		{"denied by the KMS", KMS_E_DENIED},
		{"suspended", KMS_E_DENIED},
		{"approval", KMS_E_PENDING},
		{"without a secret", KMS_E_INTEGRITY},
		{"not formatted yet", KMS_E_CONFLICT},
		{"is not this volume", KMS_E_CONFLICT},
		{"no device-mapper", KMS_E_IO},
		{"stands on another device", KMS_E_INTEGRITY},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		sim_t s;
		diag_t why;
		unlock_done_t done = {.mapping = ""};
		set_up(&s, i);
		bool mapped_before = s.mapped;
		assert_int_equal(unlock(&s, false, &done, &why), rows[i].e);
		if (strstr(why.text, rows[i].message) == NULL)
			fail_msg("row %zu: %s", i, why.text);
		assert_int_equal(s.mapped, mapped_before);
		if (i == 0)
			assert_int_equal(s.volumes.openings,
					 0); /* a secret has nothing to do with that header */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals_say_why),       cmocka_unit_test(one_keyslot_opening_and_a_mapping),
		cmocka_unit_test(test_open_maps_nothing), cmocka_unit_test(any_live_secret_will_do),
		cmocka_unit_test(refusals_map_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
