/* Searching the log by its index: each condition is one or more lists of event indexes in order, and what all
 * conditions have in common is found by leaping: whoever is behind seeks to where the one ahead stands. What
 * a page may cost is counted in such seeks. */
#include "kms-server/audit/internal.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "kms-server/audit/postings.h"

#include <stdlib.h>

static const uint8_t backstep_key[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* --- the coarse time index --- */

static kms_err_t read_u64(span_t s, uint64_t *out)
{
	reader_t r = reader_of(s);
	uint64_t v = reader_u64(&r);
	KMS_TRY(reader_done(&r));
	*out = v;
	return KMS_OK;
}

static kms_err_t load_backstep(store_txn_t *t, uint64_t *out)
{
	span_t v = {0};
	kms_err_t e = store_get(t, STORE_TIMES, span_of(backstep_key, sizeof backstep_key), &v);
	if (e == KMS_E_NOTFOUND) {
		*out = 0;
		return KMS_OK;
	}
	KMS_TRY(e);
	return read_u64(v, out);
}

kms_err_t times_load(store_txn_t *t, times_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t last[8];
	span_t key = {0}, value = {0};
	times_t at = {0};
	KMS_TRY(load_backstep(t, &at.backstep));
	tree_key(UINT64_MAX - 1, last);
	KMS_TRY(store_seek(t, STORE_TIMES, span_of(last, sizeof last), STORE_DOWN, &c));
	kms_err_t e = store_next(c, &key, &value);
	if (e == KMS_OK)
		e = read_u64(key, &at.minute);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	*out = at;
	return KMS_OK;
}

static kms_err_t put_u64(store_txn_t *t, uint64_t key, uint64_t value)
{
	uint8_t k[8], v[8];
	tree_key(key, k);
	tree_key(value, v);
	return store_put(t, STORE_TIMES, span_of(k, sizeof k), span_of(v, sizeof v));
}

static uint64_t minute_of(int64_t ms)
{
	return ms > 0 ? (uint64_t)ms / 60000 : 0;
}

kms_err_t times_note(times_t *at, store_txn_t *t, uint64_t index, int64_t time_ms)
{
	uint64_t minute = minute_of(time_ms);
	if (minute > at->minute) {
		at->minute = minute;
		return put_u64(t, minute, index);
	}
	if (at->minute - minute <= at->backstep)
		return KMS_OK;
	at->backstep = at->minute - minute;
	return put_u64(t, UINT64_MAX, at->backstep);
}

/* The first event from which on the log's latest minute was at least this one; `none` when it never was. */
static kms_err_t first_at(store_txn_t *t, uint64_t minute, uint64_t none, uint64_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t from[8];
	span_t key = {0}, value = {0};
	tree_key(minute, from);
	KMS_TRY(store_seek(t, STORE_TIMES, span_of(from, sizeof from), STORE_UP, &c));
	kms_err_t e = store_next(c, &key, &value);
	if (e == KMS_E_NOTFOUND ||
	    (e == KMS_OK && span_eq(key, span_of(backstep_key, sizeof backstep_key)))) {
		*out = none;
		return KMS_OK;
	}
	KMS_TRY(e);
	return read_u64(value, out);
}

kms_err_t times_first(store_txn_t *t, int64_t time_ms, uint64_t none, uint64_t *out)
{
	return first_at(t, minute_of(time_ms), none, out);
}

typedef struct bounds {
	uint64_t begin, end;
} bounds_t;

static kms_err_t time_bounds(store_txn_t *t, const audit_search_t *s, bounds_t *out)
{
	bounds_t b = {s->begin, s->end};
	uint64_t at = 0, backstep = 0;
	if (s->from_ms > 0) {
		KMS_TRY(first_at(t, minute_of(s->from_ms), s->end, &at));
		b.begin = at > b.begin ? at : b.begin;
	}
	if (s->to_ms < INT64_MAX) {
		KMS_TRY(load_backstep(t, &backstep));
		KMS_TRY(first_at(t, minute_of(s->to_ms) + backstep + 1, s->end, &at));
		b.end = at < b.end ? at : b.end;
	}
	*out = b;
	return KMS_OK;
}

/* --- lists --- */

typedef struct condition {
	size_t n;
	postings_t any_of[AUDIT_ANY_OF_MAX];
} condition_t;

typedef struct hunt {
	store_txn_t *txn;
	bool up;
	uint32_t budget;
	size_t n; /* 0: all events */
	condition_t *condition;
} hunt_t;

static void hunt_end(hunt_t *h)
{
	free(h->condition);
}

/* The nearest of the condition's lists. */
static kms_err_t condition_next(hunt_t *h, condition_t *c, uint64_t at, uint64_t *out)
{
	bool any = false;
	uint64_t best = 0;
	for (size_t i = 0; i < c->n; i++) {
		uint64_t found = 0;
		h->budget -= h->budget > 0;
		kms_err_t e = postings_next(&c->any_of[i], h->txn, h->up ? STORE_UP : STORE_DOWN, at, &found);
		if (e == KMS_E_NOTFOUND)
			continue;
		KMS_TRY(e);
		if (!any || (h->up ? found < best : found > best))
			best = found;
		any = true;
	}
	if (!any)
		return KMS_E_NOTFOUND;
	*out = best;
	return KMS_OK;
}

/* Moves *at to the next event on which all conditions agree, or to where the budget ended (*agreed says
 * which). */
static kms_err_t leap(hunt_t *h, uint64_t *at, bool *agreed)
{
	size_t same = 0;
	*agreed = false;
	for (size_t i = 0; h->budget > 0 && same < h->n; i = (i + 1) % h->n) {
		uint64_t found = 0;
		KMS_TRY(condition_next(h, &h->condition[i], *at, &found));
		same = found == *at ? same + 1 : 1;
		*at = found;
	}
	*agreed = same == h->n && h->budget > 0;
	return KMS_OK;
}

static kms_err_t set_up(hunt_t *h, const audit_search_t *s)
{
	if (s->n_filters == 0)
		return KMS_OK;
	h->condition = calloc(s->n_filters, sizeof *h->condition);
	if (h->condition == NULL)
		return KMS_E_NOMEM;
	for (; h->n < s->n_filters; h->n++) {
		const audit_filter_t *f = &s->filter[h->n];
		condition_t *c = &h->condition[h->n];
		for (; c->n < f->n && c->n < AUDIT_ANY_OF_MAX; c->n++)
			KMS_TRY(postings_term(f->kind, f->any_of[c->n], c->any_of[c->n].term));
	}
	return KMS_OK;
}

/* --- a page --- */

typedef struct page {
	audit_found_fn found;
	void *ctx;
	uint64_t *next;
	bool *more;
} page_t;

static kms_err_t show(const audit_t *a, hunt_t *h, uint64_t at, const page_t *p, bool *go_on)
{
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	h->budget -= h->budget > 0;
	kms_err_t e = audit_read(a, h->txn, at, &bytes);
	KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	return p->found(p->ctx, at, buf_span(&bytes), go_on);
}

static kms_err_t walk(const audit_t *a, hunt_t *h, const bounds_t *b, const page_t *p)
{
	uint64_t at = h->up ? b->begin : b->end - 1;
	bool agreed = false, go_on = true;
	for (;;) {
		kms_err_t e = leap(h, &at, &agreed);
		if (e == KMS_E_NOTFOUND || (e == KMS_OK && (at < b->begin || at >= b->end)))
			return KMS_OK;
		KMS_TRY(e);
		if (agreed)
			KMS_TRY(show(a, h, at, p, &go_on));
		if (!agreed || !go_on) {
			*p->next = at;
			*p->more = true;
			return KMS_OK;
		}
		if (!h->up && at == b->begin)
			return KMS_OK;
		at = h->up ? at + 1 : at - 1;
	}
}

kms_err_t audit_search(const audit_t *a, store_txn_t *t, const audit_search_t *s, audit_found_fn found,
		       void *ctx, uint64_t *next, bool *more)
{
	uint64_t size = 0;
	SCOPED(hunt_end) hunt_t h = {.txn = t, .up = s->ascending, .budget = s->examine};
	bounds_t b = {0};
	const page_t p = {found, ctx, next, more};
	*more = false;
	KMS_TRY(set_up(&h, s));
	KMS_TRY(time_bounds(t, s, &b));
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	b.end = b.end < size ? b.end : size;
	return b.begin < b.end ? walk(a, &h, &b, &p) : KMS_OK;
}
