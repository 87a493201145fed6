/* Witnesses and sinks: how far each is, for health, metrics and limits. */
#include "kms-server/audit/internal.h"

#include <stdio.h>

kms_err_t audit_party_add(audit_t *a, audit_party_kind_t kind, const char *name, unsigned *slot)
{
	kms_err_t e = KMS_E_FULL;
	(void)pthread_mutex_lock(&a->lock);
	if (a->n_parties < AUDIT_PARTIES_MAX) {
		audit_party_t *p = &a->party[a->n_parties];
		*p = (audit_party_t){.kind = kind};
		(void)snprintf(p->name, sizeof p->name, "%.*s", (int)sizeof p->name - 1, name);
		*slot = (unsigned)a->n_parties++;
		e = KMS_OK;
	}
	(void)pthread_mutex_unlock(&a->lock);
	return e;
}

void audit_party_report(audit_t *a, unsigned slot, uint64_t size, bool conflict, const char *error,
			int64_t now_ms)
{
	(void)pthread_mutex_lock(&a->lock);
	if (slot < a->n_parties) {
		audit_party_t *p = &a->party[slot];
		if (p->ok != (error == NULL) || p->since_ms == 0)
			p->since_ms = now_ms;
		p->ok = error == NULL;
		p->size = size;
		p->conflict = conflict;
		(void)snprintf(p->error, sizeof p->error, "%.*s", (int)sizeof p->error - 1,
			       error != NULL ? error : "");
	}
	(void)pthread_mutex_unlock(&a->lock);
}

size_t audit_parties(audit_t *a, audit_party_t out[AUDIT_PARTIES_MAX])
{
	(void)pthread_mutex_lock(&a->lock);
	size_t n = a->n_parties;
	for (size_t i = 0; i < n; i++)
		out[i] = a->party[i];
	(void)pthread_mutex_unlock(&a->lock);
	return n;
}
