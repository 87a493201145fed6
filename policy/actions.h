/* Every action of the API, as policies name it: one for each route. kms-server/core/ops.h has the operations
 * behind them; a test holds both lists against one another. */
#ifndef CLAVIGER_POLICY_ACTIONS_H
#define CLAVIGER_POLICY_ACTIONS_H

#include "common/base/span.h"

#include <stdbool.h>

/* The segments that a resource of a type has in policies and grants: "sys" (0), "operator:bob" (1),
 * "service:acme/db" (2), "volume:acme/db/v1" (3). */
typedef struct policy_type {
	const char *name;
	unsigned segments;
	unsigned first; /* of a request's customer, service, name (0 to 2): where they begin */
} policy_type_t;

typedef struct policy_action {
	const char *name;  /* "node.invite" */
	const char *type;  /* of the resource that it is decided on */
	bool acts_on_keys; /* a person's act that needs a grant with a second person, as shipped */
	/* a grant for it must carry the request's body, because the body is what is approved: a policy's
	 * text, a new operator's role and key */
	bool binds_body;
	const char *what; /* one line for people */
} policy_action_t;

const policy_action_t *policy_actions(size_t *n);
/* NULL: there is none. */
const policy_action_t *policy_action(const char *name);
const policy_type_t *policy_types(size_t *n);
/* NULL: there is none. */
const policy_type_t *policy_type(const char *name);

#endif
