#include "tests/unit/kms-server/core/watch_store.h"

#include "kms-server/store/memory_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct watch_store {
	store_t base;
	store_t *below;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool dirty; /* the one write transaction's */
	bool hold, held;
	unsigned commits;
	store_table_t poison_table;
	char poison_key[STORE_KEY_MAX + 1];
	kms_err_t poison;
	kms_err_t begin_error;
	unsigned begin_times;
	uint64_t room;
} watch_store_t;

static watch_store_t *of(store_t *s)
{
	return (watch_store_t *)s;
}

static const store_ops_t *below(store_txn_t *t)
{
	return of(t->store)->below->ops;
}

static kms_err_t begin_failure(watch_store_t *w, bool write)
{
	(void)pthread_mutex_lock(&w->lock);
	kms_err_t e = KMS_OK;
	if (write && w->begin_times > 0) {
		w->begin_times--;
		e = w->begin_error;
	}
	if (write && e == KMS_OK)
		w->dirty = false;
	(void)pthread_mutex_unlock(&w->lock);
	return e;
}

/* The transaction below is handed out as ours: its own functions go by what it is, the port by `store`. */
static kms_err_t op_begin(store_t *s, bool write, store_txn_t **out)
{
	KMS_TRY(begin_failure(of(s), write));
	KMS_TRY(of(s)->below->ops->begin(of(s)->below, write, out));
	(*out)->store = s;
	return KMS_OK;
}

static kms_err_t op_get(store_txn_t *t, store_table_t table, span_t key, span_t *out)
{
	return below(t)->get(t, table, key, out);
}

static kms_err_t op_put(store_txn_t *t, store_table_t table, span_t key, span_t value)
{
	watch_store_t *w = of(t->store);
	(void)pthread_mutex_lock(&w->lock);
	w->dirty = true;
	kms_err_t e = w->poison_table == table && span_eq(key, span_str(w->poison_key)) ? w->poison : KMS_OK;
	(void)pthread_mutex_unlock(&w->lock);
	KMS_TRY(e);
	return below(t)->put(t, table, key, value);
}

static kms_err_t op_del(store_txn_t *t, store_table_t table, span_t key)
{
	(void)pthread_mutex_lock(&of(t->store)->lock);
	of(t->store)->dirty = true;
	(void)pthread_mutex_unlock(&of(t->store)->lock);
	return below(t)->del(t, table, key);
}

static kms_err_t op_seek(store_txn_t *t, store_table_t table, span_t from, store_order_t order,
			 store_cursor_t **out)
{
	return below(t)->seek(t, table, from, order, out);
}

static kms_err_t op_next(store_cursor_t *c, span_t *key, span_t *value)
{
	return below(c->txn)->next(c, key, value);
}

static void op_cursor_free(store_cursor_t *c)
{
	below(c->txn)->cursor_free(c);
}

static kms_err_t op_count(store_txn_t *t, store_table_t table, uint64_t *out)
{
	return below(t)->count(t, table, out);
}

static bool wait_for_release(watch_store_t *w)
{
	(void)pthread_mutex_lock(&w->lock);
	bool dirty = w->dirty;
	while (dirty && w->hold) {
		w->held = true;
		(void)pthread_cond_broadcast(&w->changed);
		(void)pthread_cond_wait(&w->changed, &w->lock);
	}
	w->held = false;
	(void)pthread_mutex_unlock(&w->lock);
	return dirty;
}

static kms_err_t op_commit(store_txn_t *t)
{
	watch_store_t *w = of(t->store);
	bool dirty = wait_for_release(w);
	kms_err_t e = below(t)->commit(t);
	(void)pthread_mutex_lock(&w->lock);
	w->commits += dirty && e == KMS_OK ? 1U : 0U;
	(void)pthread_mutex_unlock(&w->lock);
	return e;
}

static void op_abort(store_txn_t *t)
{
	below(t)->abort(t);
}

static kms_err_t op_reserve(store_t *s, uint64_t bytes)
{
	watch_store_t *w = of(s);
	(void)pthread_mutex_lock(&w->lock);
	kms_err_t e = bytes > w->room ? KMS_E_FULL : KMS_OK;
	(void)pthread_mutex_unlock(&w->lock);
	return e;
}

static kms_err_t op_copy(store_t *s, int fd, diag_t *why)
{
	return store_copy(of(s)->below, fd, why);
}

static void op_close(store_t *s)
{
	watch_store_t *w = of(s);
	store_close(w->below);
	(void)pthread_cond_destroy(&w->changed);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

static const store_ops_t OPS = {
	.begin = op_begin,
	.get = op_get,
	.put = op_put,
	.del = op_del,
	.seek = op_seek,
	.next = op_next,
	.cursor_free = op_cursor_free,
	.count = op_count,
	.commit = op_commit,
	.abort = op_abort,
	.reserve = op_reserve,
	.copy = op_copy,
	.close = op_close,
};

kms_err_t watch_store_new(store_t **out)
{
	watch_store_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return KMS_E_NOMEM;
	kms_err_t e = memory_store_new(&w->below);
	if (e != KMS_OK) {
		free(w);
		return e;
	}
	w->base.ops = &OPS;
	w->room = UINT64_MAX;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->changed, NULL);
	*out = &w->base;
	return KMS_OK;
}

unsigned watch_commits(store_t *s)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	unsigned n = of(s)->commits;
	(void)pthread_mutex_unlock(&of(s)->lock);
	return n;
}

void watch_fail_commits(store_t *s, kms_err_t e, unsigned times)
{
	memory_store_fail_commits(of(s)->below, e, times);
}

void watch_hold(store_t *s)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	of(s)->hold = true;
	(void)pthread_mutex_unlock(&of(s)->lock);
}

void watch_held(store_t *s)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	while (!of(s)->held)
		(void)pthread_cond_wait(&of(s)->changed, &of(s)->lock);
	(void)pthread_mutex_unlock(&of(s)->lock);
}

void watch_release(store_t *s)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	of(s)->hold = false;
	(void)pthread_cond_broadcast(&of(s)->changed);
	(void)pthread_mutex_unlock(&of(s)->lock);
}

void watch_poison(store_t *s, store_table_t table, const char *key, kms_err_t e)
{
	watch_store_t *w = of(s);
	(void)pthread_mutex_lock(&w->lock);
	w->poison_table = table;
	(void)snprintf(w->poison_key, sizeof w->poison_key, "%s", key);
	w->poison = e;
	(void)pthread_mutex_unlock(&w->lock);
}

void watch_fail_begins(store_t *s, kms_err_t e, unsigned times)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	of(s)->begin_error = e;
	of(s)->begin_times = times;
	(void)pthread_mutex_unlock(&of(s)->lock);
}

void watch_room(store_t *s, uint64_t bytes)
{
	(void)pthread_mutex_lock(&of(s)->lock);
	of(s)->room = bytes;
	(void)pthread_mutex_unlock(&of(s)->lock);
}
