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

static const kms_fingerprint_t *registered(const kms_release_t *r, bool active)
{
	for (size_t i = 0; i < r->n_fingerprints; i++)
		if (r->fingerprints[i].active == active)
			return &r->fingerprints[i];
	return NULL;
}

static bool is_registered(const kms_release_t *r, bool active, const uint8_t fp[FINGERPRINT_LEN])
{
	const kms_fingerprint_t *f = registered(r, active);
	return f != NULL && ct_equal(fp, f->value, FINGERPRINT_LEN);
}

bool verify_is_pending(const kms_release_t *r, const uint8_t fp[FINGERPRINT_LEN])
{
	return is_registered(r, false, fp);
}

kms_err_t verify_fingerprint(const volume_t *v, const secret_t *key, const kms_release_t *r,
			     uint8_t fp[FINGERPRINT_LEN], diag_t *why)
{
	uint8_t now[FINGERPRINT_LEN];
	if (registered(r, true) == NULL)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the KMS knows no active fingerprint of %s: nothing to check the volume against",
			r->volume.name);
	KMS_TRY(fingerprint_make(volume_facts(v), key, now));
	/* the pending one: its re-encryption has ended, and the KMS was not told yet */
	if (!is_registered(r, true, now) && !is_registered(r, false, now))
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"fingerprint mismatch: the volume key or header of %s is not the registered one; "
			"the device was exchanged or its header rewritten",
			r->volume.name);
	if (fp != NULL)
		memcpy(fp, now, sizeof now);
	return KMS_OK;
}

/* KMS_OK and *yes: the secret opens both volume keys, and they are the two that are registered. */
static kms_err_t opens_both(volume_t *v, const kms_release_t *r, const secret_t *secret, bool *yes,
			    diag_t *why)
{
	SCOPED(secret_freep) secret_t *data = NULL;
	SCOPED(secret_freep) secret_t *next = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	bool both = !volume_header(v)->complete; /* the former keyslots may be gone, and are of no use */
	kms_err_t e = both ? volume_open(v, secret, &data, NULL, why) : KMS_OK;
	if (e == KMS_OK)
		e = volume_open_next(v, secret, &next, NULL, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	bool known = true;
	if (both) {
		KMS_TRY(fingerprint_make(volume_facts(v), data, fp));
		known = is_registered(r, true, fp);
	}
	KMS_TRY(fingerprint_make(volume_facts(v), next, fp));
	if (!known || !is_registered(r, false, fp))
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"%s is in a re-encryption between volume keys that are not the registered ones: "
			"it is not ours",
			r->volume.name);
	*yes = true;
	return KMS_OK;
}

kms_err_t verify_reencrypting(volume_t *v, const kms_release_t *r, const kms_secret_t **with, diag_t *why)
{
	KMS_TRY(verify_uuid(v, r, why));
	if (registered(r, true) == NULL || registered(r, false) == NULL)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the header of %s is in a re-encryption of which the KMS knows nothing: it is not "
			"ours",
			r->volume.name);
	for (size_t i = 0; i < r->n_secrets; i++) {
		bool yes = false;
		KMS_TRY(opens_both(v, r, r->secrets[i].secret, &yes, why));
		if (!yes)
			continue;
		*with = &r->secrets[i];
		return KMS_OK;
	}
	return diag_fail(why, KMS_E_INTEGRITY,
			 "none of the %zu secrets that the KMS holds for %s opens both volume keys of its "
			 "re-encryption",
			 r->n_secrets, r->volume.name);
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
