/* The message of https://c2sp.org/tlog-witness, add-checkpoint: "old SIZE", consistency proof lines, an empty
 * line, the checkpoint. */
#ifndef CLAVIGER_COMMON_TLOG_WITNESSING_H
#define CLAVIGER_COMMON_TLOG_WITNESSING_H

#include "common/tlog/checkpoint.h"

#define ADD_CHECKPOINT_MAX   (CHECKPOINT_MAX + 8U * 1024U)
#define ADD_CHECKPOINT_PROOF 63U /* hashes at most */

typedef struct add_checkpoint {
	uint64_t old_size;
	size_t n;
	uint8_t hash[ADD_CHECKPOINT_PROOF][MERKLE_HASH_LEN];
	span_t checkpoint;
} add_checkpoint_t;

KMS_MUST add_checkpoint_format(const add_checkpoint_t *a, buf_t *out);
/* Spans point into body. INVALID says what is wrong. */
KMS_MUST add_checkpoint_parse(span_t body, add_checkpoint_t *out, diag_t *why);

#endif
