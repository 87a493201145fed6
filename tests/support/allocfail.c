#include "tests/support/allocfail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

static atomic_uint left;
static atomic_bool happened;

void allocfail_arm(unsigned nth)
{
	atomic_store(&happened, false);
	atomic_store(&left, nth);
}

bool allocfail_happened(void)
{
	return atomic_load(&happened);
}

/* valgrind puts its allocator in place of some of the calls, when the program runs. */
bool allocfail_supported(void)
{
#ifdef SANITIZED
	return false;
#else
	const char *preloaded = getenv("LD_PRELOAD");
	return preloaded == NULL || strstr(preloaded, "vgpreload") == NULL;
#endif
}

#ifndef SANITIZED

/* The C library's own names for its allocator, of which these three are then the only users' entries. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t k, size_t n);
void *__libc_realloc(void *p, size_t n);
static bool fails(void)
{
	if (atomic_load(&left) == 0 || atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_store(&happened, true);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t k, size_t n)
{
	return fails() ? NULL : __libc_calloc(k, n);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

#endif
