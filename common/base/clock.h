/* Time as an input: tests set it, main passes the system's. */
#ifndef CLAVIGER_COMMON_BASE_CLOCK_H
#define CLAVIGER_COMMON_BASE_CLOCK_H

#include <stdint.h>

typedef struct kms_clock {
	int64_t (*now_ms)(void *ctx); /* milliseconds since 1970-01-01T00:00:00Z */
	void *ctx;
} kms_clock_t;

kms_clock_t clock_system(void);
static inline int64_t clock_now(const kms_clock_t *c)
{
	return c->now_ms(c->ctx);
}

#endif
