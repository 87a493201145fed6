#include "common/base/scope.h"
#include "kms-server/audit/tree.h"
#include "tests/unit/kms-server/audit/log_fixture.h"

/* Enough for several tiles of level 0 and a partial one of level 1. */
#define LEAVES 1100U

static void test_every_root(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	log_grow(f, LEAVES, 7);
	MUST(store_begin_read(f->store, &t));
	for (size_t n = 0; n <= LEAVES; n++) {
		uint8_t want[MERKLE_HASH_LEN], got[MERKLE_HASH_LEN];
		naive_hash(f, 0, n, want);
		MUST(audit_root(t, n, got));
		assert_memory_equal(got, want, sizeof want);
	}
	uint8_t root[MERKLE_HASH_LEN];
	assert_int_equal(audit_root(t, LEAVES + 1, root), KMS_E_NOTFOUND);
}

/* The range that goes on after a restart is the one that would have gone on without. */
static void test_load_is_push(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	merkle_range_t pushed = {0};
	log_grow(f, LEAVES, 64);
	MUST(store_begin_read(f->store, &t));
	for (size_t n = 0; n < LEAVES; n++) {
		merkle_range_t loaded;
		uint8_t a[MERKLE_HASH_LEN], b[MERKLE_HASH_LEN];
		MUST(tree_load(t, n, &loaded));
		MUST(merkle_range_root(&loaded, a));
		MUST(merkle_range_root(&pushed, b));
		assert_memory_equal(a, b, sizeof a);
		MUST(merkle_range_push(&pushed, f->leaf[n]));
	}
}

static void test_inclusion(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 511, 512, 513, 770, LEAVES};
	uint8_t proof[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], root[MERKLE_HASH_LEN];
	size_t n = 0;
	log_grow(f, LEAVES, 100);
	MUST(store_begin_read(f->store, &t));
	for (size_t s = 0; s < COUNT(sizes); s++) {
		naive_hash(f, 0, sizes[s], root);
		for (size_t i = 0; i<sizes[s]; i += sizes[s]> 300 ? 37 : 1) {
			MUST(audit_inclusion(t, i, sizes[s], proof, &n));
			MUST(merkle_verify_inclusion(i, sizes[s], f->leaf[i], proof[0], n, root));
		}
	}
	assert_int_equal(audit_inclusion(t, 5, 5, proof, &n), KMS_E_INVALID);
	assert_int_equal(audit_inclusion(t, 0, 0, proof, &n), KMS_E_INVALID);
	assert_int_equal(audit_inclusion(t, 0, LEAVES + 1, proof, &n), KMS_E_INVALID);
}

static void test_consistency(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t proof[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], old[MERKLE_HASH_LEN], new[MERKLE_HASH_LEN];
	size_t n = 0;
	log_grow(f, LEAVES, 100);
	MUST(store_begin_read(f->store, &t));
	for (size_t b = 1; b <= LEAVES; b += b > 20 ? 91 : 1) {
		naive_hash(f, 0, b, new);
		for (size_t a = 1; a <= b; a += a > 20 ? 17 : 1) {
			naive_hash(f, 0, a, old);
			MUST(audit_consistency(t, a, b, proof, &n));
			MUST(merkle_verify_consistency(a, b, proof[0], n, old, new));
		}
	}
	assert_int_equal(audit_consistency(t, 0, 5, proof, &n), KMS_E_INVALID);
	assert_int_equal(audit_consistency(t, 6, 5, proof, &n), KMS_E_INVALID);
	assert_int_equal(audit_consistency(t, 1, LEAVES + 1, proof, &n), KMS_E_INVALID);
}

/* Tiles hold what the tree's own levels hold, in whole and in part. */
static void test_tiles(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	static const struct {
		tile_t tile;
		kms_err_t e;
	} rows[] = {
		{{0, 0, 256}, KMS_OK},
		{{0, 0, 1}, KMS_OK},
		{{0, 4, 76}, KMS_OK},
		{{0, 4, 77}, KMS_E_NOTFOUND},
		{{0, 5, 1}, KMS_E_NOTFOUND},
		{{1, 0, 4}, KMS_OK},
		{{1, 0, 5}, KMS_E_NOTFOUND},
		{{2, 0, 1}, KMS_E_NOTFOUND},
		{{TILE_ENTRIES, 4, 76}, KMS_OK},
		{{TILE_ENTRIES, 0, 256}, KMS_OK},
		{{TILE_ENTRIES, 4, 77}, KMS_E_NOTFOUND},
		{{0, UINT64_MAX / 256, 256}, KMS_E_NOTFOUND},
		{{7, 0, 1}, KMS_E_NOTFOUND},
		{{0, 0, 0}, KMS_E_NOTFOUND},
	};
	log_grow(f, LEAVES, 50);
	MUST(store_begin_read(f->store, &t));
	for (size_t i = 0; i < COUNT(rows); i++) {
		SCOPED(buf_free) buf_t out = BUF_INIT;
		const tile_t *tile = &rows[i].tile;
		assert_int_equal(audit_read_tile(f->audit, t, tile, &out), rows[i].e);
		if (rows[i].e != KMS_OK || tile->level == TILE_ENTRIES)
			continue;
		size_t step = tile->level == 0 ? 1 : 256;
		assert_int_equal(out.n, tile->width * MERKLE_HASH_LEN);
		for (size_t k = 0; k < tile->width; k++) {
			uint8_t want[MERKLE_HASH_LEN];
			size_t from = (tile->index * 256 + k) * step;
			naive_hash(f, from, from + step, want);
			assert_memory_equal(out.p + k * MERKLE_HASH_LEN, want, sizeof want);
		}
	}
}

static void test_bundle(void **state)
{
	log_fixture_t *f = *state;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	const tile_t tile = {TILE_ENTRIES, 1, 44};
	span_t rest, entry;
	log_grow(f, 300, 13);
	MUST(store_begin_read(f->store, &t));
	MUST(audit_read_tile(f->audit, t, &tile, &out));
	rest = buf_span(&out);
	for (unsigned i = 0; i < 44; i++) {
		char want[32];
		(void)snprintf(want, sizeof want, "event %u", 256 + i);
		MUST(tile_next_entry(&rest, &entry));
		assert_true(span_eq(entry, span_str(want)));
	}
	assert_int_equal(tile_next_entry(&rest, &entry), KMS_E_NOTFOUND);
}

/* A row that is gone is damage, not an empty tree. */
static void test_missing_rows(void **state)
{
	log_fixture_t *f = *state;
	static const store_table_t tables[] = {STORE_LEAVES, STORE_TREE};
	log_grow(f, 600, 600);
	for (size_t i = 0; i < COUNT(tables); i++) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		uint8_t key[9] = {0}, root[MERKLE_HASH_LEN];
		merkle_range_t range;
		MUST(store_begin_write(f->store, 600, &t));
		key[0] = tables[i] == STORE_TREE ? 1 : 0;
		key[tables[i] == STORE_TREE ? 8 : 6] = 1;
		MUST(store_del(t, tables[i], span_of(key, tables[i] == STORE_TREE ? 9 : 8)));
		assert_int_equal(tree_load(t, 599, &range),
				 tables[i] == STORE_TREE ? KMS_E_INTEGRITY : KMS_OK);
		assert_int_equal(tree_load(t, 257, &range),
				 tables[i] == STORE_TREE ? KMS_OK : KMS_E_INTEGRITY);
		(void)root;
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, log_setup, log_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_root), T(test_load_is_push), T(test_inclusion),    T(test_consistency),
		T(test_tiles),      T(test_bundle),       T(test_missing_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
