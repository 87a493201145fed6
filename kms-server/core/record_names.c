#include "kms-server/core/records.h"

const char *identity_state_name(identity_state_t s)
{
	switch (s) {
	case IDENTITY_INVITED:
		return "invited";
	case IDENTITY_ACTIVE:
		return "active";
	case IDENTITY_SUSPENDED:
		return "suspended";
	case IDENTITY_REVOKED:
		return "revoked";
	}
	return "unknown";
}

const char *operator_role_name(operator_role_t r)
{
	switch (r) {
	case ROLE_ADMIN:
		return "admin";
	case ROLE_OPERATOR:
		return "operator";
	case ROLE_AUDITOR:
		return "auditor";
	case ROLE_APPROVER:
		return "approver";
	case ROLE_REVIEWER:
		return "reviewer";
	}
	return "unknown";
}

bool secret_state_live(secret_state_t s)
{
	switch (s) {
	case SECRET_PRE_ACTIVE:
	case SECRET_PENDING:
	case SECRET_ACTIVE:
	case SECRET_PREVIOUS:
		return true;
	case SECRET_DEACTIVATED:
	case SECRET_DESTROYED:
		return false;
	}
	return false;
}

const char *secret_state_name(secret_state_t s)
{
	switch (s) {
	case SECRET_PRE_ACTIVE:
		return "pre-active";
	case SECRET_PENDING:
		return "pending";
	case SECRET_ACTIVE:
		return "active";
	case SECRET_PREVIOUS:
		return "active-previous";
	case SECRET_DEACTIVATED:
		return "deactivated";
	case SECRET_DESTROYED:
		return "destroyed";
	}
	return "unknown";
}

const char *fingerprint_state_name(fingerprint_state_t s)
{
	switch (s) {
	case FP_ACTIVE:
		return "active";
	case FP_PENDING:
		return "pending";
	case FP_FORMER:
		return "former";
	}
	return "unknown";
}

const char *volume_state_name(volume_state_t s)
{
	switch (s) {
	case VOLUME_PRE_ACTIVE:
		return "pre-active";
	case VOLUME_ACTIVE:
		return "active";
	case VOLUME_SUSPENDED:
		return "suspended";
	case VOLUME_DEACTIVATED:
		return "deactivated";
	case VOLUME_DESTROYED:
		return "destroyed";
	}
	return "unknown";
}

const char *maint_state_name(maint_state_t s)
{
	switch (s) {
	case MAINT_SCHEDULED:
		return "scheduled";
	case MAINT_OPEN:
		return "open";
	case MAINT_CLOSED:
		return "closed";
	case MAINT_HALTED:
		return "halted";
	case MAINT_PAUSED:
		return "paused";
	case MAINT_ABORTED:
		return "aborted";
	}
	return "unknown";
}

const char *task_state_name(task_state_t s)
{
	switch (s) {
	case TASK_TODO:
		return "todo";
	case TASK_RUNNING:
		return "running";
	case TASK_DONE:
		return "done";
	case TASK_FAILED:
		return "failed";
	case TASK_SKIPPED:
		return "skipped";
	}
	return "unknown";
}

volume_secret_t *volume_secret_in(volume_rec_t *v, secret_state_t state)
{
	for (size_t i = v->n_secrets; i-- > 0;)
		if (v->secrets[i].state == state && v->secrets[i].lineage == v->lineage)
			return &v->secrets[i];
	return NULL;
}

volume_secret_t *volume_secret_version(volume_rec_t *v, uint32_t version)
{
	for (size_t i = 0; i < v->n_secrets; i++)
		if (v->secrets[i].version == version)
			return &v->secrets[i];
	return NULL;
}

const volume_fingerprint_t *volume_fingerprint_active(const volume_rec_t *v)
{
	for (size_t i = 0; i < v->n_fingerprints; i++)
		if (v->fingerprints[i].state == FP_ACTIVE && v->fingerprints[i].lineage == v->lineage)
			return &v->fingerprints[i];
	return NULL;
}

volume_fingerprint_t *volume_fingerprint_in(volume_rec_t *v, fingerprint_state_t state)
{
	for (size_t i = 0; i < v->n_fingerprints; i++)
		if (v->fingerprints[i].state == state && v->fingerprints[i].lineage == v->lineage)
			return &v->fingerprints[i];
	return NULL;
}

static void drop_fingerprint(volume_rec_t *v, size_t at)
{
	for (size_t i = at; i + 1 < v->n_fingerprints; i++)
		v->fingerprints[i] = v->fingerprints[i + 1];
	v->n_fingerprints--;
}

static bool drop_oldest_former(volume_rec_t *v)
{
	for (size_t i = 0; i < v->n_fingerprints; i++)
		if (v->fingerprints[i].state == FP_FORMER) {
			drop_fingerprint(v, i);
			return true;
		}
	return false;
}

bool volume_fingerprint_add(volume_rec_t *v, fingerprint_state_t state, const uint8_t value[FINGERPRINT_LEN])
{
	if (v->n_fingerprints == VOLUME_FINGERPRINTS_MAX && !drop_oldest_former(v))
		return false;
	volume_fingerprint_t *f = &v->fingerprints[v->n_fingerprints++];
	*f = (volume_fingerprint_t){.state = state, .lineage = v->lineage};
	memcpy(f->value, value, FINGERPRINT_LEN);
	return true;
}

void volume_fingerprint_drop_pending(volume_rec_t *v)
{
	for (size_t i = v->n_fingerprints; i-- > 0;)
		if (v->fingerprints[i].state == FP_PENDING)
			drop_fingerprint(v, i);
}

void volume_forget_destroyed(volume_rec_t *v)
{
	size_t keep = 0;
	for (size_t i = 0; i < v->n_secrets; i++) {
		bool old =
			v->secrets[i].state == SECRET_DESTROYED && v->n_secrets - i > VOLUME_SECRETS_MAX / 2;
		if (!old)
			v->secrets[keep++] = v->secrets[i];
	}
	v->n_secrets = keep;
}

const char *grant_state_name(grant_state_t s)
{
	switch (s) {
	case GRANT_PENDING:
		return "pending";
	case GRANT_APPROVED:
		return "approved";
	case GRANT_DENIED:
		return "denied";
	case GRANT_REVOKED:
		return "revoked";
	case GRANT_EXPIRED:
		return "expired";
	case GRANT_USED:
		return "used";
	}
	return "unknown";
}

const char *review_kind_name(review_kind_t k)
{
	switch (k) {
	case REVIEW_RELEASE:
		return "release";
	case REVIEW_BREAK_GLASS:
		return "break-glass";
	case REVIEW_DENIED:
		return "denied";
	case REVIEW_PERSON:
		return "person";
	}
	return "unknown";
}

const char *review_finding_name(review_finding_t f)
{
	switch (f) {
	case FINDING_NONE:
		return "none";
	case FINDING_VALID:
		return "valid";
	case FINDING_INVALID:
		return "invalid";
	}
	return "unknown";
}
