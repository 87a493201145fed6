#include "kms-server/audit/postings.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "kms-server/audit/tree.h"

/* Keys: 0 | term: the newest entries. 1 | term | last entry: a full block; 2 is the window's. Values: the
 * first entry, then the distance of each to the one before it, as base-128 numbers, low digits first. */
#define GROUP_LEN  4U
#define NEWEST     0U
#define FULL       1U
#define NEWEST_LEN (1U + POSTINGS_TERM_LEN)
#define FULL_LEN   (NEWEST_LEN + 8U)
#define NUMBER_MAX 10U

/* FNV-1a of "customer/service", or of the whole text where it is no path of these. What it says concerns the
 * order of rows alone. */
static uint32_t group_of(const char *text)
{
	uint32_t h = 2166136261U;
	unsigned slashes = 0;
	for (; *text != '\0' && (slashes += *text == '/') < 2; text++)
		h = (h ^ (uint8_t)*text) * 16777619U;
	return h;
}

kms_err_t postings_term(audit_term_kind_t kind, const char *text, uint8_t out[POSTINGS_TERM_LEN])
{
	uint8_t k = (uint8_t)kind, hash[SHA256_LEN];
	const span_t parts[] = {span_of(&k, 1), span_str(text)};
	KMS_TRY(crypto_sha256_parts(parts, 2, hash));
	uint32_t group = group_of(text);
	for (unsigned i = 0; i < GROUP_LEN; i++)
		out[i] = (uint8_t)(group >> (8 * (GROUP_LEN - 1 - i)));
	memcpy(out + GROUP_LEN, hash, POSTINGS_TERM_LEN - GROUP_LEN);
	return KMS_OK;
}

static void newest_key(const uint8_t term[POSTINGS_TERM_LEN], uint8_t out[NEWEST_LEN])
{
	out[0] = NEWEST;
	memcpy(out + 1, term, POSTINGS_TERM_LEN);
}

static void full_key(const uint8_t term[POSTINGS_TERM_LEN], uint64_t last, uint8_t out[FULL_LEN])
{
	newest_key(term, out);
	out[0] = FULL;
	tree_key(last, out + NEWEST_LEN);
}

/* --- blocks as bytes --- */

static size_t put_number(uint64_t v, uint8_t out[NUMBER_MAX])
{
	size_t n = 0;
	for (; v > 0x7f; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

static bool take_number(span_t *s, uint64_t *out)
{
	uint64_t v = 0;
	for (size_t i = 0; i < s->n && i < NUMBER_MAX; i++) {
		v |= (uint64_t)(s->p[i] & 0x7f) << (7 * i);
		if ((s->p[i] & 0x80) != 0)
			continue;
		*s = span_of(s->p + i + 1, s->n - i - 1);
		*out = v;
		return true;
	}
	return false;
}

static kms_err_t parse_block(span_t bytes, postings_block_t *out)
{
	uint64_t at = 0, step = 0;
	unsigned n = 0;
	while (bytes.n > 0) {
		if (n == POSTINGS_BLOCK || !take_number(&bytes, &step) || (n > 0 && step == 0) ||
		    step > UINT64_MAX - at)
			return KMS_E_INTEGRITY;
		at += step;
		out->at[n++] = at;
	}
	out->n = n;
	return n > 0 ? KMS_OK : KMS_E_INTEGRITY;
}

static size_t format_block(const postings_block_t *b, uint8_t out[POSTINGS_BLOCK * NUMBER_MAX])
{
	size_t n = 0;
	for (unsigned i = 0; i < b->n; i++)
		n += put_number(i == 0 ? b->at[0] : b->at[i] - b->at[i - 1], out + n);
	return n;
}

/* --- writing --- */

static kms_err_t put_newest(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], const postings_block_t *b)
{
	uint8_t key[NEWEST_LEN], bytes[POSTINGS_BLOCK * NUMBER_MAX];
	newest_key(term, key);
	return store_put(t, STORE_INDEX, span_of(key, sizeof key), span_of(bytes, format_block(b, bytes)));
}

static kms_err_t put_full(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], const postings_block_t *b)
{
	uint8_t key[FULL_LEN], bytes[POSTINGS_BLOCK * NUMBER_MAX];
	full_key(term, b->at[b->n - 1], key);
	return store_put(t, STORE_INDEX, span_of(key, sizeof key), span_of(bytes, format_block(b, bytes)));
}

static kms_err_t read_newest(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], postings_block_t *out)
{
	uint8_t key[NEWEST_LEN];
	span_t bytes = {0};
	newest_key(term, key);
	kms_err_t e = store_get(t, STORE_INDEX, span_of(key, sizeof key), &bytes);
	if (e == KMS_OK)
		return parse_block(bytes, out);
	if (e == KMS_E_NOTFOUND) {
		out->n = 0;
		return KMS_OK;
	}
	return e;
}

