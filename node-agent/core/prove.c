#include "node-agent/core/prove.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "node-agent/core/copy.h"
#include "node-agent/core/unlock.h"
#include "node-agent/core/verify.h"

/* Two secrets or two volume keys: something is under way. */
static kms_err_t must_be_settled(const kms_release_t *r, diag_t *why)
{
	if (r->n_secrets == 1 && r->n_fingerprints == 1)
		return KMS_OK;
	return diag_fail(why, KMS_E_CONFLICT,
			 "%s is in a rotation or a re-encryption: its end is the next proof", r->volume.name);
}

static kms_err_t store_copy(kms_port_t *k, const kms_release_t *r, const kms_proof_t *proof, span_t image,
			    diag_t *why)
{
	SCOPED(buf_free) buf_t sealed = BUF_INIT;
	diag_t reason = {""};
	kms_err_t e = copy_seal(r, &r->secrets[0], proof->fingerprint, image, &sealed, &reason);
	if (e == KMS_OK)
		e = kms_header_put(k, r->volume.name, proof, buf_span(&sealed), &reason);
	return e == KMS_OK ? e
			   : diag_fail(why, e, "%s opens, but a copy of its header could not be stored: %s",
				       r->volume.name, reason.text);
}

kms_err_t prove_volume(volume_port_t *p, kms_port_t *k, const kms_release_t *r, const char *device,
		       diag_t *why)
{
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t image = BUF_INIT;
	kms_proof_t proof = {.version = 0};
	bool wanted = false;
	KMS_TRY(unlock_released(r, why));
	KMS_TRY(must_be_settled(r, why));
	KMS_TRY(volume_load(p, device, &v, why));
	if (volume_header(v)->reencrypting)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the header of %s is in a re-encryption of which the KMS knows nothing",
				 r->volume.name);
	KMS_TRY(verify_open(v, r, &key, why));
	KMS_TRY(verify_fingerprint(v, key, r, proof.fingerprint, why));
	KMS_TRY(volume_image(v, &image, why));
	KMS_TRY(crypto_sha256(buf_span(&image), proof.digest));
	proof.version = r->secrets[0].version;
	KMS_TRY(kms_prove(k, r->volume.name, &proof, &wanted, why));
	return wanted ? store_copy(k, r, &proof, buf_span(&image), why) : KMS_OK;
}
