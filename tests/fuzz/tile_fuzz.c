/* Paths of tiles, which anybody may ask for, and entry bundles, which an auditor reads from anywhere. */
#include "common/tlog/tile.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	span_t text = span_of(data, size), bundle = text, entry;
	tile_t t;
	if (tile_parse(text, &t) == KMS_OK) {
		char again[TILE_PATH_CAP];
		tile_format(&t, again);
		MUST_HOLD(span_eq(span_str(again + strlen("tile/")), text));
		MUST_HOLD(t.width >= 1 && t.width <= TILE_WIDTH && t.level >= TILE_ENTRIES &&
			  t.level <= TILE_LEVEL_MAX);
		MUST_HOLD(tile_width(UINT64_MAX, t.level, t.index) >= 1);
	}
	size_t seen = 0;
	kms_err_t e;
	while ((e = tile_next_entry(&bundle, &entry)) == KMS_OK) {
		MUST_HOLD(entry.p + entry.n <= data + size);
		seen += 2 + entry.n;
	}
	MUST_HOLD(e == KMS_E_INTEGRITY || (e == KMS_E_NOTFOUND && seen == size));
	return 0;
}
