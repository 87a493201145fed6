/* A token bucket for each identity, so that no node or person can take the whole server: `rate` requests a
 * second, `burst` at once. A fixed table: two identities that share a row share its tokens, and memory is
 * bounded. Thread-safe. */
#ifndef CLAVIGER_KMS_SERVER_CORE_BUDGET_H
#define CLAVIGER_KMS_SERVER_CORE_BUDGET_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct budget budget_t;

KMS_MUST budget_new(uint32_t rate, uint32_t burst, budget_t **out);
void budget_freep(budget_t **b);
/* id: evenly spread bytes (a hash). False: over the budget. */
bool budget_take(budget_t *b, const uint8_t id[32], int64_t now_ms);

#endif
