/* A log of small entries and its key, for tests of what is signed. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_TLOG_FIXTURE_H
#define CLAVIGER_TESTS_UNIT_COMMON_TLOG_FIXTURE_H

#include "common/tlog/checkpoint.h"
#include "tests/unit/common/tlog/tree.h"

#define LOG_NAME "kms.example/log"

static inline note_signer_t *fixture_signer(const char *name, note_alg_t alg)
{
	note_signer_t *s = NULL;
	assert_int_equal(note_signer_new(name, alg, &s, NULL), KMS_OK);
	return s;
}

/* The checkpoint of the tests' tree at this size. */
static inline void fixture_checkpoint(const note_signer_t *s, uint64_t size, buf_t *out)
{
	checkpoint_t c = {.size = size};
	memcpy(c.origin, note_signer_vkey(s)->name, sizeof c.origin);
	tree_mth(0, size, c.root);
	assert_int_equal(checkpoint_sign(&c, s, out), KMS_OK);
}

#endif
