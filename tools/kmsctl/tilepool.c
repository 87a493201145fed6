#include "tools/kmsctl/tilepool.h"

#include "common/base/scope.h"

#include <pthread.h>
#include <stdlib.h>

#define SLOTS    (2U * TILEPOOL_THREADS)
#define WORTH_IT 4U /* tiles */

/* Tile i is checked in slot i % n_slots. */
typedef struct slot {
	leaftile_t tile;
	bool done; /* and not taken back yet */
} slot_t;

struct tilepool {
	leafjob_t job;
	uint64_t tiles;
	unsigned n_slots, n_threads;
	pthread_t thread[TILEPOOL_THREADS];
	pthread_mutex_t lock; /* of all below but the tile that is being checked or is out */
	pthread_cond_t work, ready;
	bool stop;
	bool out;          /* the caller has a tile */
	uint64_t taken;    /* tiles that threads have begun */
	uint64_t released; /* tiles that the caller is done with */
	slot_t slot[SLOTS];
};

static bool something_to_do(const tilepool_t *p)
{
	return p->taken < p->tiles && p->taken < p->released + p->n_slots;
}

static void *worker(void *ctx)
{
	tilepool_t *p = ctx;
	(void)pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->stop && !something_to_do(p))
			(void)pthread_cond_wait(&p->work, &p->lock);
		if (p->stop)
			break;
		uint64_t index = p->taken++;
		slot_t *s = &p->slot[index % p->n_slots];
		(void)pthread_mutex_unlock(&p->lock);
		leaftile_check(&p->job, index, &s->tile);
		(void)pthread_mutex_lock(&p->lock);
		s->done = true;
		(void)pthread_cond_signal(&p->ready);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

unsigned tilepool_useful(const leafjob_t *job)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (!logsrc_is_folder(job->src) || job->size < WORTH_IT * TILE_WIDTH || cpus < 2)
		return 0;
	return cpus < (long)TILEPOOL_THREADS ? (unsigned)cpus : TILEPOOL_THREADS;
}

void tilepool_freep(tilepool_t **p)
{
	tilepool_t *gone = *p;
	*p = NULL;
	if (gone == NULL)
		return;
	(void)pthread_mutex_lock(&gone->lock);
	gone->stop = true;
	(void)pthread_cond_broadcast(&gone->work);
	(void)pthread_mutex_unlock(&gone->lock);
	for (unsigned i = 0; i < gone->n_threads; i++)
		(void)pthread_join(gone->thread[i], NULL);
	(void)pthread_cond_destroy(&gone->work);
	(void)pthread_cond_destroy(&gone->ready);
	(void)pthread_mutex_destroy(&gone->lock);
	for (unsigned i = 0; i < SLOTS; i++)
		leaftile_free(&gone->slot[i].tile);
	free(gone);
}

kms_err_t tilepool_new(const leafjob_t *job, unsigned threads, tilepool_t **out, diag_t *why)
{
	tilepool_t *p = calloc(1, sizeof *p);
	if (p == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory to verify the log");
	p->job = *job;
	p->tiles = job->size / TILE_WIDTH + (job->size % TILE_WIDTH != 0);
	/* with these attributes they cannot fail */
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->work, NULL);
	(void)pthread_cond_init(&p->ready, NULL);
	p->n_slots = 2 * threads;
	/* fewer threads than wished for are slower, not wrong */
	while (p->n_threads < threads && pthread_create(&p->thread[p->n_threads], NULL, worker, p) == 0)
		p->n_threads++;
	*out = p;
	return KMS_OK;
}

static const leaftile_t *check_here(tilepool_t *p)
{
	if (p->released == p->tiles)
		return NULL;
	leaftile_check(&p->job, p->released++, &p->slot[0].tile);
	return &p->slot[0].tile;
}

const leaftile_t *tilepool_next(tilepool_t *p)
{
	const leaftile_t *next = NULL;
	if (p->n_threads == 0)
		return check_here(p);
	(void)pthread_mutex_lock(&p->lock);
	if (p->out) {
		p->slot[p->released % p->n_slots].done = false;
		p->released++;
		(void)pthread_cond_signal(&p->work);
	}
	p->out = p->released < p->tiles;
	if (p->out) {
		slot_t *s = &p->slot[p->released % p->n_slots];
		while (!s->done)
			(void)pthread_cond_wait(&p->ready, &p->lock);
		next = &s->tile;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return next;
}
