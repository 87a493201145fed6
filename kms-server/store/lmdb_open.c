#include "kms-server/store/lmdb_env.h"

#include "common/base/reader.h"
#include "common/base/scope.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#define MAP_FIRST       (UINT64_C(1) << 30)
#define MAP_MAX_DEFAULT (UINT64_C(64) << 30)
#define READERS_MAX     1024U

static const char *const TABLE_NAMES[STORE_TABLES] = {
	[STORE_META] = "meta",
	[STORE_CUSTOMERS] = "customers",
	[STORE_SERVICES] = "services",
	[STORE_NODES] = "nodes",
	[STORE_OPERATORS] = "operators",
	[STORE_VOLUMES] = "volumes",
	[STORE_NODE_VOLUMES] = "node-volumes",
	[STORE_EVENTS] = "events",
	[STORE_LEAVES] = "leaves",
	[STORE_TREE] = "tree",
	[STORE_INDEX] = "index",
	[STORE_TIMES] = "times",
	[STORE_CHAINS] = "chains",
	[STORE_MAINTENANCE] = "maintenance",
	[STORE_TASKS] = "tasks",
	[STORE_IDEMPOTENCY] = "idempotency",
	[STORE_OPEN] = "open",
	[STORE_POLICIES] = "policies",
	[STORE_GRANTS] = "grants",
	[STORE_REVIEWS] = "reviews",
	[STORE_HEADERS] = "headers",
};
#define SCHEMA_DB  "store"
#define SCHEMA_KEY "schema"

const char *lmdb_store_table_name(store_table_t table)
{
	return TABLE_NAMES[table];
}

static kms_err_t fail_rc(diag_t *why, const char *what, const char *dir, int rc)
{
	return diag_fail(why, lmdb_err(rc), "%s %s: %s", what, dir, mdb_strerror(rc));
}

static kms_err_t check_private(const char *path, mode_t type, diag_t *why)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return diag_fail(why, errno == ENOENT ? KMS_E_NOTFOUND : KMS_E_IO, "%s: %s", path,
				 strerror(errno));
	if ((st.st_mode & S_IFMT) != type)
		return diag_fail(why, KMS_E_DENIED, "%s is not a %s", path,
				 type == S_IFDIR ? "folder" : "regular file");
	if ((st.st_mode & 077) != 0)
		return diag_fail(why, KMS_E_DENIED, "%s may be used by others than its owner (mode %04o)",
				 path, (unsigned)(st.st_mode & 07777));
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return diag_fail(why, KMS_E_DENIED, "%s belongs to another user (uid %u)", path,
				 (unsigned)st.st_uid);
	return KMS_OK;
}

static kms_err_t data_path(const char *dir, char **out)
{
	return asprintf(out, "%s/data.mdb", dir) < 0 ? KMS_E_NOMEM : KMS_OK;
}

static kms_err_t check_files(const char *dir, bool create, uint64_t *data_size, diag_t *why)
{
	if (create && mkdir(dir, 0700) != 0 && errno != EEXIST)
		return diag_fail(why, KMS_E_IO, "cannot create %s: %s", dir, strerror(errno));
	KMS_TRY(check_private(dir, S_IFDIR, why));
	SCOPED(freep) char *path = NULL;
	KMS_TRY(data_path(dir, &path));
	struct stat st;
	if (create && lstat(path, &st) != 0 && errno == ENOENT)
		return KMS_OK;
	KMS_TRY(check_private(path, S_IFREG, why));
	if (stat(path, &st) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	*data_size = (uint64_t)st.st_size;
	return KMS_OK;
}

/* Reading a page behind the file's end is a SIGBUS, so a file that was cut off is found here. */
static kms_err_t check_length(lmdb_env_t *env, const char *dir, diag_t *why)
{
	MDB_envinfo info = {0};
	MDB_stat stat_ = {0};
	int fd = -1;
	struct stat st;
	if (mdb_env_info(env->mdb, &info) != 0 || mdb_env_stat(env->mdb, &stat_) != 0 ||
	    mdb_env_get_fd(env->mdb, &fd) != 0 || fstat(fd, &st) != 0)
		return diag_fail(why, KMS_E_IO, "%s: cannot be examined", dir);
	uint64_t need = ((uint64_t)info.me_last_pgno + 1) * stat_.ms_psize;
	if ((uint64_t)st.st_size < need)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "%s/data.mdb is cut off: %" PRIu64 " bytes of %" PRIu64, dir,
				 (uint64_t)st.st_size, need);
	return KMS_OK;
}

/* No MDB_NOSYNC, NOMETASYNC, WRITEMAP, MAPASYNC, NOMEMINIT: each gives up durability, protection from stray
 * writes or zeroed pages. MDB_NOTLS ties a reader's slot to its transaction and not to a thread: a thread of
 * the HTTP pool may then hold two at once or hand one on, and a thread that ends leaves no slot behind that
 * keeps old pages alive. */
static kms_err_t env_open(lmdb_env_t *env, const char *dir, uint64_t first, diag_t *why)
{
	unsigned flags = MDB_NOTLS | (env->read_only ? MDB_RDONLY : 0U);
	int rc = mdb_env_create(&env->mdb);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env->mdb, first < env->map_max ? (size_t)first : env->map_max);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(env->mdb, STORE_TABLES + 1);
	if (rc == 0)
		rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
	if (rc == 0)
		rc = mdb_env_open(env->mdb, dir, flags, 0600);
	if (rc == 0 && !env->read_only)
		rc = mdb_reader_check(env->mdb, NULL);
	return rc == 0 ? KMS_OK : fail_rc(why, "cannot open the database in", dir, rc);
}

