#include "tools/kmsctl/treeread.h"

#include "common/base/scope.h"

#include <inttypes.h>
#include <stdlib.h>

#define LEVELS      (TILE_LEVEL_MAX + 1)
#define TILE_HEIGHT 8U

typedef struct tile_kept {
	buf_t buf;
	const uint8_t *hash; /* within buf, NULL: none */
	uint64_t index;
} tile_kept_t;

struct treeread {
	logsrc_t *src;
	uint64_t size;
	tile_kept_t edge[LEVELS]; /* the partial tiles, one a level at most: the root is made of them */
	tile_kept_t full[LEVELS]; /* the one that was used last */
};

void treeread_freep(treeread_t **t)
{
	treeread_t *gone = *t;
	*t = NULL;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < LEVELS; i++) {
		buf_free(&gone->edge[i].buf);
		buf_free(&gone->full[i].buf);
	}
	free(gone);
}

static kms_err_t hash_failed(diag_t *why)
{
	return diag_fail(why, KMS_E_IO, "the hash function failed");
}

/* The root of n hashes, n a power of two up to 256. */
static kms_err_t root_of(const uint8_t *hashes, size_t n, uint8_t out[MERKLE_HASH_LEN], diag_t *why)
{
	merkle_range_t r = {.size = 0};
	for (size_t i = 0; i < n; i++)
		if (merkle_range_push(&r, hashes + i * MERKLE_HASH_LEN) != KMS_OK)
			return hash_failed(why);
	return merkle_range_root(&r, out) == KMS_OK ? KMS_OK : hash_failed(why);
}

/* --- the right edge --- */

/* Level by level, each bit of the size is a full subtree: 2^bit hashes of that level's partial tile. */
static kms_err_t add_edge(treeread_t *t, int level, merkle_range_t *all, diag_t *why)
{
	uint64_t n = t->size >> (TILE_HEIGHT * (unsigned)level);
	tile_t tile = {.level = level, .index = n / TILE_WIDTH, .width = (uint32_t)(n % TILE_WIDTH)};
	tile_kept_t *kept = &t->edge[level];
	if (tile.width == 0)
		return KMS_OK;
	KMS_TRY(logsrc_hashes(t->src, &tile, &kept->buf, &kept->hash, why));
	kept->index = tile.index;
	for (unsigned bit = 0; bit < TILE_HEIGHT; bit++) {
		uint32_t at = (tile.width >> (bit + 1)) << (bit + 1);
		if ((tile.width >> bit & 1) != 0)
			KMS_TRY(root_of(kept->hash + (size_t)at * MERKLE_HASH_LEN, (size_t)1 << bit,
					all->hash[TILE_HEIGHT * (unsigned)level + bit], why));
	}
	return KMS_OK;
}

static kms_err_t read_edge(treeread_t *t, const checkpoint_t *head, diag_t *why)
{
	merkle_range_t all = {.size = head->size};
	uint8_t root[MERKLE_HASH_LEN];
	for (int level = 0; level < LEVELS; level++)
		KMS_TRY(add_edge(t, level, &all, why));
	if (merkle_range_root(&all, root) != KMS_OK)
		return hash_failed(why);
	if (memcmp(root, head->root, sizeof root) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "wrong root: the newest tiles of the tree are not those of the checkpoint "
				 "(size %" PRIu64 ")",
				 head->size);
	return KMS_OK;
}

