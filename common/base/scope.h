/* Scope cleanup: `SCOPED(secret_freep) secret_t *s = NULL;` frees at the end of the scope, TAKE(s) hands the
 * object out and leaves NULL for the cleanup to see. Always initialise; never mix with goto; never aim a
 * scoped variable at something borrowed. */
#ifndef CLAVIGER_COMMON_BASE_SCOPE_H
#define CLAVIGER_COMMON_BASE_SCOPE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCOPED(fn) __attribute__((cleanup(fn)))

#define TAKE(p)                                                                                              \
	__extension__({                                                                                      \
		__typeof__(p) take_p_ = (p);                                                                 \
		(p) = NULL;                                                                                  \
		take_p_;                                                                                     \
	})

/* For `SCOPED(freep) char *p = NULL;` of any pointer type. */
static inline void freep(void *pp)
{
	void *p; /* copied: a char * may not be read through a void ** */
	memcpy(&p, pp, sizeof p);
	free(p);
	p = NULL;
	memcpy(pp, &p, sizeof p);
}

/* For `SCOPED(closep) int fd = -1;` */
static inline void closep(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static inline void fclosep(FILE **f)
{
	if (*f != NULL)
		(void)fclose(*f);
	*f = NULL;
}

/* TAKE for a file descriptor. */
static inline int fd_take(int *fd)
{
	int v = *fd;
	*fd = -1;
	return v;
}

#endif
