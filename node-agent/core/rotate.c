#include "node-agent/core/rotate.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "node-agent/core/verify.h"

typedef enum step {
	STEP_STAGE = 0,
	STEP_EXAMINE,
	STEP_ADD,
	STEP_PROVE,
	STEP_PROMOTE,
	STEP_REMOVE,
	STEP_RETIRE,
	STEP_DONE
} step_t;

/* Whether a secret opens a header is an answer, not an error: a device that is gone must not be taken for one
 * that a secret does not open any more. */
typedef struct opened {
	bool yes;
	int slot;
	secret_t *key;
	uint8_t fingerprint[FINGERPRINT_LEN];
} opened_t;

static void opened_clear(opened_t *o)
{
	secret_freep(&o->key);
}

typedef struct rotation {
	volume_port_t *port;
	kms_port_t *kms;
	const rotate_order_t *order;
	kms_rotation_t staged;
	const kms_secret_t *fresh; /* n+1, borrowed from staged */
	const kms_secret_t *old;   /* n */
	bool promoted;             /* by an earlier run */
	uint8_t proof[FINGERPRINT_LEN];
	/* from examine to add: the header that n opened, and the volume key */
	volume_t *examined;
	opened_t opened;
	unsigned fresh_slot, old_slot; /* where the two were last, or will be: tried first */
} rotation_t;

static void rotation_clear(rotation_t *r)
{
	kms_rotation_clear(&r->staged);
	volume_closep(&r->examined);
	opened_clear(&r->opened);
}

static kms_err_t load(const rotation_t *r, volume_t **v, diag_t *why)
{
	return volume_load(r->port, r->order->device, v, why);
}

/* As the registered volume and no other: INTEGRITY when v is not that. */
static kms_err_t open_with(const rotation_t *r, volume_t *v, const kms_secret_t *s, opened_t *out,
			   diag_t *why)
{
	KMS_TRY(verify_uuid(v, &r->staged.volume, why));
	v->first = s == r->fresh ? r->fresh_slot : r->old_slot;
	kms_err_t e = volume_open(v, s->secret, &out->key, &out->slot, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	KMS_TRY(verify_fingerprint(v, out->key, &r->staged.volume, out->fingerprint, why));
	out->yes = true;
	return KMS_OK;
}

/* --- the steps --- */

static const kms_secret_t *secret_in(const kms_release_t *v, kms_secret_state_t state)
{
	for (size_t i = 0; i < v->n_secrets; i++)
		if (v->secrets[i].state == state)
			return &v->secrets[i];
	return NULL;
}

static kms_err_t stage(rotation_t *r, step_t *next, diag_t *why)
{
	const kms_release_t *v = &r->staged.volume;
	KMS_TRY(kms_stage(r->kms, r->order->volume, r->order->maintenance, &r->staged, why));
	const kms_secret_t *previous = secret_in(v, KMS_SECRET_PREVIOUS);
	r->promoted = previous != NULL;
	r->fresh = secret_in(v, r->promoted ? KMS_SECRET_ACTIVE : KMS_SECRET_PENDING);
	r->old = r->promoted ? previous : secret_in(v, KMS_SECRET_ACTIVE);
	if (r->fresh == NULL || r->old == NULL || r->fresh->version != r->staged.version ||
	    r->fresh->version <= r->old->version || secret_equal(r->fresh->secret, r->old->secret))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the KMS's answer names no two secrets to rotate between");
	*next = STEP_EXAMINE;
	return KMS_OK;
}

/* A header with one keyslot of the KMS's, which n opens, has none for n+1. */
static bool is_untouched(const rotation_t *r, const volume_t *v)
{
	unsigned n = 0;
	for (unsigned i = 0; i < VOLUME_SLOTS; i++)
		n += volume_header(v)->ours[i] ? 1 : 0;
	return n == 1 && !r->promoted;
}

/* What the next step writes goes into the first free keyslot, after it has made sure that the header is still
 * this one. */
static void to_add(rotation_t *r, volume_t **v, opened_t *old)
{
	unsigned slot = 0;
	while (slot + 1 < VOLUME_SLOTS && volume_header(*v)->used[slot])
		slot++;
	r->fresh_slot = slot;
	r->old_slot = (unsigned)old->slot;
	r->examined = TAKE(*v);
	r->opened = *old;
	old->key = NULL;
}

/* How far an earlier run came. Also the check of header and fingerprint before anything is changed. */
static kms_err_t examine(rotation_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(opened_clear) opened_t fresh = {.slot = -1};
	SCOPED(opened_clear) opened_t old = {.slot = -1};
	KMS_TRY(load(r, &v, why));
	if (is_untouched(r, v))
		KMS_TRY(open_with(r, v, r->old, &old, why));
	if (!old.yes)
		KMS_TRY(open_with(r, v, r->fresh, &fresh, why));
	if (fresh.yes) {
		r->fresh_slot = (unsigned)fresh.slot;
		*next = r->promoted ? STEP_REMOVE : STEP_PROVE;
		return KMS_OK;
	}
	if (!old.yes)
		KMS_TRY(open_with(r, v, r->old, &old, why));
	if (!old.yes)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "neither secret %u nor secret %u of the KMS opens a keyslot of %s",
				 r->fresh->version, r->old->version, r->order->device);
	/* after a promotion too: then the header is an older copy, and gets the keyslot once more */
	to_add(r, &v, &old);
	*next = STEP_ADD;
	return KMS_OK;
}

