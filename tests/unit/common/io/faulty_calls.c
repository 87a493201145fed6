#include "tests/unit/common/io/faulty_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned left;
static int with;
static bool failed;
static created_t seen;
static int watched_fd = -1;

void calls_fail_at(unsigned n, int code)
{
	left = n;
	with = code;
	failed = false;
}

bool calls_fail_end(void)
{
	left = 0;
	return failed;
}

void calls_forget(void)
{
	seen = (created_t){0};
	watched_fd = -1;
}

created_t calls_created(void)
{
	return seen;
}

static bool fails(void)
{
	if (left == 0 || --left > 0)
		return false;
	failed = true;
	errno = with;
	return true;
}

static mode_t mode_of(int fd)
{
	struct stat st;
	return fstat(fd, &st) == 0 ? st.st_mode & 07777 : 0;
}

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	if ((flags & O_CREAT) != 0) {
		va_list ap;
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (fails())
		return -1;
	int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
	if (fd >= 0 && (flags & O_CREAT) != 0) {
		seen.n++;
		seen.asked = mode;
		seen.flags = flags;
		seen.first = mode_of(fd);
		watched_fd = fd;
	}
	return fd;
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (fd == watched_fd) {
		if (fails())
			return -1;
		if ((mode_of(fd) & ~seen.asked) != 0)
			seen.written_before_mode = true;
	}
	return (ssize_t)syscall(SYS_write, fd, p, n);
}

int fsync(int fd)
{
	if (fails())
		return -1;
	seen.fsyncs++;
	return (int)syscall(SYS_fsync, fd);
}

int fchmod(int fd, mode_t mode)
{
	return fails() ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return fails() ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	return fails() ? -1 : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}
