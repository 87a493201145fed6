/* Proofs out of the stored tree (RFC 6962, section 2.1). */
#include "kms-server/audit/tree.h"
#include "kms-server/ports/audit.h"

/* A subtree that a proof names by its hash. */
typedef struct part {
	uint64_t from, to;
} part_t;

typedef struct path {
	part_t part[MERKLE_PROOF_MAX]; /* from the root down */
	size_t n;
} path_t;

/* The largest power of two below n, n > 1. */
static uint64_t split(uint64_t n)
{
	uint64_t k = 1;
	while (k < n - k)
		k *= 2;
	return k;
}

static kms_err_t hash_up(store_txn_t *t, const path_t *p, uint8_t (*out)[MERKLE_HASH_LEN])
{
	for (size_t i = 0; i < p->n; i++) {
		const part_t *part = &p->part[p->n - 1 - i];
		KMS_TRY(tree_hash(t, part->from, part->to, out[i]));
	}
	return KMS_OK;
}

static kms_err_t check_size(store_txn_t *t, uint64_t size)
{
	uint64_t have = 0;
	KMS_TRY(store_count(t, STORE_LEAVES, &have));
	return size <= have ? KMS_OK : KMS_E_NOTFOUND;
}

kms_err_t audit_root(store_txn_t *t, uint64_t size, uint8_t out[MERKLE_HASH_LEN])
{
	KMS_TRY(check_size(t, size));
	return tree_hash(t, 0, size, out);
}

kms_err_t audit_inclusion(store_txn_t *t, uint64_t index, uint64_t size,
			  uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], size_t *n)
{
	path_t p = {.n = 0};
	uint64_t from = 0, to = size;
	KMS_TRY(check_size(t, size) == KMS_OK && index < size ? KMS_OK : KMS_E_INVALID);
	while (to - from > 1) {
		uint64_t mid = from + split(to - from);
		p.part[p.n++] = index < mid ? (part_t){mid, to} : (part_t){from, mid};
		if (index < mid)
			to = mid;
		else
			from = mid;
	}
	KMS_TRY(hash_up(t, &p, out));
	*n = p.n;
	return KMS_OK;
}

/* SUBPROOF(m, D[n], true): the old tree's last subtree is named too unless it is the old tree itself. */
kms_err_t audit_consistency(store_txn_t *t, uint64_t size1, uint64_t size2,
			    uint8_t out[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], size_t *n)
{
	path_t p = {.n = 0};
	uint64_t from = 0, to = size2;
	if (size1 == 0 || size1 > size2 || check_size(t, size2) != KMS_OK)
		return KMS_E_INVALID;
	while (size1 != to) {
		uint64_t mid = from + split(to - from);
		p.part[p.n++] = size1 <= mid ? (part_t){mid, to} : (part_t){from, mid};
		if (size1 <= mid)
			to = mid;
		else
			from = mid;
	}
	if (from > 0)
		p.part[p.n++] = (part_t){from, to};
	KMS_TRY(hash_up(t, &p, out));
	*n = p.n;
	return KMS_OK;
}
