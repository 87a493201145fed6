#include "kms-server/store/lmdb_env.h"

#include "common/base/steady.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define WRITE_MAX (4 << 20) /* bytes: more than 64 pages at once, or one large value */
#define WAIT_S    5         /* for others to leave; a copy to a slow disk may stay much longer */

kms_err_t lmdb_err(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return KMS_OK;
	case MDB_NOTFOUND:
		return KMS_E_NOTFOUND;
	case ENOMEM:
		return KMS_E_NOMEM;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case MDB_DBS_FULL:
	case MDB_READERS_FULL:
	case ENOSPC:
	case EDQUOT:
		return KMS_E_FULL;
	case MDB_BAD_VALSIZE:
		return KMS_E_INVALID;
	case MDB_PAGE_NOTFOUND:
	case MDB_CORRUPTED:
	case MDB_VERSION_MISMATCH:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return KMS_E_INTEGRITY;
	default: /* an int of two vocabularies, not an enum of ours */
		return KMS_E_IO;
	}
}

/* --- who is in --- */

kms_err_t lmdb_env_sync_init(lmdb_env_t *env)
{
	if (pthread_mutex_init(&env->lock, NULL) != 0)
		return KMS_E_NOMEM;
	steady_cond_init(&env->changed);
	env->lock_made = true;
	return KMS_OK;
}

static bool wait_until(lmdb_env_t *env, int64_t end)
{
	return steady_wait(&env->changed, &env->lock, end);
}

static void unlock_and_tell(lmdb_env_t *env)
{
	(void)pthread_cond_broadcast(&env->changed);
	(void)pthread_mutex_unlock(&env->lock);
}

kms_err_t lmdb_env_enter_read(lmdb_env_t *env)
{
	if (atomic_load(&env->dead))
		return KMS_E_IO;
	int64_t end = steady_ms() + WAIT_S * 1000;
	kms_err_t e = KMS_OK;
	(void)pthread_mutex_lock(&env->lock);
	while (env->hold_readers && e == KMS_OK)
		e = wait_until(env, end) ? KMS_OK : KMS_E_UNAVAILABLE;
	if (e == KMS_OK)
		env->readers++;
	(void)pthread_mutex_unlock(&env->lock);
	return e;
}

void lmdb_env_leave_read(lmdb_env_t *env)
{
	(void)pthread_mutex_lock(&env->lock);
	env->readers--;
	unlock_and_tell(env);
}

kms_err_t lmdb_env_enter_write(lmdb_env_t *env)
{
	if (atomic_load(&env->dead))
		return KMS_E_IO;
	int64_t end = steady_ms() + WAIT_S * 1000;
	kms_err_t e = KMS_OK;
	(void)pthread_mutex_lock(&env->lock);
	while ((env->hold_writer || env->hold_readers) && !env->writing && e == KMS_OK)
		e = wait_until(env, end) ? KMS_OK : KMS_E_UNAVAILABLE;
	if (e == KMS_OK && env->writing)
		e = KMS_E_CONFLICT;
	if (e == KMS_OK)
		env->writing = true;
	(void)pthread_mutex_unlock(&env->lock);
	return e;
}

void lmdb_env_leave_write(lmdb_env_t *env)
{
	(void)pthread_mutex_lock(&env->lock);
	env->writing = false;
	unlock_and_tell(env);
}

kms_err_t lmdb_env_hold_writer(lmdb_env_t *env)
{
	int64_t end = steady_ms() + WAIT_S * 1000;
	kms_err_t e = KMS_OK;
	(void)pthread_mutex_lock(&env->lock);
	while ((env->hold_writer || env->writing) && e == KMS_OK)
		e = wait_until(env, end) ? KMS_OK : KMS_E_UNAVAILABLE;
	if (e == KMS_OK)
		env->hold_writer = true;
	(void)pthread_mutex_unlock(&env->lock);
	return e;
}

void lmdb_env_release_writer(lmdb_env_t *env)
{
	(void)pthread_mutex_lock(&env->lock);
	env->hold_writer = false;
	unlock_and_tell(env);
}

/* --- the map --- */

static size_t map_size(lmdb_env_t *env)
{
	MDB_envinfo info = {0};
	(void)mdb_env_info(env->mdb, &info);
	return info.me_mapsize;
}

/* With nobody in: LMDB unmaps and maps again, and every pointer into the old map dies. A map that cannot be
 * made again leaves the environment without one. */
static kms_err_t move_map(lmdb_env_t *env, size_t size)
{
	if (mdb_env_set_mapsize(env->mdb, size) == 0)
		return KMS_OK;
	atomic_store(&env->dead, true);
	return KMS_E_IO;
}

