/* Requests to a witness about the tests' tree. */
#ifndef CLAVIGER_TESTS_UNIT_TOOLS_WITNESS_REQUESTS_H
#define CLAVIGER_TESTS_UNIT_TOOLS_WITNESS_REQUESTS_H

#include "common/tlog/witnessing.h"
#include "tests/unit/common/tlog/fixture.h"

/* A checkpoint of `size` with the proof from `proof_from` (0: none), said to be from `old`. */
static inline void request_make(const note_signer_t *s, uint64_t old, uint64_t proof_from, uint64_t size,
				buf_t *out)
{
	buf_t c = BUF_INIT;
	add_checkpoint_t a = {.old_size = old};
	fixture_checkpoint(s, size, &c);
	if (proof_from > 0)
		tree_proof(proof_from, 0, size, true, a.hash, &a.n);
	a.checkpoint = buf_span(&c);
	assert_int_equal(add_checkpoint_format(&a, out), KMS_OK);
	buf_free(&c);
}

#endif
