/* A tile of leaf hashes, and the bundle of events that it is of, held against one another. Touches nothing
 * shared but the source, so that several may be checked at once where the source is a folder. */
#ifndef CLAVIGER_TOOLS_KMSCTL_LEAFTILE_H
#define CLAVIGER_TOOLS_KMSCTL_LEAFTILE_H

#include "common/tlog/merkle.h"
#include "tools/kmsctl/logsrc.h"

typedef struct leafjob {
	logsrc_t *src;
	uint64_t size;       /* of the tree */
	uint64_t begin, end; /* the events that src holds: whole bundles, or up to the end */
} leafjob_t;

typedef struct leaftile {
	uint64_t index;
	uint32_t width;
	buf_t tile, bundle;
	const uint8_t *hash;  /* within tile: width hashes */
	uint32_t n_events;    /* so many of the bundle, from its begin, are their leaves */
	uint64_t bytes;       /* of these events */
	merkle_range_t range; /* of all its hashes */
	kms_err_t e;          /* what is wrong with the one behind them, or with the tile */
	diag_t why;
} leaftile_t;

/* Fills t, whose buffers are used again. */
void leaftile_check(const leafjob_t *job, uint64_t index, leaftile_t *t);
void leaftile_free(leaftile_t *t);

/* The range of the first n of n hashes, one after the other. */
KMS_MUST leaftile_range(const uint8_t *hashes, uint32_t n, merkle_range_t *out, diag_t *why);

#endif
