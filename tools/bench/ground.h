/* The temporary folder that a measurement's server lives in. */
#ifndef CLAVIGER_TOOLS_BENCH_GROUND_H
#define CLAVIGER_TOOLS_BENCH_GROUND_H

#include "common/base/err.h"

typedef struct ground {
	char *dir;    /* NULL: none was made */
	char *server; /* in it: the server's folder, which is not made */
	char *log;    /* in it: the server's standard error */
} ground_t;

/* "PARENT/claviger-NAME-XXXXXX" */
KMS_MUST ground_make(const char *parent, const char *name, ground_t *out, diag_t *why);
/* With all that is in it. */
void ground_remove(ground_t *g);

#endif
