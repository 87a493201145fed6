/* Conditions as they stand in a document. */
#ifndef CLAVIGER_POLICY_CONDITION_READ_H
#define CLAVIGER_POLICY_CONDITION_READ_H

#include "policy/condition.h"
#include "policy/read.h"

/* read_fn's; into: a condition_t, a policy_list_t. */
KMS_MUST condition_read(read_t *r, const json_t *v, void *into);
KMS_MUST condition_read_principals(read_t *r, const json_t *v, void *into);

#endif
