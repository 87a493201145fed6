#include "node-agent/core/unlock.h"

#include "common/base/scope.h"
#include "node-agent/core/verify.h"

/* The server's words for a refusal, as sentences. */
static const struct {
	const char *word, *sentence;
} refusals[] = {
	{"approval-denied", "its release was denied by a person who was asked for approval"},
	{"nobody-can-approve",
	 "its release needs an approval, and there are too few active people who could give it"},
	{"too-many-grants", "its release needs an approval, and too many wait for one already"},
	{"integrity", "its record at the KMS failed its integrity check: see the KMS's log"},
};

static kms_err_t denied(const kms_release_t *r, diag_t *why)
{
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
		if (strcmp(r->reason, refusals[i].word) == 0)
			return diag_fail(why, KMS_E_DENIED, "%s%s%s%s", refusals[i].sentence,
					 r->grant[0] != '\0' ? " (kmsctl grant show " : "", r->grant,
					 r->grant[0] != '\0' ? " says who and why)" : "");
	return diag_fail(
		why, KMS_E_DENIED,
		"denied by the KMS: not a volume of this node, or not allowed (see kmsctl audit query)");
}

kms_err_t unlock_released(const kms_release_t *r, diag_t *why)
{
	switch (r->status) {
	case KMS_RELEASED:
		break;
	case KMS_RELEASE_PENDING:
		return diag_fail(why, KMS_E_PENDING, "%s",
				 r->reason[0] != '\0' ? r->reason : "waits for approval");
	case KMS_RELEASE_DENIED:
		return denied(r, why);
	case KMS_RELEASE_SUSPENDED:
		return diag_fail(why, KMS_E_DENIED, "suspended: an operator has to resume it");
	}
	if (r->n_secrets == 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the KMS answered \"released\" without a secret");
	if (r->luks_uuid[0] == '\0')
		return diag_fail(why, KMS_E_CONFLICT,
				 "not formatted yet: node-agent format DEVICE --volume %s", r->volume.name);
	return KMS_OK;
}

/* A mapping that exists is either this very volume on this very device, or in the way. */
static kms_err_t mapped_before(volume_port_t *p, const kms_release_t *r, const unlock_order_t *order,
			       bool *yes, unlock_done_t *out, diag_t *why)
{
	volume_mapping_t m = {0};
	KMS_TRY(volume_mapping(p, r->luks_uuid, order->mapper, order->device, &m, why));
	if (!m.found)
		return KMS_OK;
	if (!m.same_uuid)
		return diag_fail(
			why, KMS_E_CONFLICT,
			"/dev/mapper/%s exists and is not this volume: choose another with --mapper-name",
			m.name);
	if (!m.same_device)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "/dev/mapper/%s has this volume's UUID but stands on another device than %s",
				 m.name, order->device);
	*yes = true;
	out->result = UNLOCK_ALREADY;
	memcpy(out->mapping, m.name, sizeof out->mapping);
	return KMS_OK;
}

/* In re-encryption: by both fingerprints, and on the device itself (ports/volume.h). */
static kms_err_t unlock_reencrypting(volume_t *v, const kms_release_t *r, const unlock_order_t *order,
				     diag_t *why)
{
	const kms_secret_t *with = NULL;
	KMS_TRY(verify_reencrypting(v, r, &with, why));
	return order->test_open ? KMS_OK : volume_activate_reencrypting(v, with->secret, order->mapper, why);
}

static kms_err_t unlock_plain(volume_t *v, const kms_release_t *r, const unlock_order_t *order, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(verify_open(v, r, &key, why));
	return order->test_open ? KMS_OK : volume_activate(v, key, order->mapper, why);
}

/* All data are under the next volume key; the header learns of it before anything is mapped. */
static kms_err_t unlock_complete(volume_t *v, const kms_release_t *r, const unlock_order_t *order,
				 diag_t *why)
{
	SCOPED(volume_closep) volume_t *finished = NULL;
	const kms_secret_t *with = NULL;
	KMS_TRY(verify_reencrypting(v, r, &with, why));
	if (order->test_open)
		return KMS_OK;
	KMS_TRY(volume_reencrypt_finish(v, with->secret, why));
	KMS_TRY(volume_load(v->port, order->device, &finished, why));
	return unlock_plain(finished, r, order, why);
}

static kms_err_t unlock_loaded(volume_t *v, const kms_release_t *r, const unlock_order_t *order, diag_t *why)
{
	const volume_header_t *h = volume_header(v);
	if (h->complete)
		return unlock_complete(v, r, order, why);
	return h->reencrypting ? unlock_reencrypting(v, r, order, why) : unlock_plain(v, r, order, why);
}

kms_err_t unlock_volume(volume_port_t *p, const kms_release_t *r, const unlock_order_t *order,
			unlock_done_t *out, diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	unlock_done_t done = {.result = UNLOCK_OPENS};
	bool mapped = false;
	if (!order->test_open)
		KMS_TRY(mapped_before(p, r, order, &mapped, &done, why));
	if (!mapped) {
		KMS_TRY(volume_load(p, order->device, &v, why));
		KMS_TRY(unlock_loaded(v, r, order, why));
	}
	if (!mapped && !order->test_open) {
		done.result = UNLOCK_MAPPED;
		(void)snprintf(done.mapping, sizeof done.mapping, "%s", order->mapper);
	}
	*out = done;
	return KMS_OK;
}
