#include "common/io/process.h"

#include "common/base/scope.h"
#include "common/io/file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <cmocka.h>

static void test_harden(void **state)
{
	(void)state;
	struct rlimit core;
	assert_int_equal(setenv("SSLKEYLOGFILE", "/tmp/keys", 1), 0);
	assert_int_equal(setenv("OPENSSL_CONF", "/tmp/evil.cnf", 1), 0);
	assert_int_equal(setenv("https_proxy", "http://127.0.0.1:9", 1), 0);
	assert_int_equal(process_harden(NULL), KMS_OK);
	assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
	assert_int_equal(getrlimit(RLIMIT_CORE, &core), 0);
	assert_int_equal(core.rlim_cur, 0);
	assert_int_equal(core.rlim_max, 0);
	assert_int_equal(umask(077), 077);
	assert_null(getenv("SSLKEYLOGFILE"));
	assert_null(getenv("OPENSSL_CONF"));
	assert_null(getenv("https_proxy"));
	struct sigaction sa;
	assert_int_equal(sigaction(SIGPIPE, NULL, &sa), 0);
	assert_true(sa.sa_handler == SIG_IGN);
}

/* The sanitizers turn mlockall into nothing. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NO_MLOCK 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NO_MLOCK 1
#endif
#ifndef NO_MLOCK
#define NO_MLOCK 0
#endif

/* In a child: a locked test process would carry its locks into the other tests. */
static void test_lock_all(void **state)
{
	(void)state;
	if (NO_MLOCK)
		skip();
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		diag_t why = {{0}};
		if (process_lock_all(&why) != KMS_OK)
			_exit(strstr(why.text, "ulimit") != NULL ? 77 : 1);
		/* what comes is locked as it is touched: not before */
		SCOPED(buf_free) buf_t b = BUF_INIT;
		uint8_t *p =
			mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		unsigned char in[64] = {0};
		if (p == MAP_FAILED || mincore(p, 64 * 4096, in) != 0)
			_exit(2);
		if ((in[5] & 1) != 0 || file_read("/proc/self/smaps", 16U << 20, &b, NULL) != KMS_OK)
			_exit(3);
		_exit(memmem(b.p, b.n, " lo ", 4) != NULL || memmem(b.p, b.n, " lf ", 4) != NULL ? 0 : 4);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* RLIMIT_MEMLOCK of this machine: refused in words, as asked */
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A made-up /proc and /sys. */
typedef struct world {
	char root[64];
} world_t;

static int set_up(void **state)
{
	world_t *w = calloc(1, sizeof *w);
	if (w == NULL)
		return 1;
	(void)snprintf(w->root, sizeof w->root, "/tmp/claviger-swap-XXXXXX");
	*state = w;
	return mkdtemp(w->root) != NULL ? 0 : 1;
}

static void make(const world_t *w, const char *path, const char *text)
{
	char full[256];
	(void)snprintf(full, sizeof full, "%s%s", w->root, path);
	for (char *s = strchr(full + strlen(w->root) + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = '\0';
		if (mkdir(full, 0700) != 0)
			assert_int_equal(errno, EEXIST);
		*s = '/';
	}
	if (text != NULL)
		assert_int_equal(file_write(full, span_str(text), 0600, FILE_REPLACE, NULL), KMS_OK);
}

static int remove_tree(const char *path)
{
	pid_t child = fork();
	if (child == 0) {
		(void)execl("/bin/rm", "rm", "-rf", path, (char *)NULL);
		_exit(127);
	}
	int status = 0;
	return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

static int tear_down(void **state)
{
	world_t *w = *state;
	int rc = remove_tree(w->root);
	free(w);
	return rc;
}

#define HEAD "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

static void test_swap_table(void **state)
{
	const world_t *w = *state;
	make(w, "/sys/class/block/zram0/backing_dev", "none\n");
	make(w, "/sys/class/block/zram0/disksize", "4096\n");
	make(w, "/sys/class/block/zram1/disksize", "4096\n");
	make(w, "/sys/class/block/zram2/disksize", "4096\n"); /* a kernel without write-back */
	make(w, "/sys/class/block/zram1/backing_dev", "/dev/sda5\n");
	make(w, "/sys/class/block/dm-0/dm/uuid", "CRYPT-PLAIN-swap\n");
	make(w, "/sys/class/block/dm-1/dm/uuid", "LVM-abc\n");
	make(w, "/sys/class/block/dm-1/slaves/dm-0/x", NULL);
	make(w, "/sys/class/block/dm-2/dm/uuid", "LVM-def\n");
	make(w, "/sys/class/block/dm-2/slaves/dm-0/x", NULL);
	make(w, "/sys/class/block/dm-2/slaves/sda2/x", NULL);
	make(w, "/sys/class/block/dm-3/slaves/dm-3/x", NULL); /* a loop */
	make(w, "/sys/class/block/sda2/size", "1\n");
	make(w, "/sys/class/block/sda2/slaves/", NULL);
	static const struct {
		const char *text;
		bool unsafe;
	} rows[] = {
		{"", false},
		{HEAD, false},
		{HEAD "/dev/zram0 partition\t1\t0\t-2\n", false},
		{HEAD "/dev/dm-0 partition\t1\t0\t-2\n", false},
		{HEAD "/dev/dm-1 partition\t1\t0\t-2\n", false},
		{HEAD "/dev/dm-0 partition\t1\t0\t-2\n/dev/zram0 partition\t1\t0\t5\n", false},
		{HEAD "/dev/zram2 partition\t1\t0\t-2\n", false},
		{HEAD "/dev/mapper/zram-not partition\t1\t0\t-2\n", true},
		{HEAD "/dev/zram1 partition\t1\t0\t-2\n", true},
		{HEAD "/dev/dm-2 partition\t1\t0\t-2\n", true},
		{HEAD "/dev/dm-3 partition\t1\t0\t-2\n", true},
		{HEAD "/dev/sda2 partition\t1\t0\t-2\n", true},
		{HEAD "/dev/nosuch partition\t1\t0\t-2\n", true},
		{HEAD "/dev/dm-0 partition\t1\t0\t-2\n/dev/sda2 partition\t1\t0\t-3\n", true},
		{HEAD "/swap\\040file file\t1\t0\t-2\n", true},
		{HEAD "/dev/dm-0\n", true},
		{HEAD "/dev/dm-0 (deleted)\n", true},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		diag_t why = {{0}};
		make(w, "/proc/swaps", rows[i].text);
		if (process_swap_unsafe_in(w->root, &why) != rows[i].unsafe)
			fail_msg("row %zu: %s", i, why.text);
		assert_true(rows[i].unsafe == (why.text[0] != '\0'));
	}
}

/* A swap file is as safe as the device that its file system is on. */
static void test_swap_file(void **state)
{
	const world_t *w = *state;
	char number[64], link[160];
	struct stat st;
	diag_t why = {{0}};
	make(w, "/swap file", "x");
	make(w, "/proc/swaps", HEAD "/swap\\040file file\t1\t0\t-2\n");
	make(w, "/sys/class/block/dm-0/dm/uuid", "CRYPT-LUKS2-x\n");
	make(w, "/sys/class/block/sda1/size", "1\n");
	make(w, "/sys/dev/block/", NULL);
	assert_int_equal(stat(w->root, &st), 0);
	(void)snprintf(number, sizeof number, "%u:%u", major(st.st_dev), minor(st.st_dev));
	(void)snprintf(link, sizeof link, "%s/sys/dev/block/%s", w->root, number);
	assert_int_equal(symlink("../../class/block/dm-0", link), 0);
	assert_false(process_swap_unsafe_in(w->root, &why));
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("../../class/block/sda1", link), 0);
	assert_true(process_swap_unsafe_in(w->root, &why));
	assert_non_null(strstr(why.text, "/swap file"));
}

static void test_no_swap_support(void **state)
{
	const world_t *w = *state;
	diag_t why = {{0}};
	assert_false(process_swap_unsafe_in(w->root, &why));
	make(w, "/proc/swaps/", NULL); /* a folder: not readable as a file */
	assert_true(process_swap_unsafe_in(w->root, &why));
}

#define WITH_ROOT(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_harden), cmocka_unit_test(test_lock_all), WITH_ROOT(test_swap_table),
		WITH_ROOT(test_swap_file),     WITH_ROOT(test_no_swap_support),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
