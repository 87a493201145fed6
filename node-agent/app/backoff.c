#include "node-agent/app/backoff.h"

#include "common/crypto/digest.h"

#include <time.h>

#define FIRST_MS        500U
#define RETRY_AFTER_MAX 3600U

static uint32_t random_below(uint32_t n)
{
	uint32_t v = 0;
	/* without random numbers everybody waits the same: worse for the server, not for us */
	if (crypto_random((uint8_t *)&v, sizeof v) != KMS_OK)
		v = 0;
	return n > 0 ? v % n : 0;
}

uint32_t backoff_next(backoff_t *b, uint32_t retry_after_s)
{
	uint32_t step = b->next_ms > 0 ? b->next_ms : FIRST_MS;
	uint32_t asked = (retry_after_s < RETRY_AFTER_MAX ? retry_after_s : RETRY_AFTER_MAX) * 1000U;
	uint32_t wait = step / 2 + random_below(step);
	b->next_ms = step * 2 < b->most_ms ? step * 2 : b->most_ms;
	return wait > asked ? wait : asked + random_below(asked / 2 + 1);
}

void backoff_reset(backoff_t *b)
{
	b->next_ms = 0;
}

void backoff_sleep(uint32_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000U, .tv_nsec = (long)(ms % 1000U) * 1000000L};
	(void)nanosleep(&t, NULL);
}

int64_t backoff_now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
