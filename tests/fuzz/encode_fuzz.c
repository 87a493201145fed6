/* hex and base64: what is accepted is the one spelling of its value. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/fuzz/fuzz.h"

static void check_base64(span_t text)
{
	static uint8_t out[65536];
	size_t n = 0;
	if (base64_decode(text, out, sizeof out, &n) != KMS_OK)
		return;
	SCOPED(buf_free) buf_t again = BUF_INIT;
	base64_encode(span_of(out, n), &again);
	MUST_HOLD(again.err == KMS_OK && span_eq(buf_span(&again), text));
}

static void check_hex(span_t text)
{
	uint8_t out[32];
	char again[65];
	if (hex_decode(text, out, sizeof out) != KMS_OK)
		return;
	hex_encode(span_of(out, sizeof out), again);
	MUST_HOLD(span_eq(span_of(again, 64), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 65536)
		return 0;
	check_base64(span_of(data, size));
	check_hex(span_of(data, size));
	return 0;
}
