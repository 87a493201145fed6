#include "kms-server/store/lmdb_store.h"

#include "common/base/scope.h"
#include "kms-server/store/lmdb_copy.h"
#include "kms-server/store/lmdb_env.h"
#include "kms-server/store/lmdb_redo.h"

#include <errno.h>
#include <stdlib.h>

#define COPY_BUFFER (64U * 1024U)
#define REDO_MAX    (256U * 1024U * 1024U)

typedef struct lmdb_store {
	store_t base;
	lmdb_env_t env;
	buf_t redo; /* the open write transaction's; kept from one to the next for its memory */
} lmdb_store_t;

typedef struct lmdb_cursor lmdb_cursor_t;

typedef struct lmdb_txn {
	store_txn_t base;
	lmdb_store_t *store;
	MDB_txn *mdb; /* NULL: ended by a failure */
	size_t id;    /* LMDB's number of a write transaction */
	bool write;
	kms_err_t failed; /* a write failed: from then on it can only be dropped */
	lmdb_cursor_t *cursors;
} lmdb_txn_t;

struct lmdb_cursor {
	store_cursor_t base;
	MDB_cursor *mdb; /* NULL: a write has ended its validity */
	store_order_t order;
	bool first; /* the cursor stands on what the next call yields */
	bool end;
	lmdb_cursor_t *prev, *next;
};

static lmdb_store_t *store_of(store_t *s)
{
	return (lmdb_store_t *)s;
}

static lmdb_txn_t *txn_of(store_txn_t *t)
{
	return (lmdb_txn_t *)t;
}

/* --- transactions --- */

static kms_err_t begin_read_mdb(lmdb_env_t *env, MDB_txn **out)
{
	KMS_TRY(lmdb_env_enter_read(env));
	int rc = lmdb_env_read_txn(env, out);
	if (rc != 0)
		lmdb_env_leave_read(env);
	if (rc != MDB_MAP_RESIZED)
		return lmdb_err(rc);
	KMS_TRY(lmdb_env_adopt(env));
	KMS_TRY(lmdb_env_enter_read(env));
	rc = lmdb_env_read_txn(env, out);
	if (rc != 0)
		lmdb_env_leave_read(env);
	return lmdb_err(rc);
}

static kms_err_t begin_write_mdb(lmdb_env_t *env, MDB_txn **out)
{
	KMS_TRY(lmdb_env_enter_write(env));
	kms_err_t e = lmdb_env_grow_early(env);
	int rc = e == KMS_OK ? mdb_txn_begin(env->mdb, NULL, 0, out) : 0;
	if (e == KMS_OK && rc == 0)
		return KMS_OK;
	lmdb_env_leave_write(env);
	KMS_TRY(e);
	if (rc == MDB_MAP_RESIZED)
		/* another process wrote: the caller's idea of the log is old as well */
		return lmdb_env_adopt(env) == KMS_OK ? KMS_E_CONFLICT : KMS_E_IO;
	if (rc == ENOMEM || rc == EACCES)
		return rc == ENOMEM ? KMS_E_NOMEM : KMS_E_INVALID;
	atomic_store(&env->dead, true);
	return KMS_E_IO;
}

static kms_err_t op_begin(store_t *s, bool write, store_txn_t **out)
{
	lmdb_store_t *st = store_of(s);
	if (write && st->env.read_only)
		return KMS_E_INVALID;
	SCOPED(freep) lmdb_txn_t *t = calloc(1, sizeof(*t));
	if (t == NULL)
		return KMS_E_NOMEM;
	t->base.store = s;
	t->store = st;
	t->write = write;
	KMS_TRY(write ? begin_write_mdb(&st->env, &t->mdb) : begin_read_mdb(&st->env, &t->mdb));
	t->id = mdb_txn_id(t->mdb);
	*out = &TAKE(t)->base;
	return KMS_OK;
}

/* LMDB frees a write transaction's cursors itself when it ends and ours would point at them: they are closed
 * before, at the latest here. */
static void end_cursors(lmdb_txn_t *t, bool for_ever)
{
	for (lmdb_cursor_t *c = t->cursors; c != NULL;) {
		lmdb_cursor_t *next = c->next;
		if (c->mdb != NULL)
			mdb_cursor_close(c->mdb);
		c->mdb = NULL;
		if (for_ever)
			c->base.txn = NULL;
		c = next;
	}
	if (for_ever)
		t->cursors = NULL;
}

static void free_txn(lmdb_txn_t *t)
{
	if (t->write) {
		buf_clear(&t->store->redo);
		t->store->redo.err = KMS_OK;
		lmdb_env_leave_write(&t->store->env);
	} else {
		lmdb_env_leave_read(&t->store->env);
	}
	free(t);
}

