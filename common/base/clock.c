#include "common/base/clock.h"

#include <time.h>

static int64_t system_now(void *ctx)
{
	(void)ctx;
	struct timespec ts;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

kms_clock_t clock_system(void)
{
	return (kms_clock_t){.now_ms = system_now, .ctx = 0};
}
