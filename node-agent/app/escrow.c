#include "node-agent/app/escrow.h"

#include "common/base/scope.h"
#include "common/io/log.h"
#include "node-agent/core/prove.h"

static kms_err_t prove_here(agent_t *a, const kms_release_t *r, diag_t *why)
{
	SCOPED(closep) int lock = -1;
	char device[AGENT_PATH_CAP];
	kms_port_t *k = kms_client_port(a->kms);
	KMS_TRY(agent_device(a, r->volume.name, NULL, device, why));
	KMS_TRY(records_lock(&a->state, r->volume.name, &lock, why));
	kms_err_t e = prove_volume(a->volumes, k, r, device, why);
	if (agent_elsewhere(e, NULL, r->luks_uuid, device))
		e = prove_volume(a->volumes, k, r, device, why);
	agent_tell_refused(a, r->volume.name, e, why);
	return e;
}

/* What is being worked on is proven by that work. */
static void prove_one(agent_t *a, const kms_release_t *r)
{
	diag_t why = {""};
	char volume[PATH3_CAP];
	if (r->status == KMS_RELEASED && r->luks_uuid[0] == '\0')
		return; /* not formatted yet */
	path3_format(&r->volume, volume);
	kms_err_t e = prove_here(a, r, &why);
	if (e == KMS_OK)
		log_debug("%s: proven to open", volume);
	else if (e == KMS_E_CONFLICT)
		log_info("%s: not proven to open now: %s", volume, why.text);
	else if (e == KMS_E_INTEGRITY)
		log_error("%s: NOT proven to open: %s", volume, why.text);
	else
		log_warn("%s: not proven to open: %s", volume, why.text);
}

void escrow_prove(agent_t *a, const char *volume)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	diag_t why = {""};
	kms_err_t e =
		kms_release_to_prove(kms_client_port(a->kms), &volume, volume != NULL ? 1 : 0, &answer, &why);
	if (e != KMS_OK) {
		log_warn("proof of escrow: %s", why.text);
		return;
	}
	for (size_t i = 0; i < answer.n; i++)
		prove_one(a, &answer.list[i]);
}