static void op_abort(store_txn_t *base)
{
	lmdb_txn_t *t = txn_of(base);
	end_cursors(t, true);
	if (t->mdb != NULL)
		mdb_txn_abort(t->mdb);
	free_txn(t);
}

/* Makes the map larger and starts the transaction anew, without its changes. Nobody else writes meanwhile
 * (the same transaction number comes out), or what was read in it is no longer true. */
static kms_err_t restart_larger(lmdb_txn_t *t)
{
	lmdb_env_t *env = &t->store->env;
	end_cursors(t, false);
	if (t->mdb != NULL)
		mdb_txn_abort(t->mdb);
	t->mdb = NULL;
	KMS_TRY(lmdb_env_grow(env));
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &t->mdb);
	if (rc != 0)
		return lmdb_err(rc);
	return mdb_txn_id(t->mdb) == t->id ? KMS_OK : KMS_E_CONFLICT;
}

/* Until it fits, or until the map may not grow any more. rc is LMDB's answer to what was tried last. */
static kms_err_t retry_larger(lmdb_txn_t *t, int *rc)
{
	while (*rc == MDB_MAP_FULL) {
		KMS_TRY(restart_larger(t));
		*rc = lmdb_redo_apply(&t->store->redo, &t->store->env, t->mdb);
	}
	return KMS_OK;
}

static kms_err_t write_change(lmdb_txn_t *t, const lmdb_change_t *c)
{
	if (!t->write)
		return KMS_E_INVALID;
	if (t->failed != KMS_OK)
		return t->failed;
	end_cursors(t, false);
	t->failed = lmdb_redo_note(&t->store->redo, c);
	if (t->failed != KMS_OK)
		return t->failed;
	int rc = lmdb_change_apply(&t->store->env, t->mdb, c);
	t->failed = retry_larger(t, &rc);
	if (t->failed == KMS_OK && rc != 0 && rc != MDB_NOTFOUND)
		t->failed = lmdb_err(rc);
	return t->failed != KMS_OK ? t->failed : lmdb_err(rc);
}

static kms_err_t op_put(store_txn_t *base, store_table_t table, span_t key, span_t value)
{
	return write_change(txn_of(base), &(lmdb_change_t){.table = table, .key = key, .value = value});
}

static kms_err_t op_del(store_txn_t *base, store_table_t table, span_t key)
{
	return write_change(txn_of(base), &(lmdb_change_t){.del = true, .table = table, .key = key});
}

/* LMDB frees its handle whatever comes out. */
static kms_err_t commit_mdb(lmdb_txn_t *t)
{
	for (;;) {
		int rc = mdb_txn_commit(TAKE(t->mdb));
		if (rc == 0)
			return KMS_OK;
		if (rc != MDB_MAP_FULL)
			return lmdb_env_commit_failed(&t->store->env, rc);
		KMS_TRY(retry_larger(t, &rc));
		if (rc != 0 && rc != MDB_NOTFOUND)
			return lmdb_err(rc);
	}
}

static kms_err_t op_commit(store_txn_t *base)
{
	lmdb_txn_t *t = txn_of(base);
	kms_err_t e = t->write ? t->failed : KMS_E_INVALID;
	if (e != KMS_OK) {
		op_abort(base);
		return e;
	}
	end_cursors(t, true);
	e = commit_mdb(t);
	if (t->mdb != NULL)
		mdb_txn_abort(TAKE(t->mdb));
	free_txn(t);
	return e;
}

/* --- reading --- */

static MDB_val val_of(span_t s)
{
	/* LMDB takes the pointer without const and does not write through it */
	return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}

static kms_err_t op_get(store_txn_t *base, store_table_t table, span_t key, span_t *out)
{
	lmdb_txn_t *t = txn_of(base);
	if (t->mdb == NULL)
		return t->failed;
	MDB_val k = val_of(key);
	MDB_val v = {0};
	KMS_TRY(lmdb_err(mdb_get(t->mdb, t->store->env.dbi[table], &k, &v)));
	*out = span_of(v.mv_data, v.mv_size);
	return KMS_OK;
}

static kms_err_t op_count(store_txn_t *base, store_table_t table, uint64_t *out)
{
	lmdb_txn_t *t = txn_of(base);
	if (t->mdb == NULL)
		return t->failed;
	MDB_stat st = {0};
	KMS_TRY(lmdb_err(mdb_stat(t->mdb, t->store->env.dbi[table], &st)));
	*out = st.ms_entries;
	return KMS_OK;
}

