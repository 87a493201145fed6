/* Public test vectors, read from the folder that CLAVIGER_VECTORS names. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_VECTORS_H
#define CLAVIGER_TESTS_UNIT_COMMON_CRYPTO_VECTORS_H

#include "common/base/span.h"

#include <jansson.h>

#define VECTOR_MAX 16384U

typedef struct bytes {
	uint8_t p[VECTOR_MAX];
	size_t n;
} bytes_t;

/* NULL when there is no such folder: the caller skips by name. A file that is there and unreadable ends the
 * test. vectors_load: of wycheproof; vectors_open: by its path below the folder. Integers that 64 bits do not
 * hold are reals. */
json_t *vectors_load(const char *file);
json_t *vectors_open(const char *path);
/* The folder, or NULL. */
const char *vectors_dir(void);
/* The hex text of a field; fails the test when it is not. */
void vectors_hex(const json_t *test, const char *field, bytes_t *out);

static inline span_t bytes_span(const bytes_t *b)
{
	return span_of(b->p, b->n);
}

#endif
