/* The one type that holds plaintext keys: own locked pages (mlock), left out of core dumps (MADV_DONTDUMP),
 * zero in a forked child (MADV_WIPEONFORK), wiped on free. It has no printable form and is compared in
 * constant time. Memory that cannot be locked is an error (KMS_E_NOMEM): a key that could reach swap is worse
 * than a refused request. Small secrets share pages (one page for up to PAGE/64 of them), so a server can
 * hold many. The allocator is thread-safe; one secret_t is not to be written by two threads. */
#ifndef CLAVIGER_COMMON_BASE_SECRET_H
#define CLAVIGER_COMMON_BASE_SECRET_H

#include "common/base/err.h"
#include "common/base/span.h"

typedef struct secret secret_t;

#define SECRET_MAX 4096U

/* n zero bytes, 1..SECRET_MAX. */
KMS_MUST secret_new(size_t n, secret_t **out);
/* A copy of the bytes; the source is the caller's to wipe. */
KMS_MUST secret_from(span_t bytes, secret_t **out);
void secret_free(secret_t *s);
void secret_freep(secret_t **s);

/* Where to write a secret in place. */
uint8_t *secret_data(secret_t *s);
span_t secret_span(const secret_t *s);
size_t secret_len(const secret_t *s);

bool secret_equal(const secret_t *a, const secret_t *b);

/* Constant time in n. */
bool ct_equal(const void *a, const void *b, size_t n);
/* Never optimised away. */
void wipe(void *p, size_t n);

#endif
