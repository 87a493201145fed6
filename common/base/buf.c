#include "common/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_DEFAULT_LIMIT (16U * 1024U * 1024U)
#define BUF_FIRST         256U

static void fail(buf_t *b, kms_err_t e)
{
	if (b->err == KMS_OK)
		b->err = e;
}

/* realloc would leave a copy of the old content behind, unwiped. */
static kms_err_t grow(buf_t *b, size_t want)
{
	size_t cap = b->cap > 0 ? b->cap : BUF_FIRST;
	while (cap < want)
		cap *= 2;
	uint8_t *p = malloc(cap);
	if (p == NULL)
		return KMS_E_NOMEM;
	if (b->n > 0)
		memcpy(p, b->p, b->n);
	if (b->p != NULL) {
		explicit_bzero(b->p, b->cap);
		free(b->p);
	}
	b->p = p;
	b->cap = cap;
	return KMS_OK;
}

static uint8_t *room(buf_t *b, size_t n)
{
	size_t limit = b->limit > 0 ? b->limit : BUF_DEFAULT_LIMIT;
	if (b->err != KMS_OK)
		return NULL;
	if (n > limit || b->n > limit - n) {
		fail(b, KMS_E_FULL);
		return NULL;
	}
	if (b->p == NULL || b->n + n > b->cap) { /* NULL + 0 is undefined too */
		kms_err_t e = grow(b, b->n + n);
		if (e != KMS_OK) {
			fail(b, e);
			return NULL;
		}
	}
	return b->p + b->n;
}

uint8_t *buf_reserve(buf_t *b, size_t n)
{
	uint8_t *at = room(b, n);
	if (at != NULL)
		b->n += n;
	return at;
}

static void put_be(buf_t *b, uint64_t v, size_t n)
{
	uint8_t *at = buf_reserve(b, n);
	if (at == NULL)
		return;
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

void buf_u8(buf_t *b, uint8_t v)
{
	put_be(b, v, 1);
}

void buf_u16(buf_t *b, uint16_t v)
{
	put_be(b, v, 2);
}

void buf_u32(buf_t *b, uint32_t v)
{
	put_be(b, v, 4);
}

void buf_u64(buf_t *b, uint64_t v)
{
	put_be(b, v, 8);
}

void buf_bytes(buf_t *b, span_t s)
{
	if (s.n == 0)
		return;
	uint8_t *at = buf_reserve(b, s.n);
	if (at != NULL)
		memcpy(at, s.p, s.n);
}

void buf_str(buf_t *b, const char *s)
{
	buf_bytes(b, span_str(s));
}

void buf_lp(buf_t *b, span_t s)
{
	if (s.n > UINT16_MAX) {
		fail(b, KMS_E_INVALID);
		return;
	}
	buf_u16(b, (uint16_t)s.n);
	buf_bytes(b, s);
}

void buf_lp_str(buf_t *b, const char *s)
{
	buf_lp(b, span_str(s));
}

void buf_printf(buf_t *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		fail(b, KMS_E_INVALID);
	} else {
		/* one byte more for the end mark, which is then given back */
		char *at = (char *)buf_reserve(b, (size_t)n + 1);
		if (at != NULL) {
			(void)vsnprintf(at, (size_t)n + 1, fmt, again);
			b->n--;
		}
	}
	va_end(again);
}

kms_err_t buf_done(const buf_t *b, span_t *out)
{
	KMS_TRY(b->err);
	*out = buf_span(b);
	return KMS_OK;
}

kms_err_t buf_cstr(buf_t *b, const char **out)
{
	uint8_t *at = room(b, 1);
	if (at == NULL)
		return b->err;
	*at = 0;
	*out = (const char *)b->p;
	return KMS_OK;
}

void buf_clear(buf_t *b)
{
	if (b->p != NULL)
		explicit_bzero(b->p, b->cap);
	b->n = 0;
	b->err = KMS_OK;
}

void buf_free(buf_t *b)
{
	if (b->p != NULL) {
		explicit_bzero(b->p, b->cap);
		free(b->p);
	}
	b->p = NULL;
	b->n = 0;
	b->cap = 0;
	b->err = KMS_OK;
}
