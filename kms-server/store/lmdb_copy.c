#include "kms-server/store/lmdb_copy.h"

#include "common/base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#define SNAPSHOT_WAIT_MS 10000
#define SNAPSHOT_TRY_S   20

struct lmdb_copy {
	lmdb_env_t *env;
	uint64_t counts[STORE_TABLES];
	int read_fd, write_fd;
	pthread_t thread;
	int rc; /* the thread's, once it is joined */
};

/* A reader that leaves early must end the copy, not the process. LMDB's own helper thread inherits the mask.
 */
static void *copy_thread(void *arg)
{
	lmdb_copy_t *c = arg;
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGPIPE);
	c->rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (c->rc == 0)
		c->rc = mdb_env_copyfd2(c->env->mdb, c->write_fd, MDB_CP_COMPACT);
	closep(&c->write_fd);
	return NULL;
}

/* The number of entries in each table, and of the last commit that they show. */
static kms_err_t count_tables(lmdb_copy_t *c, size_t *commit)
{
	MDB_txn *txn = NULL;
	int rc = lmdb_env_read_txn(c->env, &txn);
	for (size_t i = 0; rc == 0 && i < STORE_TABLES; i++) {
		MDB_stat st = {0};
		rc = mdb_stat(txn, c->env->dbi[i], &st);
		c->counts[i] = st.ms_entries;
	}
	if (txn != NULL) {
		*commit = mdb_txn_id(txn);
		mdb_txn_abort(txn);
	}
	return lmdb_err(rc);
}

static size_t last_commit(const lmdb_env_t *env)
{
	MDB_envinfo info = {0};
	(void)mdb_env_info(env->mdb, &info);
	return info.me_last_txnid;
}

static time_t seconds_now(void)
{
	struct timespec t = {0};
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static kms_err_t open_pipe(lmdb_copy_t *c)
{
	int fds[2] = {-1, -1};
	if (pipe2(fds, O_CLOEXEC) != 0)
		return KMS_E_IO;
	c->read_fd = fds[0];
	c->write_fd = fds[1];
	return KMS_OK;
}

static void end_thread(lmdb_copy_t *c)
{
	closep(&c->read_fd);
	(void)pthread_join(c->thread, NULL);
}

/* LMDB takes the copy's snapshot before it writes the first byte (or gives up and closes the pipe). */
static kms_err_t run_until_snapshot(lmdb_copy_t *c)
{
	if (pthread_create(&c->thread, NULL, copy_thread, c) != 0)
		return KMS_E_NOMEM;
	struct pollfd p = {.fd = c->read_fd, .events = POLLIN};
	int n = 0;
	do
		n = poll(&p, 1, SNAPSHOT_WAIT_MS);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return KMS_OK;
	end_thread(c);
	return KMS_E_UNAVAILABLE;
}

/* The counts are those of the copy when nothing was committed from before they were taken until after its
 * snapshot. Our own writer is held off; another process's (the server, seen from `kms-server backup`) is
 * outrun: a try takes a millisecond or two. */
static kms_err_t run_until_exact(lmdb_copy_t *c)
{
	const time_t end = seconds_now() + SNAPSHOT_TRY_S;
	while (seconds_now() < end) {
		size_t commit = 0;
		KMS_TRY(count_tables(c, &commit));
		KMS_TRY(open_pipe(c));
		KMS_TRY(run_until_snapshot(c));
		if (last_commit(c->env) == commit)
			return KMS_OK;
		end_thread(c);
	}
	return KMS_E_UNAVAILABLE;
}

/* The writer is held off first: entering before would be waiting for a writer who may be waiting for us to
 * leave, so that the map can grow. */
static kms_err_t start_held(lmdb_copy_t *c)
{
	KMS_TRY(lmdb_env_hold_writer(c->env));
	kms_err_t e = lmdb_env_enter_read(c->env);
	if (e == KMS_OK) {
		e = run_until_exact(c);
		if (e != KMS_OK)
			lmdb_env_leave_read(c->env);
	}
	lmdb_env_release_writer(c->env);
	return e;
}

static void free_copy(lmdb_copy_t *c)
{
	closep(&c->read_fd);
	closep(&c->write_fd);
	free(c);
}

kms_err_t lmdb_copy_start(lmdb_env_t *env, lmdb_copy_t **out, diag_t *why)
{
	lmdb_copy_t *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return KMS_E_NOMEM;
	c->env = env;
	c->read_fd = c->write_fd = -1;
	kms_err_t e = start_held(c);
	if (e != KMS_OK) {
		free_copy(c);
		return diag_fail(why, e, "cannot start the copy of the database: %s", kms_err_name(e));
	}
	*out = c;
	return KMS_OK;
}

int lmdb_copy_fd(const lmdb_copy_t *c)
{
	return c->read_fd;
}

const uint64_t *lmdb_copy_counts(const lmdb_copy_t *c)
{
	return c->counts;
}

kms_err_t lmdb_copy_end(lmdb_copy_t *c, diag_t *why)
{
	end_thread(c);
	lmdb_env_leave_read(c->env);
	int rc = c->rc;
	free_copy(c);
	return rc == 0 ? KMS_OK
		       : diag_fail(why, lmdb_err(rc), "the copy of the database failed: %s",
				   mdb_strerror(rc));
}
