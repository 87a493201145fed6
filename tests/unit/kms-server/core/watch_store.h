/* The store in memory, watched: counts the commits that changed something, holds them up, refuses a write. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_WATCH_STORE_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_WATCH_STORE_H

#include "kms-server/ports/store.h"

KMS_MUST watch_store_new(store_t **out);

/* Commits that changed something and succeeded. */
unsigned watch_commits(store_t *s);
/* The next commits fail: memory_store_fail_commits on the store below. */
void watch_fail_commits(store_t *s, kms_err_t e, unsigned times);

/* The next commit that changes something waits until watch_release. */
void watch_hold(store_t *s);
/* Waits until one does. */
void watch_held(store_t *s);
void watch_release(store_t *s);

/* Every put with this key in this table fails with e; KMS_OK: none does. The key is copied. */
void watch_poison(store_t *s, store_table_t table, const char *key, kms_err_t e);
/* The next begins of a write fail. */
void watch_fail_begins(store_t *s, kms_err_t e, unsigned times);

/* What store_reserve finds; without a call there is room for all. */
void watch_room(store_t *s, uint64_t bytes);

#endif
