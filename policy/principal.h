/* Who a statement is about: "anonymous", "node:C/S/N", "operator:NAME", "role:ROLE", "group:NAME",
 * "scoped:ROLE". */
#ifndef CLAVIGER_POLICY_PRINCIPAL_H
#define CLAVIGER_POLICY_PRINCIPAL_H

#include "policy/decide.h"
#include "policy/pool.h"

#define PRINCIPAL_TEXT_CAP 200U

typedef enum principal_kind {
	PRINCIPAL_ANONYMOUS = 1,
	PRINCIPAL_NODE,
	PRINCIPAL_OPERATOR, /* this and the next two: people whom no list of customers confines */
	PRINCIPAL_ROLE,
	PRINCIPAL_GROUP,
	PRINCIPAL_SCOPED /* by role */
} principal_kind_t;

typedef struct principal {
	principal_kind_t kind;
	/* exact or "*"; NODE: customer, service, name; the others their name or role first; else "" */
	const char *segment[3];
} principal_t;

typedef struct policy_list {
	const principal_t *item;
	size_t n;
} policy_list_t;

/* Its texts go into the pool. */
KMS_MUST principal_parse(pool_t *pool, span_t text, principal_t *out, diag_t *why);
void principal_format(const principal_t *p, char out[PRINCIPAL_TEXT_CAP]);

/* Whether it can be the approver of something. */
bool principal_is_person(const principal_t *p);
bool principal_names(const principal_t *p, const policy_person_t *person);
bool principal_matches(const principal_t *p, const policy_request_t *r);

bool policy_list_equal(const policy_list_t *a, const policy_list_t *b);
bool policy_list_names(const policy_list_t *list, const policy_person_t *person);

#endif
