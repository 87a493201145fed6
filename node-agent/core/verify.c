#include "node-agent/core/verify.h"

#include "common/base/scope.h"

kms_err_t verify_uuid(const volume_t *v, const kms_release_t *r, diag_t *why)
{
	const volume_facts_t *facts = volume_facts(v);
	if (strcmp(facts->uuid, r->luks_uuid) != 0)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the device holds the LUKS volume %s, but %s is registered as %s: wrong device?",
			facts->uuid, r->volume.name, r->luks_uuid[0] != '\0' ? r->luks_uuid : "none");
	return KMS_OK;
}

static const kms_fingerprint_t *registered(const kms_release_t *r)
{
	for (size_t i = 0; i < r->n_fingerprints; i++)
		if (r->fingerprints[i].active)
			return &r->fingerprints[i];
	return NULL;
}

kms_err_t verify_fingerprint(const volume_t *v, const secret_t *key, const kms_release_t *r,
			     uint8_t fp[FINGERPRINT_LEN], diag_t *why)
{
	uint8_t now[FINGERPRINT_LEN];
	const kms_fingerprint_t *want = registered(r);
	if (want == NULL)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the KMS knows no active fingerprint of %s: nothing to check the volume against",
			r->volume.name);
	KMS_TRY(fingerprint_make(volume_facts(v), key, now));
	if (!ct_equal(now, want->value, sizeof now))
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"fingerprint mismatch: the volume key or header of %s is not the registered one; "
			"the device was exchanged or its header rewritten",
			r->volume.name);
	if (fp != NULL)
		memcpy(fp, now, sizeof now);
	return KMS_OK;
}

static kms_err_t open_newest_first(volume_t *v, const kms_release_t *r, secret_t **key, diag_t *why)
{
	for (size_t i = 0; i < r->n_secrets; i++) {
		kms_err_t e = volume_open(v, r->secrets[i].secret, key, NULL, why);
		if (e != KMS_E_NOTFOUND)
			return e;
	}
	return diag_fail(why, KMS_E_INTEGRITY,
			 "none of the %zu secrets that the KMS holds for %s opens a keyslot of the device",
			 r->n_secrets, r->volume.name);
}

kms_err_t verify_open(volume_t *v, const kms_release_t *r, secret_t **key, diag_t *why)
{
	SCOPED(secret_freep) secret_t *opened = NULL;
	KMS_TRY(verify_uuid(v, r, why));
	KMS_TRY(open_newest_first(v, r, &opened, why));
	KMS_TRY(verify_fingerprint(v, opened, r, NULL, why));
	*key = TAKE(opened);
	return KMS_OK;
}
