#include "kms-server/store/memory_store.h"

#include "common/base/scope.h"
#include "kms-server/store/memory_table.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct memory_store {
	store_t base;
	pthread_mutex_t lock;
	memory_table_t *now[STORE_TABLES]; /* what a transaction begins with */
	bool writing;
	bool dead;
	kms_err_t fail;
	unsigned fail_times;
} memory_store_t;

typedef struct memory_cursor memory_cursor_t;

typedef struct memory_txn {
	store_txn_t base;
	memory_store_t *store;
	bool write;
	kms_err_t failed;
	memory_table_t *tables[STORE_TABLES];
	bool own[STORE_TABLES]; /* copied for this write */
	memory_cursor_t *cursors;
} memory_txn_t;

struct memory_cursor {
	store_cursor_t base;
	const memory_table_t *table; /* NULL: a write has ended its validity */
	store_order_t order;
	size_t at; /* UP: index of the next; DOWN: one above it */
	memory_cursor_t *prev, *next;
};

static memory_store_t *store_of(store_t *s)
{
	return (memory_store_t *)s;
}

static memory_txn_t *txn_of(store_txn_t *t)
{
	return (memory_txn_t *)t;
}

static kms_err_t enter(memory_store_t *s, memory_txn_t *t)
{
	kms_err_t e = KMS_OK;
	(void)pthread_mutex_lock(&s->lock);
	if (s->dead)
		e = KMS_E_IO;
	else if (t->write && s->writing)
		e = KMS_E_CONFLICT;
	for (size_t i = 0; e == KMS_OK && i < STORE_TABLES; i++)
		t->tables[i] = memory_table_ref(s->now[i]);
	if (e == KMS_OK && t->write)
		s->writing = true;
	(void)pthread_mutex_unlock(&s->lock);
	return e;
}

static kms_err_t op_begin(store_t *s, bool write, store_txn_t **out)
{
	SCOPED(freep) memory_txn_t *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return KMS_E_NOMEM;
	t->base.store = s;
	t->store = store_of(s);
	t->write = write;
	KMS_TRY(enter(t->store, t));
	*out = &TAKE(t)->base;
	return KMS_OK;
}

static void end_cursors(memory_txn_t *t, bool for_ever)
{
	for (memory_cursor_t *c = t->cursors; c != NULL; c = c->next) {
		c->table = NULL;
		if (for_ever)
			c->base.txn = NULL;
	}
	if (for_ever)
		t->cursors = NULL;
}

static void op_abort(store_txn_t *base)
{
	memory_txn_t *t = txn_of(base);
	end_cursors(t, true);
	for (size_t i = 0; i < STORE_TABLES; i++)
		memory_table_unref(t->tables[i]);
	if (t->write) {
		(void)pthread_mutex_lock(&t->store->lock);
		t->store->writing = false;
		(void)pthread_mutex_unlock(&t->store->lock);
	}
	free(t);
}

static kms_err_t ordered_failure(memory_store_t *s)
{
	if (s->fail_times == 0)
		return KMS_OK;
	s->fail_times--;
	s->dead = s->fail != KMS_E_FULL;
	return s->fail;
}

/* The tables change places: the transaction's become the store's, and its abort drops the old ones. */
static kms_err_t op_commit(store_txn_t *base)
{
	memory_txn_t *t = txn_of(base);
	kms_err_t e = t->write ? t->failed : KMS_E_INVALID;
	(void)pthread_mutex_lock(&t->store->lock);
	if (e == KMS_OK)
		e = ordered_failure(t->store);
	for (size_t i = 0; e == KMS_OK && i < STORE_TABLES; i++) {
		memory_table_t *old = t->store->now[i];
		t->store->now[i] = t->tables[i];
		t->tables[i] = old;
	}
	(void)pthread_mutex_unlock(&t->store->lock);
	op_abort(base);
	return e;
}

static kms_err_t own_table(memory_txn_t *t, store_table_t table)
{
	if (!t->write)
		return KMS_E_INVALID;
	if (t->failed != KMS_OK)
		return t->failed;
	end_cursors(t, false);
	if (t->own[table])
		return KMS_OK;
	memory_table_t *copy = NULL;
	t->failed = memory_table_copy(t->tables[table], &copy);
	if (t->failed != KMS_OK)
		return t->failed;
	memory_table_unref(t->tables[table]);
	t->tables[table] = copy;
	t->own[table] = true;
	return KMS_OK;
}