kms_err_t treeread_new(logsrc_t *src, const checkpoint_t *head, treeread_t **out, diag_t *why)
{
	SCOPED(treeread_freep) treeread_t *t = calloc(1, sizeof *t);
	if (t == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory to read the tree");
	t->src = src;
	t->size = head->size;
	KMS_TRY(read_edge(t, head, why));
	*out = TAKE(t);
	return KMS_OK;
}

/* --- full tiles, proved by the tile above --- */

static const tile_kept_t *have(const treeread_t *t, int level, uint64_t index)
{
	const tile_kept_t *edge = &t->edge[level];
	const tile_kept_t *full = &t->full[level];
	if (edge->hash != NULL && edge->index == index)
		return edge;
	return full->hash != NULL && full->index == index ? full : NULL;
}

static kms_err_t load(treeread_t *t, int level, uint64_t index, diag_t *why)
{
	tile_t tile = {.level = level, .index = index, .width = TILE_WIDTH};
	tile_kept_t *kept = &t->full[level];
	kept->hash = NULL;
	const uint8_t *hashes = NULL;
	uint8_t root[MERKLE_HASH_LEN];
	const tile_kept_t *above = have(t, level + 1, index / TILE_WIDTH);
	KMS_TRY(logsrc_hashes(t->src, &tile, &kept->buf, &hashes, why));
	KMS_TRY(root_of(hashes, TILE_WIDTH, root, why));
	if (above == NULL ||
	    memcmp(above->hash + (index % TILE_WIDTH) * MERKLE_HASH_LEN, root, sizeof root) != 0) {
		unsigned shift = TILE_HEIGHT * ((unsigned)level + 1);
		return diag_fail(why, KMS_E_INTEGRITY,
				 "tile %" PRIu64
				 " of level %d disagrees with the tile above it: entries %" PRIu64
				 " to %" PRIu64,
				 index, level, index << shift, ((index + 1) << shift) - 1);
	}
	kept->hash = hashes;
	kept->index = index;
	return KMS_OK;
}

/* Downwards from the first tile above that is there; a partial tile of the edge ends the way up at the
 * latest. */
static kms_err_t tile_of(treeread_t *t, int level, uint64_t index, const tile_kept_t **out, diag_t *why)
{
	int top = level;
	uint64_t i = index;
	while (have(t, top, i) == NULL && top < TILE_LEVEL_MAX) {
		top++;
		i /= TILE_WIDTH;
	}
	for (; top > level; top--)
		KMS_TRY(load(t, top - 1, index >> (TILE_HEIGHT * (unsigned)(top - 1 - level)), why));
	*out = have(t, level, index);
	return *out != NULL ? KMS_OK : diag_fail(why, KMS_E_INTEGRITY, "the tree has no such tile");
}

/* The hash of the full subtree over the leaves [index << height, (index + 1) << height). */
static kms_err_t subtree(treeread_t *t, unsigned height, uint64_t index, uint8_t out[MERKLE_HASH_LEN],
			 diag_t *why)
{
	unsigned within = height % TILE_HEIGHT;
	uint64_t first = index << within;
	const tile_kept_t *tile = NULL;
	KMS_TRY(tile_of(t, (int)(height / TILE_HEIGHT), first / TILE_WIDTH, &tile, why));
	return root_of(tile->hash + (first % TILE_WIDTH) * MERKLE_HASH_LEN, (size_t)1 << within, out, why);
}

/* The largest power of two below n, n > 1: where RFC 9162 splits a tree. */
static uint64_t split(uint64_t n)
{
	return UINT64_C(1) << (63 - __builtin_clzll(n - 1));
}

/* MTH of the leaves [begin, end); begin is a multiple of the smallest power of two that is not below end -
 * begin. */
static kms_err_t range_hash(treeread_t *t, uint64_t begin, uint64_t end, uint8_t out[MERKLE_HASH_LEN],
			    diag_t *why)
{
	uint64_t n = end - begin;
	if ((n & (n - 1)) == 0) {
		unsigned height = (unsigned)__builtin_ctzll(n);
		return subtree(t, height, begin >> height, out, why);
	}
	uint8_t left[MERKLE_HASH_LEN];
	uint8_t right[MERKLE_HASH_LEN];
	uint64_t k = split(n);
	KMS_TRY(range_hash(t, begin, begin + k, left, why));
	KMS_TRY(range_hash(t, begin + k, end, right, why));
	return merkle_node(left, right, out) == KMS_OK ? KMS_OK : hash_failed(why);
}

kms_err_t treeread_leaf(treeread_t *t, uint64_t index, uint8_t out[MERKLE_HASH_LEN], diag_t *why)
{
	return subtree(t, 0, index, out, why);
}

kms_err_t treeread_root(treeread_t *t, uint64_t size, uint8_t out[MERKLE_HASH_LEN], diag_t *why)
{
	const merkle_range_t empty = {.size = 0};
	if (size > 0)
		return range_hash(t, 0, size, out, why);
	return merkle_range_root(&empty, out) == KMS_OK ? KMS_OK : hash_failed(why);
}

kms_err_t treeread_inclusion(treeread_t *t, uint64_t index, uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN],
			     size_t *n, diag_t *why)
{
	uint64_t begin = 0, end = t->size;
	uint8_t down[MERKLE_PROOF_MAX][MERKLE_HASH_LEN]; /* from the root to the leaf */
	size_t depth = 0;
	while (end - begin > 1) {
		uint64_t middle = begin + split(end - begin);
		bool left = index < middle;
		KMS_TRY(range_hash(t, left ? middle : begin, left ? end : middle, down[depth++], why));
		begin = left ? begin : middle;
		end = left ? middle : end;
	}
	for (size_t i = 0; i < depth; i++)
		memcpy(out[i], down[depth - 1 - i], MERKLE_HASH_LEN);
	*n = depth;
	return KMS_OK;
}
