/* Tiles (https://c2sp.org/tlog-tiles): what is where, and how it is named. Tile (L, N) of a tree holds the
 * hashes [256N, 256N + W) of level 8L; an entry bundle N holds the entries [256N, 256N + W), each behind its
 * length as u16, big-endian. */
#ifndef CLAVIGER_COMMON_TLOG_TILE_H
#define CLAVIGER_COMMON_TLOG_TILE_H

#include "common/base/err.h"
#include "common/base/span.h"

#define TILE_WIDTH     256U
#define TILE_PATH_CAP  64U
#define TILE_ENTRIES   (-1) /* as level: an entry bundle */
#define TILE_LEVEL_MAX 7    /* 256^8 leaves are all that 64 bits number */
#define ENTRY_MAX      65535U

typedef struct tile {
	int level; /* 0 … TILE_LEVEL_MAX, or TILE_ENTRIES */
	uint64_t index;
	uint32_t width; /* 1 … 256; 256: full */
} tile_t;

/* text is what stands behind "tile/": "0/x001/067.p/12", "entries/000". Exactly one text for each tile:
 * INVALID otherwise. */
KMS_MUST tile_parse(span_t text, tile_t *out);
/* "tile/0/x001/067.p/12" */
void tile_format(const tile_t *t, char out[TILE_PATH_CAP]);

/* How many hashes (or entries) tile (level, index) has in a tree of `size` leaves, 0 to 256. */
uint32_t tile_width(uint64_t size, int level, uint64_t index);

/* Takes the next entry off a bundle. NOTFOUND: it was the last. INTEGRITY: cut off. */
KMS_MUST tile_next_entry(span_t *bundle, span_t *entry);

#endif
