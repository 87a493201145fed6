#include "tests/unit/common/proto/alloc_fail.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static unsigned left;
static bool failed;
static const char *watched;
static unsigned seen;

static bool fails(void)
{
	if (left == 0 || --left > 0)
		return false;
	failed = true;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_calloc(1, n); /* zeros: __wrap_free looks at all of it */
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void __wrap_free(void *p)
{
	if (p != NULL && watched != NULL &&
	    memmem(p, malloc_usable_size(p), watched, strlen(watched)) != NULL)
		seen++;
	__real_free(p);
}

void alloc_watch(const char *text)
{
	watched = text;
	seen = 0;
}

unsigned alloc_seen(void)
{
	return seen;
}

void alloc_fail_at(unsigned n)
{
	left = n;
	failed = false;
}

bool alloc_fail_end(void)
{
	left = 0;
	return failed;
}
