#include "common/base/encode.h"

/* 0xff.. when lo <= c <= hi, else 0, without a branch on c. */
static uint32_t in_range(uint32_t c, uint32_t lo, uint32_t hi)
{
	return 0U - (uint32_t)((((lo - 1U - c) & (c - hi - 1U)) >> 31) & 1U);
}

/* 0..15 to its digit: 'a' - '0' - 10 is 39, added where v is over 9. */
static char hex_char(uint32_t v)
{
	return (char)(v + '0' + (in_range(v + 1, 11, 16) & 39U));
}

void hex_encode(span_t in, char *out)
{
	for (size_t i = 0; i < in.n; i++) {
		out[2 * i] = hex_char(in.p[i] >> 4);
		out[2 * i + 1] = hex_char(in.p[i] & 15U);
	}
	out[2 * in.n] = '\0';
}

/* The value of a digit plus one; 0 when it is none. */
static uint32_t hex_value1(uint32_t c)
{
	return (in_range(c, '0', '9') & (c - '0' + 1)) | (in_range(c, 'a', 'f') & (c - 'a' + 11));
}

kms_err_t hex_decode(span_t text, uint8_t *out, size_t n)
{
	uint32_t bad = 0;
	if (text.n != 2 * n)
		return KMS_E_INVALID;
	for (size_t i = 0; i < text.n; i++)
		bad |= in_range(hex_value1(text.p[i]) + 1, 1, 1);
	if (bad != 0)
		return KMS_E_INVALID;
	for (size_t i = 0; i < n; i++)
		out[i] =
			(uint8_t)((hex_value1(text.p[2 * i]) - 1) << 4 | (hex_value1(text.p[2 * i + 1]) - 1));
	return KMS_OK;
}

static uint8_t b64_char(uint32_t v)
{
	uint32_t c = in_range(v + 1, 1, 26) & (v + 'A');
	c |= in_range(v + 1, 27, 52) & (v - 26 + 'a');
	c |= in_range(v + 1, 53, 62) & (v - 52 + '0');
	c |= in_range(v + 1, 63, 63) & '+';
	c |= in_range(v + 1, 64, 64) & '/';
	return (uint8_t)c;
}

/* The value of a character plus one; 0 when it is none of the alphabet. */
static uint32_t b64_value1(uint32_t c)
{
	uint32_t v = in_range(c, 'A', 'Z') & (c - 'A' + 1);
	v |= in_range(c, 'a', 'z') & (c - 'a' + 27);
	v |= in_range(c, '0', '9') & (c - '0' + 53);
	v |= in_range(c, '+', '+') & 63U;
	v |= in_range(c, '/', '/') & 64U;
	return v;
}

void base64_encode(span_t in, buf_t *out)
{
	size_t len = (in.n + 2) / 3 * 4;
	uint8_t *o = buf_reserve(out, len);
	if (o == NULL)
		return;
	for (size_t i = 0; i < in.n; i += 3) {
		uint32_t left = (uint32_t)(in.n - i);
		uint32_t w = (uint32_t)in.p[i] << 16;
		w |= left > 1 ? (uint32_t)in.p[i + 1] << 8 : 0;
		w |= left > 2 ? (uint32_t)in.p[i + 2] : 0;
		*o++ = b64_char(w >> 18);
		*o++ = b64_char((w >> 12) & 63);
		*o++ = left > 1 ? b64_char((w >> 6) & 63) : (uint8_t)'=';
		*o++ = left > 2 ? b64_char(w & 63) : (uint8_t)'=';
	}
}

kms_err_t base64_decode(span_t text, uint8_t *out, size_t cap, size_t *n)
{
	if (text.n % 4 != 0)
		return KMS_E_INVALID;
	size_t pad = 0;
	if (text.n > 0 && text.p[text.n - 1] == '=')
		pad = text.p[text.n - 2] == '=' ? 2 : 1;
	size_t len = text.n / 4 * 3 - pad;
	if (len > cap)
		return KMS_E_INVALID;
	uint32_t bad = 0;
	size_t at = 0;
	for (size_t i = 0; i < text.n; i += 4) {
		uint32_t w = 0;
		size_t chars = i + 4 == text.n ? 4 - pad : 4;
		for (size_t k = 0; k < chars; k++) {
			uint32_t v = b64_value1(text.p[i + k]);
			bad |= v == 0 ? 1U : 0U;
			w |= ((v - 1) & 63U) << (18 - 6 * k);
		}
		/* the bits that padding leaves unused must be zero, or two texts would mean one value */
		bad |= chars == 3 ? w & 0xffU : 0;
		bad |= chars == 2 ? w & 0xffffU : 0;
		for (size_t k = 0; k + 1 < chars; k++)
			out[at++] = (uint8_t)(w >> (16 - 8 * k));
	}
	if (bad != 0)
		return KMS_E_INVALID;
	*n = len;
	return KMS_OK;
}

void be64_encode(uint64_t v, uint8_t out[8])
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}
