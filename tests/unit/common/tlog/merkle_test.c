#include "common/tlog/merkle.h"

#include "common/base/encode.h"
#include "tests/unit/common/tlog/tree.h"

#define SIZES 300U

static void assert_hex(const uint8_t *got, const char *want)
{
	char text[65];
	hex_encode(span_of(got, MERKLE_HASH_LEN), text);
	assert_string_equal(text, want);
}

/* Leaf inputs and roots as the transparency projects have used them since RFC 6962. */
static const char *const leaves[] = {"",
				     "\x00",
				     "\x10",
				     "\x20\x21",
				     "\x30\x31",
				     "\x40\x41\x42\x43",
				     "\x50\x51\x52\x53\x54\x55\x56\x57",
				     "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"};
static const size_t leaf_len[] = {0, 1, 1, 2, 2, 4, 8, 16};
static const char *const roots[] = {
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static void test_known_roots(void **state)
{
	(void)state;
	merkle_range_t r = {0};
	uint8_t root[32], leaf[32];
	for (size_t size = 0; size <= 8; size++) {
		assert_int_equal(r.size, size);
		assert_int_equal(merkle_range_root(&r, root), KMS_OK);
		assert_hex(root, roots[size]);
		if (size == 8)
			break;
		assert_int_equal(merkle_leaf(span_of(leaves[size], leaf_len[size]), leaf), KMS_OK);
		assert_int_equal(merkle_range_push(&r, leaf), KMS_OK);
	}
}

static void test_hashes(void **state)
{
	(void)state;
	uint8_t out[32], left[32], right[32];
	assert_int_equal(merkle_leaf(span_of(NULL, 0), out), KMS_OK);
	assert_hex(out, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
	assert_int_equal(merkle_leaf(span_str("L123456"), out), KMS_OK);
	assert_hex(out, "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56");
	tree_leaf(0, left);
	tree_leaf(1, right);
	tree_mth(0, 2, out);
	assert_int_equal(merkle_node(left, right, left), KMS_OK);
	assert_memory_equal(left, out, 32);
	tree_leaf(0, left);
	assert_int_equal(merkle_node(left, right, right), KMS_OK);
	assert_memory_equal(right, out, 32);
}

/* Of every size up to 300, the range and the definition agree. */
static void test_range_is_the_definition(void **state)
{
	(void)state;
	merkle_range_t r = {0};
	uint8_t root[32], want[32], leaf[32];
	for (uint64_t size = 0; size <= SIZES; size++) {
		assert_int_equal(merkle_range_root(&r, root), KMS_OK);
		tree_mth(0, size, want);
		assert_memory_equal(root, want, 32);
		tree_leaf(size, leaf);
		assert_int_equal(merkle_range_push(&r, leaf), KMS_OK);
	}
	merkle_range_t full = {.size = UINT64_MAX};
	assert_int_equal(merkle_range_push(&full, leaf), KMS_E_FULL);
}

/* All indexes of some sizes; every proof also fails with anything changed. */
static void check_inclusion(uint64_t index, uint64_t size)
{
	hash_t proof[MERKLE_PROOF_MAX + 1] = {{0}}, root, leaf;
	size_t n = 0;
	tree_mth(0, size, root);
	tree_leaf(index, leaf);
	tree_path(index, 0, size, proof, &n);
	assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[0], n, root), KMS_OK);
	assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[0], n + 1, root), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_inclusion(index ^ 1, size, leaf, proof[0], n, root),
			 size == 1 || n > 0 || (index ^ 1) >= size ? KMS_E_INTEGRITY : KMS_OK);
	assert_int_equal(merkle_verify_inclusion(size, size, leaf, proof[0], n, root), KMS_E_INTEGRITY);
	for (size_t i = 0; i < n; i++) {
		proof[i][i % 32] ^= 0x40;
		assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[0], n, root),
				 KMS_E_INTEGRITY);
		proof[i][i % 32] ^= 0x40;
	}
	if (n > 0) {
		assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[0], n - 1, root),
				 KMS_E_INTEGRITY);
		assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[1], n - 1, root),
				 KMS_E_INTEGRITY);
	}
	leaf[0] ^= 1;
	assert_int_equal(merkle_verify_inclusion(index, size, leaf, proof[0], n, root), KMS_E_INTEGRITY);
}

static void test_inclusion(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= 40; size++)
		for (uint64_t index = 0; index < size; index++)
			check_inclusion(index, size);
	for (uint64_t index = 0; index < SIZES; index += 23)
		check_inclusion(index, SIZES);
}

static void check_consistency(uint64_t size1, uint64_t size2)
{
	hash_t proof[MERKLE_PROOF_MAX + 1] = {{0}}, root1, root2;
	size_t n = 0;
	tree_mth(0, size1, root1);
	tree_mth(0, size2, root2);
	tree_proof(size1, 0, size2, true, proof, &n);
	assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n, root1, root2), KMS_OK);
	assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n + 1, root1, root2),
			 KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_consistency(size2, size1, proof[0], n, root2, root1),
			 size1 == size2 ? KMS_OK : KMS_E_INTEGRITY);
	for (size_t i = 0; i < n; i++) {
		proof[i][i % 32] ^= 0x40;
		assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n, root1, root2),
				 KMS_E_INTEGRITY);
		proof[i][i % 32] ^= 0x40;
	}
	if (n > 0)
		assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n - 1, root1, root2),
				 KMS_E_INTEGRITY);
	root1[31] ^= 1;
	assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n, root1, root2), KMS_E_INTEGRITY);
	root1[31] ^= 1;
	root2[31] ^= 1;
	assert_int_equal(merkle_verify_consistency(size1, size2, proof[0], n, root1, root2), KMS_E_INTEGRITY);
}

static void test_consistency(void **state)
{
	(void)state;
	for (uint64_t size2 = 1; size2 <= 40; size2++)
		for (uint64_t size1 = 1; size1 <= size2; size1++)
			check_consistency(size1, size2);
	for (uint64_t size1 = 1; size1 < SIZES; size1 += 17)
		check_consistency(size1, SIZES);
	check_consistency(256, SIZES);
}

static void test_sizes_at_the_end(void **state)
{
	(void)state;
	static hash_t proof[MERKLE_PROOF_MAX];
	hash_t h = {0};
	assert_int_equal(merkle_verify_consistency(0, 0, NULL, 0, h, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_consistency(0, 1, NULL, 0, h, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_consistency(1, UINT64_MAX, proof[0], 64, h, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_consistency(UINT64_MAX - 1, UINT64_MAX, proof[0], 64, h, h),
			 KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_inclusion(0, 0, h, NULL, 0, h), KMS_E_INTEGRITY);
	/* a root is no leaf of its own tree */
	assert_int_equal(merkle_verify_inclusion(0, 2, h, NULL, 0, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_inclusion(0, 1, h, NULL, 0, h), KMS_OK);
	assert_int_equal(merkle_verify_consistency(1, 2, NULL, 0, h, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_consistency(3, 4, proof[0], 1, h, h), KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_inclusion(UINT64_MAX, UINT64_MAX, h, proof[0], 64, h),
			 KMS_E_INTEGRITY);
	assert_int_equal(merkle_verify_inclusion(UINT64_MAX - 1, UINT64_MAX, h, proof[0], 64, h),
			 KMS_E_INTEGRITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_roots),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_range_is_the_definition),
		cmocka_unit_test(test_inclusion),
		cmocka_unit_test(test_consistency),
		cmocka_unit_test(test_sizes_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
