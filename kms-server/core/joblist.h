/* A queue of jobs through their own links: no memory, so adding cannot fail. */
#ifndef CLAVIGER_KMS_SERVER_CORE_JOBLIST_H
#define CLAVIGER_KMS_SERVER_CORE_JOBLIST_H

#include <stddef.h>

struct core_job;

typedef struct job_list {
	struct core_job *first, **end;
	size_t n;
} job_list_t;

void joblist_init(job_list_t *l);
void joblist_add(job_list_t *l, struct core_job *job);
/* The first one, or NULL. */
struct core_job *joblist_take(job_list_t *l);

#endif
