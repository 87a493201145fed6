#include "node-agent/core/reencrypt.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "node-agent/core/rotate.h"
#include "node-agent/core/unlock.h"
#include "node-agent/core/verify.h"

/*   step      what it does                                           a crash right after leaves
 *   look      asks the KMS, reads the header: where are we?
 *   rotate    the secret first, to n                                 n opens, as after any rotation
 *   prepare   next volume key: fingerprint registered, then an       n opens both keys; the next one is of no
 *             unbound keyslot with the same n                        use yet, or was lost and is made anew
 *   begin     the header says "in re-encryption"                     n opens both keys
 *   run       data, hot zone by hot zone; former keyslots go         n opens both keys, or the next alone
 *   promote   the KMS takes the fingerprint as the active one        done
 */
typedef enum step {
	STEP_LOOK = 0,
	STEP_ROTATE,
	STEP_PREPARE,
	STEP_BEGIN,
	STEP_RUN,
	STEP_PROMOTE,
	STEP_DONE
} step_t;

typedef struct reencryption {
	volume_port_t *port;
	kms_port_t *kms;
	const reencrypt_order_t *order;
	kms_releases_t answer;
	const kms_release_t *volume; /* in answer */
	const kms_secret_t *secret;  /* in answer: n */
	bool rotated;
	kms_reencryption_t registered;
	uint8_t next[FINGERPRINT_LEN];   /* that is registered */
	char mapping[VOLUME_MAPPER_CAP]; /* empty: not mapped */
	/* between two steps of the library */
	uint32_t steps;
	bool ended; /* by order->progress */
} reencryption_t;

static void reencryption_clear(reencryption_t *r)
{
	kms_releases_clear(&r->answer);
}

static kms_err_t load(const reencryption_t *r, volume_t **v, diag_t *why)
{
	return volume_load(r->port, r->order->device, v, why);
}

/* --- look --- */

static kms_err_t ask(reencryption_t *r, diag_t *why)
{
	kms_releases_clear(&r->answer);
	KMS_TRY(kms_release(r->kms, &r->order->volume, 1, &r->answer, why));
	if (r->answer.n != 1)
		return diag_fail(why, KMS_E_NOTFOUND, "the KMS does not know %s", r->order->volume);
	r->volume = &r->answer.list[0];
	return unlock_released(r->volume, why);
}

static kms_err_t find_mapping(reencryption_t *r, diag_t *why)
{
	volume_mapping_t m = {0};
	r->mapping[0] = '\0';
	KMS_TRY(volume_mapping(r->port, r->volume->luks_uuid, NULL, r->order->device, &m, why));
	if (!m.found || !m.same_uuid)
		return KMS_OK;
	if (!m.same_device)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "/dev/mapper/%s has this volume's UUID but stands on another device than %s",
				 m.name, r->order->device);
	memcpy(r->mapping, m.name, sizeof r->mapping);
	return KMS_OK;
}

/* The newest live secret that opens the data, and the fingerprint of their volume key. */
static kms_err_t open_data(reencryption_t *r, volume_t *v, uint8_t fp[FINGERPRINT_LEN], diag_t *why)
{
	for (size_t i = 0; i < r->volume->n_secrets; i++) {
		SCOPED(secret_freep) secret_t *key = NULL;
		kms_err_t e = volume_open(v, r->volume->secrets[i].secret, &key, NULL, why);
		if (e == KMS_E_NOTFOUND)
			continue;
		KMS_TRY(e);
		r->secret = &r->volume->secrets[i];
		return verify_fingerprint(v, key, r->volume, fp, why);
	}
	return diag_fail(why, KMS_E_INTEGRITY,
			 "none of the %zu secrets that the KMS holds for %s opens a keyslot of the device",
			 r->volume->n_secrets, r->volume->volume.name);
}

/* From here on the volume may be that of either fingerprint: as the next answer of the KMS would say. */
static void note_pending(kms_release_t *v, const uint8_t fp[FINGERPRINT_LEN])
{
	size_t i = 0;
	while (i < v->n_fingerprints && v->fingerprints[i].active)
		i++;
	if (i == KMS_FINGERPRINTS_MAX)
		return;
	v->n_fingerprints = i + 1 > v->n_fingerprints ? i + 1 : v->n_fingerprints;
	v->fingerprints[i].active = false;
	memcpy(v->fingerprints[i].value, fp, FINGERPRINT_LEN);
}

