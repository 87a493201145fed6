/* Readers, a writer that makes the map grow under them, and copies, all at once: for ThreadSanitizer, and for
 * the consistency of what each of them sees. */
#include "kms-server/store/lmdb_store.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "tests/support/tmpdir.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <cmocka.h>

#define READERS   3
#define COMMITS   400
#define EVENT_LEN 8192

/* liblmdb is not instrumented: its own locking is invisible to ThreadSanitizer. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:liblmdb.so\n";
}

typedef struct shared {
	store_t *s;
	char dir[TMPDIR_CAP];
	atomic_bool stop;
	atomic_uint reads;
	atomic_uint wrong;
	atomic_uint copies;
} shared_t;

/* The log's length stands in two tables as well, and its last event has that number: one state shows one
 * number. */
static bool consistent(store_txn_t *t)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	uint64_t n = 0;
	span_t a = {0};
	span_t b = {0};
	span_t key = {0};
	span_t value = {0};
	uint8_t want[8];
	if (store_count(t, STORE_LEAVES, &n) != KMS_OK)
		return false;
	if (n == 0)
		return store_get(t, STORE_META, span_str("n"), &a) == KMS_E_NOTFOUND;
	be64_encode(n, want);
	return store_get(t, STORE_META, span_str("n"), &a) == KMS_OK && span_eq(a, span_of(want, 8)) &&
	       store_get(t, STORE_CHAINS, span_str("n"), &b) == KMS_OK && span_eq(b, a) &&
	       store_seek(t, STORE_LEAVES, span_of(NULL, 0), STORE_DOWN, &c) == KMS_OK &&
	       store_next(c, &key, &value) == KMS_OK && span_eq(key, a) && value.n == EVENT_LEN &&
	       value.p[0] == want[7] && value.p[EVENT_LEN - 1] == want[7];
}

static void *reader(void *arg)
{
	shared_t *x = arg;
	while (!atomic_load(&x->stop)) {
		SCOPED(store_abortp) store_txn_t *t = NULL;
		if (store_begin_read(x->s, &t) != KMS_OK || !consistent(t) || !consistent(t))
			atomic_fetch_add(&x->wrong, 1);
		atomic_fetch_add(&x->reads, 1);
	}
	return NULL;
}

static kms_err_t commit_one(store_t *s, uint64_t i)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	uint8_t event[EVENT_LEN];
	uint8_t n[8];
	be64_encode(i + 1, n);
	memset(event, n[7], sizeof(event));
	KMS_TRY(store_begin_write(s, i, &t));
	KMS_TRY(store_put(t, STORE_LEAVES, span_of(n, 8), span_of(event, sizeof(event))));
	KMS_TRY(store_put(t, STORE_META, span_str("n"), span_of(n, 8)));
	KMS_TRY(store_put(t, STORE_CHAINS, span_str("n"), span_of(n, 8)));
	return store_commit(TAKE(t));
}

static void *writer(void *arg)
{
	shared_t *x = arg;
	for (uint64_t i = 0; i < COMMITS; i++)
		if (commit_one(x->s, i) != KMS_OK)
			atomic_fetch_add(&x->wrong, 1);
	atomic_store(&x->stop, true);
	return NULL;
}

static bool copy_one(shared_t *x, unsigned i)
{
	char name[16];
	char db[TMPDIR_CAP];
	char data[TMPDIR_CAP];
	diag_t why = {{0}};
	(void)snprintf(name, sizeof(name), "copy%u", i);
	tmpdir_path(x->dir, name, db);
	tmpdir_path(db, "data.mdb", data);
	if (mkdir(db, 0700) != 0)
		return false;
	SCOPED(closep) int fd = open(data, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || store_copy(x->s, fd, &why) != KMS_OK)
		return false;
	SCOPED(store_closep) store_t *c = NULL;
	SCOPED(store_abortp) store_txn_t *t = NULL;
	bool ok = lmdb_store_open(db, &(lmdb_store_options_t){.read_only = true}, &c, &why) == KMS_OK &&
		  store_begin_read(c, &t) == KMS_OK && consistent(t);
	store_abortp(&t);
	store_closep(&c);
	tmpdir_remove(db);
	return ok;
}

static void *copier(void *arg)
{
	shared_t *x = arg;
	for (unsigned i = 0; i < 1 || !atomic_load(&x->stop); i++) {
		if (!copy_one(x, i))
			atomic_fetch_add(&x->wrong, 1);
		atomic_fetch_add(&x->copies, 1);
	}
	return NULL;
}

static void everybody_sees_whole_commits(void **state)
{
	(void)state;
	SCOPED(freep) shared_t *x = calloc(1, sizeof(*x));
	assert_non_null(x);
	char db[TMPDIR_CAP];
	diag_t why = {{0}};
	tmpdir_make(x->dir);
	tmpdir_path(x->dir, "db", db);
	lmdb_store_options_t o = {.create = true, .map_size = 1U << 20, .map_size_max = 64U << 20};
	assert_int_equal(lmdb_store_open(db, &o, &x->s, &why), KMS_OK);
	pthread_t threads[READERS + 2];
	for (size_t i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, x), 0);
	assert_int_equal(pthread_create(&threads[READERS], NULL, copier, x), 0);
	assert_int_equal(pthread_create(&threads[READERS + 1], NULL, writer, x), 0);
	for (size_t i = 0; i < READERS + 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&x->wrong), 0);
	assert_true(atomic_load(&x->reads) > 0 && atomic_load(&x->copies) > 0);
	store_closep(&x->s);
	tmpdir_remove(x->dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(everybody_sees_whole_commits)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
