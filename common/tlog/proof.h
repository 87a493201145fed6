/* Inclusion proofs as files (https://c2sp.org/tlog-proof). Self-contained: index, hashes and the checkpoint.
 */
#ifndef CLAVIGER_COMMON_TLOG_PROOF_H
#define CLAVIGER_COMMON_TLOG_PROOF_H

#include "common/tlog/checkpoint.h"

#define PROOF_MAX (CHECKPOINT_MAX + 16U * 1024U)

typedef struct tlog_proof {
	uint64_t index;
	span_t extra; /* the base64 text of the extra line; empty: none. Nothing authenticates it */
	size_t n;
	uint8_t hash[MERKLE_PROOF_MAX][MERKLE_HASH_LEN];
	span_t checkpoint; /* the signed note */
} tlog_proof_t;

KMS_MUST proof_format(const tlog_proof_t *p, buf_t *out);
/* Spans point into text. */
KMS_MUST proof_parse(span_t text, tlog_proof_t *out, diag_t *why);
/* The checkpoint is signed by `log`, and the entry is in its tree at the proof's index. INTEGRITY says what
 * is wrong. out (may be NULL): the checkpoint. */
KMS_MUST proof_verify(const tlog_proof_t *p, span_t entry, const note_vkey_t *log, checkpoint_t *out,
		      diag_t *why);

#endif
