#include "kms-server/audit/times.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "kms-server/audit/tree.h"

typedef struct row {
	uint64_t segment, minute; /* key */
	uint64_t event;
} row_t;

static uint64_t minute_of(int64_t ms)
{
	return ms > 0 ? (uint64_t)ms / 60000 : 0;
}

/* --- rows --- */

static void row_key(uint64_t segment, uint64_t minute, uint8_t out[16])
{
	tree_key(segment, out);
	tree_key(minute, out + 8);
}

static kms_err_t parse(span_t key, span_t value, row_t *out)
{
	reader_t k = reader_of(key), v = reader_of(value);
	row_t r = {.segment = reader_u64(&k), .minute = reader_u64(&k), .event = reader_u64(&v)};
	KMS_TRY(reader_done(&k));
	KMS_TRY(reader_done(&v));
	if (r.event < r.segment)
		return KMS_E_INTEGRITY;
	*out = r;
	return KMS_OK;
}

/* The row next to this key, itself included. */
static kms_err_t next_row(store_txn_t *t, uint64_t segment, uint64_t minute, store_order_t order, row_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t from[16];
	span_t key = {0}, value = {0};
	row_key(segment, minute, from);
	KMS_TRY(store_seek(t, STORE_TIMES, span_of(from, sizeof from), order, &c));
	KMS_TRY(store_next(c, &key, &value));
	return parse(key, value, out);
}

static kms_err_t put_row(store_txn_t *t, const row_t *r)
{
	uint8_t key[16], value[8];
	row_key(r->segment, r->minute, key);
	tree_key(r->event, value);
	return store_put(t, STORE_TIMES, span_of(key, sizeof key), span_of(value, sizeof value));
}

/* --- writing --- */

kms_err_t times_load(store_txn_t *t, times_t *out)
{
	row_t last = {0};
	kms_err_t e = next_row(t, UINT64_MAX, UINT64_MAX, STORE_DOWN, &last);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	*out = (times_t){.any = e == KMS_OK, .segment = last.segment, .minute = last.minute};
	return KMS_OK;
}

kms_err_t times_note(times_t *at, store_txn_t *t, uint64_t index, int64_t time_ms)
{
	uint64_t minute = minute_of(time_ms);
	bool begins = !at->any || minute + TIMES_SLACK < at->minute;
	if (!begins && minute <= at->minute)
		return KMS_OK;
	*at = (times_t){.any = true, .segment = begins ? index : at->segment, .minute = minute};
	const row_t r = {.segment = at->segment, .minute = minute, .event = index};
	return put_row(t, &r);
}

/* --- reading --- */

/* Every event is in a segment. */
static kms_err_t find_segment(store_txn_t *t, uint64_t at, times_part_t *out)
{
	row_t here = {0}, behind = {.segment = UINT64_MAX};
	kms_err_t e = next_row(t, at, UINT64_MAX, STORE_DOWN, &here);
	KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	e = next_row(t, at + 1, 0, STORE_UP, &behind);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	out->first = here.segment;
	out->next = behind.segment;
	return KMS_OK;
}

/* The segment's first event from which on its latest minute was at least this one; its end when it never was.
 */
static kms_err_t first_at(store_txn_t *t, const times_part_t *p, uint64_t minute, uint64_t *out)
{
	row_t r = {0};
	kms_err_t e = next_row(t, p->first, minute, STORE_UP, &r);
	if (e == KMS_E_NOTFOUND || (e == KMS_OK && r.segment != p->first)) {
		*out = p->next;
		return KMS_OK;
	}
	KMS_TRY(e);
	if (r.event >= p->next)
		return KMS_E_INTEGRITY;
	*out = r.event;
	return KMS_OK;
}

kms_err_t times_part(store_txn_t *t, uint64_t at, int64_t from_ms, int64_t to_ms, times_part_t *out)
{
	times_part_t p = {.next = UINT64_MAX, .end = UINT64_MAX};
	bool from = from_ms > 0, to = to_ms < INT64_MAX;
	if (from || to)
		KMS_TRY(find_segment(t, at, &p));
	p.begin = p.first;
	p.end = p.next;
	if (from)
		KMS_TRY(first_at(t, &p, minute_of(from_ms), &p.begin));
	/* An event's own minute may be so much behind the latest one. */
	if (to)
		KMS_TRY(first_at(t, &p, minute_of(to_ms) + TIMES_SLACK + 1, &p.end));
	*out = p;
	return KMS_OK;
}

kms_err_t times_first(store_txn_t *t, uint64_t begin, uint64_t end, int64_t time_ms, uint64_t *out)
{
	times_part_t p = {0};
	for (uint64_t at = begin; at < end; at = p.next) {
		KMS_TRY(times_part(t, at, time_ms, INT64_MAX, &p));
		uint64_t young = p.begin > at ? p.begin : at;
		if (young < p.next && young < end) {
			*out = young;
			return KMS_OK;
		}
	}
	*out = end;
	return KMS_OK;
}
