/* Answers that wait for their turn. Callers without an accepted certificate get their refusals at once while
 * these are few; past that they queue up and are let go at a fixed rate. A flood that waits for its answers,
 * as every client of HTTP does, is thereby as slow as the rate, and the processor time that its handshakes
 * would have taken is the nodes'. Which connection is a stranger's is known only after the handshake; sources
 * that never get that far are conns.h's matter. */
#ifndef CLAVIGER_KMS_SERVER_HTTP_LATE_H
#define CLAVIGER_KMS_SERVER_HTTP_LATE_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct late late_t;

/* An answer's place, in memory that lives until it was let go. */
typedef struct late_place {
	void (*go)(void *ctx); /* called once, on the module's thread; must not block */
	void *ctx;
	int64_t since_ms;
	struct late_place *next;
} late_place_t;

/* rate: answers a second, and at once after a calm second; longest_ms: none waits longer, even past the rate.
 * Starts a thread. */
KMS_MUST late_new(uint32_t rate, uint32_t longest_ms, late_t **out, diag_t *why);
/* True: no need to wait. */
bool late_pass(late_t *l);
/* place->go will be called, perhaps before this returns. */
void late_wait(late_t *l, late_place_t *place);
/* Lets all go, now and later. */
void late_stop(late_t *l);
void late_freep(late_t **l);

#endif
