/* PROXY headers: what is whole has its length, is the same without what follows, and was undecided at every
 * byte before. */
#include "kms-server/http/proxy_v2.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	proxy_v2_t all, part;
	proxy_v2_verdict_t v = proxy_v2_parse(span_of(data, size), &all);
	MUST_HOLD((v == PROXY_V2_BAD) == (all.why != NULL));
	if (v == PROXY_V2_BAD)
		return 0;
	MUST_HOLD(all.length >= PROXY_V2_FIXED && all.length <= PROXY_V2_MAX);
	MUST_HOLD((v == PROXY_V2_WHOLE) == (all.length <= size));
	size_t n = v == PROXY_V2_WHOLE ? all.length : size;
	for (size_t i = 0; i < n; i++) {
		MUST_HOLD(proxy_v2_parse(span_of(data, i), &part) == PROXY_V2_MORE);
		MUST_HOLD(part.length > i && part.length <= all.length);
	}
	MUST_HOLD(proxy_v2_parse(span_of(data, n), &part) == v);
	MUST_HOLD(v == PROXY_V2_MORE || part.local == all.local);
	MUST_HOLD(v == PROXY_V2_MORE || all.local ||
		  (all.source.port == part.source.port && all.source.port != 0));
	return 0;
}
