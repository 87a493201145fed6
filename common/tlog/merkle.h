/* RFC 6962 (and RFC 9162, section 2.1) Merkle trees over SHA-256: hashing, verifying proofs, and a range that
 * takes leaves one by one and knows the root. Pure; no proofs are made here: whoever stores a tree makes
 * them. */
#ifndef CLAVIGER_COMMON_TLOG_MERKLE_H
#define CLAVIGER_COMMON_TLOG_MERKLE_H

#include "common/base/err.h"
#include "common/base/span.h"

#define MERKLE_HASH_LEN  32U
#define MERKLE_PROOF_MAX 64U /* hashes of one proof */

/* SHA-256(0x00 | entry). */
KMS_MUST merkle_leaf(span_t entry, uint8_t out[MERKLE_HASH_LEN]);
/* SHA-256(0x01 | left | right). out may be one of them. */
KMS_MUST merkle_node(const uint8_t left[MERKLE_HASH_LEN], const uint8_t right[MERKLE_HASH_LEN],
		     uint8_t out[MERKLE_HASH_LEN]);

/* RFC 9162, section 2.1.3.2. proof: n hashes one after the other. INTEGRITY: it proves something else, or has
 * another length than such a proof has. */
KMS_MUST merkle_verify_inclusion(uint64_t index, uint64_t size, const uint8_t leaf[MERKLE_HASH_LEN],
				 const uint8_t *proof, size_t n, const uint8_t root[MERKLE_HASH_LEN]);
/* RFC 9162, section 2.1.4.2. size1 is from 1 to size2; equal sizes take an empty proof and equal roots.
 * INTEGRITY otherwise. */
KMS_MUST merkle_verify_consistency(uint64_t size1, uint64_t size2, const uint8_t *proof, size_t n,
				   const uint8_t root1[MERKLE_HASH_LEN],
				   const uint8_t root2[MERKLE_HASH_LEN]);

/* The roots of the full subtrees that a tree of `size` leaves consists of: hash[h] is meant where bit h of
 * size is set. Zeroed: an empty tree. */
typedef struct merkle_range {
	uint64_t size;
	uint8_t hash[64][MERKLE_HASH_LEN];
} merkle_range_t;

KMS_MUST merkle_range_push(merkle_range_t *r, const uint8_t leaf[MERKLE_HASH_LEN]);
/* SHA-256 of nothing for an empty tree. */
KMS_MUST merkle_range_root(const merkle_range_t *r, uint8_t out[MERKLE_HASH_LEN]);

#endif
