#include "tests/unit/kms-server/audit/fake_log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct audit {
	note_vkey_t vkey;
	unsigned history;
	size_t bulk;
	pthread_mutex_t lock;
	pthread_cond_t grown;
	uint64_t size, spoilt;
	bool woken, closed;
	atomic_uint hurried;
	size_t n_parties;
	audit_party_t party[AUDIT_PARTIES_MAX];
};

audit_t *fake_log_new(const char *origin, unsigned history, size_t bulk)
{
	audit_t *a = calloc(1, sizeof *a);
	if (a == NULL)
		abort();
	(void)snprintf(a->vkey.name, sizeof a->vkey.name, "%s", origin);
	a->history = history;
	a->bulk = bulk;
	a->spoilt = UINT64_MAX;
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->grown, NULL);
	return a;
}

void fake_log_free(audit_t *a)
{
	(void)pthread_mutex_destroy(&a->lock);
	(void)pthread_cond_destroy(&a->grown);
	free(a);
}

static void enter(audit_t *a)
{
	(void)pthread_mutex_lock(&a->lock);
	if (a->closed)
		abort();
}

static void leave(audit_t *a)
{
	(void)pthread_mutex_unlock(&a->lock);
}

void fake_log_grow(audit_t *a, uint64_t n)
{
	enter(a);
	a->size += n;
	(void)pthread_cond_broadcast(&a->grown);
	leave(a);
}

void fake_log_close(audit_t *a)
{
	enter(a);
	a->closed = true;
	leave(a);
}

void fake_log_spoil(audit_t *a, uint64_t index)
{
	enter(a);
	a->spoilt = index;
	leave(a);
}

void fake_log_event(const audit_t *a, uint64_t index, buf_t *out)
{
	buf_printf(out,
		   "{\"api\":{\"operation\":\"key.release\"},\"history\":%u,\"metadata\":{\"tenant_uid\":"
		   "\"acme\"},"
		   "\"n\":%" PRIu64 ",\"pad\":\"",
		   a->history, index);
	for (size_t i = 0; i < a->bulk; i++)
		buf_u8(out, 'x');
	buf_str(out, "\",\"severity_id\":1,\"time\":1700000000123}");
}

audit_party_t fake_log_party(audit_t *a, const char *name)
{
	audit_party_t p = {.name = ""};
	enter(a);
	for (size_t i = 0; i < a->n_parties; i++)
		if (name == NULL || strcmp(a->party[i].name, name) == 0)
			p = a->party[i];
	leave(a);
	return p;
}

/* --- the port --- */

const note_vkey_t *audit_vkey(const audit_t *a)
{
	return &a->vkey;
}

uint64_t audit_size(const audit_t *a)
{
	audit_t *log = (audit_t *)(uintptr_t)a;
	enter(log);
	uint64_t size = a->size;
	leave(log);
	return size;
}

bool audit_wait(audit_t *a, uint64_t size, unsigned timeout_ms)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	until.tv_sec += timeout_ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int rc = 0;
	enter(a);
	while (a->size <= size && !a->woken && rc == 0)
		rc = pthread_cond_timedwait(&a->grown, &a->lock, &until);
	bool grown = a->size > size;
	leave(a);
	return grown;
}

void audit_hurry(audit_t *a)
{
	atomic_fetch_add(&a->hurried, 1);
}

unsigned audit_hurried(const audit_t *a)
{
	return atomic_load(&((audit_t *)(uintptr_t)a)->hurried);
}

void audit_wake(audit_t *a)
{
	enter(a);
	a->woken = true;
	(void)pthread_cond_broadcast(&a->grown);
	leave(a);
}

kms_err_t audit_read(const audit_t *a, store_txn_t *t, uint64_t index, buf_t *out)
{
	audit_t *log = (audit_t *)(uintptr_t)a;
	(void)t;
	enter(log);
	bool spoilt = a->spoilt == index;
	bool there = index < a->size;
	leave(log);
	if (spoilt)
		return KMS_E_INTEGRITY;
	if (!there)
		return KMS_E_NOTFOUND;
	fake_log_event(a, index, out);
	return out->err;
}

kms_err_t audit_party_add(audit_t *a, audit_party_kind_t kind, const char *name, unsigned *slot)
{
	enter(a);
	audit_party_t *p = &a->party[a->n_parties];
	*p = (audit_party_t){.kind = kind};
	(void)snprintf(p->name, sizeof p->name, "%s", name);
	*slot = (unsigned)a->n_parties++;
	leave(a);
	return KMS_OK;
}

void audit_party_report(audit_t *a, unsigned slot, uint64_t size, bool conflict, const char *error,
			int64_t now_ms)
{
	enter(a);
	audit_party_t *p = &a->party[slot];
	p->size = size;
	p->ok = error == NULL;
	p->conflict = conflict;
	p->since_ms = now_ms;
	(void)snprintf(p->error, sizeof p->error, "%.*s", (int)sizeof p->error - 1,
		       error != NULL ? error : "");
	leave(a);
}
