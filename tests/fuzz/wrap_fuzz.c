/* A wrapped record that somebody wrote into the database: it does not open. */
#include "common/base/scope.h"
#include "common/crypto/stream.h"
#include "common/crypto/wrap.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const wrap_id_t id = {"acme", "db", "vol-1", 7, "active", "volume-secret"};
	SCOPED(secret_freep) secret_t *parent = NULL;
	SCOPED(secret_freep) secret_t *plain = NULL;
	SCOPED(stream_freep) stream_t *stream = NULL;
	SCOPED(buf_free) buf_t out = BUF_INIT;
	MUST_HOLD(secret_new(32, &parent) == KMS_OK); /* all zero: not the key of the corpus */
	MUST_HOLD(wrap_open(parent, &id, span_of(data, size), &plain) == KMS_E_INTEGRITY && plain == NULL);
	MUST_HOLD(stream_new(parent, &stream) == KMS_OK);
	MUST_HOLD(stream_open(stream, span_of(data, size), true, &out) == KMS_E_INTEGRITY && out.n == 0);
	return 0;
}
