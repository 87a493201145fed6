/* What maintenance.c shares with tasks.c and facts.c. */
#ifndef CLAVIGER_KMS_SERVER_CORE_MAINTENANCE_H
#define CLAVIGER_KMS_SERVER_CORE_MAINTENANCE_H

#include "kms-server/core/internal.h"

void maint_task_key(const char *id, const path3_t *volume, char out[KEY_CAP]);
/* The keys of a customer's open events in STORE_TASKS begin with this; the id follows. */
void maint_open_prefix(const char *customer, char out[KEY_CAP]);
bool maint_is_open(const maint_rec_t *m, int64_t now_ms);
/* A task has ended one way or the other: counts, halts at the failure limit, closes when nothing is left. */
KMS_MUST maint_end_task(op_t *op, const char *id, const path3_t *volume, task_state_t to, const char *detail);

#endif
