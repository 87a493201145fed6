/* A policy is data: statements that each say who may (or may not) do what on which resources. */
#ifndef CLAVIGER_POLICY_STATEMENT_H
#define CLAVIGER_POLICY_STATEMENT_H

#include "policy/decide.h"

#define POLICY_ANY "*" /* one whole segment */
#define POLICY_SELF                                                                                          \
	"${self}" /* the same segment of the calling node's own name; nothing for other callers              \
		   */

typedef enum policy_effect { POLICY_DENY = 0, POLICY_ALLOW } policy_effect_t;

typedef enum policy_need {
	POLICY_NEEDS_NOTHING = 0,
	POLICY_NEEDS_OWN,  /* the resource is the caller's own */
	POLICY_NEEDS_SCOPE /* the resource's customer is one of the caller's */
} policy_need_t;

typedef struct policy_principal {
	policy_who_t who;
	const char *role; /* POLICY_OPERATOR, POLICY_SCOPED: exact, or POLICY_ANY */
} policy_principal_t;

/* Each text is exact, POLICY_ANY or (but for the type) POLICY_SELF. POLICY_ANY also matches the "" of a
 * resource that has no such segment. */
typedef struct policy_resource {
	const char *type, *customer, *service, *name;
} policy_resource_t;

/* Matches when one principal, one action and one resource match and what is needed holds. An action is two
 * segments, each exact or POLICY_ANY: "rotation.*", "*.read". */
typedef struct policy_statement {
	const char *name;
	policy_effect_t effect;
	policy_need_t needs;
	const policy_principal_t *principals;
	size_t n_principals;
	const char *const *actions;
	size_t n_actions;
	const policy_resource_t *resources;
	size_t n_resources;
} policy_statement_t;

struct policy {
	const policy_statement_t *statements;
	size_t n;
};

#endif