/* To the last key that is not greater than `from`. */
static int place_down(MDB_cursor *c, span_t from)
{
	MDB_val key = val_of(from);
	MDB_val value = {0};
	if (from.n == 0)
		return mdb_cursor_get(c, &key, &value, MDB_LAST);
	int rc = mdb_cursor_get(c, &key, &value, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(c, &key, &value, MDB_LAST);
	if (rc != 0 || span_eq(span_of(key.mv_data, key.mv_size), from))
		return rc;
	return mdb_cursor_get(c, &key, &value, MDB_PREV);
}

static int place_up(MDB_cursor *c, span_t from)
{
	MDB_val key = val_of(from);
	MDB_val value = {0};
	return mdb_cursor_get(c, &key, &value, from.n == 0 ? MDB_FIRST : MDB_SET_RANGE);
}

static kms_err_t op_seek(store_txn_t *base, store_table_t table, span_t from, store_order_t order,
			 store_cursor_t **out)
{
	lmdb_txn_t *t = txn_of(base);
	if (t->mdb == NULL)
		return t->failed;
	SCOPED(freep) lmdb_cursor_t *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(lmdb_err(mdb_cursor_open(t->mdb, t->store->env.dbi[table], &c->mdb)));
	int rc = order == STORE_UP ? place_up(c->mdb, from) : place_down(c->mdb, from);
	if (rc != 0 && rc != MDB_NOTFOUND) {
		mdb_cursor_close(c->mdb);
		return lmdb_err(rc);
	}
	c->base.txn = base;
	c->order = order;
	c->first = true;
	c->end = rc == MDB_NOTFOUND;
	c->next = t->cursors;
	if (c->next != NULL)
		c->next->prev = c;
	t->cursors = c;
	*out = &TAKE(c)->base;
	return KMS_OK;
}

static kms_err_t op_next(store_cursor_t *base, span_t *key, span_t *value)
{
	lmdb_cursor_t *c = (lmdb_cursor_t *)base;
	if (c->mdb == NULL)
		return KMS_E_INVALID;
	if (c->end)
		return KMS_E_NOTFOUND;
	MDB_cursor_op step = c->order == STORE_UP ? MDB_NEXT : MDB_PREV;
	MDB_val k = {0};
	MDB_val v = {0};
	int rc = mdb_cursor_get(c->mdb, &k, &v, c->first ? MDB_GET_CURRENT : step);
	c->first = false;
	c->end = rc == MDB_NOTFOUND;
	KMS_TRY(lmdb_err(rc));
	*key = span_of(k.mv_data, k.mv_size);
	*value = span_of(v.mv_data, v.mv_size);
	return KMS_OK;
}

static void op_cursor_free(store_cursor_t *base)
{
	lmdb_cursor_t *c = (lmdb_cursor_t *)base;
	lmdb_txn_t *t = txn_of(base->txn);
	if (c->mdb != NULL)
		mdb_cursor_close(c->mdb);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		t->cursors = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	free(c);
}

/* --- the store --- */

static void op_close(store_t *s)
{
	lmdb_store_t *st = store_of(s);
	lmdb_env_close(&st->env);
	buf_free(&st->redo);
	free(st);
}

static kms_err_t pump(int from, int to)
{
	SCOPED(freep) uint8_t *b = malloc(COPY_BUFFER);
	if (b == NULL)
		return KMS_E_NOMEM;
	for (;;) {
		ssize_t n = read(from, b, COPY_BUFFER);
		if (n == 0)
			return KMS_OK;
		if (n < 0 && errno != EINTR)
			return KMS_E_IO;
		for (ssize_t done = 0; done < n;) {
			ssize_t w = write(to, b + done, (size_t)(n - done));
			if (w < 0 && errno != EINTR)
				return lmdb_err(errno);
			done += w > 0 ? w : 0;
		}
	}
}

static kms_err_t op_reserve(store_t *s, uint64_t bytes)
{
	return lmdb_env_reserve(&store_of(s)->env, bytes);
}

static kms_err_t op_copy(store_t *s, int fd, diag_t *why)
{
	lmdb_copy_t *c = NULL;
	KMS_TRY(lmdb_copy_start(&store_of(s)->env, &c, why));
	kms_err_t e = pump(lmdb_copy_fd(c), fd);
	if (e != KMS_OK)
		(void)diag_fail(why, e, "cannot write the copy: %s", strerror(errno));
	kms_err_t copied = lmdb_copy_end(c, e == KMS_OK ? why : NULL);
	return e != KMS_OK ? e : copied;
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

lmdb_env_t *lmdb_store_env(store_t *s)
{
	return s->ops == &OPS ? &store_of(s)->env : NULL;
}

kms_err_t lmdb_store_open(const char *dir, const lmdb_store_options_t *options, store_t **out, diag_t *why)
{
	lmdb_store_t *st = calloc(1, sizeof(*st));
	if (st == NULL)
		return KMS_E_NOMEM;
	st->base.ops = &OPS;
	st->redo.limit = REDO_MAX;
	kms_err_t e = lmdb_env_open(dir, options, &st->env, why);
	if (e != KMS_OK) {
		op_close(&st->base);
		return e;
	}
	*out = &st->base;
	return KMS_OK;
}
