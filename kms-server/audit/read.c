/* Events, entry bundles and hash tiles out of the store, or out of the archive where retention has put them.
 */
#include "kms-server/audit/internal.h"

#include "common/base/scope.h"

static kms_err_t check_leaf(store_txn_t *t, uint64_t index, span_t bytes)
{
	uint8_t key[8], leaf[MERKLE_HASH_LEN];
	span_t row = {0};
	tree_key(index, key);
	KMS_TRY(store_get(t, STORE_LEAVES, span_of(key, sizeof key), &row));
	KMS_TRY(merkle_leaf(bytes, leaf));
	return span_eq(row, span_of(leaf, sizeof leaf)) ? KMS_OK : KMS_E_INTEGRITY;
}

/* An event without a leaf is beyond the log; a leaf without an event was archived, or somebody took the event
 * out. */
static kms_err_t read_archived(const audit_t *a, store_txn_t *t, uint64_t index, buf_t *out)
{
	uint64_t size = 0, archived = 0;
	size_t before = out->n;
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	if (index >= size)
		return KMS_E_NOTFOUND;
	KMS_TRY(archive_size(t, &archived));
	if (index >= archived)
		return KMS_E_INTEGRITY;
	KMS_TRY(archive_read_event(a, index, out));
	return check_leaf(t, index, span_of(out->p + before, out->n - before));
}

kms_err_t audit_read(const audit_t *a, store_txn_t *t, uint64_t index, buf_t *out)
{
	uint8_t key[8];
	span_t bytes = {0};
	tree_key(index, key);
	kms_err_t e = store_get(t, STORE_EVENTS, span_of(key, sizeof key), &bytes);
	if (e == KMS_E_NOTFOUND)
		return read_archived(a, t, index, out);
	KMS_TRY(e);
	e = check_leaf(t, index, bytes);
	KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	buf_bytes(out, bytes);
	return out->err;
}

static kms_err_t read_bundle(const audit_t *a, store_txn_t *t, const tile_t *tile, buf_t *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint8_t key[8];
	uint64_t first = tile->index * TILE_WIDTH, archived = 0;
	span_t k = {0}, bytes = {0};
	KMS_TRY(archive_size(t, &archived));
	if (first < archived)
		return archive_read_bundle(a, tile->index, tile->width, out);
	tree_key(first, key);
	KMS_TRY(store_seek(t, STORE_EVENTS, span_of(key, sizeof key), STORE_UP, &c));
	for (uint32_t i = 0; i < tile->width; i++) {
		tree_key(first + i, key);
		kms_err_t e = store_next(c, &k, &bytes);
		bool here = e == KMS_OK && span_eq(k, span_of(key, sizeof key));
		KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
		if (!here)
			return KMS_E_INTEGRITY;
		buf_lp(out, bytes);
	}
	return out->err;
}

kms_err_t audit_read_tile(const audit_t *a, store_txn_t *t, const tile_t *tile, buf_t *out)
{
	uint8_t row[TILE_WIDTH][MERKLE_HASH_LEN];
	uint64_t size = 0;
	KMS_TRY(store_count(t, STORE_LEAVES, &size));
	if (tile->width == 0 || tile->width > tile_width(size, tile->level, tile->index))
		return KMS_E_NOTFOUND;
	if (tile->level == TILE_ENTRIES)
		return read_bundle(a, t, tile, out);
	KMS_TRY(tree_rows(t, tile->level, tile->index * TILE_WIDTH, tile->width, row));
	buf_bytes(out, span_of(row, (size_t)tile->width * MERKLE_HASH_LEN));
	return out->err;
}
