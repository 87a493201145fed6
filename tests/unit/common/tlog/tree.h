/* The definition of RFC 6962, section 2.1, as it stands there: hashes and proofs of lists of leaves by
 * recursion. Slow, and with nothing in common with what it is held against. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_TLOG_TREE_H
#define CLAVIGER_TESTS_UNIT_COMMON_TLOG_TREE_H

#include "common/crypto/digest.h"
#include "common/tlog/merkle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef uint8_t hash_t[MERKLE_HASH_LEN];

/* Leaf i of every tree of these tests: two bytes, as in the golden roots of the vectors. */
static inline void tree_entry(uint64_t i, uint8_t out[2])
{
	out[0] = (uint8_t)(i & 0xff);
	out[1] = (uint8_t)(i >> 8 & 0xff);
}

static inline void tree_leaf(uint64_t i, hash_t out)
{
	uint8_t bytes[3] = {0};
	tree_entry(i, bytes + 1);
	assert_int_equal(crypto_sha256(span_of(bytes, 3), out), KMS_OK);
}

/* The largest power of two below n, which is over 1. */
static inline uint64_t tree_split(uint64_t n)
{
	uint64_t k = 1;
	while (k * 2 < n)
		k *= 2;
	return k;
}

/* MTH(D[from : from + n]). */
static inline void tree_mth(uint64_t from, uint64_t n, hash_t out)
{
	uint8_t bytes[65] = {1};
	if (n == 0) {
		assert_int_equal(crypto_sha256(span_of(NULL, 0), out), KMS_OK);
	} else if (n == 1) {
		tree_leaf(from, out);
	} else {
		uint64_t k = tree_split(n);
		tree_mth(from, k, bytes + 1);
		tree_mth(from + k, n - k, bytes + 33);
		assert_int_equal(crypto_sha256(span_of(bytes, 65), out), KMS_OK);
	}
}

/* PATH(m, D[from : from + n]). */
static inline void tree_path(uint64_t m, uint64_t from, uint64_t n, hash_t *out, size_t *len)
{
	if (n <= 1)
		return;
	uint64_t k = tree_split(n);
	if (m < k) {
		tree_path(m, from, k, out, len);
		tree_mth(from + k, n - k, out[(*len)++]);
	} else {
		tree_path(m - k, from + k, n - k, out, len);
		tree_mth(from, k, out[(*len)++]);
	}
}

/* SUBPROOF(m, D[from : from + n], whole); PROOF(m, D[n]) with from 0 and whole true. */
static inline void tree_proof(uint64_t m, uint64_t from, uint64_t n, bool whole, hash_t *out, size_t *len)
{
	if (m == n) {
		if (!whole)
			tree_mth(from, n, out[(*len)++]);
		return;
	}
	uint64_t k = tree_split(n);
	if (m <= k) {
		tree_proof(m, from, k, whole, out, len);
		tree_mth(from + k, n - k, out[(*len)++]);
	} else {
		tree_proof(m - k, from + k, n - k, false, out, len);
		tree_mth(from, k, out[(*len)++]);
	}
}

#endif
