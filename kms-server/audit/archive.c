/* The archive: full entry bundles as files, in the layout of tlog-tiles (ARCHIVE/tile/entries/x000/000), so
 * that the folder is itself a part of the log that any verifier reads. */
#include "kms-server/audit/internal.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/io/file.h"

#define BUNDLE_MAX (TILE_WIDTH * (ENTRY_MAX + 2U))

kms_err_t archive_size(store_txn_t *t, uint64_t *out)
{
	span_t v = {0};
	kms_err_t e = store_get(t, STORE_META, span_str(ARCHIVED_KEY), &v);
	if (e == KMS_E_NOTFOUND) {
		*out = 0;
		return KMS_OK;
	}
	KMS_TRY(e);
	reader_t r = reader_of(v);
	uint64_t n = reader_u64(&r);
	KMS_TRY(reader_done(&r));
	*out = n;
	return KMS_OK;
}

static kms_err_t read_file(const audit_t *a, uint64_t index, buf_t *out)
{
	SCOPED(freep) char *path = NULL;
	char name[TILE_PATH_CAP];
	const tile_t tile = {.level = TILE_ENTRIES, .index = index, .width = TILE_WIDTH};
	if (a->archive == NULL)
		return KMS_E_UNAVAILABLE;
	tile_format(&tile, name);
	KMS_TRY(path_join(a->archive, name, &path));
	out->limit = BUNDLE_MAX + 1U;
	kms_err_t e = file_read(path, BUNDLE_MAX, out, NULL);
	return e == KMS_E_NOTFOUND ? KMS_E_UNAVAILABLE : e;
}

kms_err_t archive_read_event(const audit_t *a, uint64_t index, buf_t *out)
{
	SCOPED(buf_free) buf_t file = BUF_INIT;
	span_t entry = {0};
	KMS_TRY(read_file(a, index / TILE_WIDTH, &file));
	span_t rest = buf_span(&file);
	for (uint64_t i = 0; i <= index % TILE_WIDTH; i++) {
		kms_err_t e = tile_next_entry(&rest, &entry);
		KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	}
	buf_bytes(out, entry);
	return out->err;
}

kms_err_t archive_read_bundle(const audit_t *a, uint64_t index, uint32_t width, buf_t *out)
{
	SCOPED(buf_free) buf_t file = BUF_INIT;
	span_t entry = {0};
	KMS_TRY(read_file(a, index, &file));
	span_t rest = buf_span(&file);
	for (uint32_t i = 0; i < width; i++) {
		kms_err_t e = tile_next_entry(&rest, &entry);
		KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	}
	buf_bytes(out, span_of(file.p, file.n - rest.n));
	return out->err;
}

kms_err_t audit_forget(audit_t *a, store_txn_t *t, uint64_t upto, uint64_t most, uint64_t *from, uint64_t *to)
{
	uint64_t at = 0;
	uint8_t key[8];
	KMS_TRY(archive_size(t, &at));
	uint64_t end = upto < a->head.size ? upto : a->head.size;
	end = end / TILE_WIDTH * TILE_WIDTH;
	end = end > at + most ? at + most / TILE_WIDTH * TILE_WIDTH : end;
	*from = *to = at;
	if (end <= at)
		return KMS_OK;
	for (uint64_t i = at; i < end; i++) {
		tree_key(i, key);
		kms_err_t e = store_del(t, STORE_EVENTS, span_of(key, sizeof key));
		KMS_TRY(e == KMS_E_NOTFOUND ? KMS_E_INTEGRITY : e);
	}
	tree_key(end, key);
	KMS_TRY(store_put(t, STORE_META, span_str(ARCHIVED_KEY), span_of(key, sizeof key)));
	*to = end;
	return KMS_OK;
}
