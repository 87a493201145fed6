#include "tests/unit/kms-server/audit/log_fixture.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/store/memory_store.h"

#include <stdio.h>
#include <stdlib.h>

int log_setup(void **state)
{
	log_fixture_t *f = calloc(1, sizeof *f);
	diag_t why = {""};
	assert_non_null(f);
	tmpdir_make(f->dir);
	MUST(memory_store_new(&f->store));
	MUST(note_signer_new("claviger.test/log/00c0ffee", NOTE_ED25519, &f->signer, &why));
	MUST(log_reopen(f, &why));
	*state = f;
	return 0;
}

int log_teardown(void **state)
{
	log_fixture_t *f = *state;
	audit_freep(&f->audit);
	store_closep(&f->store);
	note_signer_freep(&f->signer);
	tmpdir_remove(f->dir);
	free(f->leaf);
	free(f);
	return 0;
}

kms_err_t log_reopen(log_fixture_t *f, diag_t *why)
{
	const audit_options_t o = {.store = f->store, .signer = f->signer, .archive_dir = f->dir};
	audit_freep(&f->audit);
	return audit_open(&o, &f->audit, why);
}

static void note_leaf(log_fixture_t *f, span_t bytes)
{
	if (f->n == f->cap) {
		f->cap = f->cap > 0 ? 2 * f->cap : 64;
		f->leaf = realloc(f->leaf, f->cap * sizeof *f->leaf);
		assert_non_null(f->leaf);
	}
	const span_t parts[] = {span_of("\0", 1), bytes};
	MUST(crypto_sha256_parts(parts, 2, f->leaf[f->n++]));
}

static void append(log_fixture_t *f, store_txn_t *t, span_t bytes, int64_t time_ms, const audit_term_t *terms,
		   size_t n)
{
	uint64_t index = 0;
	MUST(audit_append(f->audit, t, bytes, terms, n, time_ms, &index));
	assert_int_equal(index, f->n);
	note_leaf(f, bytes);
}

static void seal_and_commit(log_fixture_t *f, store_txn_t *t)
{
	MUST(audit_seal(f->audit, t));
	MUST(store_commit(t));
	audit_committed(f->audit);
}

static void append_numbered(log_fixture_t *f, store_txn_t *t, int64_t time_ms)
{
	char text[32];
	(void)snprintf(text, sizeof text, "event %zu", f->n);
	append(f, t, span_str(text), time_ms, NULL, 0);
}

void log_grow(log_fixture_t *f, size_t n, size_t batch)
{
	while (n > 0) {
		store_txn_t *t = NULL;
		MUST(store_begin_write(f->store, f->n, &t));
		for (size_t i = 0; i < batch && n > 0; i++, n--)
			append_numbered(f, t, (int64_t)f->n * 1000);
		seal_and_commit(f, t);
	}
}

void log_add_at(log_fixture_t *f, const int64_t *time_ms, size_t n)
{
	store_txn_t *t = NULL;
	MUST(store_begin_write(f->store, f->n, &t));
	for (size_t i = 0; i < n; i++)
		append_numbered(f, t, time_ms[i]);
	seal_and_commit(f, t);
}

void log_add(log_fixture_t *f, const char *bytes, int64_t time_ms, const audit_term_t *terms, size_t n)
{
	store_txn_t *t = NULL;
	MUST(store_begin_write(f->store, f->n, &t));
	append(f, t, span_str(bytes), time_ms, terms, n);
	seal_and_commit(f, t);
}

void naive_hash(const log_fixture_t *f, size_t from, size_t to, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t left[MERKLE_HASH_LEN], right[MERKLE_HASH_LEN];
	size_t k = 1;
	if (from == to) {
		MUST(crypto_sha256(span_of(NULL, 0), out));
		return;
	}
	if (to - from == 1) {
		memcpy(out, f->leaf[from], MERKLE_HASH_LEN);
		return;
	}
	while (2 * k < to - from)
		k *= 2;
	naive_hash(f, from, from + k, left);
	naive_hash(f, from + k, to, right);
	const span_t parts[] = {span_of("\1", 1), span_of(left, sizeof left), span_of(right, sizeof right)};
	MUST(crypto_sha256_parts(parts, 3, out));
}
