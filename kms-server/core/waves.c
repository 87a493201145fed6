#include "kms-server/core/waves.h"

#include <string.h>

uint32_t waves_size(uint32_t volumes, uint32_t wave, uint32_t percent)
{
	uint64_t size = volumes;
	if (percent > 0)
		size = ((uint64_t)volumes * percent + 99) / 100;
	else if (wave > 0 && wave < volumes)
		size = wave;
	return size > 0 ? (uint32_t)size : 1;
}

uint32_t waves_count(uint32_t volumes, uint32_t size)
{
	return volumes > size ? (volumes - 1) / size + 1 : 1;
}

bool maint_is_open(const maint_rec_t *m, int64_t now_ms)
{
	return m->state == MAINT_OPEN && now_ms < m->until_ms &&
	       (!m->has_hours || hours_contain(&m->hours, now_ms));
}

bool maint_has_ended(const maint_rec_t *m)
{
	return m->state == MAINT_CLOSED || m->state == MAINT_ABORTED;
}

/* Outside of its hours nobody is expected, nor at once when they begin. */
static bool was_open(const maint_rec_t *m, int64_t since_ms)
{
	return m->wave_began_ms <= since_ms && (!m->has_hours || hours_contain(&m->hours, since_ms));
}

bool waves_task_away(const maint_rec_t *m, const task_rec_t *t, int64_t shown_ms, int64_t now_ms)
{
	if (t->wave > m->current_wave)
		return false;
	if (t->state == TASK_TODO)
		return maint_is_open(m, now_ms) &&
		       (t->wave < m->current_wave || was_open(m, now_ms - WAVE_AWAY_MS));
	return t->state == TASK_RUNNING && now_ms - t->given_ms >= WAVE_LOST_MS &&
	       now_ms - shown_ms >= WAVE_LOST_MS;
}

wave_step_t waves_step(const maint_rec_t *m, uint32_t away, int64_t now_ms)
{
	if (!maint_is_open(m, now_ms) || m->current_wave >= m->waves || m->wave_left > away)
		return WAVE_STAYS;
	if (m->wave_ended_ms == 0)
		return WAVE_ENDS;
	if (m->gate_failures != MAINT_NO_GATE && m->wave_failed > m->gate_failures)
		return WAVE_HALTS;
	return now_ms - m->wave_ended_ms >= (int64_t)m->gate_s * 1000 ? WAVE_NEXT : WAVE_STAYS;
}

bool maint_names_node(const maint_rec_t *m, const char *node)
{
	for (size_t i = 0; i < m->n_nodes; i++) {
		size_t n = strlen(m->nodes[i]);
		bool open_end = n > 0 && m->nodes[i][n - 1] == '*';
		if (open_end ? strncmp(m->nodes[i], node, n - 1) == 0 : strcmp(m->nodes[i], node) == 0)
			return true;
	}
	return m->n_nodes == 0;
}
