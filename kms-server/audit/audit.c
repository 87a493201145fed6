#include "kms-server/audit/internal.h"

#include "common/base/scope.h"
#include "common/base/steady.h"
#include "kms-server/audit/window.h"

#include <stdlib.h>

#define NEWEST_CHECKED 1024U /* events held against their leaves at each start */

const note_vkey_t *audit_vkey(const audit_t *a)
{
	return note_signer_vkey(a->signer);
}

uint64_t audit_next(const audit_t *a)
{
	return a->next;
}

void audit_sign_as(audit_t *a, const note_signer_t *signer)
{
	a->signer = signer;
}

/* --- opening --- */

static kms_err_t check_checkpoint(const audit_t *a, span_t note, diag_t *why)
{
	checkpoint_t c;
	diag_t detail = {""};
	uint8_t root[MERKLE_HASH_LEN];
	if (checkpoint_open(note, audit_vkey(a), &c, NULL, &detail) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the database's checkpoint is not one of this log's key: %.300s",
				 detail.text);
	KMS_TRY(merkle_range_root(&a->head, root));
	if (c.size != a->head.size || memcmp(c.root, root, sizeof root) != 0)
		return diag_fail(
			why, KMS_E_INTEGRITY,
			"the log's tree of %llu events is not the one that its checkpoint of %llu signs: "
			"the database was changed",
			(unsigned long long)a->head.size, (unsigned long long)c.size);
	return KMS_OK;
}

static kms_err_t check_newest(const audit_t *a, store_txn_t *t, diag_t *why)
{
	uint64_t n = a->head.size, from = n > NEWEST_CHECKED ? n - NEWEST_CHECKED : 0;
	for (uint64_t i = from; i < n; i++) {
		SCOPED(buf_free) buf_t bytes = BUF_INIT;
		kms_err_t e = audit_read(a, t, i, &bytes);
		if (e != KMS_OK && e != KMS_E_UNAVAILABLE) /* the archive may be elsewhere */
			return diag_fail(
				why, e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e,
				"event %llu of the log is not what its leaf in the tree says (%s): the "
				"database was changed",
				(unsigned long long)i, kms_err_name(e));
	}
	return KMS_OK;
}

static kms_err_t load(audit_t *a, store_txn_t *t, diag_t *why)
{
	uint64_t size = 0;
	span_t note = {0};
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	kms_err_t e = store_get(t, STORE_META, span_str(LOG_CHECKPOINT_KEY), &note);
	if (e == KMS_E_NOTFOUND && size == 0)
		return KMS_OK;
	if (e == KMS_E_NOTFOUND)
		return diag_fail(why, KMS_E_INTEGRITY, "the log has %llu events and no checkpoint",
				 (unsigned long long)size);
	KMS_TRY(e);
	e = tree_load(t, size, &a->head);
	if (e != KMS_OK)
		return diag_fail(why, e, "the log's tree cannot be read (%s)", kms_err_name(e));
	KMS_TRY(check_checkpoint(a, note, why));
	KMS_TRY(check_newest(a, t, why));
	buf_bytes(&a->checkpoint, note);
	a->next = a->size = size;
	return a->checkpoint.err;
}

