#include "common/base/steady.h"

#include <stdlib.h>
#include <time.h>

static struct timespec timespec_of(int64_t ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

int64_t steady_ms(void)
{
	struct timespec t = {0};
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void steady_pause(int64_t ms)
{
	const struct timespec t = timespec_of(ms);
	(void)nanosleep(&t, NULL);
}

void steady_cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;
	/* none of these can fail on Linux; by another clock every wait would be wrong */
	if (pthread_condattr_init(&attr) != 0 || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
	    pthread_cond_init(c, &attr) != 0)
		abort();
	(void)pthread_condattr_destroy(&attr);
}

bool steady_wait(pthread_cond_t *c, pthread_mutex_t *lock, int64_t until_ms)
{
	const struct timespec until = timespec_of(until_ms);
	return pthread_cond_timedwait(c, lock, &until) == 0;
}
