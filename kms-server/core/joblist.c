#include "kms-server/core/joblist.h"

#include "kms-server/core/internal.h"

void joblist_init(job_list_t *l)
{
	*l = (job_list_t){.first = NULL, .end = NULL, .n = 0};
	l->end = &l->first;
}

void joblist_add(job_list_t *l, struct core_job *job)
{
	job->next = NULL;
	*l->end = job;
	l->end = &job->next;
	l->n++;
}

struct core_job *joblist_take(job_list_t *l)
{
	struct core_job *job = l->first;
	if (job == NULL)
		return NULL;
	l->first = job->next;
	if (l->first == NULL)
		l->end = &l->first;
	l->n--;
	return job;
}
