#include "common/base/secret.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A page holds equal slots of 64 bytes; a larger secret gets a mapping of its own. Each slot costs 64 bytes
 * of locked memory instead of 4 KiB, which is what the default RLIMIT_MEMLOCK has room for. */
#define PAGE  4096U
#define SLOT  64U
#define SLOTS (PAGE / SLOT)

typedef struct slab {
	struct slab *next;
	uint8_t *page;
	uint64_t used; /* one bit a slot */
} slab_t;

struct secret {
	uint8_t *p;
	size_t n;
	slab_t *slab; /* NULL: own mapping */
};

/* The pool of locked pages is the process's, as locked memory is: the one exception to "no global state". */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static slab_t *pool;

_Static_assert(SLOTS == 64, "one bit a slot in slab_t.used");

static uint8_t *map_locked(size_t n)
{
	uint8_t *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mlock(p, n) != 0 || madvise(p, n, MADV_DONTDUMP) != 0 || madvise(p, n, MADV_WIPEONFORK) != 0) {
		(void)munmap(p, n);
		return NULL;
	}
	return p;
}

static slab_t *slab_with_room(void)
{
	for (slab_t *s = pool; s != NULL; s = s->next)
		if (s->used != UINT64_MAX)
			return s;
	slab_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->page = map_locked(PAGE);
	if (s->page == NULL) {
		free(s);
		return NULL;
	}
	s->next = pool;
	pool = s;
	return s;
}

static kms_err_t take_slot(secret_t *s)
{
	kms_err_t e = KMS_E_NOMEM;
	(void)pthread_mutex_lock(&pool_lock);
	slab_t *slab = slab_with_room();
	if (slab != NULL) {
		unsigned i = (unsigned)__builtin_ctzll(~slab->used);
		slab->used |= UINT64_C(1) << i;
		s->slab = slab;
		s->p = slab->page + (size_t)i * SLOT;
		e = KMS_OK;
	}
	(void)pthread_mutex_unlock(&pool_lock);
	return e;
}

static void slab_unlink(slab_t *gone)
{
	for (slab_t **at = &pool; *at != NULL; at = &(*at)->next)
		if (*at == gone) {
			*at = gone->next;
			return;
		}
}

static void give_slot(secret_t *s)
{
	(void)pthread_mutex_lock(&pool_lock);
	slab_t *slab = s->slab;
	size_t i = (size_t)(s->p - slab->page) / SLOT;
	slab->used &= ~(UINT64_C(1) << i);
	if (slab->used == 0) {
		slab_unlink(slab);
		(void)munmap(slab->page, PAGE);
		free(slab);
	}
	(void)pthread_mutex_unlock(&pool_lock);
}

kms_err_t secret_new(size_t n, secret_t **out)
{
	if (n == 0 || n > SECRET_MAX)
		return KMS_E_INVALID;
	secret_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	s->n = n;
	if (n <= SLOT) {
		if (take_slot(s) != KMS_OK) {
			free(s);
			return KMS_E_NOMEM;
		}
	} else {
		s->p = map_locked(n);
		if (s->p == NULL) {
			free(s);
			return KMS_E_NOMEM;
		}
	}
	*out = s;
	return KMS_OK;
}

kms_err_t secret_from(span_t bytes, secret_t **out)
{
	secret_t *s = NULL;
	KMS_TRY(secret_new(bytes.n, &s));
	memcpy(s->p, bytes.p, bytes.n);
	*out = s;
	return KMS_OK;
}

void secret_free(secret_t *s)
{
	if (s == NULL)
		return;
	wipe(s->p, s->n);
	if (s->slab != NULL)
		give_slot(s);
	else
		(void)munmap(s->p, s->n);
	free(s);
}

void secret_freep(secret_t **s)
{
	secret_free(*s);
	*s = NULL;
}

uint8_t *secret_data(secret_t *s)
{
	return s->p;
}

span_t secret_span(const secret_t *s)
{
	return span_of(s->p, s->n);
}

size_t secret_len(const secret_t *s)
{
	return s->n;
}

bool ct_equal(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a;
	const volatile uint8_t *y = b;
	uint8_t diff = 0;
	for (size_t i = 0; i < n; i++)
		diff = (uint8_t)(diff | (x[i] ^ y[i]));
	return diff == 0;
}

bool secret_equal(const secret_t *a, const secret_t *b)
{
	return a->n == b->n && ct_equal(a->p, b->p, a->n);
}

void wipe(void *p, size_t n)
{
	explicit_bzero(p, n);
}
