/* A folder that comes into being whole: it is written under another name beside it, and renamed when all is
 * there. Its SHA256SUMS grows along (as `sha256sum -c` reads it). */
#ifndef CLAVIGER_TOOLS_KMSCTL_EXPDIR_H
#define CLAVIGER_TOOLS_KMSCTL_EXPDIR_H

#include "common/base/err.h"
#include "common/base/span.h"

#include <stdio.h>

#define EXPDIR_SUMS "SHA256SUMS"

typedef struct expdir {
	char *final; /* what it will be called */
	char *path;  /* what it is called until then */
	int fd;
	FILE *sums;
} expdir_t;

/* CONFLICT: there is a folder of this name that is not empty, or something else. */
KMS_MUST expdir_begin(const char *dir, expdir_t *out, diag_t *why);
/* Removes what was not finished. */
void expdir_free(expdir_t *d);

/* A new file, for all to read; name: "tile/0/000", folders on the way are made. */
KMS_MUST expdir_put(expdir_t *d, const char *name, span_t content, diag_t *why);
/* The sum of a file that somebody else has written there. */
KMS_MUST expdir_add(expdir_t *d, const char *name, diag_t *why);
/* The sums are complete; puts no longer are possible. */
KMS_MUST expdir_close(expdir_t *d, diag_t *why);
/* All is on disk, and has its name. */
KMS_MUST expdir_finish(expdir_t *d, diag_t *why);

#endif
