#include "common/tlog/merkle.h"

#include "common/crypto/digest.h"

_Static_assert(MERKLE_HASH_LEN == SHA256_LEN, "hashes of the tree are SHA-256");

kms_err_t merkle_leaf(span_t entry, uint8_t out[MERKLE_HASH_LEN])
{
	const span_t parts[] = {span_of("\x00", 1), entry};
	return crypto_sha256_parts(parts, 2, out);
}

kms_err_t merkle_node(const uint8_t left[MERKLE_HASH_LEN], const uint8_t right[MERKLE_HASH_LEN],
		      uint8_t out[MERKLE_HASH_LEN])
{
	uint8_t both[1 + 2 * MERKLE_HASH_LEN] = {0x01};
	memcpy(both + 1, left, MERKLE_HASH_LEN);
	memcpy(both + 1 + MERKLE_HASH_LEN, right, MERKLE_HASH_LEN);
	return crypto_sha256(span_of(both, sizeof both), out);
}

static bool same(const uint8_t a[MERKLE_HASH_LEN], const uint8_t b[MERKLE_HASH_LEN])
{
	return memcmp(a, b, MERKLE_HASH_LEN) == 0;
}

/* fn and sn are RFC 9162's names: the positions, level by level, of the node that is proved and of the last
 * one. */
kms_err_t merkle_verify_inclusion(uint64_t index, uint64_t size, const uint8_t leaf[MERKLE_HASH_LEN],
				  const uint8_t *proof, size_t n, const uint8_t root[MERKLE_HASH_LEN])
{
	if (index >= size)
		return KMS_E_INTEGRITY;
	uint64_t fn = index, sn = size - 1;
	uint8_t r[MERKLE_HASH_LEN];
	memcpy(r, leaf, sizeof r);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = proof + i * MERKLE_HASH_LEN;
		if (sn == 0)
			return KMS_E_INTEGRITY;
		if ((fn & 1) != 0 || fn == sn) {
			KMS_TRY(merkle_node(p, r, r));
			while ((fn & 1) == 0 && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			KMS_TRY(merkle_node(r, p, r));
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && same(r, root) ? KMS_OK : KMS_E_INTEGRITY;
}

/* The two roots that a consistency proof leads to: fr of the older tree, sr of the newer one. */
static kms_err_t climb(uint64_t fn, uint64_t sn, const uint8_t *proof, size_t n, uint8_t fr[MERKLE_HASH_LEN],
		       uint8_t sr[MERKLE_HASH_LEN])
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *c = proof + i * MERKLE_HASH_LEN;
		if (sn == 0)
			return KMS_E_INTEGRITY;
		if ((fn & 1) != 0 || fn == sn) {
			KMS_TRY(merkle_node(c, fr, fr));
			KMS_TRY(merkle_node(c, sr, sr));
			while ((fn & 1) == 0 && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			KMS_TRY(merkle_node(sr, c, sr));
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 ? KMS_OK : KMS_E_INTEGRITY;
}

kms_err_t merkle_verify_consistency(uint64_t size1, uint64_t size2, const uint8_t *proof, size_t n,
				    const uint8_t root1[MERKLE_HASH_LEN],
				    const uint8_t root2[MERKLE_HASH_LEN])
{
	if (size1 == 0 || size1 > size2)
		return KMS_E_INTEGRITY;
	if (size1 == size2)
		return n == 0 && same(root1, root2) ? KMS_OK : KMS_E_INTEGRITY;
	uint64_t fn = size1 - 1, sn = size2 - 1;
	while ((fn & 1) != 0) {
		fn >>= 1;
		sn >>= 1;
	}
	/* a tree of 2^k leaves is a node of the newer tree, which the proof leaves out */
	bool whole = (size1 & (size1 - 1)) == 0;
	if (n == 0)
		return KMS_E_INTEGRITY;
	uint8_t fr[MERKLE_HASH_LEN], sr[MERKLE_HASH_LEN];
	memcpy(fr, whole ? root1 : proof, sizeof fr);
	memcpy(sr, fr, sizeof sr);
	KMS_TRY(climb(fn, sn, whole ? proof : proof + MERKLE_HASH_LEN, whole ? n : n - 1, fr, sr));
	return same(fr, root1) && same(sr, root2) ? KMS_OK : KMS_E_INTEGRITY;
}

kms_err_t merkle_range_push(merkle_range_t *r, const uint8_t leaf[MERKLE_HASH_LEN])
{
	if (r->size == UINT64_MAX)
		return KMS_E_FULL;
	uint8_t hash[MERKLE_HASH_LEN];
	memcpy(hash, leaf, sizeof hash);
	unsigned h = 0;
	for (uint64_t left = r->size; (left & 1) != 0; left >>= 1)
		KMS_TRY(merkle_node(r->hash[h++], hash, hash));
	memcpy(r->hash[h], hash, sizeof hash);
	r->size++;
	return KMS_OK;
}

kms_err_t merkle_range_root(const merkle_range_t *r, uint8_t out[MERKLE_HASH_LEN])
{
	if (r->size == 0)
		return crypto_sha256(span_of(NULL, 0), out);
	uint8_t root[MERKLE_HASH_LEN];
	unsigned h = (unsigned)__builtin_ctzll(r->size);
	memcpy(root, r->hash[h], sizeof root);
	for (h++; h < 64; h++)
		if ((r->size >> h & 1) != 0)
			KMS_TRY(merkle_node(r->hash[h], root, root));
	memcpy(out, root, sizeof root);
	return KMS_OK;
}
