#include "kms-server/core/budget.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 4096U

typedef struct bucket {
	int64_t at_ms;
	int64_t milli; /* thousandths of a token */
} bucket_t;

struct budget {
	pthread_mutex_t lock;
	int64_t rate, full_milli;
	bucket_t row[ROWS];
};

kms_err_t budget_new(uint32_t rate, uint32_t burst, budget_t **out)
{
	budget_t *b = calloc(1, sizeof *b);
	if (b == NULL)
		return KMS_E_NOMEM;
	(void)pthread_mutex_init(&b->lock, NULL);
	b->rate = rate;
	b->full_milli = (int64_t)burst * 1000;
	*out = b;
	return KMS_OK;
}

void budget_freep(budget_t **b)
{
	if (*b != NULL) {
		(void)pthread_mutex_destroy(&(*b)->lock);
		free(*b);
	}
	*b = NULL;
}

bool budget_take(budget_t *b, const uint8_t id[32], int64_t now_ms)
{
	uint32_t h;
	memcpy(&h, id, sizeof h);
	(void)pthread_mutex_lock(&b->lock);
	bucket_t *r = &b->row[h % ROWS];
	/* rate tokens a second are rate thousandths a millisecond */
	int64_t passed = now_ms > r->at_ms ? now_ms - r->at_ms : 0;
	r->milli = r->at_ms == 0 || passed > b->full_milli / b->rate ? b->full_milli
								     : r->milli + passed * b->rate;
	if (r->milli > b->full_milli)
		r->milli = b->full_milli;
	r->at_ms = now_ms;
	bool ok = r->milli >= 1000;
	if (ok)
		r->milli -= 1000;
	(void)pthread_mutex_unlock(&b->lock);
	return ok;
}
