#include "common/tlog/tile.h"

#include "common/tlog/text.h"

#include <inttypes.h>
#include <stdio.h>

/* A tile spans 256^(level+1) leaves, so level l has 2^(56 - 8l) of them. */
static bool exists(int level, uint64_t index)
{
	unsigned shift = 8U * (unsigned)(level < 0 ? 0 : level);
	return index >> (56U - shift) == 0;
}

/* "x001/x234/067" of 1234067. */
static size_t format_index(uint64_t index, char out[TILE_PATH_CAP])
{
	unsigned group[8];
	size_t k = 0, n = 0;
	do {
		group[k++] = (unsigned)(index % 1000);
		index /= 1000;
	} while (index > 0 && k < 8);
	while (k-- > 0)
		n += (size_t)snprintf(out + n, TILE_PATH_CAP - n, k > 0 ? "x%03u/" : "%03u", group[k]);
	return n;
}

void tile_format(const tile_t *t, char out[TILE_PATH_CAP])
{
	char index[TILE_PATH_CAP], level[16], width[16] = "";
	(void)format_index(t->index, index);
	if (t->level == TILE_ENTRIES)
		(void)snprintf(level, sizeof level, "entries");
	else
		(void)snprintf(level, sizeof level, "%d", t->level);
	if (t->width != TILE_WIDTH)
		(void)snprintf(width, sizeof width, ".p/%" PRIu32, t->width);
	(void)snprintf(out, TILE_PATH_CAP, "tile/%.8s/%.38s%.8s", level, index, width);
}

static bool three_digits(span_t *s, uint64_t *index)
{
	if (s->n < 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		unsigned digit = (unsigned)s->p[i] - '0';
		if (digit > 9)
			return false;
		*index = *index * 10 + digit;
	}
	*s = span_of(s->p + 3, s->n - 3);
	return true;
}

static bool parse_index(span_t *s, uint64_t *index)
{
	unsigned groups = 1;
	for (; text_prefix(s, "x"); groups++)
		if (groups == 6 || !three_digits(s, index) || !text_prefix(s, "/"))
			return false;
	return three_digits(s, index);
}

static bool parse_level(span_t *s, int *level)
{
	if (text_prefix(s, "entries/")) {
		*level = TILE_ENTRIES;
		return true;
	}
	if (s->n < 2 || s->p[0] < '0' || s->p[0] > '0' + TILE_LEVEL_MAX || s->p[1] != '/')
		return false;
	*level = s->p[0] - '0';
	*s = span_of(s->p + 2, s->n - 2);
	return true;
}

kms_err_t tile_parse(span_t text, tile_t *out)
{
	tile_t t = {.width = TILE_WIDTH};
	span_t s = text;
	if (!parse_level(&s, &t.level) || !parse_index(&s, &t.index) || !exists(t.level, t.index))
		return KMS_E_INVALID;
	if (text_prefix(&s, ".p/")) {
		uint64_t width = 0;
		KMS_TRY(text_u64(s, &width));
		if (width == 0 || width >= TILE_WIDTH)
			return KMS_E_INVALID;
		t.width = (uint32_t)width;
	} else if (s.n != 0) {
		return KMS_E_INVALID;
	}
	/* whatever other text means this tile ("x000/001") is refused here */
	char one[TILE_PATH_CAP];
	tile_format(&t, one);
	if (!span_eq(text, span_str(one + strlen("tile/"))))
		return KMS_E_INVALID;
	*out = t;
	return KMS_OK;
}

uint32_t tile_width(uint64_t size, int level, uint64_t index)
{
	if (level < TILE_ENTRIES || level > TILE_LEVEL_MAX)
		return 0;
	uint64_t hashes = size >> (8U * (unsigned)(level < 0 ? 0 : level));
	if (index > hashes / TILE_WIDTH)
		return 0;
	uint64_t left = hashes - index * TILE_WIDTH;
	return left < TILE_WIDTH ? (uint32_t)left : TILE_WIDTH;
}

kms_err_t tile_next_entry(span_t *bundle, span_t *entry)
{
	if (bundle->n == 0)
		return KMS_E_NOTFOUND;
	if (bundle->n < 2)
		return KMS_E_INTEGRITY;
	size_t n = (size_t)bundle->p[0] << 8 | bundle->p[1];
	if (bundle->n - 2 < n)
		return KMS_E_INTEGRITY;
	*entry = span_of(bundle->p + 2, n);
	*bundle = span_of(bundle->p + 2 + n, bundle->n - 2 - n);
	return KMS_OK;
}
