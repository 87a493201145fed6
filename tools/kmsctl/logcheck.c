#include "tools/kmsctl/logcheck.h"

#include "common/base/scope.h"
#include "tools/kmsctl/loghead.h"
#include "tools/kmsctl/tilepool.h"

#include <inttypes.h>
#include <stdlib.h>

#define LEVELS      (TILE_LEVEL_MAX + 1)
#define TILE_HEIGHT 8U

/* The tile of one level above the leaves that the walk is in. */
typedef struct level {
	buf_t buf;
	const uint8_t *hash; /* within buf */
	uint64_t index;
	uint32_t width; /* 0: none was read */
} level_t;

typedef struct walk {
	const logcheck_t *c;
	tilepool_t *leaves;
	level_t level[LEVELS]; /* the first is not used */
	merkle_range_t last;   /* of the partial tile of leaves, where there is one */
	merkle_range_t tree;   /* of the full level-0 tiles so far */
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
	tilepool_freep(&gone->leaves);
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

static kms_err_t hash_failed(diag_t *why)
{
	return diag_fail(why, KMS_E_IO, "the hash function failed");
}

/* --- tiles against tiles --- */

/* A full tile is one hash of the tile above, and with its 256th that one is full too. */
static kms_err_t check_parents(walk_t *w, uint64_t index, const uint8_t *root, diag_t *why)
{
	uint8_t hash[MERKLE_HASH_LEN];
	memcpy(hash, root, sizeof hash);
	for (int level = 1; level <= TILE_LEVEL_MAX; level++, index /= TILE_WIDTH) {
		unsigned shift = TILE_HEIGHT * (unsigned)level;
		const level_t *l = &w->level[level];
		merkle_range_t r;
		KMS_TRY(load(w, level, index / TILE_WIDTH, why));
		if (memcmp(l->hash + (index % TILE_WIDTH) * MERKLE_HASH_LEN, hash, sizeof hash) != 0)
			return diag_fail(why, KMS_E_INTEGRITY,
					 "tile %" PRIu64
					 " of level %d disagrees with the tiles below it: entries %" PRIu64
					 " to %" PRIu64,
					 l->index, level, index << shift, ((index + 1) << shift) - 1);
		if (index % TILE_WIDTH != TILE_WIDTH - 1)
			return KMS_OK;
		KMS_TRY(leaftile_range(l->hash, TILE_WIDTH, &r, why));
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
static kms_err_t look_back(walk_t *w, const leaftile_t *t, diag_t *why)
{
	const checkpoint_t *since = w->c->since;
	uint64_t first = t->index * TILE_WIDTH;
	uint8_t root[MERKLE_HASH_LEN];
	merkle_range_t r;
	if (since == NULL || since->size <= first || since->size > first + t->width)
		return KMS_OK;
	KMS_TRY(leaftile_range(t->hash, (uint32_t)(since->size - first), &r, why));
	KMS_TRY(root_with(w, &r, root, why));
	w->since_differs = memcmp(root, since->root, sizeof root) != 0;
	return KMS_OK;
}

/* In order, and before what is wrong behind them is told. */
static kms_err_t hand_on(walk_t *w, const leaftile_t *t, diag_t *why)
{
	span_t rest = buf_span(&t->bundle);
	for (uint32_t i = 0; i < t->n_events && w->c->event != NULL; i++) {
		span_t event;
		KMS_TRY(tile_next_entry(&rest, &event));
		KMS_TRY(w->c->event(w->c->ctx, t->index * TILE_WIDTH + i, event, why));
	}
	w->done.events += t->n_events;
	w->done.hashes += t->width - t->n_events;
	w->done.bytes += t->bytes;
	return KMS_OK;
}

static kms_err_t check_tile(walk_t *w, const leaftile_t *t, diag_t *why)
{
	KMS_TRY(hand_on(w, t, why));
	if (t->e != KMS_OK)
		return diag_fail(why, t->e, "%s", t->why.text);
	KMS_TRY(look_back(w, t, why));
	if (t->width < TILE_WIDTH) {
		w->last = t->range;
		return KMS_OK;
	}
	KMS_TRY(check_parents(w, t->index, t->range.hash[TILE_HEIGHT], why));
	return push_tile(&w->tree, t->range.hash[TILE_HEIGHT]) == KMS_OK ? KMS_OK : hash_failed(why);
}

static kms_err_t check_root(walk_t *w, diag_t *why)
{
	const checkpoint_t *head = w->c->head;
	uint8_t root[MERKLE_HASH_LEN];
	KMS_TRY(root_with(w, &w->last, root, why));
	if (memcmp(root, head->root, sizeof root) != 0)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "wrong root: the tree of these %" PRIu64
				 " events is not the one that the checkpoint is of (first index that may be "
				 "concerned: "
				 "%" PRIu64 ")",
				 head->size, head->size - w->last.size);
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
		return since_differs(since, why);
	return KMS_OK;
}

static kms_err_t walk(walk_t *w, diag_t *why)
{
	const logcheck_t *c = w->c;
	leafjob_t job = {.src = c->src, .size = c->head->size, .begin = c->begin, .end = c->end};
	KMS_TRY(tilepool_new(&job, tilepool_useful(&job), &w->leaves, why));
	for (const leaftile_t *t; (t = tilepool_next(w->leaves)) != NULL;) {
		KMS_TRY(check_tile(w, t, why));
		if (c->progress != NULL)
			c->progress(c->ctx, t->index * TILE_WIDTH + t->width);
	}
	KMS_TRY(check_root(w, why));
	return check_since(w, why);
}

kms_err_t logcheck_run(const logcheck_t *c, logcheck_done_t *out, diag_t *why)
{
	if (c->since != NULL && c->since->size > c->head->size)
		return since_is_larger(c->since, c->head, why);
	SCOPED(walk_freep) walk_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory to verify the log");
	w->c = c;
	KMS_TRY(walk(w, why));
	*out = w->done;
	return KMS_OK;
}
