/* Networks: what is accepted is written back as text that means the same, and holds its own first address. */
#include "common/base/network.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	network_t n, again;
	uint8_t addr[NETWORK_ADDR_LEN], back[NETWORK_ADDR_LEN];
	char text[NETWORK_TEXT_CAP];
	diag_t why;
	if (network_parse("networks", span_of(data, size), &n, &why) == KMS_OK) {
		network_format(&n, text);
		MUST_HOLD(network_parse("networks", span_str(text), &again, &why) == KMS_OK);
		MUST_HOLD(again.bits == n.bits && memcmp(again.addr, n.addr, sizeof n.addr) == 0);
		MUST_HOLD(n.bits <= 128 && network_contains(&n, n.addr));
	}
	if (network_addr(span_of(data, size), addr) == KMS_OK) {
		network_addr_format(addr, text);
		MUST_HOLD(network_addr(span_str(text), back) == KMS_OK);
		MUST_HOLD(memcmp(addr, back, sizeof addr) == 0);
	}
	return 0;
}
