#include "common/base/reader.h"

span_t reader_bytes(reader_t *r, size_t n)
{
	if (r->failed || n > r->rest.n) {
		r->failed = true;
		return span_of(NULL, 0);
	}
	span_t s = span_of(r->rest.p, n);
	if (n > 0)
		r->rest.p += n;
	r->rest.n -= n;
	return s;
}

static uint64_t get_be(reader_t *r, size_t n)
{
	span_t s = reader_bytes(r, n);
	uint64_t v = 0;
	for (size_t i = 0; i < s.n; i++)
		v = (v << 8) | s.p[i];
	return v;
}

uint8_t reader_u8(reader_t *r)
{
	return (uint8_t)get_be(r, 1);
}

uint16_t reader_u16(reader_t *r)
{
	return (uint16_t)get_be(r, 2);
}

uint32_t reader_u32(reader_t *r)
{
	return (uint32_t)get_be(r, 4);
}

uint64_t reader_u64(reader_t *r)
{
	return get_be(r, 8);
}

span_t reader_lp(reader_t *r)
{
	uint16_t n = reader_u16(r);
	return reader_bytes(r, n);
}

void reader_copy(reader_t *r, void *out, size_t n)
{
	span_t s = reader_bytes(r, n);
	if (s.n == n && n > 0)
		memcpy(out, s.p, n);
	else
		memset(out, 0, n);
}

void reader_lp_str(reader_t *r, char *out, size_t cap)
{
	span_t s = reader_lp(r);
	if (s.n >= cap || (s.n > 0 && memchr(s.p, 0, s.n) != NULL)) {
		r->failed = true;
		s.n = 0;
	}
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

kms_err_t reader_done(const reader_t *r)
{
	return r->failed || r->rest.n > 0 ? KMS_E_INTEGRITY : KMS_OK;
}