static kms_err_t op_put(store_txn_t *base, store_table_t table, span_t key, span_t value)
{
	memory_txn_t *t = txn_of(base);
	KMS_TRY(own_table(t, table));
	t->failed = memory_table_put(t->tables[table], key, value);
	return t->failed;
}

static kms_err_t op_del(store_txn_t *base, store_table_t table, span_t key)
{
	memory_txn_t *t = txn_of(base);
	KMS_TRY(own_table(t, table));
	return memory_table_del(t->tables[table], key);
}

static kms_err_t op_get(store_txn_t *base, store_table_t table, span_t key, span_t *out)
{
	const memory_table_t *t = txn_of(base)->tables[table];
	bool exact = false;
	size_t i = memory_table_find(t, key, &exact);
	if (!exact)
		return KMS_E_NOTFOUND;
	*out = memory_entry_value(t->at[i]);
	return KMS_OK;
}

static kms_err_t op_count(store_txn_t *base, store_table_t table, uint64_t *out)
{
	*out = txn_of(base)->tables[table]->n;
	return KMS_OK;
}

static size_t place(const memory_table_t *t, span_t from, store_order_t order)
{
	bool exact = false;
	if (from.n == 0)
		return order == STORE_UP ? 0 : t->n;
	size_t i = memory_table_find(t, from, &exact);
	return order == STORE_DOWN && exact ? i + 1 : i;
}

static kms_err_t op_seek(store_txn_t *base, store_table_t table, span_t from, store_order_t order,
			 store_cursor_t **out)
{
	memory_txn_t *t = txn_of(base);
	memory_cursor_t *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return KMS_E_NOMEM;
	c->base.txn = base;
	c->table = t->tables[table];
	c->order = order;
	c->at = place(c->table, from, order);
	c->next = t->cursors;
	if (c->next != NULL)
		c->next->prev = c;
	t->cursors = c;
	*out = &c->base;
	return KMS_OK;
}

static kms_err_t op_next(store_cursor_t *base, span_t *key, span_t *value)
{
	memory_cursor_t *c = (memory_cursor_t *)base;
	if (c->table == NULL)
		return KMS_E_INVALID;
	if (c->at == (c->order == STORE_UP ? c->table->n : 0))
		return KMS_E_NOTFOUND;
	const memory_entry_t *e = c->table->at[c->order == STORE_UP ? c->at : c->at - 1];
	c->at = c->order == STORE_UP ? c->at + 1 : c->at - 1;
	*key = memory_entry_key(e);
	*value = memory_entry_value(e);
	return KMS_OK;
}

static void op_cursor_free(store_cursor_t *base)
{
	memory_cursor_t *c = (memory_cursor_t *)base;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		txn_of(base->txn)->cursors = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	free(c);
}

static kms_err_t op_reserve(store_t *s, uint64_t bytes)
{
	(void)s;
	(void)bytes;
	return KMS_OK;
}

static kms_err_t op_copy(store_t *s, int fd, diag_t *why)
{
	(void)s;
	(void)fd;
	return diag_fail(why, KMS_E_INVALID, "a store in memory has no form on disk to copy");
}

static void op_close(store_t *base)
{
	memory_store_t *s = store_of(base);
	for (size_t i = 0; i < STORE_TABLES; i++)
		memory_table_unref(s->now[i]);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
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

kms_err_t memory_store_new(store_t **out)
{
	memory_store_t *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return KMS_E_NOMEM;
	if (pthread_mutex_init(&s->lock, NULL) != 0) {
		free(s);
		return KMS_E_NOMEM;
	}
	s->base.ops = &OPS;
	kms_err_t e = KMS_OK;
	for (size_t i = 0; e == KMS_OK && i < STORE_TABLES; i++)
		e = memory_table_new(&s->now[i]);
	if (e != KMS_OK) {
		op_close(&s->base);
		return e;
	}
	*out = &s->base;
	return KMS_OK;
}

void memory_store_fail_commits(store_t *base, kms_err_t e, unsigned times)
{
	memory_store_t *s = store_of(base);
	(void)pthread_mutex_lock(&s->lock);
	s->fail = e;
	s->fail_times = times;
	(void)pthread_mutex_unlock(&s->lock);
}
