/* How long to wait before trying again: doubling, with jitter, so that a fleet that lost its KMS at one
 * moment does not come back at one moment. */
#ifndef CLAVIGER_NODE_AGENT_APP_BACKOFF_H
#define CLAVIGER_NODE_AGENT_APP_BACKOFF_H

#include <stdint.h>

typedef struct backoff {
	uint32_t next_ms; /* 0: begin at the shortest */
	uint32_t most_ms;
} backoff_t;

/* Milliseconds: half to one and a half times the present step, not less than the server asked for (seconds),
 * plus up to half of that. */
uint32_t backoff_next(backoff_t *b, uint32_t retry_after_s);
void backoff_reset(backoff_t *b);
/* Sleeps; a signal that is handled ends it early. */
void backoff_sleep(uint32_t ms);

/* Milliseconds of a clock that nobody sets. */
int64_t backoff_now_ms(void);

#endif
