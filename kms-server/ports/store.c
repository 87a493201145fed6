/* The port's calls: what holds for every implementation is checked here, the rest is passed on. */
#include "kms-server/ports/store.h"

#include <stdlib.h>

static bool table_known(store_table_t table)
{
	return (unsigned)table < (unsigned)STORE_TABLES;
}

static bool key_fits(span_t key)
{
	return key.n > 0 && key.n <= STORE_KEY_MAX;
}

kms_err_t store_begin_read(store_t *s, store_txn_t **out)
{
	return s->ops->begin(s, false, out);
}

kms_err_t store_begin_write(store_t *s, uint64_t expected_log_size, store_txn_t **out)
{
	store_txn_t *t = NULL;
	KMS_TRY(s->ops->begin(s, true, &t));
	uint64_t size = 0;
	kms_err_t e = s->ops->count(t, STORE_LEAVES, &size);
	if (e == KMS_OK && size != expected_log_size)
		e = KMS_E_CONFLICT;
	if (e != KMS_OK) {
		s->ops->abort(t);
		return e;
	}
	*out = t;
	return KMS_OK;
}

kms_err_t store_get(store_txn_t *t, store_table_t table, span_t key, span_t *out)
{
	if (!table_known(table) || !key_fits(key))
		return KMS_E_INVALID;
	return t->store->ops->get(t, table, key, out);
}

kms_err_t store_put(store_txn_t *t, store_table_t table, span_t key, span_t value)
{
	if (!table_known(table) || !key_fits(key))
		return KMS_E_INVALID;
	return t->store->ops->put(t, table, key, value);
}

kms_err_t store_del(store_txn_t *t, store_table_t table, span_t key)
{
	if (!table_known(table) || !key_fits(key))
		return KMS_E_INVALID;
	return t->store->ops->del(t, table, key);
}

kms_err_t store_seek(store_txn_t *t, store_table_t table, span_t from, store_order_t order,
		     store_cursor_t **out)
{
	if (!table_known(table) || from.n > STORE_KEY_MAX)
		return KMS_E_INVALID;
	return t->store->ops->seek(t, table, from, order, out);
}

kms_err_t store_next(store_cursor_t *c, span_t *key, span_t *value)
{
	if (c->txn == NULL)
		return KMS_E_INVALID;
	return c->txn->store->ops->next(c, key, value);
}

/* A cursor that outlives its transaction was cut loose by it (txn is NULL) and is then only memory: the
 * implementations allocate it in one piece, the port's part first. */
void store_cursor_freep(store_cursor_t **c)
{
	if (*c != NULL && (*c)->txn != NULL)
		(*c)->txn->store->ops->cursor_free(*c);
	else
		free(*c);
	*c = NULL;
}

kms_err_t store_count(store_txn_t *t, store_table_t table, uint64_t *out)
{
	if (!table_known(table))
		return KMS_E_INVALID;
	return t->store->ops->count(t, table, out);
}

kms_err_t store_commit(store_txn_t *t)
{
	return t->store->ops->commit(t);
}

void store_abort(store_txn_t *t)
{
	if (t != NULL)
		t->store->ops->abort(t);
}

void store_abortp(store_txn_t **t)
{
	store_abort(*t);
	*t = NULL;
}

kms_err_t store_reserve(store_t *s, uint64_t bytes)
{
	return s->ops->reserve(s, bytes);
}

kms_err_t store_copy(store_t *s, int fd, diag_t *why)
{
	return s->ops->copy(s, fd, why);
}

void store_close(store_t *s)
{
	if (s != NULL)
		s->ops->close(s);
}

void store_closep(store_t **s)
{
	store_close(*s);
	*s = NULL;
}