static kms_err_t open_in(const audit_options_t *o, audit_t *a, diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	a->store = o->store;
	a->signer = o->signer;
	if (o->archive_dir != NULL && (a->archive = strdup(o->archive_dir)) == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(store_begin_read(a->store, &t));
	KMS_TRY(times_load(t, &a->times));
	KMS_TRY(load(a, t, why));
	a->next_times = a->times;
	return KMS_OK;
}

kms_err_t audit_open(const audit_options_t *o, audit_t **out, diag_t *why)
{
	audit_t *a = calloc(1, sizeof *a);
	if (a == NULL)
		return KMS_E_NOMEM;
	(void)pthread_mutex_init(&a->lock, NULL);
	steady_cond_init(&a->grown);
	(void)diag_fail(why, KMS_OK, "the log cannot be read");
	kms_err_t e = open_in(o, a, why);
	if (e != KMS_OK) {
		audit_freep(&a);
		return e;
	}
	*out = a;
	return KMS_OK;
}

void audit_freep(audit_t **ap)
{
	audit_t *a = *ap;
	if (a == NULL)
		return;
	(void)pthread_cond_destroy(&a->grown);
	(void)pthread_mutex_destroy(&a->lock);
	buf_free(&a->note);
	buf_free(&a->checkpoint);
	buf_free(&a->cosigned);
	free(a->archive);
	free(a);
	*ap = NULL;
}

/* --- writing --- */

static kms_err_t put_terms(store_txn_t *t, const audit_term_t *terms, size_t n, uint64_t index)
{
	uint8_t term[AUDIT_TERMS_MAX][POSTINGS_TERM_LEN];
	size_t k = 0;
	if (n > AUDIT_TERMS_MAX)
		return KMS_E_INVALID;
	for (size_t i = 0; i < n; i++) {
		if (terms[i].text[0] == '\0' && terms[i].kind != AUDIT_FAILURE)
			continue;
		KMS_TRY(postings_term(terms[i].kind, terms[i].text, term[k++]));
	}
	return window_note(t, index, term, k);
}

kms_err_t audit_append(audit_t *a, store_txn_t *t, span_t bytes, const audit_term_t *terms, size_t n,
		       int64_t time_ms, uint64_t *index)
{
	uint8_t key[8], leaf[MERKLE_HASH_LEN];
	if (bytes.n > ENTRY_MAX)
		return KMS_E_INVALID;
	tree_key(a->next, key);
	KMS_TRY(merkle_leaf(bytes, leaf));
	KMS_TRY(store_put(t, STORE_EVENTS, span_of(key, sizeof key), bytes));
	KMS_TRY(store_put(t, STORE_LEAVES, span_of(key, sizeof key), span_of(leaf, sizeof leaf)));
	KMS_TRY(put_terms(t, terms, n, a->next));
	KMS_TRY(times_note(&a->next_times, t, a->next, time_ms));
	*index = a->next++;
	return KMS_OK;
}

/* A stray write to the pages between append and commit must not be signed. */
static kms_err_t push_stored(audit_t *a, store_txn_t *t, uint64_t index)
{
	uint8_t key[8], leaf[MERKLE_HASH_LEN];
	span_t bytes = {0}, row = {0};
	tree_key(index, key);
	KMS_TRY(store_get(t, STORE_EVENTS, span_of(key, sizeof key), &bytes));
	KMS_TRY(merkle_leaf(bytes, leaf));
	KMS_TRY(store_get(t, STORE_LEAVES, span_of(key, sizeof key), &row));
	if (!span_eq(row, span_of(leaf, sizeof leaf)))
		return KMS_E_INTEGRITY;
	return tree_push(&a->sealed, t, leaf);
}

kms_err_t audit_seal(audit_t *a, store_txn_t *t)
{
	checkpoint_t c = {.size = a->next};
	if (a->next == a->head.size)
		return KMS_OK;
	a->sealed = a->head;
	for (uint64_t i = a->head.size; i < a->next; i++) {
		kms_err_t e = push_stored(a, t, i);
		KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	}
	(void)snprintf(c.origin, sizeof c.origin, "%s", audit_vkey(a)->name);
	KMS_TRY(merkle_range_root(&a->sealed, c.root));
	buf_clear(&a->note);
	KMS_TRY(checkpoint_sign(&c, a->signer, &a->note));
	return store_put(t, STORE_META, span_str(LOG_CHECKPOINT_KEY), buf_span(&a->note));
}

void audit_committed(audit_t *a)
{
	if (a->next == a->head.size)
		return;
	a->head = a->sealed;
	a->times = a->next_times;
	(void)pthread_mutex_lock(&a->lock);
	a->size = a->head.size;
	buf_t old = a->checkpoint; /* the new one cannot fail for want of memory */
	a->checkpoint = a->note;
	a->note = old;
	(void)pthread_cond_broadcast(&a->grown);
	(void)pthread_mutex_unlock(&a->lock);
}

void audit_rolled_back(audit_t *a)
{
	a->next = a->head.size;
	a->next_times = a->times;
}

/* --- the head --- */

static pthread_mutex_t *lock_of(const audit_t *a)
{
	return (pthread_mutex_t *)(uintptr_t)&a->lock;
}

uint64_t audit_size(const audit_t *a)
{
	(void)pthread_mutex_lock(lock_of(a));
	uint64_t n = a->size;
	(void)pthread_mutex_unlock(lock_of(a));
	return n;
}

static kms_err_t copy_note(audit_t *a, const buf_t *note, const uint64_t *size_of, uint64_t *size, buf_t *out)
{
	(void)pthread_mutex_lock(&a->lock);
	bool have = note->n > 0;
	uint64_t n = *size_of;
	if (have && out != NULL)
		buf_bytes(out, buf_span(note));
	(void)pthread_mutex_unlock(&a->lock);
	if (!have)
		return KMS_E_NOTFOUND;
	*size = n;
	return out != NULL ? out->err : KMS_OK;
}

kms_err_t audit_checkpoint(audit_t *a, uint64_t *size, buf_t *out)
{
	return copy_note(a, &a->checkpoint, &a->size, size, out);
}

kms_err_t audit_cosigned(audit_t *a, uint64_t *size, buf_t *out)
{
	return copy_note(a, &a->cosigned, &a->cosigned_size, size, out);
}

void audit_cosigned_put(audit_t *a, uint64_t size, span_t note)
{
	buf_t copy = BUF_INIT;
	buf_bytes(&copy, note);
	(void)pthread_mutex_lock(&a->lock);
	if (copy.err == KMS_OK && size >= a->cosigned_size) {
		buf_t old = a->cosigned;
		a->cosigned = copy;
		copy = old;
		a->cosigned_size = size;
	}
	(void)pthread_mutex_unlock(&a->lock);
	buf_free(&copy);
}

bool audit_wait(audit_t *a, uint64_t size, unsigned timeout_ms)
{
	int64_t until = steady_ms() + timeout_ms;
	(void)pthread_mutex_lock(&a->lock);
	while (a->size <= size && !a->woken)
		if (!steady_wait(&a->grown, &a->lock, until))
			break;
	bool grown = a->size > size && !a->woken;
	(void)pthread_mutex_unlock(&a->lock);
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
	(void)pthread_mutex_lock(&a->lock);
	a->woken = true;
	(void)pthread_cond_broadcast(&a->grown);
	(void)pthread_mutex_unlock(&a->lock);
}