/* Holds newcomers back until those that are in have left, then moves the map. */
static kms_err_t move_when_idle(lmdb_env_t *env, size_t size, bool own_write, time_t wait_s)
{
	int64_t end = steady_ms() + (int64_t)wait_s * 1000;
	kms_err_t e = KMS_OK;
	(void)pthread_mutex_lock(&env->lock);
	while (env->hold_readers && e == KMS_OK)
		e = wait_until(env, end) ? KMS_OK : KMS_E_FULL;
	if (e == KMS_OK) {
		env->hold_readers = true;
		while ((env->readers > 0 || (env->writing && !own_write)) && e == KMS_OK)
			e = wait_until(env, end) ? KMS_OK : KMS_E_FULL;
		if (e == KMS_OK)
			e = move_map(env, size);
		env->hold_readers = false;
	}
	unlock_and_tell(env);
	return e;
}

static kms_err_t grow(lmdb_env_t *env, time_t wait_s)
{
	size_t now = map_size(env);
	if (now >= env->map_max)
		return KMS_E_FULL;
	return move_when_idle(env, now > env->map_max / 2 ? env->map_max : now * 2, true, wait_s);
}

kms_err_t lmdb_env_grow(lmdb_env_t *env)
{
	return grow(env, WAIT_S);
}

kms_err_t lmdb_env_grow_early(lmdb_env_t *env)
{
	MDB_envinfo info = {0};
	MDB_stat st = {0};
	if (mdb_env_info(env->mdb, &info) != 0 || mdb_env_stat(env->mdb, &st) != 0)
		return KMS_E_IO;
	if (info.me_last_pgno < info.me_mapsize / st.ms_psize / 4 * 3)
		return KMS_OK;
	kms_err_t e = grow(env, 0);
	return e == KMS_E_FULL ? KMS_OK : e;
}

kms_err_t lmdb_env_adopt(lmdb_env_t *env)
{
	return move_when_idle(env, 0, false, WAIT_S);
}

/* Where the file system cannot set room aside it is at least looked at. */
static kms_err_t take_room(int fd, uint64_t from, uint64_t bytes)
{
	struct statvfs fs;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) == 0)
		return KMS_OK;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return lmdb_err(errno);
	if (fstatvfs(fd, &fs) != 0)
		return KMS_E_IO;
	return (uint64_t)fs.f_bavail * fs.f_frsize >= bytes ? KMS_OK : KMS_E_FULL;
}

/* A quarter more than asked is taken at a time, so that it is not asked at every commit. */
kms_err_t lmdb_env_reserve(lmdb_env_t *env, uint64_t bytes)
{
	MDB_envinfo info = {0};
	MDB_stat st = {0};
	int fd = -1;
	if (mdb_env_info(env->mdb, &info) != 0 || mdb_env_stat(env->mdb, &st) != 0 ||
	    mdb_env_get_fd(env->mdb, &fd) != 0)
		return KMS_E_IO;
	uint64_t used = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize, more = bytes / 4;
	if (used + bytes > env->map_max)
		return KMS_E_FULL;
	if (used + bytes <= env->reserved_end)
		return KMS_OK;
	kms_err_t e = take_room(fd, used, bytes + more);
	if (e == KMS_E_FULL) {
		more = 0;
		e = take_room(fd, used, bytes);
	}
	if (e == KMS_OK)
		env->reserved_end = used + bytes + more;
	return e;
}

int lmdb_env_read_txn(lmdb_env_t *env, MDB_txn **out)
{
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, out);
	if (rc == MDB_READERS_FULL) {
		/* slots of processes that died with a transaction open */
		(void)mdb_reader_check(env->mdb, NULL);
		rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, out);
	}
	if (rc == MDB_PANIC)
		atomic_store(&env->dead, true);
	return rc;
}

/* LMDB marks the environment as failed (MDB_PANIC from then on) when the meta page's write failed, and only
 * then. */
static bool panicked(lmdb_env_t *env)
{
	if (lmdb_env_enter_read(env) != KMS_OK)
		return true;
	MDB_txn *txn = NULL;
	int rc = lmdb_env_read_txn(env, &txn);
	if (rc == 0)
		mdb_txn_abort(txn);
	lmdb_env_leave_read(env);
	return rc != 0;
}

/* LMDB reports a write that was cut short by a full disk as EIO: the file system itself is asked for the room
 * that one of LMDB's writes takes. What it grants stays reserved for the next commit. */
static bool disk_full(lmdb_env_t *env)
{
	int fd = -1;
	struct stat st;
	if (mdb_env_get_fd(env->mdb, &fd) != 0 || fstat(fd, &st) != 0)
		return false;
	int rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, WRITE_MAX);
	return rc != 0 && (errno == ENOSPC || errno == EDQUOT);
}

kms_err_t lmdb_env_commit_failed(lmdb_env_t *env, int rc)
{
	bool space = rc == ENOSPC || rc == EDQUOT || rc == MDB_MAP_FULL || rc == MDB_TXN_FULL ||
		     (rc == EIO && disk_full(env));
	if (space && !panicked(env))
		return KMS_E_FULL;
	atomic_store(&env->dead, true);
	return KMS_E_IO;
}
