#include "common/proto/utf8.h"

size_t utf8_length(span_t s)
{
	uint8_t c = s.p[0];
	if (c < 0x80)
		return 1;
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || s.n < n)
		return 0;
	uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	if (s.p[1] < low || s.p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s.p[i] & 0xc0U) != 0x80U)
			return 0;
	return n;
}

void utf8_put(uint32_t c, buf_t *out)
{
	static const uint8_t first[] = {0x00, 0xc0, 0xe0, 0xf0};
	unsigned more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	buf_u8(out, (uint8_t)(first[more] | c >> (6 * more)));
	while (more-- > 0)
		buf_u8(out, (uint8_t)(0x80U | ((c >> (6 * more)) & 0x3fU)));
}
