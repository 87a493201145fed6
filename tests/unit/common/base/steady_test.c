#include "common/base/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

typedef struct meeting {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool come;
} meeting_t;

static void *come(void *arg)
{
	meeting_t *m = arg;
	steady_pause(30);
	(void)pthread_mutex_lock(&m->lock);
	m->come = true;
	(void)pthread_cond_signal(&m->change);
	(void)pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void open_meeting(meeting_t *m)
{
	m->come = false;
	assert_int_equal(pthread_mutex_init(&m->lock, NULL), 0);
	steady_cond_init(&m->change);
	(void)pthread_mutex_lock(&m->lock);
}

static void close_meeting(meeting_t *m)
{
	(void)pthread_mutex_unlock(&m->lock);
	(void)pthread_cond_destroy(&m->change);
	(void)pthread_mutex_destroy(&m->lock);
}

/* A condition by the date, which is far ahead of the time since the start, would not wait at all. */
static void test_nobody_comes(void **state)
{
	(void)state;
	static const int64_t limits[] = {-1000, 0, 1, 50, 1010};
	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		meeting_t m;
		open_meeting(&m);
		int64_t began = steady_ms(), limit = limits[i] > 0 ? limits[i] : 0;
		while (steady_wait(&m.change, &m.lock, began + limits[i])) {
		}
		int64_t took = steady_ms() - began;
		close_meeting(&m);
		assert_in_range(took, limit, limit + 5000);
	}
}

static void test_one_who_comes_ends_the_wait(void **state)
{
	(void)state;
	meeting_t m;
	pthread_t thread;
	bool in_time = true;
	open_meeting(&m);
	int64_t began = steady_ms();
	assert_int_equal(pthread_create(&thread, NULL, come, &m), 0);
	while (!m.come && in_time)
		in_time = steady_wait(&m.change, &m.lock, began + 20000);
	int64_t took = steady_ms() - began;
	close_meeting(&m);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(in_time);
	assert_in_range(took, 29, 19999);
}

static void test_a_pause_is_no_shorter(void **state)
{
	(void)state;
	int64_t began = steady_ms();
	steady_pause(1001);
	assert_in_range(steady_ms() - began, 1000, 6000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_nobody_comes),
					   cmocka_unit_test(test_one_who_comes_ends_the_wait),
					   cmocka_unit_test(test_a_pause_is_no_shorter)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
