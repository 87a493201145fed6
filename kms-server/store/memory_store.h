/* The store's twin in memory, for tests: the same contract, nothing on disk, and failures on demand. */
#ifndef CLAVIGER_KMS_SERVER_STORE_MEMORY_STORE_H
#define CLAVIGER_KMS_SERVER_STORE_MEMORY_STORE_H

#include "kms-server/ports/store.h"

KMS_MUST memory_store_new(store_t **out);

/* The next commits, `times` of them, fail with e: FULL (nothing changes, the store goes on) or IO (nothing
 * goes on after the first). */
void memory_store_fail_commits(store_t *s, kms_err_t e, unsigned times);

#endif
