#include "tests/unit/kms-server/core/world.h"

#include "common/base/encode.h"
#include "common/crypto/digest.h"

#include <stdlib.h>

int world_setup(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->f = fixture_new(FIXTURE_KEYFILE);
	w->n1 = make_main(w->f);
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	world_t *w = *state;
	fixture_free(w->f);
	free(w);
	return 0;
}

void world_proof_by(const char *fp_hex, const char *nonce64, char hex[65])
{
	uint8_t fp[32], nonce[32], mac[32];
	size_t n = 0;
	assert_int_equal(hex_decode(span_str(fp_hex), fp, sizeof fp), KMS_OK);
	assert_int_equal(base64_decode(span_str(nonce64), nonce, sizeof nonce, &n), KMS_OK);
	assert_int_equal(n, 32);
	assert_int_equal(crypto_hmac_sha256(span_of(fp, 32), span_of(nonce, 32), mac), KMS_OK);
	hex_encode(span_of(mac, 32), hex);
}

void world_rotate(world_t *w, uint32_t version)
{
	const char *path = "acme/db/v1";
	char body[160], hex[65];
	answer_t a =
		fixture_expect(w->f, 200, &(ask_t){.op = OP_ROTATION_STAGE, .who = &w->n1, .path = path});
	world_proof(text_at(a.json, "nonce"), hex);
	answer_free(&a);
	(void)snprintf(body, sizeof body, "{\"version\":%u,\"proof\":\"%s\"}", version + 1, hex);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_PROMOTE, .who = &w->n1, .path = path, .body = body});
	(void)snprintf(body, sizeof body, "{\"version\":%u}", version);
	fixture_must(w->f, 200,
		     &(ask_t){.op = OP_ROTATION_RETIRE, .who = &w->n1, .path = path, .body = body});
}
