/* Searching the log by its index: each condition is one or more lists of event indexes in order, and what all
 * conditions have in common is found by leaping: whoever is behind seeks to where the one ahead stands. Times
 * say which part of each segment of the log is to be walked. What a page may cost is counted in such seeks
 * and segments. */
#include "kms-server/audit/internal.h"

#include "common/base/scope.h"
#include "kms-server/audit/window.h"

#include <stdlib.h>

/* --- lists --- */

typedef struct condition {
	size_t n;
	postings_t *any_of;
} condition_t;

typedef struct hunt {
	store_txn_t *txn;
	bool up;
	uint32_t budget;
	size_t n; /* 0: all events */
	condition_t condition[AUDIT_TERMS_MAX];
	size_t lists;
	postings_t *list; /* the conditions' own, one after the other */
} hunt_t;

static void hunt_end(hunt_t *h)
{
	free(h->list);
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

static size_t lists_of(const audit_search_t *s)
{
	size_t n = 0;
	for (size_t i = 0; i < s->n_filters; i++)
		n += s->filter[i].n < AUDIT_ANY_OF_MAX ? s->filter[i].n : AUDIT_ANY_OF_MAX;
	return n;
}

static kms_err_t set_up(hunt_t *h, const audit_search_t *s)
{
	h->list = calloc(lists_of(s) + 1, sizeof *h->list);
	if (h->list == NULL)
		return KMS_E_NOMEM;
	for (; h->n < s->n_filters; h->n++) {
		const audit_filter_t *f = &s->filter[h->n];
		condition_t *c = &h->condition[h->n];
		c->any_of = &h->list[h->lists];
		for (; c->n < f->n && c->n < AUDIT_ANY_OF_MAX; c->n++)
			KMS_TRY(postings_term(f->kind, f->any_of[c->n], h->list[h->lists++].term));
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

static void end_page(const page_t *p, uint64_t next)
{
	*p->next = next;
	*p->more = true;
}

typedef struct bounds {
	uint64_t begin, end;
} bounds_t;

static bool within(const bounds_t *b, uint64_t at)
{
	return at >= b->begin && at < b->end;
}

/* From *at, which is within b, to where it is so no more. *on: neither has the page ended nor a list. */
static kms_err_t walk(const audit_t *a, hunt_t *h, const bounds_t *b, const page_t *p, uint64_t *at, bool *on)
{
	bool agreed = false, go_on = true;
	*on = false;
	while (within(b, *at)) {
		kms_err_t e = leap(h, at, &agreed);
		if (e == KMS_E_NOTFOUND)
			return KMS_OK;
		KMS_TRY(e);
		if (!within(b, *at))
			break;
		if (agreed)
			KMS_TRY(show(a, h, *at, p, &go_on));
		if (!agreed || !go_on) {
			end_page(p, *at);
			return KMS_OK;
		}
		*at = h->up ? *at + 1 : *at - 1;
	}
	*on = true;
	return KMS_OK;
}

/* What of the segment lies within the times and b. */
static kms_err_t walk_part(const audit_t *a, hunt_t *h, const times_part_t *part, const bounds_t *b,
			   const page_t *p, uint64_t *at, bool *on)
{
	const bounds_t w = {part->begin > b->begin ? part->begin : b->begin,
			    part->end < b->end ? part->end : b->end};
	*on = true;
	if (w.begin >= w.end)
		return KMS_OK;
	if (h->up)
		*at = *at > w.begin ? *at : w.begin;
	else
		*at = *at < w.end ? *at : w.end - 1;
	return walk(a, h, &w, p, at, on);
}

/* To the next segment, or to the one into which the lists have leapt. */
static bool leave(const hunt_t *h, const times_part_t *part, const bounds_t *b, uint64_t *at)
{
	if (h->up)
		*at = *at > part->next ? *at : part->next;
	else if (part->first == 0)
		return false;
	else
		*at = *at < part->first ? *at : part->first - 1;
	return within(b, *at);
}

static kms_err_t walk_all(const audit_t *a, hunt_t *h, const audit_search_t *s, const bounds_t *b,
			  const page_t *p)
{
	uint64_t at = h->up ? b->begin : b->end - 1;
	times_part_t part = {0};
	bool on = true;
	do {
		if (h->budget == 0) {
			end_page(p, at);
			return KMS_OK;
		}
		h->budget--;
		KMS_TRY(times_part(h->txn, at, s->from_ms, s->to_ms, &part));
		KMS_TRY(walk_part(a, h, &part, b, p, &at, &on));
	} while (on && leave(h, &part, b, &at));
	return KMS_OK;
}

kms_err_t audit_search(const audit_t *a, store_txn_t *t, const audit_search_t *s, audit_found_fn found,
		       void *ctx, uint64_t *next, bool *more)
{
	uint64_t size = 0;
	SCOPED(hunt_end) hunt_t h = {.txn = t, .up = s->ascending, .budget = s->examine};
	const page_t p = {found, ctx, next, more};
	*more = false;
	KMS_TRY(set_up(&h, s));
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	if (h.lists > 0)
		KMS_TRY(window_find(t, size, h.list, h.lists));
	const bounds_t b = {s->begin, s->end < size ? s->end : size};
	return b.begin < b.end ? walk_all(a, &h, s, &b, &p) : KMS_OK;
}
