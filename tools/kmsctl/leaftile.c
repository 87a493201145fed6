#include "tools/kmsctl/leaftile.h"

#include <inttypes.h>

void leaftile_free(leaftile_t *t)
{
	buf_free(&t->tile);
	buf_free(&t->bundle);
}

static kms_err_t hash_failed(diag_t *why)
{
	return diag_fail(why, KMS_E_IO, "the hash function failed");
}

static kms_err_t bad_leaf(uint64_t index, const char *what, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY, "bad leaf at index %" PRIu64 ": %s", index, what);
}

static kms_err_t check_event(leaftile_t *t, uint64_t index, span_t event, const uint8_t *leaf)
{
	uint8_t hash[MERKLE_HASH_LEN];
	if (merkle_leaf(event, hash) != KMS_OK)
		return hash_failed(&t->why);
	if (memcmp(hash, leaf, sizeof hash) != 0)
		return bad_leaf(index, "the event does not have the hash that the tree has for it", &t->why);
	t->n_events++;
	t->bytes += event.n;
	return KMS_OK;
}

static kms_err_t check_bundle(const leafjob_t *job, leaftile_t *t)
{
	uint64_t first = t->index * TILE_WIDTH;
	bool whole = true;
	KMS_TRY(logsrc_bundle(job->src, t->index, t->width, &t->bundle, &whole, &t->why));
	span_t rest = buf_span(&t->bundle);
	for (uint32_t i = 0; i < t->width; i++) {
		span_t event;
		kms_err_t e = tile_next_entry(&rest, &event);
		if (e == KMS_E_NOTFOUND)
			return bad_leaf(first + i, "its bundle is cut off before this event", &t->why);
		if (e != KMS_OK)
			return bad_leaf(first + i, "its bundle is cut off within this event", &t->why);
		KMS_TRY(check_event(t, first + i, event, t->hash + (size_t)i * MERKLE_HASH_LEN));
	}
	if (whole && rest.n > 0)
		return diag_fail(&t->why, KMS_E_INTEGRITY,
				 "%zu bytes stand behind event %" PRIu64 ", the last of its bundle", rest.n,
				 first + t->width - 1);
	return KMS_OK;
}

kms_err_t leaftile_range(const uint8_t *hashes, uint32_t n, merkle_range_t *out, diag_t *why)
{
	*out = (merkle_range_t){.size = 0};
	for (uint32_t i = 0; i < n; i++)
		if (merkle_range_push(out, hashes + (size_t)i * MERKLE_HASH_LEN) != KMS_OK)
			return hash_failed(why);
	return KMS_OK;
}

static kms_err_t check(const leafjob_t *job, leaftile_t *t)
{
	tile_t is = {.level = 0, .index = t->index, .width = t->width};
	uint64_t first = t->index * TILE_WIDTH;
	KMS_TRY(logsrc_hashes(job->src, &is, &t->tile, &t->hash, &t->why));
	if (first >= job->begin && first < job->end)
		KMS_TRY(check_bundle(job, t));
	return leaftile_range(t->hash, t->width, &t->range, &t->why);
}

void leaftile_check(const leafjob_t *job, uint64_t index, leaftile_t *t)
{
	t->index = index;
	t->width = tile_width(job->size, 0, index);
	t->n_events = 0;
	t->bytes = 0;
	t->e = check(job, t);
}
