/* Hashes of a tree read from its tiles, held against the tree by definition, at sizes about every border. */
#include "tests/unit/tools/kmsctl/tamper.h"

#include "common/base/scope.h"
#include "tools/kmsctl/treeread.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef struct reading {
	tamper_t log;
	logsrc_t *src;
	treeread_t *tree;
	checkpoint_t head;
} reading_t;

static void begin(reading_t *r, uint64_t n)
{
	*r = (reading_t){.src = NULL};
	tamper_begin(&r->log, n, tamper_small_event);
	r->head.size = n;
	testlog_root(&r->log.made, n, r->head.root);
	assert_int_equal(logsrc_open(&r->log.cli, r->log.log, &r->src, NULL), KMS_OK);
}

static void end(reading_t *r)
{
	treeread_freep(&r->tree);
	logsrc_freep(&r->src);
	tamper_end(&r->log);
}

static void check_leaf(reading_t *r, uint64_t index)
{
	SCOPED(buf_free) buf_t event = BUF_INIT;
	uint8_t proof[MERKLE_PROOF_MAX][MERKLE_HASH_LEN], leaf[MERKLE_HASH_LEN], want[MERKLE_HASH_LEN];
	size_t n = 0;
	diag_t why = {{0}};
	tamper_small_event(NULL, index, &event);
	assert_int_equal(merkle_leaf(buf_span(&event), want), KMS_OK);
	if (treeread_leaf(r->tree, index, leaf, &why) != KMS_OK ||
	    treeread_inclusion(r->tree, index, proof, &n, &why) != KMS_OK)
		fail_msg("leaf %" PRIu64 " of %" PRIu64 ": %s", index, r->head.size, why.text);
	assert_memory_equal(leaf, want, sizeof leaf);
	assert_int_equal(merkle_verify_inclusion(index, r->head.size, leaf, proof[0], n, r->head.root),
			 KMS_OK);
}

static void check_root(reading_t *r, uint64_t size)
{
	uint8_t have[MERKLE_HASH_LEN], want[MERKLE_HASH_LEN];
	diag_t why = {{0}};
	testlog_root(&r->log.made, size, want);
	if (treeread_root(r->tree, size, have, &why) != KMS_OK)
		fail_msg("root at %" PRIu64 " of %" PRIu64 ": %s", size, r->head.size, why.text);
	assert_memory_equal(have, want, sizeof have);
}

static void test_sizes(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {1,   2,   3,   5,     255,   256,   257,  511,
					 512, 513, 700, 65535, 65536, 65537, 65800};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		reading_t r;
		uint64_t n = sizes[i], step = n / 40 + 1;
		begin(&r, n);
		assert_int_equal(treeread_new(r.src, &r.head, &r.tree, NULL), KMS_OK);
		for (uint64_t k = 0; k < n; k += step)
			check_leaf(&r, k);
		check_leaf(&r, n - 1);
		check_leaf(&r, 0); /* and back, over what was kept */
		for (uint64_t k = 0; k <= n; k += n / 5 + 1)
			check_root(&r, k);
		check_root(&r, n - 1);
		check_root(&r, n);
		end(&r);
	}
}

static void test_an_empty_tree(void **state)
{
	(void)state;
	reading_t r;
	begin(&r, 0);
	assert_int_equal(treeread_new(r.src, &r.head, &r.tree, NULL), KMS_OK);
	check_root(&r, 0);
	end(&r);
}

/* A tile with one bit changed: whatever is asked for below it is refused, and nothing else. */
static void test_changed_tiles(void **state)
{
	(void)state;
	static const struct {
		const char *file;
		uint64_t below, beside;
	} rows[] = {{"tile/0/001", 300, 700},
		    {"tile/0/000", 0, 256},
		    {"tile/0/255", 65535, 65536},
		    {"tile/1/000", 0, 65536}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		reading_t r;
		SCOPED(buf_free) buf_t b = BUF_INIT;
		uint8_t leaf[MERKLE_HASH_LEN];
		begin(&r, 65800);
		tamper_read(&r.log, rows[i].file, &b);
		b.p[40] ^= 4;
		tamper_put(&r.log, rows[i].file, buf_span(&b));
		assert_int_equal(treeread_new(r.src, &r.head, &r.tree, NULL), KMS_OK);
		assert_int_equal(treeread_leaf(r.tree, rows[i].below, leaf, NULL), KMS_E_INTEGRITY);
		assert_int_equal(treeread_leaf(r.tree, rows[i].below, leaf, NULL),
				 KMS_E_INTEGRITY); /* it was not kept */
		check_leaf(&r, rows[i].beside);
		end(&r);
	}
}

static void test_a_changed_edge(void **state)
{
	(void)state;
	static const char *const files[] = {"tile/0/257.p/8", "tile/1/001.p/1", "tile/2/000.p/1"};
	for (size_t i = 0; i < 3; i++) {
		reading_t r;
		SCOPED(buf_free) buf_t b = BUF_INIT;
		begin(&r, 65800);
		tamper_read(&r.log, files[i], &b);
		b.p[b.n - 1] ^= 1;
		tamper_put(&r.log, files[i], buf_span(&b));
		assert_int_equal(treeread_new(r.src, &r.head, &r.tree, NULL), KMS_E_INTEGRITY);
		tamper_remove(&r.log, files[i]);
		assert_int_equal(treeread_new(r.src, &r.head, &r.tree, NULL), KMS_E_INTEGRITY);
		assert_null(r.tree);
		end(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_an_empty_tree),
		cmocka_unit_test(test_changed_tiles),
		cmocka_unit_test(test_a_changed_edge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
