/* What the files about maintenance events share.
 *
 *   maintenance.c        making one: its volumes, its plan
 *   maintenance_read.c   the body of a request, the answers
 *   maintenance_state.c  what becomes of it: people's acts, tasks that end, waves, time
 *   waves.c              the rules between two waves
 *   tasks.c              the nodes' side */
#ifndef CLAVIGER_KMS_SERVER_CORE_MAINTENANCE_H
#define CLAVIGER_KMS_SERVER_CORE_MAINTENANCE_H

#include "kms-server/core/internal.h"
#include "kms-server/core/waves.h"

/* Keys of STORE_TASKS. A task's record. */
void maint_task_key(const char *id, const path3_t *volume, char out[KEY_CAP]);
/* Empty: what a node still has to do. */
void maint_node_key(const char *id, const path3_t *volume, const char *node, char out[KEY_CAP]);
/* Empty: those of a customer's events that are open or scheduled begin with this; the id follows. */
void maint_open_prefix(const char *customer, char out[KEY_CAP]);

/* The record, and whether it is among the open ones: a policy looks there at every decision. */
KMS_MUST maint_save(store_txn_t *t, const secret_t *mac, const char *id, const maint_rec_t *m);
KMS_MUST maint_load(op_t *op, const char *id, maint_rec_t *m);
json_t *maint_json(const char *id, const maint_rec_t *m, int64_t now_ms);

/* Opens an event for each service that has secrets older than the setting allows, one a service and day at
 * most.
 */
KMS_MUST maint_schedule(core_t *c, store_txn_t *t, int64_t now_ms);

/* What a request wants, as a record without volumes yet. */
KMS_MUST maint_read_body(op_t *op, maint_rec_t *m);

/* One task after another of an event, by key; true from `each` means that it wrote (which ends a cursor). */
typedef struct maint_task_at {
	char key[KEY_CAP];
	path3_t volume;
	task_rec_t task;
} maint_task_at_t;
typedef kms_err_t (*maint_task_fn)(void *ctx, maint_task_at_t *at, bool *wrote);
KMS_MUST maint_each_task(store_txn_t *t, const secret_t *mac, const char *id, maint_task_fn each, void *ctx);

/* What of a task has begun at its volume, and is finished whatever becomes of the event. */
typedef enum task_begun { BEGUN_NOTHING, BEGUN_ROTATION, BEGUN_REENCRYPTION } task_begun_t;
KMS_MUST maint_task_begun(store_txn_t *t, const secret_t *mac, const path3_t *volume, task_begun_t *out,
			  int64_t *shown_ms);

/* The current wave begins now: counts what is in it. */
KMS_MUST maint_begin_wave(store_txn_t *t, const secret_t *mac, const char *id, maint_rec_t *m,
			  int64_t now_ms);
/* A task has ended one way or the other: counts, halts at the failure limit, begins the next wave, closes
 * when nothing is left. */
KMS_MUST maint_end_task(op_t *op, const char *id, const path3_t *volume, task_state_t to, const char *detail);

#endif
