/* The first half of the input says what is read, the second half is read. */
#include "common/base/reader.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t half = size / 2;
	reader_t r = reader_of(span_of(data + half, size - half));
	for (size_t i = 0; i < half; i++) {
		size_t before = r.rest.n;
		bool failed = r.failed;
		char text[8];
		uint8_t copy[5];
		span_t s = span_of(NULL, 0);
		switch (data[i] % 8) {
		case 0:
			(void)reader_u8(&r);
			break;
		case 1:
			(void)reader_u16(&r);
			break;
		case 2:
			(void)reader_u32(&r);
			break;
		case 3:
			(void)reader_u64(&r);
			break;
		case 4:
			s = reader_lp(&r);
			break;
		case 5:
			reader_lp_str(&r, text, sizeof text);
			MUST_HOLD(memchr(text, 0, sizeof text) != NULL);
			break;
		case 6:
			reader_copy(&r, copy, sizeof copy);
			break;
		case 7:
			s = reader_bytes(&r, data[i]);
			break;
		}
		MUST_HOLD(r.rest.n <= before && (!failed || r.failed));
		MUST_HOLD(s.n == 0 || (s.p >= data + half && s.p + s.n <= data + size));
	}
	MUST_HOLD((reader_done(&r) == KMS_OK) == (!r.failed && r.rest.n == 0));
	return 0;
}
