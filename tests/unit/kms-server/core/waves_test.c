/* The rules between two waves, by table. */
#include "kms-server/core/waves.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define T0       INT64_C(1700000000000)

static void test_sizes(void **state)
{
	static const struct {
		uint32_t volumes, wave, percent, size, count;
		const char *why;
	} rows[] = {
		{0, 0, 0, 1, 1, "nothing to do is one wave of nothing"},
		{10, 0, 0, 10, 1, "without a size all at once"},
		{10, 3, 0, 3, 4, "the last one is smaller"},
		{9, 3, 0, 3, 3, "it comes out even"},
		{10, 100, 0, 10, 1, "larger than all"},
		{10, 1, 0, 1, 10, "one by one"},
		{10, 0, 25, 3, 4, "a part is rounded up"},
		{10, 0, 100, 10, 1, "all of it"},
		{3, 0, 1, 1, 3, "never less than one"},
		{20000, 0, 33, 6600, 4, "exact"},
		{UINT32_MAX, 0, 100, UINT32_MAX, 1, "no overflow"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t size = waves_size(rows[i].volumes, rows[i].wave, rows[i].percent);
		if (size != rows[i].size || waves_count(rows[i].volumes, size) != rows[i].count)
			fail_msg("%s: %u, %u waves", rows[i].why, size, waves_count(rows[i].volumes, size));
	}
}

static void test_steps(void **state)
{
	static const struct {
		maint_rec_t m;
		uint32_t away;
		wave_step_t step;
		const char *why;
	} rows[] = {
		{{.wave_left = 2}, 0, WAVE_STAYS, "two are left"},
		{{.wave_left = 2}, 1, WAVE_STAYS, "one is left that is not away"},
		{{.wave_left = 2}, 2, WAVE_ENDS, "both are away"},
		{{.wave_left = 0}, 0, WAVE_ENDS, "all have ended"},
		{{.wave_ended_ms = T0 - 10}, 0, WAVE_NEXT, "no gate"},
		{{.wave_ended_ms = T0 - 59999, .gate_s = 60}, 0, WAVE_STAYS, "the gate's time is not over"},
		{{.wave_ended_ms = T0 - 60000, .gate_s = 60}, 0, WAVE_NEXT, "it is over"},
		{{.wave_ended_ms = T0 - 10, .wave_failed = 3}, 0, WAVE_HALTS, "none may fail"},
		{{.wave_ended_ms = T0 - 10, .gate_failures = 3, .wave_failed = 3}, 0, WAVE_NEXT, "three may"},
		{{.wave_ended_ms = T0 - 10, .gate_failures = 3, .wave_failed = 4}, 0, WAVE_HALTS, "not four"},
		{{.wave_ended_ms = T0 - 10, .gate_failures = MAINT_NO_GATE, .wave_failed = 9},
		 0,
		 WAVE_NEXT,
		 "any number may"},
		{{.wave_ended_ms = T0 - 10, .wave_left = 1}, 0, WAVE_STAYS, "one has come back"},
		{{.current_wave = 3}, 0, WAVE_STAYS, "the last wave has none after it"},
		{{.state = MAINT_PAUSED}, 0, WAVE_STAYS, "paused"},
		{{.until_ms = T0}, 0, WAVE_STAYS, "its window is over"},
		{{.has_hours = true, .hours = {0, 0, 0, 0}}, 0, WAVE_STAYS, "not in its hours"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		maint_rec_t m = rows[i].m;
		m.state = m.state != 0 ? m.state : MAINT_OPEN;
		m.until_ms = m.until_ms != 0 ? m.until_ms : T0 + 1;
		m.waves = 3;
		m.current_wave = m.current_wave != 0 ? m.current_wave : 1;
		if (waves_step(&m, rows[i].away, T0) != rows[i].step)
			fail_msg("%s: %d", rows[i].why, (int)waves_step(&m, rows[i].away, T0));
	}
}

static void test_away(void **state)
{
	static const struct {
		task_state_t task;
		uint32_t wave;
		int64_t began, given, shown;
		bool away;
		const char *why;
	} rows[] = {
		{TASK_TODO, 1, T0 - WAVE_AWAY_MS, 0, 0, true, "it has had its time"},
		{TASK_TODO, 1, T0 - WAVE_AWAY_MS + 1, 0, 0, false, "it still has"},
		{TASK_TODO, 3, T0 - WAVE_AWAY_MS, 0, 0, false, "not its turn"},
		{TASK_RUNNING, 1, 0, T0 - WAVE_LOST_MS, 0, true, "taken, and nothing shown"},
		{TASK_RUNNING, 1, 0, T0 - WAVE_LOST_MS + 1, 0, false, "taken of late"},
		{TASK_RUNNING, 1, 0, T0 - WAVE_LOST_MS, T0 - 1, false, "it gets on"},
		{TASK_DONE, 1, 0, 0, 0, false, "done"},
		{TASK_FAILED, 1, 0, 0, 0, false, "failed"},
		{TASK_SKIPPED, 1, 0, 0, 0, false, "skipped"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		maint_rec_t m = {.state = MAINT_OPEN,
				 .until_ms = T0 + 1,
				 .current_wave = 1,
				 .waves = 2,
				 .wave_began_ms = rows[i].began};
		task_rec_t t = {.state = rows[i].task, .wave = rows[i].wave, .given_ms = rows[i].given};
		if (waves_task_away(&m, &t, rows[i].shown, T0) != rows[i].away)
			fail_msg("%s", rows[i].why);
	}
	/* its hours began a minute ago: nobody could have asked before */
	maint_rec_t m = {.state = MAINT_OPEN, .until_ms = T0 + 1, .current_wave = 1, .has_hours = true};
	task_rec_t t = {.state = TASK_TODO, .wave = 1};
	uint16_t minute = (uint16_t)(T0 / 60000 % 1440);
	m.hours = (hours_t){HOURS_ALL_DAYS, (uint16_t)(minute - 1), (uint16_t)(minute + 5), 0};
	assert_false(waves_task_away(&m, &t, 0, T0));
	m.hours.from = (uint16_t)(minute - 3);
	assert_true(waves_task_away(&m, &t, 0, T0));
}

static void test_names(void **state)
{
	static const struct {
		const char *pattern, *node;
		bool named;
	} rows[] = {{"n1", "n1", true},  {"n1", "n10", false}, {"n1*", "n10", true},
		    {"n1*", "n1", true}, {"n1*", "n2", false}, {"*", "n2", true},
		    {"n2*", "n", false}, {"*", "", true},      {"n1", "", false}};
	(void)state;
	maint_rec_t m = {.n_nodes = 0};
	assert_true(maint_names_node(&m, "any"));
	for (size_t i = 0; i < COUNT(rows); i++) {
		m.n_nodes = 2;
		memcpy(m.nodes[0], "other", 6);
		memcpy(m.nodes[1], rows[i].pattern, strlen(rows[i].pattern) + 1);
		if (maint_names_node(&m, rows[i].node) != rows[i].named)
			fail_msg("%s and %s", rows[i].pattern, rows[i].node);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_away),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests_name("core/waves", tests, NULL, NULL);
}
