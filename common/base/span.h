/* A borrowed run of bytes: pointer and length travel together. Owns nothing; the owner must outlive it. */
#ifndef CLAVIGER_COMMON_BASE_SPAN_H
#define CLAVIGER_COMMON_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct span {
	const uint8_t *p; /* may be NULL only when n is 0 */
	size_t n;
} span_t;

static inline span_t span_of(const void *p, size_t n)
{
	return (span_t){.p = p, .n = n};
}

/* The bytes of a C string, without its end mark. */
static inline span_t span_str(const char *s)
{
	return span_of(s, strlen(s));
}

/* Not constant time: never for secrets (see secret_equal, ct_equal). */
static inline bool span_eq(span_t a, span_t b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

#endif
