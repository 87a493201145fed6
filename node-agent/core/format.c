#include "node-agent/core/format.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "node-agent/core/unlock.h"
#include "node-agent/core/verify.h"

typedef struct format {
	const format_ports_t *ports;
	const format_order_t *order;
	kms_volume_t server;
	device_facts_t device;
	record_t record;
	bool recorded;
	char *header; /* path of the private file; owned */
	bool header_exists;
} format_t;

static void format_clear(format_t *f)
{
	freep(&f->header);
}

static bool begun_here(const format_t *f)
{
	return f->recorded && f->record.state == RECORD_FORMATTING &&
	       strcmp(f->record.device, f->order->device) == 0;
}

/* What there is: on the device, in our records, at the server. Changes nothing. */
static kms_err_t look(format_t *f, diag_t *why)
{
	const char *name = f->order->volume;
	KMS_TRY(volume_probe(f->ports->volumes, f->order->device, &f->device, why));
	kms_err_t e = records_get(f->ports->records, name, &f->record, why);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	f->recorded = e == KMS_OK;
	KMS_TRY(records_header_path(f->ports->records, name, &f->header, &f->header_exists, why));
	e = kms_get(f->ports->kms, name, &f->server, why);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static bool committed(const format_t *f)
{
	return f->server.luks_uuid[0] != '\0' && f->server.state != KMS_VOLUME_PRE_ACTIVE;
}

/* One volume's entry of a release. */
static kms_err_t release(format_t *f, kms_releases_t *out, diag_t *why)
{
	const char *const names[] = {f->order->volume};
	KMS_TRY(kms_release(f->ports->kms, names, 1, out, why));
	if (out->n != 1 || strcmp(out->list[0].volume.name, names[0]) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the KMS answered for another volume than %s",
				 names[0]);
	const kms_release_t *r = &out->list[0];
	if (r->status == KMS_RELEASE_PENDING)
		return unlock_released(r, why);
	if (r->status != KMS_RELEASED)
		return diag_fail(why, KMS_E_DENIED, "the KMS does not release the secret of %s to this node",
				 names[0]);
	if (r->n_secrets == 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the KMS released %s without a secret", names[0]);
	return KMS_OK;
}

/* --- a new format --- */

/* A device that holds something is overwritten only on a person's word, given for this very content: now by
 * force, or to an earlier run that recorded what it found then. */
static kms_err_t may_overwrite(const format_t *f, diag_t *why)
{
	if (!f->device.holds || f->order->force)
		return KMS_OK;
	if (begun_here(f) && memcmp(f->record.was, f->device.digest, sizeof f->record.was) == 0)
		return KMS_OK;
	return diag_fail(why, KMS_E_CONFLICT,
			 "%s holds something: %s; nothing was written. To destroy it: --force --confirm %s",
			 f->order->device, f->device.what, f->order->volume);
}

static kms_err_t note_begin(format_t *f, diag_t *why)
{
	record_t r = {.state = RECORD_FORMATTING};
	(void)snprintf(r.device, sizeof r.device, "%s", f->order->device);
	memcpy(r.was, f->device.digest, sizeof r.was);
	KMS_TRY(records_put(f->ports->records, f->order->volume, &r, why));
	f->record = r;
	f->recorded = true;
	return KMS_OK;
}

/* The volume at the server becomes pre-active, in a new lineage when it was committed before. */
static kms_err_t register_volume(format_t *f, diag_t *why)
{
	const char *name = f->order->volume;
	if (f->server.state == 0)
		KMS_TRY(kms_put(f->ports->kms, name, &f->server, why));
	else if (committed(f))
		KMS_TRY(kms_reformat(f->ports->kms, name, &f->server, why));
	if (f->server.state != KMS_VOLUME_PRE_ACTIVE)
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s is suspended or destroyed at the KMS: an operator has to look", name);
	return KMS_OK;
}

static kms_err_t header_fingerprint(format_t *f, const kms_secret_t *s, char uuid[VOLUME_UUID_CAP],
				    uint8_t fp[FINGERPRINT_LEN], diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(volume_load(f->ports->volumes, f->header, &v, why));
	KMS_TRY(volume_open(v, s->secret, &key, NULL, why));
	KMS_TRY(fingerprint_make(volume_facts(v), key, fp));
	memcpy(uuid, volume_facts(v)->uuid, VOLUME_UUID_CAP);
	return KMS_OK;
}

/* Always a new header: one that an interrupted run built before its :commit belongs to nothing. */
static kms_err_t build_and_commit(format_t *f, diag_t *why)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	uint8_t fp[FINGERPRINT_LEN];
	char uuid[VOLUME_UUID_CAP];
	const char *name = f->order->volume;
	KMS_TRY(release(f, &answer, why));
	const kms_release_t *r = &answer.list[0];
	char label[PATH3_CAP];
	path3_format(&r->volume, label);
	KMS_TRY(volume_build(f->ports->volumes, f->header, f->order->device, label, r->secrets[0].secret,
			     why));
	f->header_exists = true;
	KMS_TRY(header_fingerprint(f, &r->secrets[0], uuid, fp, why));
	failpoint("format.built");
	KMS_TRY(kms_commit(f->ports->kms, name, uuid, fp, r->lineage, why));
	failpoint("format.committed");
	memcpy(f->server.luks_uuid, uuid, sizeof uuid);
	f->server.state = KMS_VOLUME_ACTIVE;
	return KMS_OK;
}

/* --- after :commit --- */

/* That what stands at `path` opens as the registered volume with a secret that is live now. */
static kms_err_t check_opens(format_t *f, const char *path, diag_t *why)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(release(f, &answer, why));
	KMS_TRY(volume_load(f->ports->volumes, path, &v, why));
	return verify_open(v, &answer.list[0], &key, why);
}

