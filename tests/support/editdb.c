/* editdb DIR TABLE ROW flip|drop|double: changes the database in the server's folder DIR behind its back: the
 * last byte of row number ROW of a table (from 0; negative from the end) is another, the row goes, or its
 * value stands under one more key behind the last. */
#include <errno.h>
#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int rc, const char *what)
{
	if (rc == 0)
		return;
	(void)fprintf(stderr, "editdb: %s: %s\n", what, mdb_strerror(rc));
	exit(1);
}

static void go_to(MDB_cursor *c, long row, MDB_val *k, MDB_val *v)
{
	must(mdb_cursor_get(c, k, v, row < 0 ? MDB_LAST : MDB_FIRST), "the first row");
	for (; row > 0; row--)
		must(mdb_cursor_get(c, k, v, MDB_NEXT), "the row");
	for (; row < -1; row++)
		must(mdb_cursor_get(c, k, v, MDB_PREV), "the row");
}

static void put(MDB_cursor *c, const MDB_val *key, const MDB_val *value, int step)
{
	uint8_t k[511], v[65536];
	if (key->mv_size == 0 || key->mv_size > sizeof k || value->mv_size == 0 || value->mv_size > sizeof v)
		must(EINVAL, "the row");
	memcpy(k, key->mv_data, key->mv_size);
	memcpy(v, value->mv_data, value->mv_size);
	k[key->mv_size - 1] = (uint8_t)(k[key->mv_size - 1] + step);
	if (step == 0)
		v[value->mv_size - 1] ^= 1;
	MDB_val new_key = {key->mv_size, k}, new_value = {value->mv_size, v};
	must(mdb_cursor_put(c, &new_key, &new_value, 0), "writing");
}

static void edit(MDB_cursor *c, const char *row, const char *how)
{
	MDB_val k = {0, NULL}, v = {0, NULL};
	go_to(c, strcmp(how, "double") == 0 ? -1 : strtol(row, NULL, 10), &k, &v);
	if (strcmp(how, "flip") == 0)
		put(c, &k, &v, 0);
	else if (strcmp(how, "drop") == 0)
		must(mdb_cursor_del(c, 0), "dropping");
	else
		put(c, &k, &v, 1);
}

int main(int argc, char **argv)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_cursor *c = NULL;
	MDB_dbi db = 0;
	char path[4096];
	if (argc != 5 || snprintf(path, sizeof path, "%s/db", argv[1]) >= (int)sizeof path) {
		(void)fprintf(stderr, "usage: editdb DIR TABLE ROW flip|drop|double\n");
		return 2;
	}
	must(mdb_env_create(&env), "LMDB");
	must(mdb_env_set_maxdbs(env, 32), "LMDB");
	must(mdb_env_set_mapsize(env, (size_t)1 << 30), "LMDB");
	must(mdb_env_open(env, path, 0, 0600), path);
	must(mdb_txn_begin(env, NULL, 0, &txn), "a transaction");
	must(mdb_dbi_open(txn, argv[2], 0, &db), argv[2]);
	must(mdb_cursor_open(txn, db, &c), argv[2]);
	edit(c, argv[3], argv[4]);
	mdb_cursor_close(c);
	must(mdb_txn_commit(txn), "the commit");
	mdb_env_close(env);
	return 0;
}