/* Nothing was changed on the device; the server is told to forget the pending secret. */
static kms_err_t give_up(rotation_t *r, kms_err_t e, const diag_t *reason, diag_t *why)
{
	diag_t ignored;
	kms_err_t aborted =
		r->promoted ? KMS_OK : kms_abort(r->kms, r->order->volume, r->staged.version, &ignored);
	return diag_fail(why, e, "%s%s", reason->text,
			 aborted == KMS_OK ? ""
					   : "; the pending secret could not be taken back, a next run does");
}

static kms_err_t add(rotation_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = TAKE(r->examined);
	SCOPED(opened_clear) opened_t old = r->opened;
	diag_t reason = {""};
	r->opened.key = NULL;
	kms_err_t e = volume_add(v, old.key, r->fresh->secret, &reason);
	if (e == KMS_E_FULL)
		return give_up(r, e, &reason, why);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", reason.text);
	*next = STEP_PROVE;
	return KMS_OK;
}

/* From what stands on the device, not from what was meant to be written there. */
static kms_err_t prove(rotation_t *r, step_t *next, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(opened_clear) opened_t fresh = {.slot = -1};
	KMS_TRY(load(r, &v, why));
	KMS_TRY(open_with(r, v, r->fresh, &fresh, why));
	if (!fresh.yes)
		return diag_fail(why, KMS_E_INTEGRITY, "the keyslot that was written does not open");
	KMS_TRY(fingerprint_proof(fresh.fingerprint, span_of(r->staged.nonce, sizeof r->staged.nonce),
				  r->proof));
	*next = r->promoted ? STEP_REMOVE : STEP_PROMOTE;
	return KMS_OK;
}

static kms_err_t promote(rotation_t *r, step_t *next, diag_t *why)
{
	KMS_TRY(kms_promote(r->kms, r->order->volume, r->staged.version, r->proof, why));
	*next = STEP_REMOVE;
	return KMS_OK;
}

/* Destroys one keyslot that n opens; *none when there is none (left). That n+1 opens another one is looked up
 * in the same header: n's keyslot may be the only way in. */
static kms_err_t remove_one(rotation_t *r, bool *none, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(opened_clear) opened_t fresh = {.slot = -1};
	SCOPED(opened_clear) opened_t old = {.slot = -1};
	KMS_TRY(load(r, &v, why));
	KMS_TRY(open_with(r, v, r->fresh, &fresh, why));
	if (!fresh.yes)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "secret %u does not open the volume: secret %u is kept", r->fresh->version,
				 r->old->version);
	r->fresh_slot = (unsigned)fresh.slot;
	v->taken = UINT32_C(1) << fresh.slot;
	KMS_TRY(open_with(r, v, r->old, &old, why));
	*none = !old.yes;
	if (!old.yes)
		return KMS_OK;
	return volume_destroy(v, old.slot, why);
}

/* Ends with a header, read anew, that n does not open and n+1 does. */
static kms_err_t remove_old(rotation_t *r, step_t *next, diag_t *why)
{
	bool none = false;
	for (unsigned i = 0; i <= VOLUME_SLOTS && !none; i++)
		KMS_TRY(remove_one(r, &none, why));
	if (!none)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "secret %u still opens the volume after its keyslots were destroyed",
				 r->old->version);
	*next = STEP_RETIRE;
	return KMS_OK;
}

static kms_err_t retire(rotation_t *r, step_t *next, diag_t *why)
{
	KMS_TRY(kms_retire(r->kms, r->order->volume, r->old->version, why));
	*next = STEP_DONE;
	return KMS_OK;
}

static const struct {
	const char *name;
	const char *failpoint; /* passed when the step is done */
	kms_err_t (*run)(rotation_t *r, step_t *next, diag_t *why);
} steps[] = {
	[STEP_STAGE] = {"stage", "rotate.staged", stage},
	[STEP_EXAMINE] = {"examine", "rotate.examined", examine},
	[STEP_ADD] = {"add", "rotate.added", add},
	[STEP_PROVE] = {"prove", "rotate.proved", prove},
	[STEP_PROMOTE] = {"promote", "rotate.promoted", promote},
	[STEP_REMOVE] = {"remove", "rotate.removed", remove_old},
	[STEP_RETIRE] = {"retire", "rotate.retired", retire},
};

kms_err_t rotate_run(volume_port_t *p, kms_port_t *k, const rotate_order_t *order, rotate_done_t *out,
		     diag_t *why)
{
	SCOPED(rotation_clear) rotation_t r = {.port = p, .kms = k, .order = order};
	step_t at = STEP_STAGE;
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
		*out = (rotate_done_t){.version = r.fresh->version, .retired = r.old->version};
	return e;
}