static kms_err_t finish(format_t *f, format_result_t result, format_done_t *out, diag_t *why)
{
	record_t ready = {.state = RECORD_READY};
	(void)snprintf(ready.device, sizeof ready.device, "%s", f->order->device);
	memcpy(ready.uuid, f->server.luks_uuid, sizeof ready.uuid);
	KMS_TRY(records_put(f->ports->records, f->order->volume, &ready, why));
	KMS_TRY(records_header_remove(f->ports->records, f->order->volume, why));
	out->result = result;
	out->lineage = f->server.lineage;
	memcpy(out->uuid, f->server.luks_uuid, sizeof out->uuid);
	return KMS_OK;
}

static kms_err_t write_device(format_t *f, format_result_t result, format_done_t *out, diag_t *why)
{
	KMS_TRY(volume_write(f->ports->volumes, f->header, f->order->device, why));
	failpoint("format.written");
	KMS_TRY(check_opens(f, f->order->device, why));
	return finish(f, result, out, why);
}

/* Whether the private file is the header that was committed and may still be written. Not when its keyslot's
 * secret has been retired since: then the volume was written and rotated, and the old header over it would
 * lose it. */
static kms_err_t header_is_live(format_t *f, bool *yes, diag_t *why)
{
	diag_t reason = {""};
	*yes = false;
	if (!f->header_exists)
		return KMS_OK;
	kms_err_t e = check_opens(f, f->header, &reason);
	*yes = e == KMS_OK;
	return e == KMS_OK || e == KMS_E_INTEGRITY ? KMS_OK : diag_fail(why, e, "%s", reason.text);
}

/* The path of a device may name another disk after a reboot: go on only where the run that was interrupted
 * was. */
static kms_err_t same_device_as_begun(const format_t *f, diag_t *why)
{
	bool begun = false;
	if (!begun_here(f))
		return diag_fail(why, KMS_E_CONFLICT,
				 "the format of %s was begun on %s: give that device to complete it, or "
				 "begin anew with "
				 "--force --confirm %s",
				 f->order->volume, f->recorded ? f->record.device : "an unknown device",
				 f->order->volume);
	if (memcmp(f->record.was, f->device.digest, sizeof f->record.was) == 0)
		return KMS_OK;
	KMS_TRY(volume_begun(f->ports->volumes, f->header, f->order->device, &begun, why));
	if (!begun)
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s is not what it was when its format began (now: %s); nothing was written",
				 f->order->device, f->device.holds ? f->device.what : "empty");
	return KMS_OK;
}

/* An interrupted run's header goes to the device where it was begun. `handled` stays false when there is
 * none, or a person wants the volume on another device. */
static kms_err_t complete(format_t *f, format_done_t *out, bool *handled, diag_t *why)
{
	bool live = false;
	if (f->recorded && f->record.state == RECORD_READY)
		return KMS_OK;
	KMS_TRY(header_is_live(f, &live, why));
	if (!live || (f->order->force && !begun_here(f)))
		return KMS_OK;
	KMS_TRY(same_device_as_begun(f, why));
	*handled = true;
	return write_device(f, FORMAT_COMPLETED, out, why);
}

/* Formatted, and asked for again: fine when it is this device. */
static kms_err_t already(format_t *f, format_done_t *out, diag_t *why)
{
	diag_t reason = {"it is empty"};
	kms_err_t e = f->device.holds ? check_opens(f, f->order->device, &reason) : KMS_E_INTEGRITY;
	if (e == KMS_OK)
		return finish(f, FORMAT_ALREADY, out, why);
	if (e != KMS_E_INTEGRITY)
		return diag_fail(why, e, "%s", reason.text);
	return diag_fail(why, KMS_E_CONFLICT,
			 "%s was formatted before (LUKS UUID %s), and %s is not it: %s. To give the volume "
			 "up and begin "
			 "a new one: --force --confirm %s",
			 f->order->volume, f->server.luks_uuid, f->order->device, reason.text,
			 f->order->volume);
}

kms_err_t format_run(const format_ports_t *ports, const format_order_t *order, format_done_t *out,
		     diag_t *why)
{
	SCOPED(format_clear) format_t f = {.ports = ports, .order = order};
	KMS_TRY(look(&f, why));
	if (committed(&f)) {
		bool handled = false;
		KMS_TRY(complete(&f, out, &handled, why));
		if (handled)
			return KMS_OK;
		if (!order->force)
			return already(&f, out, why);
	}
	KMS_TRY(may_overwrite(&f, why));
	KMS_TRY(note_begin(&f, why));
	KMS_TRY(register_volume(&f, why));
	KMS_TRY(build_and_commit(&f, why));
	return write_device(&f, FORMAT_DONE, out, why);
}
