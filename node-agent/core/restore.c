#include "node-agent/core/restore.h"

#include "common/base/failpoint.h"
#include "common/base/scope.h"
#include "node-agent/core/copy.h"
#include "node-agent/core/unlock.h"
#include "node-agent/core/verify.h"

typedef struct restore {
	const restore_ports_t *ports;
	const restore_order_t *order;
	kms_releases_t answer;
	const kms_release_t *release; /* borrowed from answer */
	kms_header_copy_t copy;
	const kms_secret_t *with; /* borrowed from answer */
	buf_t image;
	char *file; /* owned */
} restore_t;

static void restore_clear(restore_t *r)
{
	kms_releases_clear(&r->answer);
	kms_header_copy_clear(&r->copy);
	buf_free(&r->image);
	freep(&r->file);
}

/* --- what the KMS says --- */

/* A header of before a re-encryption, put back during it or after it, turns the data that are under the new
 * key by then into noise. */
static kms_err_t ask_state(restore_t *r, diag_t *why)
{
	kms_volume_t v = {.lineage = 0};
	KMS_TRY(kms_get(r->ports->kms, r->order->volume, &v, why));
	if (v.reencrypting)
		return diag_fail(
			why, KMS_E_CONFLICT,
			"%s is being re-encrypted: no copy of its header fits the data any more, and "
			"putting one back would destroy them",
			r->order->volume);
	return KMS_OK;
}

static kms_err_t ask_secrets(restore_t *r, diag_t *why)
{
	const char *const names[] = {r->order->volume};
	KMS_TRY(kms_release(r->ports->kms, names, 1, &r->answer, why));
	if (r->answer.n != 1 || strcmp(r->answer.list[0].volume.name, names[0]) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the KMS answered for another volume than %s",
				 names[0]);
	r->release = &r->answer.list[0];
	return unlock_released(r->release, why);
}

static kms_err_t ask_copy(restore_t *r, diag_t *why)
{
	diag_t reason = {""};
	kms_err_t e =
		kms_header_get(r->ports->kms, r->order->volume, r->order->generation, &r->copy, &reason);
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, e, "the KMS keeps no such copy of the header of %s: %s",
				 r->order->volume, reason.text);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s", reason.text);
	for (size_t i = 0; i < r->release->n_secrets; i++)
		if (r->release->secrets[i].version == r->copy.of.version)
			r->with = &r->release->secrets[i];
	if (r->with == NULL)
		return diag_fail(why, KMS_E_CONFLICT,
				 "generation %u of the header of %s opens with secret %u, which is not live "
				 "any more",
				 r->copy.generation, r->order->volume, r->copy.of.version);
	return copy_open(r->release, r->with, r->copy.of.fingerprint, buf_span(&r->copy.sealed), &r->image,
			 why);
}

/* --- what stands on the device --- */

/* CONFLICT when it needs no restoring, or must not have any. */
static kms_err_t look_at_header(restore_t *r, volume_t *v, diag_t *found, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	if (strcmp(volume_facts(v)->uuid, r->release->luks_uuid) != 0)
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s holds another LUKS volume (%s): is it the right device? To give that "
				 "volume up, wipe its header first (wipefs)",
				 r->order->device, volume_facts(v)->uuid);
	if (volume_header(v)->reencrypting)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the header on %s says that it is being re-encrypted: it is left as it is",
				 r->order->device);
	kms_err_t e = verify_open(v, r->release, &key, found);
	if (e == KMS_OK)
		return diag_fail(why, KMS_E_CONFLICT,
				 "the header on %s is good: a secret of the KMS opens it; nothing to restore",
				 r->order->device);
	return e == KMS_E_INTEGRITY ? KMS_OK : diag_fail(why, e, "%s", found->text);
}

static kms_err_t look_at_device(restore_t *r, restore_done_t *out, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	device_facts_t facts = {.block = false};
	diag_t found = {""};
	KMS_TRY(volume_probe(r->ports->volumes, r->order->device, &facts, why));
	kms_err_t e = volume_load(r->ports->volumes, r->order->device, &v, &found);
	if (e == KMS_OK)
		KMS_TRY(look_at_header(r, v, &found, why));
	else if (e != KMS_E_INTEGRITY)
		return diag_fail(why, e, "%s", found.text);
	(void)snprintf(out->found, sizeof out->found, "%.190s", found.text);
	return KMS_OK;
}

static kms_err_t no_format_under_way(restore_t *r, diag_t *why)
{
	record_t record;
	kms_err_t e = records_get(r->ports->records, r->order->volume, &record, why);
	if (e == KMS_OK && record.state == RECORD_FORMATTING)
		return diag_fail(why, KMS_E_CONFLICT,
				 "a format of %s was begun and not completed: node-agent format completes it",
				 r->order->volume);
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* --- the copy, in a private file --- */

static kms_err_t check_opens(restore_t *r, const char *path, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(volume_load(r->ports->volumes, path, &v, why));
	if (volume_header(v)->reencrypting)
		return diag_fail(why, KMS_E_INTEGRITY, "the copy is of a header in re-encryption");
	return verify_open(v, r->release, &key, why);
}

static kms_err_t write_it(restore_t *r, diag_t *why)
{
	bool exists = false;
	diag_t reason = {""};
	KMS_TRY(records_header_path(r->ports->records, r->order->volume, &r->file, &exists, why));
	KMS_TRY(volume_image_file(r->ports->volumes, buf_span(&r->image), r->file, why));
	kms_err_t e = check_opens(r, r->file, &reason);
	if (e != KMS_OK)
		return diag_fail(why, e, "the copy of the header is not good: %s", reason.text);
	failpoint("restore.checked");
	if (!r->order->write)
		return KMS_OK;
	KMS_TRY(volume_put_back(r->ports->volumes, buf_span(&r->image), r->file, r->order->device, why));
	failpoint("restore.written");
	return check_opens(r, r->order->device, why);
}

kms_err_t restore_run(const restore_ports_t *ports, const restore_order_t *order, restore_done_t *out,
		      diag_t *why)
{
	SCOPED(restore_clear) restore_t r = {.ports = ports, .order = order};
	diag_t ignored = {""};
	*out = (restore_done_t){.generation = 0};
	KMS_TRY(no_format_under_way(&r, why));
	KMS_TRY(ask_state(&r, why));
	KMS_TRY(ask_secrets(&r, why));
	KMS_TRY(look_at_device(&r, out, why));
	KMS_TRY(ask_copy(&r, why));
	kms_err_t e = write_it(&r, why);
	/* in every case: a keyslot that lies about outlives the secret's rotation */
	kms_err_t removed =
		records_header_remove(ports->records, order->volume, e == KMS_OK ? why : &ignored);
	KMS_TRY(e);
	KMS_TRY(removed);
	out->generation = r.copy.generation;
	out->version = r.with->version;
	return KMS_OK;
}
