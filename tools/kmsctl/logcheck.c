#include "tools/kmsctl/logcheck.h"

#include "common/base/scope.h"

#include <inttypes.h>
#include <stdlib.h>

#define LEVELS      (TILE_LEVEL_MAX + 1)
#define TILE_HEIGHT 8U

/* The tile of one level that the walk is in. */
typedef struct level {
	buf_t buf;
	const uint8_t *hash; /* within buf */
	uint64_t index;
	uint32_t width; /* 0: none was read */
} level_t;

typedef struct walk {
	const logcheck_t *c;
	level_t level[LEVELS];
	buf_t bundle;
	merkle_range_t tree; /* of the full level-0 tiles so far */
	bool since_differs;
	logcheck_done_t done;
} walk_t;

static void walk_freep(walk_t **w)
{
	walk_t *gone = *w;
	*w = NULL;
	if (gone == NULL)
		return;
	for (size_t i = 0; i < LEVELS; i++)
		buf_free(&gone->level[i].buf);
	buf_free(&gone->bundle);
	free(gone);
}

static kms_err_t load(walk_t *w, int level, uint64_t index, diag_t *why)
{
	level_t *l = &w->level[level];
	if (l->width > 0 && l->index == index)
		return KMS_OK;
	tile_t t = {.level = level, .index = index, .width = tile_width(w->c->head->size, level, index)};
	l->width = 0;
	KMS_TRY(logsrc_hashes(w->c->src, &t, &l->buf, &l->hash, why));
	l->index = index;
	l->width = t.width;
	return KMS_OK;
}

static const uint8_t *hash_at(const level_t *l, size_t i)
{
	return l->hash + i * MERKLE_HASH_LEN;
}

static kms_err_t hash_failed(diag_t *why)
{
	return diag_fail(why, KMS_E_IO, "the hash function failed");
}

/* --- events against level 0 --- */

static kms_err_t bad_leaf(uint64_t index, const char *what, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY, "bad leaf at index %" PRIu64 ": %s", index, what);
}

static kms_err_t check_event(walk_t *w, uint64_t index, span_t event, const uint8_t *leaf, diag_t *why)
{
	uint8_t hash[MERKLE_HASH_LEN];
	if (merkle_leaf(event, hash) != KMS_OK)
		return hash_failed(why);
	if (memcmp(hash, leaf, sizeof hash) != 0)
		return bad_leaf(index, "the event does not have the hash that the tree has for it", why);
	w->done.events++;
	w->done.bytes += event.n;
	return w->c->event != NULL ? w->c->event(w->c->ctx, index, event, why) : KMS_OK;
}

static kms_err_t check_bundle(walk_t *w, diag_t *why)
{
	const level_t *l = &w->level[0];
	uint64_t first = l->index * TILE_WIDTH;
	bool whole = true;
	KMS_TRY(logsrc_bundle(w->c->src, l->index, l->width, &w->bundle, &whole, why));
	span_t rest = buf_span(&w->bundle);
	for (uint32_t i = 0; i < l->width; i++) {
		span_t event;
		kms_err_t e = tile_next_entry(&rest, &event);
		if (e == KMS_E_NOTFOUND)
			return bad_leaf(first + i, "its bundle is cut off before this event", why);
		if (e != KMS_OK)
			return bad_leaf(first + i, "its bundle is cut off within this event", why);
		KMS_TRY(check_event(w, first + i, event, hash_at(l, i), why));
	}
	if (whole && rest.n > 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "%zu bytes stand behind event %" PRIu64 ", the last of its bundle", rest.n,
				 first + l->width - 1);
	return KMS_OK;
}

/* --- tiles against tiles --- */

static kms_err_t root_of(const level_t *l, uint32_t n, merkle_range_t *r, diag_t *why)
{
	*r = (merkle_range_t){.size = 0};
	for (uint32_t i = 0; i < n; i++)
		if (merkle_range_push(r, hash_at(l, i)) != KMS_OK)
			return hash_failed(why);
	return KMS_OK;
}

/* A full tile is one hash of the tile above, and with its 256th that one is full too. */
static kms_err_t check_parents(walk_t *w, const uint8_t *root, diag_t *why)
{
	uint8_t hash[MERKLE_HASH_LEN];
	memcpy(hash, root, sizeof hash);
	for (int level = 0; level < TILE_LEVEL_MAX; level++) {
		const level_t *l = &w->level[level];
		unsigned shift = TILE_HEIGHT * ((unsigned)level + 1);
		merkle_range_t r;
		KMS_TRY(load(w, level + 1, l->index / TILE_WIDTH, why));
		const level_t *above = &w->level[level + 1];
		if (memcmp(hash_at(above, l->index % TILE_WIDTH), hash, sizeof hash) != 0)
			return diag_fail(why, KMS_E_INTEGRITY,
					 "tile %" PRIu64
					 " of level %d disagrees with the tiles below it: entries %" PRIu64
					 " to %" PRIu64,
					 above->index, level + 1, l->index << shift,
					 ((l->index + 1) << shift) - 1);
		if (l->index % TILE_WIDTH != TILE_WIDTH - 1)
			return KMS_OK;
		KMS_TRY(root_of(above, TILE_WIDTH, &r, why));
		memcpy(hash, r.hash[TILE_HEIGHT], sizeof hash);
	}
	return KMS_OK;
}

