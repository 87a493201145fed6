/* A core of our own in place of kms-server/core: it keeps what the edge submits for the test to look at, and
 * says `done` from a thread of its own, as the committer does. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_HTTP_FAKE_CORE_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_HTTP_FAKE_CORE_H

#include "kms-server/core/core.h"

/* What it answers to a request for a tile. */
#define FAKE_TILE_CACHE "private, max-age=7"

core_t *fake_core_new(void);
void fake_core_free(core_t *c);

/* While on, nothing is done: every request waits. */
void fake_core_hold(core_t *c, bool on);
/* What core_submit returns; not OK: it takes nothing. */
void fake_core_submit_returns(core_t *c, kms_err_t e);

typedef struct fake_seen {
	size_t submitted, finished;
	core_request_t last; /* body points nowhere: see below */
	char body[64];       /* the last body's beginning */
	size_t body_len;
} fake_seen_t;

void fake_core_seen(core_t *c, fake_seen_t *out);
/* Waits until as many were submitted (at most 5 s). */
bool fake_core_wait_submitted(core_t *c, size_t n);

#endif
