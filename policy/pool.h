/* Memory that is given up all at once: what a policy document is compiled into. Not for sharing between
 * threads while it grows. */
#ifndef CLAVIGER_POLICY_POOL_H
#define CLAVIGER_POLICY_POOL_H

#include "common/base/err.h"
#include "common/base/span.h"

typedef struct pool_block pool_block_t;

typedef struct pool {
	pool_block_t *last;
} pool_t;

/* Zeroed, aligned for anything; an empty array is not NULL either. */
KMS_MUST pool_array(pool_t *p, size_t n, size_t size, void **out);
/* A copy, ended by a zero byte. */
KMS_MUST pool_text(pool_t *p, span_t text, const char **out);
void pool_free(pool_t *p);

#endif
