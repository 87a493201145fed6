/* The Merkle tree in the store: leaf hashes (STORE_LEAVES) and, in STORE_TREE, the roots of its full subtrees
 * of 256, 256^2, … leaves, which are the hashes that tiles of the levels above 0 hold (C2SP tlog-tiles).
 * Every other node is computed from at most 256 of these. Rows are written once and never changed. Internal
 * to this folder. */
#ifndef CLAVIGER_KMS_SERVER_AUDIT_TREE_H
#define CLAVIGER_KMS_SERVER_AUDIT_TREE_H

#include "common/base/encode.h"
#include "common/tlog/merkle.h"
#include "common/tlog/tile.h"
#include "kms-server/ports/store.h"

static inline void tree_key(uint64_t index, uint8_t out[8])
{
	be64_encode(index, out);
}

/* The roots of the full subtrees that the stored tree of `size` leaves consists of. INTEGRITY: a row is
 * missing. */
KMS_MUST tree_load(store_txn_t *t, uint64_t size, merkle_range_t *out);
/* Takes the next leaf, whose row is there already, and puts the rows that it completes. */
KMS_MUST tree_push(merkle_range_t *r, store_txn_t *t, const uint8_t leaf[MERKLE_HASH_LEN]);

/* n (up to 256) rows of a tile level from `first` on. INTEGRITY: one is missing. */
KMS_MUST tree_rows(store_txn_t *t, int level, uint64_t first, uint32_t n, uint8_t (*out)[MERKLE_HASH_LEN]);

/* MTH(D[from:to]) of RFC 6962, section 2.1; from is a multiple of the largest power of two below to - from,
 * as it is for every subtree of a tree. */
KMS_MUST tree_hash(store_txn_t *t, uint64_t from, uint64_t to, uint8_t out[MERKLE_HASH_LEN]);

#endif
