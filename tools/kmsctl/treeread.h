/* A tree read by its hash tiles, here and there: any hash of it, proved up to the checkpoint's root on the
 * way. One tile a level is kept, so that asking in order asks for each tile once. */
#ifndef CLAVIGER_TOOLS_KMSCTL_TREEREAD_H
#define CLAVIGER_TOOLS_KMSCTL_TREEREAD_H

#include "common/tlog/checkpoint.h"
#include "tools/kmsctl/logsrc.h"

typedef struct treeread treeread_t;

/* Reads the tree's right edge and holds it against the root. src is borrowed. INTEGRITY says what is wrong.
 */
KMS_MUST treeread_new(logsrc_t *src, const checkpoint_t *head, treeread_t **out, diag_t *why);
void treeread_freep(treeread_t **t);

/* The hash of leaf `index`, which is below the tree's size. */
KMS_MUST treeread_leaf(treeread_t *t, uint64_t index, uint8_t out[MERKLE_HASH_LEN], diag_t *why);
/* The root of the first `size` leaves, 0 to the tree's size. */
KMS_MUST treeread_root(treeread_t *t, uint64_t size, uint8_t out[MERKLE_HASH_LEN], diag_t *why);
/* The inclusion proof of leaf `index` (RFC 9162, section 2.1.3.1), *n hashes. */
KMS_MUST treeread_inclusion(treeread_t *t, uint64_t index, uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN],
			    size_t *n, diag_t *why);

#endif
