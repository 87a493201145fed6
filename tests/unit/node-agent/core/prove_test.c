#include "node-agent/core/prove.h"

#include "common/base/scope.h"
#include "node-agent/core/copy.h"
#include "node-agent/core/restore.h"
#include "node-agent/core/rotate.h"
#include "tests/unit/node-agent/core/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* As the node's service does it: a release for a proof, and the proof. */
static kms_err_t prove(sim_t *s, const char *device, diag_t *why)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	const char *const names[] = {SIM_VOLUME};
	KMS_TRY(kms_release_to_prove(&s->kms, names, 1, &answer, why));
	return prove_volume(&s->volumes, &s->kms, &answer.list[0], device, why);
}

static void proven(sim_t *s)
{
	diag_t why = {""};
	if (prove(s, SIM_DEVICE, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void rotate(sim_t *s)
{
	const rotate_order_t order = {.volume = SIM_VOLUME, .device = SIM_DEVICE};
	rotate_done_t done;
	diag_t why = {""};
	if (rotate_run(&s->volumes, &s->kms, &order, &done, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static kms_err_t restore(sim_t *s, bool write, diag_t *why)
{
	const restore_ports_t ports = {&s->volumes, &s->kms, &s->records};
	const restore_order_t order = {.volume = SIM_VOLUME, .device = SIM_DEVICE, .write = write};
	restore_done_t done;
	return restore_run(&ports, &order, &done, why);
}

static void lose_header(sim_t *s)
{
	s->disk.present = false;
	s->disk.junk = 1;
}

/* --- proofs --- */

static void a_proof_and_the_first_copy(void **state)
{
	(void)state;
	sim_t s;
	sim_init_formatted(&s);
	proven(&s);
	assert_int_equal(s.proofs, 1);
	assert_int_equal(s.copies, 1);
	proven(&s); /* nothing has changed: no second copy */
	assert_int_equal(s.proofs, 2);
	assert_int_equal(s.copies, 1);
	rotate(&s);
	proven(&s);
	assert_int_equal(s.copies, 2);
	assert_int_equal(s.copy_of.version, 2);
	s.disk.slots[3].used = s.disk.slots[3].foreign = true; /* somebody adds a recovery key */
	proven(&s);
	assert_int_equal(s.copies, 3);
}

typedef struct spoil {
	const char *reason;
	kms_err_t want;
	void (*how)(sim_t *s);
} spoil_t;

static void another_disk(sim_t *s)
{
	s->disk.uuid[0] = s->disk.uuid[0] == 'f' ? 'e' : 'f';
}
static void another_key(sim_t *s)
{
	s->disk.key[0] ^= 1U;
}
static void another_cipher(sim_t *s)
{
	(void)snprintf(s->disk.cipher, sizeof s->disk.cipher, "cipher_null-ecb");
}
static void no_keyslot(sim_t *s)
{
	s->disk.slots[0].used = false;
}
static void a_pending_secret(sim_t *s)
{
	s->secrets[2] = SIM_PENDING;
}
static void a_new_key_to_come(sim_t *s)
{
	s->reencryption = SIM_REGISTERED;
}
static void a_header_of_its_own_mind(sim_t *s)
{
	s->disk.reencrypting = true;
}
static void denied(sim_t *s)
{
	s->status = KMS_RELEASE_DENIED;
}
static void suspended(sim_t *s)
{
	s->status = KMS_RELEASE_SUSPENDED;
}
static void gone(sim_t *s)
{
	s->vanish_at = 1;
}

static const spoil_t spoils[] = {
	{"another disk", KMS_E_INTEGRITY, another_disk},
	{"another volume key", KMS_E_INTEGRITY, another_key},
	{"a rewritten header", KMS_E_INTEGRITY, another_cipher},
	{"no keyslot opens", KMS_E_INTEGRITY, no_keyslot},
	{"the header is gone", KMS_E_INTEGRITY, lose_header},
	{"a re-encryption that nobody ordered", KMS_E_INTEGRITY, a_header_of_its_own_mind},
	{"in a rotation", KMS_E_CONFLICT, a_pending_secret},
	{"before a re-encryption", KMS_E_CONFLICT, a_new_key_to_come},
	{"denied", KMS_E_DENIED, denied},
	{"suspended", KMS_E_DENIED, suspended},
	{"no such device", KMS_E_NOTFOUND, gone},
};

static void what_is_not_proven(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++) {
		sim_t s;
		diag_t why = {""};
		sim_init_formatted(&s);
		spoils[i].how(&s);
		kms_err_t e = prove(&s, SIM_DEVICE, &why);
		if (e != spoils[i].want || s.proofs != 0 || s.copies != 0 || s.writes != 0)
			fail_msg("%s: %s (%s), %u proofs", spoils[i].reason, kms_err_name(e), why.text,
				 s.proofs);
	}
}

/* --- copies --- */

static void release_of(sim_t *s, kms_releases_t *out)
{
	const char *const names[] = {SIM_VOLUME};
	diag_t why = {""};
	if (kms_release(&s->kms, names, 1, out, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void round_trip(size_t n)
{
	SCOPED(kms_releases_clear) kms_releases_t a = {0};
	SCOPED(buf_free) buf_t image = BUF_INIT;
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	diag_t why = {""};
	sim_t s;
	sim_init_formatted(&s);
	release_of(&s, &a);
	for (size_t i = 0; i < n; i++)
		buf_u8(&image, (uint8_t)(i * 7));
	const kms_secret_t *with = &a.list[0].secrets[0];
	assert_int_equal(copy_seal(&a.list[0], with, s.fingerprint, buf_span(&image), &sealed, &why), KMS_OK);
	assert_int_equal(copy_open(&a.list[0], with, s.fingerprint, buf_span(&sealed), &again, &why), KMS_OK);
	assert_true(span_eq(buf_span(&image), buf_span(&again)));
}

static void copies_of_all_sizes(void **state)
{
	(void)state;
	static const size_t sizes[] = {1, 65535, 65536, 65537, 131072, COPY_IMAGE_MAX};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		round_trip(sizes[i]);
	SCOPED(kms_releases_clear) kms_releases_t a = {0};
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	diag_t why = {""};
	static uint8_t large[COPY_IMAGE_MAX + 1];
	sim_t s;
	sim_init_formatted(&s);
	release_of(&s, &a);
	assert_int_equal(copy_seal(&a.list[0], &a.list[0].secrets[0], s.fingerprint,
				   span_of(large, sizeof large), &sealed, &why),
			 KMS_E_FULL);
}

/* Each byte of it, its end, and each part of whose it is. */
static void a_copy_opens_as_what_it_is(void **state)
{
	(void)state;
	SCOPED(kms_releases_clear) kms_releases_t a = {0};
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	diag_t why = {""};
	uint8_t other[32] = {1};
	sim_t s;
	sim_init_formatted(&s);
	release_of(&s, &a);
	kms_release_t *r = &a.list[0];
	kms_secret_t *with = &r->secrets[0];
	const uint8_t image[] = "a header";
	assert_int_equal(copy_seal(r, with, s.fingerprint, span_of(image, sizeof image), &sealed, &why),
			 KMS_OK);
	for (size_t i = 0; i <= sealed.n; i++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		if (i < sealed.n)
			sealed.p[i] ^= 1U;
		span_t all = span_of(sealed.p, i < sealed.n ? sealed.n : sealed.n - 1);
		if (copy_open(r, with, s.fingerprint, all, &out, &why) != KMS_E_INTEGRITY)
			fail_msg("byte %zu of %zu", i, sealed.n);
		if (i < sealed.n)
			sealed.p[i] ^= 1U;
	}
	for (int what = 0; what < 6; what++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		const kms_release_t keep = *r;
		const uint32_t version = with->version;
		if (what == 0)
			r->volume.customer[0] ^= 1;
		if (what == 1)
			r->volume.name[0] ^= 1;
		if (what == 2)
			r->lineage++;
		if (what == 3)
			r->luks_uuid[0] ^= 1;
		if (what == 4)
			with->version++;
		kms_err_t e =
			copy_open(r, with, what == 5 ? other : s.fingerprint, buf_span(&sealed), &out, &why);
		*r = keep;
		with->version = version;
		if (e != KMS_E_INTEGRITY)
			fail_msg("it opens as another's (%d)", what);
	}
}

/* --- putting one back --- */

static void a_lost_header_comes_back(void **state)
{
	(void)state;
	sim_t s;
	diag_t why = {""};
	sim_init_formatted(&s);
	rotate(&s);
	proven(&s);
	sim_disk_t good = s.disk;
	lose_header(&s);
	assert_int_equal(restore(&s, false, &why), KMS_OK); /* looked at alone */
	assert_false(s.disk.present);
	assert_int_equal(s.writes, 0);
	assert_int_equal(restore(&s, true, &why), KMS_OK);
	assert_memory_equal(&s.disk, &good, sizeof good);
	assert_false(s.header_file); /* no keyslot lies about */
	proven(&s);
}

static void good_header(sim_t *s)
{
	(void)s;
}
static void running(sim_t *s)
{
	lose_header(s);
	s->reencryption = SIM_RUNNING;
}
static void header_in_reencryption(sim_t *s)
{
	s->disk.reencrypting = true;
}
static void half_a_format(sim_t *s)
{
	lose_header(s);
	s->has_record = true;
	s->record = (record_t){.state = RECORD_FORMATTING, .device = SIM_DEVICE};
}
static void no_copy(sim_t *s)
{
	lose_header(s);
	s->copy_n = 0;
}
static void damaged_copy(sim_t *s)
{
	lose_header(s);
	s->copy[s->copy_n - 1] ^= 1U;
}
static void retired_secret(sim_t *s)
{
	lose_header(s);
	s->secrets[1] = SIM_DEACTIVATED;
	s->secrets[2] = SIM_ACTIVE;
}
static void new_volume_key(sim_t *s)
{
	lose_header(s);
	s->fingerprint[0] ^= 1U; /* a re-encryption has ended since the copy was made */
}
static void denied_restore(sim_t *s)
{
	lose_header(s);
	denied(s);
}

static bool same(const sim_disk_t *a, const sim_disk_t *b)
{
	return span_eq(span_of((const uint8_t *)a, sizeof *a), span_of((const uint8_t *)b, sizeof *b));
}

static void what_is_not_restored(void **state)
{
	(void)state;
	static const spoil_t rows[] = {
		{"the header is good", KMS_E_CONFLICT, good_header},
		{"another volume's disk", KMS_E_CONFLICT, another_disk},
		{"a re-encryption is running", KMS_E_CONFLICT, running},
		{"the header is in re-encryption", KMS_E_CONFLICT, header_in_reencryption},
		{"a format is under way", KMS_E_CONFLICT, half_a_format},
		{"there is no copy", KMS_E_NOTFOUND, no_copy},
		{"the copy is damaged", KMS_E_INTEGRITY, damaged_copy},
		{"its secret is retired", KMS_E_CONFLICT, retired_secret},
		{"it is of a former volume key", KMS_E_INTEGRITY, new_volume_key},
		{"denied", KMS_E_DENIED, denied_restore},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		sim_t s;
		diag_t why = {""};
		sim_init_formatted(&s);
		proven(&s);
		rows[i].how(&s);
		sim_disk_t before = s.disk;
		kms_err_t e = restore(&s, true, &why);
		const sim_disk_t *now = &s.disk;
		if (e != rows[i].want || !same(now, &before) || s.header_file)
			fail_msg("%s: %s (%s)", rows[i].reason, kms_err_name(e), why.text);
	}
}

/* Wherever the power goes, the same call puts it right. */
static void power_cuts(void **state)
{
	(void)state;
	unsigned cuts = 0;
	for (unsigned at = 1;; at++) {
		sim_t s;
		diag_t why = {""};
		sim_init_formatted(&s);
		proven(&s);
		sim_disk_t good = s.disk;
		lose_header(&s);
		sim_cut(&s, at / 2 + 1, at % 2 == 1);
		kms_err_t e = restore(&s, true, &why);
		bool cut = s.dead;
		sim_power_on(&s);
		if (!cut && e == KMS_OK)
			break;
		cuts++;
		if (!s.disk.present && restore(&s, true, &why) != KMS_OK)
			fail_msg("after a cut at %u: %s", at, why.text);
		assert_memory_equal(&s.disk, &good, sizeof good);
	}
	assert_true(cuts > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_proof_and_the_first_copy),
		cmocka_unit_test(what_is_not_proven),
		cmocka_unit_test(copies_of_all_sizes),
		cmocka_unit_test(a_copy_opens_as_what_it_is),
		cmocka_unit_test(a_lost_header_comes_back),
		cmocka_unit_test(what_is_not_restored),
		cmocka_unit_test(power_cuts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
