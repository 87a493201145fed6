#include "kms-server/audit/window.h"

#include "common/base/scope.h"
#include "kms-server/audit/tree.h"

#include <stdlib.h>

/* Key: 2 | index. Value: the event's terms, one after the other. */
#define WINDOW  2U
#define KEY_LEN 9U

static void row_key(uint64_t index, uint8_t out[KEY_LEN])
{
	out[0] = WINDOW;
	tree_key(index, out + 1);
}

static uint64_t begin_of(uint64_t size)
{
	return size > 0 ? (size - 1) / POSTINGS_WINDOW * POSTINGS_WINDOW : 0;
}

/* --- its rows --- */

static kms_err_t next_row(store_cursor_t *c, uint64_t index, span_t *terms)
{
	uint8_t want[KEY_LEN];
	span_t key = {0}, value = {0};
	row_key(index, want);
	kms_err_t e = store_next(c, &key, &value);
	KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	if (!span_eq(key, span_of(want, sizeof want)) || value.n % POSTINGS_TERM_LEN != 0 ||
	    value.n > (size_t)AUDIT_TERMS_MAX * POSTINGS_TERM_LEN)
		return KMS_E_INTEGRITY;
	*terms = value;
	return KMS_OK;
}

typedef void (*row_fn)(void *ctx, unsigned offset, span_t terms);

/* The table's last rows are the window's, these and no others. */
static kms_err_t each_row(store_txn_t *t, uint64_t size, row_fn each, void *ctx)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	static const uint8_t from[] = {WINDOW};
	uint64_t begin = begin_of(size);
	span_t key = {0}, value = {0};
	KMS_TRY(store_seek(t, STORE_INDEX, span_of(from, sizeof from), STORE_UP, &c));
	for (uint64_t i = begin; i < size; i++) {
		KMS_TRY(next_row(c, i, &value));
		each(ctx, (unsigned)(i - begin), value);
	}
	kms_err_t e = store_next(c, &key, &value);
	return e == KMS_OK ? KMS_E_INTEGRITY : e == KMS_E_NOTFOUND ? KMS_OK : e;
}

/* --- into the lists --- */

typedef struct entry {
	uint8_t term[POSTINGS_TERM_LEN];
	uint32_t offset;
} entry_t;

typedef struct entries {
	size_t n;
	entry_t at[POSTINGS_WINDOW * AUDIT_TERMS_MAX];
	uint64_t run[POSTINGS_WINDOW]; /* one term's */
} entries_t;

static void gather(void *ctx, unsigned offset, span_t terms)
{
	entries_t *all = ctx;
	for (size_t i = 0; i < terms.n; i += POSTINGS_TERM_LEN) {
		entry_t *e = &all->at[all->n++];
		memcpy(e->term, terms.p + i, POSTINGS_TERM_LEN);
		e->offset = offset;
	}
}

static int in_order(const void *a, const void *b)
{
	const entry_t *x = a, *y = b;
	int d = memcmp(x->term, y->term, POSTINGS_TERM_LEN);
	return d != 0 ? d : (x->offset > y->offset) - (x->offset < y->offset);
}

/* The term of entry `from` with all its events; yields where the next term begins. */
static kms_err_t merge_term(store_txn_t *t, uint64_t begin, entries_t *all, size_t from, size_t *next)
{
	const entry_t *e = &all->at[from];
	size_t n = 0, i = 0, left = all->n - from;
	for (; i < left && memcmp(e[i].term, e->term, POSTINGS_TERM_LEN) == 0; i++)
		if (i == 0 || e[i].offset != e[i - 1].offset)
			all->run[n++] = begin + e[i].offset;
	*next = from + i;
	return postings_append(t, e->term, all->run, n);
}

static kms_err_t merge_all(store_txn_t *t, uint64_t end)
{
	SCOPED(freep) entries_t *all = malloc(sizeof *all);
	if (all == NULL)
		return KMS_E_NOMEM;
	all->n = 0;
	KMS_TRY(each_row(t, end, gather, all));
	qsort(all->at, all->n, sizeof *all->at, in_order);
	for (size_t at = 0; at < all->n;)
		KMS_TRY(merge_term(t, begin_of(end), all, at, &at));
	return KMS_OK;
}

static kms_err_t merge(store_txn_t *t, uint64_t end)
{
	KMS_TRY(merge_all(t, end));
	for (uint64_t i = begin_of(end); i < end; i++) {
		uint8_t key[KEY_LEN];
		row_key(i, key);
		KMS_TRY(store_del(t, STORE_INDEX, span_of(key, sizeof key)));
	}
	return KMS_OK;
}

kms_err_t window_note(store_txn_t *t, uint64_t index, const uint8_t (*terms)[POSTINGS_TERM_LEN], size_t n)
{
	uint8_t key[KEY_LEN];
	if (n > AUDIT_TERMS_MAX)
		return KMS_E_INVALID;
	if (index > 0 && index % POSTINGS_WINDOW == 0)
		KMS_TRY(merge(t, index));
	row_key(index, key);
	return store_put(t, STORE_INDEX, span_of(key, sizeof key), span_of(terms, n * POSTINGS_TERM_LEN));
}

/* --- reading --- */

typedef struct finding {
	postings_t *list;
	size_t n;
} finding_t;

static void find(void *ctx, unsigned offset, span_t terms)
{
	const finding_t *f = ctx;
	for (size_t i = 0; i < terms.n; i += POSTINGS_TERM_LEN)
		for (size_t k = 0; k < f->n; k++)
			if (memcmp(f->list[k].term, terms.p + i, POSTINGS_TERM_LEN) == 0)
				f->list[k].recent[offset / 64] |= UINT64_C(1) << (offset % 64);
}

kms_err_t window_find(store_txn_t *t, uint64_t size, postings_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i].begin = begin_of(size);
	return each_row(t, size, find, &(finding_t){list, n});
}
