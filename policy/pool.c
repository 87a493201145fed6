#include "policy/pool.h"

#include <stdalign.h>
#include <stdlib.h>

#define BLOCK 4096U

struct pool_block {
	pool_block_t *before;
	size_t room, used;
	alignas(max_align_t) uint8_t bytes[];
};

static KMS_MUST add_block(pool_t *p, size_t room)
{
	pool_block_t *b = calloc(1, sizeof *b + room);
	if (b == NULL)
		return KMS_E_NOMEM;
	b->before = p->last;
	b->room = room;
	p->last = b;
	return KMS_OK;
}

kms_err_t pool_array(pool_t *p, size_t n, size_t size, void **out)
{
	const size_t align = alignof(max_align_t);
	if (size != 0 && n > (SIZE_MAX / 2) / size)
		return KMS_E_NOMEM;
	size_t need = (n * size + align) / align * align; /* at least one unit, so that nothing shares it */
	if (p->last == NULL || p->last->room - p->last->used < need)
		KMS_TRY(add_block(p, need > BLOCK ? need : BLOCK));
	*out = p->last->bytes + p->last->used;
	p->last->used += need;
	return KMS_OK;
}

kms_err_t pool_text(pool_t *p, span_t text, const char **out)
{
	void *to = NULL;
	KMS_TRY(pool_array(p, text.n + 1, 1, &to));
	if (text.n > 0)
		memcpy(to, text.p, text.n);
	*out = to;
	return KMS_OK;
}

void pool_free(pool_t *p)
{
	while (p->last != NULL) {
		pool_block_t *b = p->last;
		p->last = b->before;
		free(b);
	}
}
