/* A growing byte buffer with a limit and a sticky error, and the writer of all our binary formats: integers
 * are big-endian, `lp` fields carry a 16-bit length in front. Wiped whenever memory is given up, so that it
 * may hold what leads to secrets; plaintext keys themselves belong in secret_t. Not for sharing between
 * threads. */
#ifndef CLAVIGER_COMMON_BASE_BUF_H
#define CLAVIGER_COMMON_BASE_BUF_H

#include "common/base/err.h"
#include "common/base/span.h"

typedef struct buf {
	uint8_t *p;
	size_t n;
	size_t cap;
	size_t limit;  /* 0: 16 MiB */
	kms_err_t err; /* sticky: NOMEM, or FULL past the limit; later writes do nothing */
} buf_t;

#define BUF_INIT                                                                                             \
	{                                                                                                    \
		0                                                                                            \
	}

void buf_u8(buf_t *b, uint8_t v);
void buf_u16(buf_t *b, uint16_t v);
void buf_u32(buf_t *b, uint32_t v);
void buf_u64(buf_t *b, uint64_t v);
void buf_bytes(buf_t *b, span_t s);
void buf_str(buf_t *b, const char *s); /* without end mark */
void buf_lp(buf_t *b, span_t s);       /* u16 length, bytes; INVALID over 65,535 */
void buf_lp_str(buf_t *b, const char *s);
__attribute__((format(printf, 2, 3))) void buf_printf(buf_t *b, const char *fmt, ...);

/* The whole content; status is the sticky error, checked once at the end. */
KMS_MUST buf_done(const buf_t *b, span_t *out);
static inline span_t buf_span(const buf_t *b)
{
	return span_of(b->p, b->n);
}

/* Makes room for n more bytes and returns where they go (content undefined), or NULL with the sticky error
 * set. Valid until the next write. */
uint8_t *buf_reserve(buf_t *b, size_t n);

/* Appends a zero byte that is not counted in n, so that (const char *)b->p is a C string. */
KMS_MUST buf_cstr(buf_t *b, const char **out);

/* Wipes, frees and resets to BUF_INIT (the limit stays). For SCOPED(buf_free) too. */
void buf_free(buf_t *b);
/* Wipes the content and keeps the memory. */
void buf_clear(buf_t *b);

#endif
