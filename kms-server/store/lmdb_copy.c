#include "kms-server/store/lmdb_copy.h"

#include "common/base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#define SNAPSHOT_WAIT_MS 10000

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

static kms_err_t count_tables(lmdb_copy_t *c)
{
	MDB_txn *txn = NULL;
	int rc = lmdb_env_read_txn(c->env, &txn);
	for (size_t i = 0; rc == 0 && i < STORE_TABLES; i++) {
		MDB_stat st = {0};
		rc = mdb_stat(txn, c->env->dbi[i], &st);
		c->counts[i] = st.ms_entries;
	}
	if (txn != NULL)
		mdb_txn_abort(txn);
	return lmdb_err(rc);
}

/* LMDB takes the copy's snapshot before it writes the first byte (or gives up and closes the pipe): no writer
 * may come between the counts and that. */
static kms_err_t run_until_snapshot(lmdb_copy_t *c)
{
	KMS_TRY(count_tables(c));
	if (pthread_create(&c->thread, NULL, copy_thread, c) != 0)
		return KMS_E_NOMEM;
	struct pollfd p = {.fd = c->read_fd, .events = POLLIN};
	int n = 0;
	do
		n = poll(&p, 1, SNAPSHOT_WAIT_MS);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return KMS_OK;
	closep(&c->read_fd);
	(void)pthread_join(c->thread, NULL);
	return KMS_E_UNAVAILABLE;
}

/* The writer is held off first: entering before would be waiting for a writer who may be waiting for us to
 * leave, so that the map can grow. */
static kms_err_t start_held(lmdb_copy_t *c)
{
	KMS_TRY(lmdb_env_hold_writer(c->env));
	kms_err_t e = lmdb_env_enter_read(c->env);
	if (e == KMS_OK) {
		e = run_until_snapshot(c);
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
	int fds[2] = {-1, -1};
	kms_err_t e = pipe2(fds, O_CLOEXEC) == 0 ? KMS_OK : KMS_E_IO;
	c->read_fd = fds[0];
	c->write_fd = fds[1];
	if (e == KMS_OK)
		e = start_held(c);
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
	closep(&c->read_fd);
	(void)pthread_join(c->thread, NULL);
	lmdb_env_leave_read(c->env);
	int rc = c->rc;
	free_copy(c);
	return rc == 0 ? KMS_OK
		       : diag_fail(why, lmdb_err(rc), "the copy of the database failed: %s",
				   mdb_strerror(rc));
}