/* Adds a full tile by its root, the hash of 256 leaves. */
static kms_err_t push_tile(merkle_range_t *tree, const uint8_t *root)
{
	uint8_t carry[MERKLE_HASH_LEN];
	unsigned h = TILE_HEIGHT;
	memcpy(carry, root, sizeof carry);
	for (; (tree->size >> h & 1) != 0; h++)
		KMS_TRY(merkle_node(tree->hash[h], carry, carry));
	memcpy(tree->hash[h], carry, sizeof carry);
	tree->size += TILE_WIDTH;
	return KMS_OK;
}

/* The root of the full tiles so far and `last`, the tile behind them. */
static kms_err_t root_with(const walk_t *w, const merkle_range_t *last, uint8_t out[MERKLE_HASH_LEN],
			   diag_t *why)
{
	merkle_range_t all = w->tree;
	if (last->size == TILE_WIDTH) {
		if (push_tile(&all, last->hash[TILE_HEIGHT]) != KMS_OK)
			return hash_failed(why);
	} else {
		memcpy(all.hash, last->hash, TILE_HEIGHT * sizeof *all.hash);
		all.size += last->size;
	}
	return merkle_range_root(&all, out) == KMS_OK ? KMS_OK : hash_failed(why);
}

/* Told at the end: until then it is not known whether the hashes are those of this log. */
static kms_err_t look_back(walk_t *w, diag_t *why)
{
	const checkpoint_t *since = w->c->since;
	const level_t *l = &w->level[0];
	uint64_t first = l->index * TILE_WIDTH;
	uint8_t root[MERKLE_HASH_LEN];
	merkle_range_t r;
	if (since == NULL || since->size <= first || since->size > first + l->width)
		return KMS_OK;
	KMS_TRY(root_of(l, (uint32_t)(since->size - first), &r, why));
	KMS_TRY(root_with(w, &r, root, why));
	w->since_differs = memcmp(root, since->root, sizeof root) != 0;
	return KMS_OK;
}

static kms_err_t check_tile(walk_t *w, uint64_t index, diag_t *why)
{
	const logcheck_t *c = w->c;
	level_t *l = &w->level[0];
	uint64_t first = index * TILE_WIDTH;
	merkle_range_t r;
	KMS_TRY(load(w, 0, index, why));
	if (first >= c->begin && first < c->end)
		KMS_TRY(check_bundle(w, why));
	else
		w->done.hashes += l->width;
	KMS_TRY(look_back(w, why));
	if (l->width < TILE_WIDTH)
		return KMS_OK;
	KMS_TRY(root_of(l, TILE_WIDTH, &r, why));
	KMS_TRY(check_parents(w, r.hash[TILE_HEIGHT], why));
	return push_tile(&w->tree, r.hash[TILE_HEIGHT]) == KMS_OK ? KMS_OK : hash_failed(why);
}

static kms_err_t check_root(walk_t *w, diag_t *why)
{
	const checkpoint_t *head = w->c->head;
	uint8_t root[MERKLE_HASH_LEN];
	merkle_range_t r = {.size = 0};
	uint32_t width = (uint32_t)(head->size % TILE_WIDTH);
	if (width > 0)
		KMS_TRY(root_of(&w->level[0], width, &r, why));
	KMS_TRY(root_with(w, &r, root, why));
	if (memcmp(root, head->root, sizeof root) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "wrong root: the tree of these %" PRIu64
				 " events is not the one that the checkpoint is of "
				 "(first index that may be concerned: %" PRIu64 ")",
				 head->size, head->size - width);
	return KMS_OK;
}

static kms_err_t check_since(const walk_t *w, diag_t *why)
{
	const checkpoint_t *since = w->c->since;
	uint8_t nothing[MERKLE_HASH_LEN];
	merkle_range_t empty = {.size = 0};
	if (since == NULL)
		return KMS_OK;
	if (since->size == 0 && merkle_range_root(&empty, nothing) != KMS_OK)
		return hash_failed(why);
	if (w->since_differs || (since->size == 0 && memcmp(nothing, since->root, sizeof nothing) != 0))
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the first %" PRIu64
				 " events are not those of the earlier checkpoint: the log was rewritten "
				 "or forked below index %" PRIu64,
				 since->size, since->size);
	return KMS_OK;
}

static kms_err_t walk(walk_t *w, diag_t *why)
{
	uint64_t size = w->c->head->size;
	for (uint64_t i = 0; i * TILE_WIDTH < size; i++) {
		KMS_TRY(check_tile(w, i, why));
		if (w->c->progress != NULL)
			w->c->progress(w->c->ctx, i * TILE_WIDTH + w->level[0].width);
	}
	KMS_TRY(check_root(w, why));
	return check_since(w, why);
}

kms_err_t logcheck_run(const logcheck_t *c, logcheck_done_t *out, diag_t *why)
{
	if (c->since != NULL && c->since->size > c->head->size)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the earlier checkpoint has %" PRIu64 " events and this one %" PRIu64
				 ": the log was cut back, or the database is older",
				 c->since->size, c->head->size);
	SCOPED(walk_freep) walk_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory to verify the log");
	w->c = c;
	KMS_TRY(walk(w, why));
	*out = w->done;
	return KMS_OK;
}