kms_err_t postings_append(store_txn_t *t, const uint8_t term[POSTINGS_TERM_LEN], const uint64_t *index,
			  size_t n)
{
	postings_block_t b;
	KMS_TRY(read_newest(t, term, &b));
	for (size_t i = 0; i < n; i++) {
		if (b.n > 0 && index[i] <= b.at[b.n - 1])
			return KMS_E_INTEGRITY;
		if (b.n == POSTINGS_BLOCK) {
			KMS_TRY(put_full(t, term, &b));
			b.n = 0;
		}
		b.at[b.n++] = index[i];
	}
	return n > 0 ? put_newest(t, term, &b) : KMS_OK;
}

/* --- reading --- */

/* The first full block whose last entry is not below `at` (UP), or the last whose last is not above it. */
static kms_err_t load_block(postings_t *p, store_txn_t *t, store_order_t order, uint64_t at)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t from[FULL_LEN];
	span_t key = {0}, value = {0};
	full_key(p->term, at, from);
	p->block.n = 0;
	KMS_TRY(store_seek(t, STORE_INDEX, span_of(from, sizeof from), order, &c));
	KMS_TRY(store_next(c, &key, &value));
	if (key.n != FULL_LEN || memcmp(key.p, from, NEWEST_LEN) != 0)
		return KMS_E_NOTFOUND;
	return parse_block(value, &p->block);
}

static bool covers(const postings_block_t *b, uint64_t at)
{
	return b->n > 0 && at >= b->at[0] && at <= b->at[b->n - 1];
}

/* In a block that covers `at`. */
static uint64_t nearest(const postings_block_t *b, store_order_t order, uint64_t at)
{
	unsigned low = 0, high = b->n - 1;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (b->at[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return order == STORE_DOWN && b->at[low] > at ? b->at[low - 1] : b->at[low];
}

static kms_err_t next_up(postings_t *p, store_txn_t *t, uint64_t at, uint64_t *out)
{
	kms_err_t e = load_block(p, t, STORE_UP, at);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	if (e == KMS_E_NOTFOUND)
		*out = p->newest.at[0];
	else
		*out = covers(&p->block, at) ? nearest(&p->block, STORE_UP, at) : p->block.at[0];
	return KMS_OK;
}

static kms_err_t next_down(postings_t *p, store_txn_t *t, uint64_t at, uint64_t *out)
{
	kms_err_t e = load_block(p, t, STORE_UP, at);
	if (e != KMS_OK && e != KMS_E_NOTFOUND)
		return e;
	if (!covers(&p->block, at)) /* it lies between two blocks */
		KMS_TRY(load_block(p, t, STORE_DOWN, at));
	*out = covers(&p->block, at) ? nearest(&p->block, STORE_DOWN, at) : p->block.at[p->block.n - 1];
	return KMS_OK;
}

static kms_err_t next_in_rows(postings_t *p, store_txn_t *t, store_order_t order, uint64_t at, uint64_t *out)
{
	if (!p->loaded)
		KMS_TRY(read_newest(t, p->term, &p->newest));
	p->loaded = true;
	const postings_block_t *newest = &p->newest;
	if (newest->n == 0)
		return KMS_E_NOTFOUND;
	uint64_t last = newest->at[newest->n - 1];
	if (at > last && order == STORE_UP)
		return KMS_E_NOTFOUND;
	if (at >= newest->at[0])
		*out = nearest(newest, order, at < last ? at : last);
	else if (covers(&p->block, at))
		*out = nearest(&p->block, order, at);
	else
		return order == STORE_UP ? next_up(p, t, at, out) : next_down(p, t, at, out);
	return KMS_OK;
}

static kms_err_t next_recent_up(const postings_t *p, uint64_t at, uint64_t *out)
{
	uint64_t i = at > p->begin ? at - p->begin : 0;
	for (; i < POSTINGS_WINDOW; i = (i | 63) + 1) {
		uint64_t bits = p->recent[i / 64] >> (i % 64);
		if (bits == 0)
			continue;
		*out = p->begin + i + (unsigned)__builtin_ctzll(bits);
		return KMS_OK;
	}
	return KMS_E_NOTFOUND;
}

static kms_err_t next_recent_down(const postings_t *p, uint64_t at, uint64_t *out)
{
	if (at < p->begin)
		return KMS_E_NOTFOUND;
	uint64_t i = at - p->begin < POSTINGS_WINDOW ? at - p->begin : POSTINGS_WINDOW - 1;
	for (uint64_t words = i / 64 + 1; words > 0; words--, i = 64 * words - 1) {
		uint64_t bits = p->recent[words - 1] << (63 - i % 64);
		if (bits == 0)
			continue;
		*out = p->begin + i - (unsigned)__builtin_clzll(bits);
		return KMS_OK;
	}
	return KMS_E_NOTFOUND;
}

/* All entries of the rows lie before the window. */
kms_err_t postings_next(postings_t *p, store_txn_t *t, store_order_t order, uint64_t at, uint64_t *out)
{
	if (order == STORE_UP) {
		kms_err_t e = next_in_rows(p, t, order, at, out);
		return e == KMS_E_NOTFOUND ? next_recent_up(p, at, out) : e;
	}
	kms_err_t e = next_recent_down(p, at, out);
	return e == KMS_E_NOTFOUND ? next_in_rows(p, t, order, at, out) : e;
}
