/* The shared vectors of trees: golden roots, and good and bad proofs. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/unit/common/crypto/vectors.h"
#include "tests/unit/common/tlog/tree.h"

#include <ftw.h>

static uint64_t number(const json_t *test, const char *field)
{
	const json_t *v = json_object_get(test, field);
	assert_true(json_is_number(v));
	if (json_is_integer(v))
		return (uint64_t)json_integer_value(v);
	double d = json_real_value(v);
	return d >= 18446744073709551615.0 ? UINT64_MAX : (uint64_t)d;
}

/* Some of the bad ones have hashes of other lengths, which no caller of the product can hand over: they are
 * filled up with zeroes, and the verifier has to refuse them. One that is not there at all is refused right
 * here. */
static bool hash_of(const json_t *v, hash_t out)
{
	uint8_t raw[256];
	size_t n = 0;
	memset(out, 0, MERKLE_HASH_LEN);
	assert_int_equal(base64_decode(span_str(json_string_value(v)), raw, sizeof raw, &n), KMS_OK);
	memcpy(out, raw, n < MERKLE_HASH_LEN ? n : MERKLE_HASH_LEN);
	return n > 0;
}

static size_t proof_of(const json_t *test, hash_t *out)
{
	size_t i;
	json_t *h, *all = json_object_get(test, "proof");
	assert_in_range(json_array_size(all), 0, MERKLE_PROOF_MAX);
	json_array_foreach(all, i, h)(void) hash_of(h, out[i]);
	return json_array_size(all);
}

static unsigned good, bad;

static void check_file(const char *path)
{
	json_t *test = json_load_file(path, 0, NULL);
	if (test == NULL)
		test = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL);
	assert_non_null(test);
	hash_t proof[MERKLE_PROOF_MAX], a, b;
	size_t n = proof_of(test, proof);
	kms_err_t e = KMS_E_INTEGRITY;
	if (json_object_get(test, "size1") != NULL) {
		if (hash_of(json_object_get(test, "root1"), a) && hash_of(json_object_get(test, "root2"), b))
			e = merkle_verify_consistency(number(test, "size1"), number(test, "size2"), proof[0],
						      n, a, b);
	} else if (hash_of(json_object_get(test, "leafHash"), a) &&
		   hash_of(json_object_get(test, "root"), b)) {
		e = merkle_verify_inclusion(number(test, "leafIdx"), number(test, "treeSize"), a, proof[0], n,
					    b);
	}
	bool want_err = json_is_true(json_object_get(test, "wantErr"));
	json_decref(test);
	if (e != (want_err ? KMS_E_INTEGRITY : KMS_OK))
		fail_msg("%s: %s", path, kms_err_name(e));
	*(want_err ? &bad : &good) += 1;
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)at;
	if (kind == FTW_F)
		check_file(path);
	return 0;
}

static void test_proofs(void **state)
{
	(void)state;
	if (vectors_dir() == NULL)
		skip();
	char path[1024];
	(void)snprintf(path, sizeof path, "%s/merkle", vectors_dir());
	assert_int_equal(nftw(path, visit, 16, FTW_PHYS), 0);
	assert_int_equal(good, 12);
	assert_int_equal(bad, 184);
}

static void test_golden_roots(void **state)
{
	(void)state;
	json_t *all = vectors_open("tlog/rfc6962_roots.json");
	if (all == NULL)
		skip();
	json_t *golden = json_object_get(json_object_get(all, "golden_roots"), "by_size_b64"), *want;
	const char *size;
	size_t done = 0;
	json_object_foreach(golden, size, want)
	{
		merkle_range_t r = {0};
		hash_t root, leaf, w;
		uint8_t entry[2];
		for (uint64_t i = 0, n = strtoull(size, NULL, 10); i < n; i++) {
			tree_entry(i, entry);
			assert_int_equal(merkle_leaf(span_of(entry, 2), leaf), KMS_OK);
			assert_int_equal(merkle_range_push(&r, leaf), KMS_OK);
		}
		assert_int_equal(merkle_range_root(&r, root), KMS_OK);
		assert_true(hash_of(want, w));
		assert_memory_equal(root, w, 32);
		done++;
	}
	assert_int_equal(done, 11);
	json_t *inputs = json_object_get(all, "leaf_inputs_hex");
	merkle_range_t r = {0};
	for (size_t i = 0; i <= json_array_size(inputs); i++) {
		hash_t root;
		char hex[65];
		assert_int_equal(merkle_range_root(&r, root), KMS_OK);
		hex_encode(span_of(root, 32), hex);
		assert_string_equal(
			hex, json_string_value(json_array_get(json_object_get(all, "root_by_size_hex"), i)));
		uint8_t entry[64];
		const char *text = json_string_value(json_array_get(inputs, i));
		if (text == NULL)
			break;
		assert_int_equal(hex_decode(span_str(text), entry, strlen(text) / 2), KMS_OK);
		assert_int_equal(merkle_leaf(span_of(entry, strlen(text) / 2), root), KMS_OK);
		assert_int_equal(merkle_range_push(&r, root), KMS_OK);
	}
	assert_int_equal(r.size, 8);
	json_decref(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_proofs),
					   cmocka_unit_test(test_golden_roots)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
