/* What a statement is about: "*", "sys", "customer:acme", "volume:acme/db/v1". A segment is exact, "*",
 * "${self}" or empty. */
#ifndef CLAVIGER_POLICY_RESOURCE_H
#define CLAVIGER_POLICY_RESOURCE_H

#include "policy/actions.h"
#include "policy/decide.h"
#include "policy/pool.h"

typedef struct resource {
	const policy_type_t *type; /* NULL: anything at all */
	/* Of customer, service and name: exact, "*" (the empty one too) or "${self}": the same of the calling
	 * node's own name, nothing for other callers. What the type does not have is empty, and only that. */
	const char *segment[3];
} resource_t;

/* Its texts go into the pool. */
KMS_MUST resource_parse(pool_t *pool, span_t text, resource_t *out, diag_t *why);
bool resource_matches(const resource_t *p, const policy_request_t *r);

#endif
