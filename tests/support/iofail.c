#include "tests/support/iofail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILL (-1)

static atomic_uint seen[IOFAIL_CALLS];
static atomic_uint fail_at[IOFAIL_CALLS];
static atomic_int fail_with[IOFAIL_CALLS];

void iofail_disarm(void)
{
	for (int i = 0; i < IOFAIL_CALLS; i++) {
		atomic_store(&fail_at[i], 0);
		atomic_store(&seen[i], 0);
	}
}

void iofail_arm(iofail_call_t call, unsigned nth, int err)
{
	iofail_disarm();
	atomic_store(&fail_with[call], err);
	atomic_store(&fail_at[call], nth);
}

void iofail_kill(iofail_call_t call, unsigned nth)
{
	iofail_arm(call, nth, KILL);
}

unsigned iofail_seen(iofail_call_t call)
{
	return atomic_load(&seen[call]);
}

static bool fails(iofail_call_t call)
{
	unsigned now = atomic_fetch_add(&seen[call], 1) + 1;
	if (now != atomic_load(&fail_at[call]))
		return false;
	int err = atomic_load(&fail_with[call]);
	if (err == KILL)
		(void)raise(SIGKILL);
	errno = err;
	return true;
}

static bool write_fails(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return false;
	return fails((flags & O_DSYNC) != 0 ? IOFAIL_SYNC_WRITE : IOFAIL_WRITE);
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
	int (*real)(int) = NULL;
	find("fdatasync", &real, sizeof(real));
	return fails(IOFAIL_FDATASYNC) ? -1 : real(fd);
}

int fsync(int fd)
{
	int (*real)(int) = NULL;
	find("fsync", &real, sizeof(real));
	return fails(IOFAIL_FSYNC) ? -1 : real(fd);
}

ssize_t write(int fd, const void *buf, size_t n)
{
	ssize_t (*real)(int, const void *, size_t) = NULL;
	find("write", &real, sizeof(real));
	return write_fails(fd) ? -1 : real(fd, buf, n);
}

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) = NULL;
	find("pwrite", &real, sizeof(real));
	return write_fails(fd) ? -1 : real(fd, buf, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	ssize_t (*real)(int, const struct iovec *, int) = NULL;
	find("writev", &real, sizeof(real));
	return write_fails(fd) ? -1 : real(fd, v, n);
}