static const uint8_t *active_fingerprint(const kms_release_t *v)
{
	for (size_t i = 0; i < v->n_fingerprints; i++)
		if (v->fingerprints[i].active)
			return v->fingerprints[i].value;
	return NULL;
}

static uint32_t active_version(const kms_release_t *v)
{
	for (size_t i = 0; i < v->n_secrets; i++)
		if (v->secrets[i].state == KMS_SECRET_ACTIVE)
			return v->secrets[i].version;
	return 0;
}

static kms_err_t enlist(reencryption_t *r, const uint8_t fp[FINGERPRINT_LEN], diag_t *why)
{
	const kms_reencrypt_order_t order = {.volume = r->order->volume,
					     .maintenance = r->order->maintenance,
					     .fingerprint = fp,
					     .from = active_fingerprint(r->volume),
					     .version = active_version(r->volume)};
	if (order.from == NULL || order.version == 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the KMS's answer names no active secret or no active fingerprint");
	KMS_TRY(kms_reencrypt(r->kms, &order, &r->registered, why));
	note_pending(&r->answer.list[0], fp);
	memcpy(r->next, fp, sizeof r->next);
	return KMS_OK;
}

/* The fingerprint of the next volume key, where secret n opens one. */
static kms_err_t next_fingerprint(const reencryption_t *r, volume_t *v, uint8_t fp[FINGERPRINT_LEN],
				  diag_t *why)
{
	SCOPED(secret_freep) secret_t *next = NULL;
	KMS_TRY(volume_open_next(v, r->secret->secret, &next, NULL, why));
	return fingerprint_make(volume_facts(v), next, fp);
}

/* The header is in re-encryption: between the registered keys, or it is not ours. */
static kms_err_t look_running(reencryption_t *r, volume_t *v, step_t *next, diag_t *why)
{
	uint8_t fp[FINGERPRINT_LEN];
	KMS_TRY(verify_reencrypting(v, r->volume, &r->secret, why));
	KMS_TRY(next_fingerprint(r, v, fp, why));
	KMS_TRY(enlist(r, fp, why));
	*next = STEP_RUN;
	return KMS_OK;
}

static bool any_pending(const kms_release_t *v)
{
	for (size_t i = 0; i < v->n_fingerprints; i++)
		if (!v->fingerprints[i].active)
			return true;
	return false;
}

static kms_err_t look_plain(reencryption_t *r, volume_t *v, step_t *next, diag_t *why)
{
	uint8_t fp[FINGERPRINT_LEN];
	KMS_TRY(verify_uuid(v, r->volume, why));
	KMS_TRY(open_data(r, v, fp, why));
	if (verify_is_pending(r->volume, fp)) { /* all data are under the next key already */
		KMS_TRY(enlist(r, fp, why));
		*next = STEP_PROMOTE;
		return KMS_OK;
	}
	*next = r->rotated || any_pending(r->volume) ? STEP_PREPARE : STEP_ROTATE;
	return KMS_OK;
}

static kms_err_t look(reencryption_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	KMS_TRY(volume_can_reencrypt(r->port, why));
	KMS_TRY(ask(r, why));
	KMS_TRY(find_mapping(r, why));
	KMS_TRY(load(r, &v, why));
	return volume_header(v)->reencrypting ? look_running(r, v, next, why) : look_plain(r, v, next, why);
}

/* --- the secret --- */

static kms_err_t rotate_first(reencryption_t *r, step_t *next, diag_t *why)
{
	/* not for the maintenance event: its task is done when the re-encryption is */
	const rotate_order_t order = {.volume = r->order->volume, .device = r->order->device};
	rotate_done_t done;
	KMS_TRY(rotate_run(r->port, r->kms, &order, &done, why));
	r->rotated = true;
	*next = STEP_LOOK;
	return KMS_OK;
}

/* --- the next volume key --- */

/* Every keyslot of the former volume key ends with it: none may be lost that is not ours to replace. */
static kms_err_t refuse_others(const volume_header_t *h, int ours, diag_t *why)
{
	for (int i = 0; i < (int)VOLUME_SLOTS; i++)
		if (h->used[i] && !h->next[i] && i != ours)
			return diag_fail(why, KMS_E_CONFLICT,
					 "keyslot %d (a recovery or offline key?) would open nothing "
					 "afterwards: remove it "
					 "with cryptsetup luksKillSlot, and add it again when the "
					 "re-encryption is done",
					 i);
	return KMS_OK;
}

/* Keyslots for a next volume key that n does not open: of a run before the last rotation. No data are under
 * it. */
static kms_err_t clear_stale(reencryption_t *r, bool *cleared, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	KMS_TRY(load(r, &v, why));
	const volume_header_t *h = volume_header(v);
	*cleared = true;
	for (int i = 0; i < (int)VOLUME_SLOTS && !h->reencrypting; i++) {
		if (!h->next[i])
			continue;
		*cleared = false;
		return volume_destroy(v, i, why);
	}
	return KMS_OK;
}

static kms_err_t add_next(reencryption_t *r, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *fresh = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	KMS_TRY(crypto_random_secret(VOLUME_KEY_LEN, &fresh));
	KMS_TRY(load(r, &v, why));
	KMS_TRY(fingerprint_make(volume_facts(v), fresh, fp));
	KMS_TRY(enlist(r, fp, why));
	failpoint("reencrypt.registered");
	return volume_add_next(v, fresh, r->secret->secret, why);
}

static kms_err_t clear_all_stale(reencryption_t *r, diag_t *why)
{
	bool cleared = false;
	for (unsigned i = 0; i <= VOLUME_SLOTS && !cleared; i++)
		KMS_TRY(clear_stale(r, &cleared, why));
	return KMS_OK;
}

/* The KMS lets a running one be taken back by the proof that the data are under the active volume key still.
 * It goes first: as long as the next key stands in a keyslot, a run after a crash can prove it again. */
static kms_err_t take_back(reencryption_t *r, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	uint8_t proof[FINGERPRINT_LEN];
	KMS_TRY(load(r, &v, why));
	if (volume_header(v)->reencrypting)
		return diag_fail(why, KMS_E_CONFLICT, "the header is in re-encryption");
	KMS_TRY(open_data(r, v, fp, why));
	KMS_TRY(fingerprint_proof(fp, span_of(r->registered.nonce, sizeof r->registered.nonce), proof));
	KMS_TRY(kms_reencrypt_abort(r->kms, r->order->volume, proof, why));
	return clear_all_stale(r, why);
}

/* Nothing but the unbound keyslot is on the device. */
static kms_err_t give_up(reencryption_t *r, kms_err_t e, const diag_t *reason, diag_t *why)
{
	diag_t ignored;
	kms_err_t undone = take_back(r, &ignored);
	return diag_fail(why, e, "%s%s", reason->text,
			 undone == KMS_OK ? ""
					  : "; what was prepared could not be taken back, a next run does");
}

static kms_err_t prepare_new(reencryption_t *r, step_t *next, diag_t *why)
{
	diag_t reason = {""};
	KMS_TRY(clear_all_stale(r, why));
	kms_err_t e = add_next(r, &reason);
	if (e == KMS_E_FULL)
		return give_up(r, e, &reason, why);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", reason.text);
	*next = STEP_BEGIN;
	return KMS_OK;
}

static kms_err_t prepare(reencryption_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	int slot = -1;
	KMS_TRY(load(r, &v, why));
	KMS_TRY(volume_open(v, r->secret->secret, NULL, &slot, why));
	KMS_TRY(refuse_others(volume_header(v), slot, why));
	kms_err_t e = next_fingerprint(r, v, fp, why);
	if (e == KMS_E_NOTFOUND)
		return prepare_new(r, next, why);
	KMS_TRY(e);
	KMS_TRY(enlist(r, fp, why)); /* an earlier run wrote it */
	*next = STEP_BEGIN;
	return KMS_OK;
}

/* --- the data --- */

/* From here on it is finished, not aborted: the KMS has to know that before the header says so. A
 * registration of an earlier run that came late, or an operator's abort, may have taken the place of this
 * one. */
static kms_err_t say_running(reencryption_t *r, diag_t *why)
{
	kms_err_t e = kms_reencrypt_progress(r->kms, r->order->volume, r->next, 0, 0, why);
	if (e != KMS_E_CONFLICT)
		return e;
	uint8_t fp[FINGERPRINT_LEN];
	memcpy(fp, r->next, sizeof fp);
	KMS_TRY(enlist(r, fp, why));
	return kms_reencrypt_progress(r->kms, r->order->volume, r->next, 0, 0, why);
}

static kms_err_t begin(reencryption_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	diag_t reason = {""};
	int slot = -1;
	int fresh = -1;
	KMS_TRY(load(r, &v, why));
	KMS_TRY(volume_open(v, r->secret->secret, NULL, &slot, why));
	KMS_TRY(volume_open_next(v, r->secret->secret, NULL, &fresh, why));
	KMS_TRY(say_running(r, why));
	const char *mapping = r->mapping[0] != '\0' ? r->mapping : NULL;
	kms_err_t e = volume_reencrypt_begin(v, r->secret->secret, slot, fresh, mapping, &reason);
	if (e == KMS_E_FULL)
		return give_up(r, e, &reason, why);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", reason.text);
	*next = STEP_RUN;
	return KMS_OK;
}

/* A report that gets lost is followed by the next: the work does not wait for it. */
static bool one_step(void *ctx, uint64_t done, uint64_t total)
{
	reencryption_t *r = ctx;
	diag_t ignored;
	if (r->steps++ % r->order->report_steps == 0 &&
	    kms_reencrypt_progress(r->kms, r->order->volume, r->next, done, total, &ignored) != KMS_OK)
		r->steps = 0; /* with the next step again */
	failpoint("reencrypt.step");
	r->ended = !r->order->progress->step(r->order->progress->ctx, done, total);
	return !r->ended;
}

static kms_err_t run_data(reencryption_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(volume_closep) volume_t *after = NULL;
	const volume_progress_t steps = {.step = one_step, .ctx = r};
	const char *mapping = r->mapping[0] != '\0' ? r->mapping : NULL;
	KMS_TRY(load(r, &v, why));
	KMS_TRY(verify_reencrypting(v, r->volume, &r->secret, why));
	KMS_TRY(volume_header(v)->complete ? volume_reencrypt_finish(v, r->secret->secret, why)
					   : volume_reencrypt(v, r->secret->secret, mapping, &steps, why));
	KMS_TRY(load(r, &after, why));
	if (volume_header(after)->reencrypting)
		return diag_fail(why, r->ended ? KMS_E_PENDING : KMS_E_IO,
				 "interrupted; the volume stays usable, and the next run goes on");
	*next = STEP_PROMOTE;
	return KMS_OK;
}

/* From what stands on the device. */
static kms_err_t promote(reencryption_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	uint8_t proof[FINGERPRINT_LEN];
	KMS_TRY(load(r, &v, why));
	KMS_TRY(verify_uuid(v, r->volume, why));
	KMS_TRY(open_data(r, v, fp, why));
	KMS_TRY(fingerprint_proof(fp, span_of(r->registered.nonce, sizeof r->registered.nonce), proof));
	KMS_TRY(kms_reencrypt_promote(r->kms, r->order->volume, proof, why));
	*next = STEP_DONE;
	return KMS_OK;
}

static const struct {
	const char *name;
	const char *failpoint; /* passed when the step is done */
	kms_err_t (*run)(reencryption_t *r, step_t *next, diag_t *why);
} steps[] = {
	[STEP_LOOK] = {"look", "reencrypt.looked", look},
	[STEP_ROTATE] = {"rotate", "reencrypt.rotated", rotate_first},
	[STEP_PREPARE] = {"prepare", "reencrypt.prepared", prepare},
	[STEP_BEGIN] = {"begin", "reencrypt.begun", begin},
	[STEP_RUN] = {"run", "reencrypt.ran", run_data},
	[STEP_PROMOTE] = {"promote", "reencrypt.promoted", promote},
};

kms_err_t reencrypt_run(volume_port_t *p, kms_port_t *k, const reencrypt_order_t *order,
			reencrypt_done_t *out, diag_t *why)
{
	SCOPED(reencryption_clear) reencryption_t r = {.port = p, .kms = k, .order = order};
	step_t at = STEP_LOOK;
	kms_err_t e = KMS_OK;
	while (at != STEP_DONE && e == KMS_OK) {
		diag_t reason = {""};
		step_t now = at;
		e = steps[now].run(&r, &at, &reason);
		if (e == KMS_OK)
			failpoint(steps[now].failpoint);
		else
			(void)diag_fail(why, e, "%s: %s", steps[now].name, reason.text);
	}
	if (e == KMS_OK)
		*out = (reencrypt_done_t){.version = r.secret->version};
	return e;
}
