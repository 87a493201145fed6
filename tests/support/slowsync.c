/* LD_PRELOAD library that makes flushes slow or fail: fdatasync, and pwrite to a descriptor opened with
 * O_DSYNC (LMDB writes its meta page by one). Environment: SLOWSYNC_MS=n delays each flush by n milliseconds;
 * SLOWSYNC_FAIL=n lets the n-th flush of the process fail with EIO before it does anything, SLOWSYNC_FAIL=n+
 * that one and all that follow. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int (*fdatasync_fn)(int);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);

static atomic_ulong flushes;

/* Read once at the start: the programs clear their environment. */
static struct {
	struct timespec delay;
	unsigned long fail_at;
	bool and_after;
} how;

__attribute__((constructor)) static void read_settings(void)
{
	const char *ms = getenv("SLOWSYNC_MS");
	const char *fail = getenv("SLOWSYNC_FAIL");
	char *rest = NULL;
	unsigned long n = ms != NULL ? strtoul(ms, NULL, 10) : 0;
	how.delay = (struct timespec){.tv_sec = (time_t)(n / 1000), .tv_nsec = (long)(n % 1000) * 1000000L};
	if (fail == NULL)
		return;
	how.fail_at = strtoul(fail, &rest, 10);
	how.and_after = *rest == '+';
}

static void delay(void)
{
	struct timespec left = how.delay;
	if (left.tv_sec == 0 && left.tv_nsec == 0)
		return;
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

static bool fails(void)
{
	unsigned long now = atomic_fetch_add(&flushes, 1) + 1;
	return how.fail_at > 0 && (now == how.fail_at || (now > how.fail_at && how.and_after));
}

/* dlsym answers in void *, which ISO C does not let one cast to a function. */
static void find(const char *name, void *fn, size_t n)
{
	void *p = dlsym(RTLD_NEXT, name);
	if (p == NULL)
		abort();
	memcpy(fn, &p, n);
}

int fdatasync(int fd)
{
	fdatasync_fn real;
	find("fdatasync", &real, sizeof(real));
	delay();
	if (fails()) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}

static ssize_t synchronous_write(pwrite_fn real, int fd, const void *buf, size_t n, off_t at)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_DSYNC) != 0) {
		delay();
		if (fails()) {
			errno = EIO;
			return -1;
		}
	}
	return real(fd, buf, n, at);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	pwrite_fn real;
	find("pwrite", &real, sizeof(real));
	return synchronous_write(real, fd, buf, n, at);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	pwrite_fn real;
	find("pwrite64", &real, sizeof(real));
	return synchronous_write(real, fd, buf, n, at);
}
