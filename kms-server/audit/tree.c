#include "kms-server/audit/tree.h"

#include "common/base/scope.h"
#include "common/crypto/digest.h"

typedef struct row_key {
	store_table_t table;
	uint8_t bytes[9];
	size_t n;
} row_key_t;

static row_key_t row_key(int level, uint64_t index)
{
	row_key_t k = {.table = level == 0 ? STORE_LEAVES : STORE_TREE, .n = level == 0 ? 8 : 9};
	uint8_t *p = k.bytes;
	if (level > 0)
		*p++ = (uint8_t)level;
	tree_key(index, p);
	return k;
}

static kms_err_t missing(kms_err_t e)
{
	return e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e;
}

kms_err_t tree_rows(store_txn_t *t, int level, uint64_t first, uint32_t n, uint8_t (*out)[MERKLE_HASH_LEN])
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	row_key_t k = row_key(level, first);
	if (level < 0 || level > TILE_LEVEL_MAX || n > TILE_WIDTH)
		return KMS_E_INVALID;
	KMS_TRY(store_seek(t, k.table, span_of(k.bytes, k.n), STORE_UP, &c));
	for (uint32_t i = 0; i < n; i++) {
		span_t key = {0}, value = {0};
		k = row_key(level, first + i);
		KMS_TRY(missing(store_next(c, &key, &value)));
		if (!span_eq(key, span_of(k.bytes, k.n)) || value.n != MERKLE_HASH_LEN)
			return KMS_E_INTEGRITY;
		memcpy(out[i], value.p, MERKLE_HASH_LEN);
	}
	return KMS_OK;
}

/* The root of the full subtree of 2^height leaves that begins at `start`: 2^(height mod 8) rows, paired up.
 */
static kms_err_t subtree(store_txn_t *t, uint64_t start, unsigned height, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t row[TILE_WIDTH / 2][MERKLE_HASH_LEN];
	int level = (int)(height / 8);
	uint32_t n = 1U << (height % 8);
	KMS_TRY(tree_rows(t, level, start >> (8 * (unsigned)level), n, row));
	for (; n > 1; n /= 2)
		for (uint32_t i = 0; i < n / 2; i++)
			KMS_TRY(merkle_node(row[2 * i], row[2 * i + 1], row[i]));
	memcpy(out, row[0], MERKLE_HASH_LEN);
	return KMS_OK;
}

static bool has_bit(uint64_t v, unsigned bit)
{
	return (v >> bit & 1U) != 0;
}

kms_err_t tree_hash(store_txn_t *t, uint64_t from, uint64_t to, uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t acc[MERKLE_HASH_LEN], left[MERKLE_HASH_LEN];
	uint64_t n = to - from, end = to;
	bool any = false;
	if (n == 0)
		return crypto_sha256(span_of(NULL, 0), out);
	/* the right-most subtree is the smallest */
	for (unsigned h = 0; h < 64; h++) {
		if (!has_bit(n, h))
			continue;
		end -= UINT64_C(1) << h;
		KMS_TRY(subtree(t, end, h, left));
		if (any)
			KMS_TRY(merkle_node(left, acc, acc));
		else
			memcpy(acc, left, sizeof acc);
		any = true;
	}
	memcpy(out, acc, sizeof acc);
	return KMS_OK;
}

kms_err_t tree_load(store_txn_t *t, uint64_t size, merkle_range_t *out)
{
	merkle_range_t r = {.size = size};
	uint64_t end = size;
	for (unsigned h = 0; h < 64; h++) {
		if (!has_bit(size, h))
			continue;
		end -= UINT64_C(1) << h;
		KMS_TRY(subtree(t, end, h, r.hash[h]));
	}
	*out = r;
	return KMS_OK;
}

kms_err_t tree_push(merkle_range_t *r, store_txn_t *t, const uint8_t leaf[MERKLE_HASH_LEN])
{
	uint8_t cur[MERKLE_HASH_LEN];
	unsigned h = 0;
	memcpy(cur, leaf, sizeof cur);
	for (; has_bit(r->size, h); h++) {
		KMS_TRY(merkle_node(r->hash[h], cur, cur));
		if ((h + 1) % 8 != 0)
			continue;
		row_key_t k = row_key((int)(h + 1) / 8, r->size >> (h + 1));
		KMS_TRY(store_put(t, k.table, span_of(k.bytes, k.n), span_of(cur, sizeof cur)));
	}
	memcpy(r->hash[h], cur, sizeof cur);
	r->size++;
	return KMS_OK;
}
