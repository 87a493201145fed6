/* The leaf tiles of a log, checked in order: by several threads ahead of whoever asks, where that is of use
 * (a folder, a log of some size, more than one processor); otherwise by the caller's own. */
#ifndef CLAVIGER_TOOLS_KMSCTL_TILEPOOL_H
#define CLAVIGER_TOOLS_KMSCTL_TILEPOOL_H

#include "tools/kmsctl/leaftile.h"

#define TILEPOOL_THREADS 4U

typedef struct tilepool tilepool_t;

/* threads: TILEPOOL_THREADS at most; 0: none. The source outlives the pool. */
KMS_MUST tilepool_new(const leafjob_t *job, unsigned threads, tilepool_t **out, diag_t *why);
void tilepool_freep(tilepool_t **p);
/* How many threads are of use for this job. */
unsigned tilepool_useful(const leafjob_t *job);

/* The next tile, the pool's, good until the next call; NULL behind the last. Whether it is as it should be
 * stands in it. */
const leaftile_t *tilepool_next(tilepool_t *p);

#endif
