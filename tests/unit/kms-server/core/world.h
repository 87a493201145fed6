/* The world that most tests start from: a key-file seal, and acme/db with node n1 and its active volume v1.
 */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_WORLD_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_CORE_WORLD_H

#include "tests/unit/kms-server/core/core_fixture.h"

typedef struct world {
	fixture_t *f;
	caller_t n1;
} world_t;

/* cmocka's set-up and tear-down; *state is the world_t. */
int world_setup(void **state);
int world_teardown(void **state);

/* A whole rotation of acme/db/v1, whose active secret is `version`. */
void world_rotate(world_t *w, uint32_t version);
/* The proof that belongs to a nonce, by this fingerprint. */
void world_proof_by(const char *fp_hex, const char *nonce64, char hex[65]);
static inline void world_proof(const char *nonce64, char hex[65])
{
	world_proof_by(FP_HEX, nonce64, hex);
}

#endif
