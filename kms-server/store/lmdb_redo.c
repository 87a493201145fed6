#include "kms-server/store/lmdb_redo.h"

#include "common/base/reader.h"

static MDB_val val_of(span_t s)
{
	/* LMDB takes the pointer without const and does not write through it */
	return (MDB_val){.mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p};
}

int lmdb_change_apply(const lmdb_env_t *env, MDB_txn *txn, const lmdb_change_t *c)
{
	MDB_val key = val_of(c->key);
	if (c->del)
		return mdb_del(txn, env->dbi[c->table], &key, NULL);
	MDB_val value = val_of(c->value.n > 0 ? c->value : span_of("", 0));
	return mdb_put(txn, env->dbi[c->table], &key, &value, 0);
}

kms_err_t lmdb_redo_note(buf_t *redo, const lmdb_change_t *c)
{
	if (c->value.n > UINT32_MAX)
		return KMS_E_INVALID;
	buf_u8(redo, c->del ? 1 : 0);
	buf_u8(redo, (uint8_t)c->table);
	buf_lp(redo, c->key);
	buf_u32(redo, (uint32_t)c->value.n);
	buf_bytes(redo, c->value);
	return redo->err;
}

int lmdb_redo_apply(const buf_t *redo, const lmdb_env_t *env, MDB_txn *txn)
{
	reader_t r = reader_of(buf_span(redo));
	int rc = 0;
	while (r.rest.n > 0 && (rc == 0 || rc == MDB_NOTFOUND)) {
		lmdb_change_t c = {.del = reader_u8(&r) == 1};
		c.table = (store_table_t)reader_u8(&r);
		c.key = reader_lp(&r);
		c.value = reader_bytes(&r, reader_u32(&r));
		rc = lmdb_change_apply(env, txn, &c);
	}
	return rc;
}
