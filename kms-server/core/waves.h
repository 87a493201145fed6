/* How a maintenance event goes through its volumes: waves one after another, and what lies between two of
 * them. Nothing here reads or writes anything.
 *
 *   found                                             what follows
 *   some of the wave are to do or run, not all away   it goes on
 *   all have ended, or are away                       the wave has ended; the gate's time begins
 *   the gate's time is over, few enough failed        the next wave
 *   too many failed                                   halted, for people to look at
 */
#ifndef CLAVIGER_KMS_SERVER_CORE_WAVES_H
#define CLAVIGER_KMS_SERVER_CORE_WAVES_H

#include "kms-server/core/records.h"

/* A node that has not taken its task for so long is away: agents ask without a pause. */
#define WAVE_AWAY_MS (INT64_C(120) * 1000)
/* One that has taken it, and shows nothing for so long. */
#define WAVE_LOST_MS (INT64_C(600) * 1000)
/* In waves of more volumes than this, nodes begin at a moment of their own. */
#define WAVE_JITTER_FROM 20U
#define WAVE_JITTER_MS   2000U

/* Volumes of a wave, at least 1: so many, or so many percent of all (rounded up), or (both 0) all. */
uint32_t waves_size(uint32_t volumes, uint32_t wave, uint32_t percent);
/* How many waves that makes, at least 1. */
uint32_t waves_count(uint32_t volumes, uint32_t size);

/* Whether the event's tasks may begin now. */
bool maint_is_open(const maint_rec_t *m, int64_t now_ms);
/* No more of it will begin. */
bool maint_has_ended(const maint_rec_t *m);
/* Whether the node concerned is away. shown_ms: when the volume's last progress was heard of, 0: none. */
bool waves_task_away(const maint_rec_t *m, const task_rec_t *t, int64_t shown_ms, int64_t now_ms);

typedef enum wave_step { WAVE_STAYS, WAVE_ENDS, WAVE_NEXT, WAVE_HALTS } wave_step_t;
/* away: of the current wave's. */
wave_step_t waves_step(const maint_rec_t *m, uint32_t away, int64_t now_ms);

/* Whether the event is about this node. */
bool maint_names_node(const maint_rec_t *m, const char *node);

#endif
