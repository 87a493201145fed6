/* tests/support/slowsync.c, in the only way it is used: preloaded into a whole program. This one starts
 * itself again as that program. */
#include "common/base/scope.h"
#include "common/base/steady.h"
#include "kms-server/store/lmdb_store.h"
#include "tests/support/allocfail.h"
#include "tests/support/tmpdir.h"

#include <stdarg.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <cmocka.h>

#define COMMITS 4 /* two flushes each */

static int commits(const char *db)
{
	SCOPED(store_closep) store_t *s = NULL;
	diag_t why = {{0}};
	if (lmdb_store_open(db, &(lmdb_store_options_t){0}, &s, &why) != KMS_OK)
		return 100;
	for (int i = 0; i < COMMITS; i++) {
		store_txn_t *t = NULL;
		if (store_begin_write(s, 0, &t) != KMS_OK ||
		    store_put(t, STORE_META, span_str("k"), span_str("v")) != KMS_OK)
			return 101;
		kms_err_t e = store_commit(t);
		if (e != KMS_OK)
			return e == KMS_E_IO ? i + 1 : 102;
	}
	return 0;
}

/* How this program ends as the child: 0, or the number of the commit that failed. */
static int run_child(const char *db, const char *name, const char *value)
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		if (setenv("LD_PRELOAD", SLOWSYNC, 1) != 0 || setenv(name, value, 1) != 0)
			_exit(103);
		(void)execl("/proc/self/exe", "slowsync_test", "--child", db, (char *)NULL);
		_exit(104);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void a_whole_program_has_slow_and_failing_flushes(void **state)
{
	(void)state;
	if (!allocfail_supported()) {
		print_message(
			"a_whole_program_has_slow_and_failing_flushes: a sanitizer must be loaded first\n");
		skip();
	}
	static const struct {
		const char *name, *value;
		int want;
		int64_t least_ms;
	} rows[] = {
		{"SLOWSYNC_MS", "0", 0, 0},   {"SLOWSYNC_MS", "30", 0, 2L * COMMITS * 30},
		{"SLOWSYNC_FAIL", "1", 1, 0}, {"SLOWSYNC_FAIL", "2", 1, 0},
		{"SLOWSYNC_FAIL", "3", 2, 0}, {"SLOWSYNC_FAIL", "8", 4, 0},
		{"SLOWSYNC_FAIL", "9", 0, 0}, {"SLOWSYNC_FAIL", "5+", 3, 0},
	};
	char dir[TMPDIR_CAP];
	char db[TMPDIR_CAP];
	store_t *s = NULL;
	diag_t why = {{0}};
	tmpdir_make(dir);
	tmpdir_path(dir, "db", db);
	assert_int_equal(lmdb_store_open(db, &(lmdb_store_options_t){.create = true}, &s, &why), KMS_OK);
	store_close(s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t began = steady_ms();
		assert_int_equal(run_child(db, rows[i].name, rows[i].value), rows[i].want);
		assert_true(steady_ms() - began >= rows[i].least_ms);
	}
	tmpdir_remove(dir);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		return commits(argv[2]);
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_whole_program_has_slow_and_failing_flushes)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
