/* The reader of what buf_t writes: big-endian, `lp` fields behind a 16-bit length. A read past the end sets a
 * sticky error and yields zeros, so a parser reads straight through and asks once, with reader_done, which
 * also refuses bytes left over. Spans point into the input. */
#ifndef CLAVIGER_COMMON_BASE_READER_H
#define CLAVIGER_COMMON_BASE_READER_H

#include "common/base/err.h"
#include "common/base/span.h"

typedef struct reader {
	span_t rest;
	bool failed;
} reader_t;

static inline reader_t reader_of(span_t s)
{
	return (reader_t){.rest = s, .failed = false};
}

uint8_t reader_u8(reader_t *r);
uint16_t reader_u16(reader_t *r);
uint32_t reader_u32(reader_t *r);
uint64_t reader_u64(reader_t *r);
span_t reader_bytes(reader_t *r, size_t n);
span_t reader_lp(reader_t *r);
/* Copies exactly n bytes; zeros on failure. */
void reader_copy(reader_t *r, void *out, size_t n);
/* An lp field as a C string into out[cap]: a field that is too long or holds a zero byte fails the reader. */
void reader_lp_str(reader_t *r, char *out, size_t cap);

/* INTEGRITY after any failed read, or when bytes are left. */
KMS_MUST reader_done(const reader_t *r);

#endif
