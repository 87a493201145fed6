/* Re-encryption of real LUKS2 files by the adapter: what the user reads stays, to the byte. */
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "node-agent/luks/luks_port.h"
#include "tests/unit/node-agent/luks/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SIZE  (32U << 20) /* two hot zones of data */
#define STEPS 4U          /* that are told of: where it begins, twice, and each hot zone */

static void filled(disk_t *d)
{
	uint8_t chunk[4096];
	disk_new(d);
	assert_int_equal(truncate(d->device, SIZE), 0);
	diag_t why;
	assert_int_equal(volume_build(d->port, d->header, d->device, NULL, d->secret, &why), KMS_OK);
	assert_int_equal(volume_write(d->port, d->header, d->device, &why), KMS_OK);
	for (uint64_t at = 16U << 20; at < SIZE; at += 7 * sizeof chunk) {
		memset(chunk, (int)(at >> 12) & 0xff, sizeof chunk);
		disk_write(d->device, chunk, sizeof chunk, at);
	}
}

static secret_t *key_of(const disk_t *d)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	secret_t *key = NULL;
	diag_t why = {""};
	if (volume_open(v, d->secret, &key, NULL, &why) != KMS_OK)
		fail_msg("%s", why.text);
	return key;
}

static void prepare(const disk_t *d)
{
	SCOPED(secret_freep) secret_t *fresh = NULL;
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	diag_t why = {""};
	int slot = -1, next = -1;
	assert_int_equal(crypto_random_secret(VOLUME_KEY_LEN, &fresh), KMS_OK);
	if (volume_add_next(v, fresh, d->secret, &why) != KMS_OK)
		fail_msg("%s", why.text);
	/* the volume is what it was: an unbound keyslot is of no data */
	SCOPED(volume_closep) volume_t *unbound = disk_load(d);
	assert_false(volume_header(unbound)->reencrypting);
	assert_int_equal(volume_open(unbound, d->secret, NULL, &slot, &why), KMS_OK);
	assert_int_equal(volume_open_next(unbound, d->secret, NULL, &next, &why), KMS_OK);
	assert_int_not_equal(slot, next);
	if (volume_reencrypt_begin(unbound, d->secret, slot, next, NULL, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

typedef struct counter {
	unsigned left, seen;
	bool die;
} counter_t;

static bool count(void *ctx, uint64_t done, uint64_t total)
{
	counter_t *c = ctx;
	assert_int_equal(total, SIZE - (16U << 20));
	assert_true(done <= total);
	c->seen++;
	if (c->left == 0 || --c->left > 0)
		return true;
	if (c->die)
		_exit(9);
	return false;
}

static void run(const disk_t *d, counter_t *c)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	const volume_progress_t p = {.step = count, .ctx = c};
	diag_t why = {""};
	if (volume_reencrypt(v, d->secret, NULL, &p, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

static void assert_finished(const disk_t *d, const secret_t *old, const uint8_t plain[32])
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	SCOPED(secret_freep) secret_t *key = key_of(d);
	uint8_t now[32];
	unsigned used = 0;
	const volume_header_t *h = volume_header(v);
	assert_false(h->reencrypting);
	for (unsigned i = 0; i < VOLUME_SLOTS; i++)
		used += h->used[i] ? 1 : 0;
	assert_int_equal(used, 1);
	assert_memory_not_equal(secret_span(key).p, secret_span(old).p, VOLUME_KEY_LEN);
	disk_plain_sha256(d, key, now);
	assert_memory_equal(now, plain, sizeof now);
}

static void in_one_run(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t plain[32];
	counter_t c = {0};
	filled(&d);
	SCOPED(secret_freep) secret_t *old = key_of(&d);
	disk_plain_sha256(&d, old, plain);
	prepare(&d);
	run(&d, &c);
	assert_int_equal(c.seen, STEPS);
	assert_finished(&d, old, plain);
}

static void stopped_and_resumed(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	uint8_t plain[32];
	counter_t c = {.left = 2};
	filled(&d);
	SCOPED(secret_freep) secret_t *old = key_of(&d);
	disk_plain_sha256(&d, old, plain);
	prepare(&d);
	run(&d, &c);
	{
		SCOPED(volume_closep) volume_t *v = disk_load(&d);
		assert_true(volume_header(v)->reencrypting);
	}
	c = (counter_t){0};
	run(&d, &c);
	assert_finished(&d, old, plain);
}

/* The process is gone after so many steps, without the library's own tidying up. */
static void die_after(const disk_t *d, unsigned steps)
{
	counter_t c = {.left = steps, .die = true};
	int status = 0;
	pid_t child = fork();
	if (child == 0) {
		disk_t own = *d;
		own.secret = disk_secret(1); /* secrets are wiped in a child */
		run(&own, &c);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 9);
}

static void finish_or_go_on(const disk_t *d)
{
	SCOPED(volume_closep) volume_t *v = disk_load(d);
	counter_t c = {0};
	diag_t why = {""};
	assert_true(volume_header(v)->reencrypting);
	if (!volume_header(v)->complete)
		run(d, &c);
	else if (volume_reencrypt_finish(v, d->secret, &why) != KMS_OK)
		fail_msg("%s", why.text);
}

/* After each step, the last one included: from there libcryptsetup by itself would destroy the data. The
 * second time around the keyslots' areas have changed places. */
static void killed_and_resumed(void **state)
{
	(void)state;
	for (unsigned steps = 1; steps <= STEPS; steps++) {
		SCOPED(disk_free) disk_t d;
		uint8_t plain[32];
		filled(&d);
		for (int round = 0; round < 2; round++) {
			SCOPED(secret_freep) secret_t *old = key_of(&d);
			disk_plain_sha256(&d, old, plain);
			prepare(&d);
			die_after(&d, steps);
			finish_or_go_on(&d);
			assert_finished(&d, old, plain);
		}
	}
}

static void a_complete_one_is_not_gone_on_with(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	counter_t c = {0};
	const volume_progress_t p = {.step = count, .ctx = &c};
	diag_t why = {""};
	filled(&d);
	prepare(&d);
	die_after(&d, STEPS);
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	assert_true(volume_header(v)->complete);
	assert_int_equal(volume_reencrypt(v, d.secret, NULL, &p, &why), KMS_E_CONFLICT);
	assert_int_equal(c.seen, 0);
}

/* The header has room for some keyslots and not for a re-encryption beside them: refused, and as it was. */
static void without_room_it_is_refused(void **state)
{
	(void)state;
	SCOPED(disk_free) disk_t d;
	diag_t why = {""};
	kms_err_t e = KMS_OK;
	filled(&d);
	SCOPED(secret_freep) secret_t *key = key_of(&d);
	for (unsigned i = 2; e == KMS_OK && i <= VOLUME_SLOTS; i++) {
		SCOPED(volume_closep) volume_t *v = disk_load(&d);
		SCOPED(secret_freep) secret_t *s = disk_secret(i);
		e = volume_add(v, key, s, &why);
	}
	SCOPED(volume_closep) volume_t *v = disk_load(&d);
	SCOPED(secret_freep) secret_t *fresh = NULL;
	assert_int_equal(crypto_random_secret(VOLUME_KEY_LEN, &fresh), KMS_OK);
	assert_int_equal(volume_add_next(v, fresh, d.secret, &why), KMS_E_FULL);
	assert_non_null(strstr(why.text, "no free keyslot"));
}

static void versions_that_corrupt(void **state)
{
	(void)state;
	static const struct {
		unsigned v[3];
		bool corrupts;
	} rows[] = {{{2, 6, 1}, false}, {{2, 7, 0}, true},  {{2, 7, 4}, true},
		    {{2, 7, 5}, false}, {{2, 8, 0}, false}, {{3, 7, 0}, false}};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(luks_version_corrupts(rows[i].v), rows[i].corrupts);
	SCOPED(disk_free) disk_t d;
	diag_t why = {""};
	disk_new(&d);
	assert_int_equal(volume_can_reencrypt(d.port, &why), KMS_OK); /* Debian 12's is 2.6.1 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_one_run),
		cmocka_unit_test(stopped_and_resumed),
		cmocka_unit_test(killed_and_resumed),
		cmocka_unit_test(a_complete_one_is_not_gone_on_with),
		cmocka_unit_test(without_room_it_is_refused),
		cmocka_unit_test(versions_that_corrupt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
