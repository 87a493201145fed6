#include "kms-server/store/memory_table.h"

#include "common/base/scope.h"

#include <stdlib.h>

static void entry_unref(memory_entry_t *e)
{
	if (atomic_fetch_sub(&e->refs, 1) == 1)
		free(e);
}

static kms_err_t entry_new(span_t key, span_t value, memory_entry_t **out)
{
	memory_entry_t *e = malloc(sizeof(*e) + key.n + value.n);
	if (e == NULL)
		return KMS_E_NOMEM;
	atomic_init(&e->refs, 1);
	e->key_n = key.n;
	e->value_n = value.n;
	memcpy(e->bytes, key.p, key.n);
	if (value.n > 0)
		memcpy(e->bytes + key.n, value.p, value.n);
	*out = e;
	return KMS_OK;
}

kms_err_t memory_table_new(memory_table_t **out)
{
	memory_table_t *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return KMS_E_NOMEM;
	atomic_init(&t->refs, 1);
	*out = t;
	return KMS_OK;
}

kms_err_t memory_table_copy(const memory_table_t *t, memory_table_t **out)
{
	memory_table_t *c = NULL;
	KMS_TRY(memory_table_new(&c));
	if (t->n > 0)
		c->at = malloc(t->n * sizeof(memory_entry_t *));
	if (t->n > 0 && c->at == NULL) {
		free(c);
		return KMS_E_NOMEM;
	}
	c->n = c->cap = t->n;
	for (size_t i = 0; i < t->n; i++) {
		c->at[i] = t->at[i];
		atomic_fetch_add(&c->at[i]->refs, 1);
	}
	*out = c;
	return KMS_OK;
}

memory_table_t *memory_table_ref(memory_table_t *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void memory_table_unref(memory_table_t *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (size_t i = 0; i < t->n; i++)
		entry_unref(t->at[i]);
	free(t->at);
	free(t);
}

/* As LMDB compares: byte by byte, the shorter first. */
static int compare(span_t a, span_t b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n > 0 ? memcmp(a.p, b.p, n) : 0;
	if (d != 0)
		return d;
	return a.n < b.n ? -1 : a.n > b.n;
}

size_t memory_table_find(const memory_table_t *t, span_t key, bool *exact)
{
	size_t low = 0;
	size_t high = t->n;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (compare(memory_entry_key(t->at[mid]), key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*exact = low < t->n && span_eq(memory_entry_key(t->at[low]), key);
	return low;
}

static kms_err_t make_room(memory_table_t *t)
{
	if (t->n < t->cap)
		return KMS_OK;
	size_t cap = t->cap > 0 ? t->cap * 2 : 8;
	memory_entry_t **at = realloc(t->at, cap * sizeof(memory_entry_t *));
	if (at == NULL)
		return KMS_E_NOMEM;
	t->at = at;
	t->cap = cap;
	return KMS_OK;
}

kms_err_t memory_table_put(memory_table_t *t, span_t key, span_t value)
{
	bool exact = false;
	size_t i = memory_table_find(t, key, &exact);
	if (!exact)
		KMS_TRY(make_room(t));
	memory_entry_t *e = NULL;
	KMS_TRY(entry_new(key, value, &e));
	if (exact) {
		entry_unref(t->at[i]);
	} else {
		memmove(t->at + i + 1, t->at + i, (t->n - i) * sizeof(memory_entry_t *));
		t->n++;
	}
	t->at[i] = e;
	return KMS_OK;
}

kms_err_t memory_table_del(memory_table_t *t, span_t key)
{
	bool exact = false;
	size_t i = memory_table_find(t, key, &exact);
	if (!exact)
		return KMS_E_NOTFOUND;
	entry_unref(t->at[i]);
	t->n--;
	memmove(t->at + i, t->at + i + 1, (t->n - i) * sizeof(memory_entry_t *));
	return KMS_OK;
}