static int open_tables(lmdb_env_t *env, MDB_txn *txn, unsigned flags, MDB_dbi *schema, const char **at)
{
	*at = SCHEMA_DB;
	int rc = mdb_dbi_open(txn, SCHEMA_DB, flags, schema);
	for (int i = 0; rc == 0 && i < STORE_TABLES; i++) {
		*at = TABLE_NAMES[i];
		rc = mdb_dbi_open(txn, TABLE_NAMES[i], flags, &env->dbi[i]);
	}
	return rc;
}

static int put_schema(MDB_txn *txn, MDB_dbi db)
{
	uint8_t v[4] = {0, 0, 0, LMDB_STORE_SCHEMA};
	MDB_val key = {sizeof(SCHEMA_KEY) - 1, SCHEMA_KEY};
	MDB_val value = {sizeof(v), v};
	return mdb_put(txn, db, &key, &value, 0);
}

static kms_err_t create_in(lmdb_env_t *env, MDB_txn *txn, const char *dir, diag_t *why)
{
	MDB_stat st = {0};
	int rc = mdb_env_stat(env->mdb, &st);
	if (rc == 0 && st.ms_entries > 0)
		return diag_fail(why, KMS_E_CONFLICT, "%s holds a database already", dir);
	MDB_dbi schema = 0;
	const char *at = NULL;
	if (rc == 0)
		rc = open_tables(env, txn, MDB_CREATE, &schema, &at);
	if (rc == 0)
		rc = put_schema(txn, schema);
	return rc == 0 ? KMS_OK : fail_rc(why, "cannot create the tables in", dir, rc);
}

static kms_err_t create_tables(lmdb_env_t *env, const char *dir, diag_t *why)
{
	MDB_txn *txn = NULL;
	int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
	if (rc != 0)
		return fail_rc(why, "cannot write to", dir, rc);
	kms_err_t e = create_in(env, txn, dir, why);
	if (e != KMS_OK) {
		mdb_txn_abort(txn);
		return e;
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? KMS_OK : fail_rc(why, "cannot write to", dir, rc);
}

static kms_err_t check_schema(MDB_txn *txn, MDB_dbi db, const char *dir, diag_t *why)
{
	MDB_val key = {sizeof(SCHEMA_KEY) - 1, SCHEMA_KEY};
	MDB_val value = {0};
	int rc = mdb_get(txn, db, &key, &value);
	if (rc == MDB_NOTFOUND)
		return diag_fail(why, KMS_E_INTEGRITY, "%s: the database names no schema version", dir);
	if (rc != 0)
		return fail_rc(why, "cannot read", dir, rc);
	reader_t r = reader_of(span_of(value.mv_data, value.mv_size));
	uint32_t version = reader_u32(&r);
	if (reader_done(&r) != KMS_OK || version != LMDB_STORE_SCHEMA)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "%s: schema version %" PRIu32 ", this program knows %u", dir, version,
				 LMDB_STORE_SCHEMA);
	return KMS_OK;
}

static kms_err_t find_tables(lmdb_env_t *env, const char *dir, diag_t *why)
{
	MDB_txn *txn = NULL;
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
	if (rc != 0)
		return fail_rc(why, "cannot read", dir, rc);
	MDB_dbi schema = 0;
	const char *at = NULL;
	rc = open_tables(env, txn, 0, &schema, &at);
	kms_err_t e = rc == MDB_NOTFOUND ? KMS_E_INTEGRITY : lmdb_err(rc);
	if (e == KMS_OK)
		e = check_schema(txn, schema, dir, why);
	else
		(void)diag_fail(why, e, "%s: table %s: %s", dir, at, mdb_strerror(rc));
	if (e != KMS_OK) {
		mdb_txn_abort(txn);
		return e;
	}
	/* handles opened in a transaction last only if it is committed, a reader's too */
	rc = mdb_txn_commit(txn);
	return rc == 0 ? KMS_OK : fail_rc(why, "cannot read", dir, rc);
}

kms_err_t lmdb_env_open(const char *dir, const lmdb_store_options_t *options, lmdb_env_t *out, diag_t *why)
{
	if (options->create && options->read_only)
		return diag_fail(why, KMS_E_INVALID, "a database cannot be created read-only");
	out->map_max = (size_t)(options->map_size_max > 0 ? options->map_size_max : MAP_MAX_DEFAULT);
	out->read_only = options->read_only;
	uint64_t data_size = 0;
	KMS_TRY(check_files(dir, options->create, &data_size, why));
	KMS_TRY(lmdb_env_sync_init(out));
	uint64_t first = options->map_size > 0 ? options->map_size : MAP_FIRST;
	KMS_TRY(env_open(out, dir, data_size > first / 2 ? data_size * 2 : first, why));
	KMS_TRY(check_length(out, dir, why));
	if (options->create)
		return create_tables(out, dir, why);
	return find_tables(out, dir, why);
}

void lmdb_env_close(lmdb_env_t *env)
{
	if (env->mdb != NULL)
		mdb_env_close(env->mdb);
	env->mdb = NULL;
	if (env->lock_made) {
		(void)pthread_mutex_destroy(&env->lock);
		(void)pthread_cond_destroy(&env->changed);
	}
	env->lock_made = false;
}
