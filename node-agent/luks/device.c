#include "node-agent/luks/device.h"

#include "common/base/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CHUNK (256U * 1024U)

static kms_err_t open_error(const char *path, diag_t *why)
{
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV || errno == ENOTDIR)
		return diag_fail(why, KMS_E_NOTFOUND, "%s does not exist", path);
	if (errno == EBUSY)
		return diag_fail(why, KMS_E_CONFLICT, "%s is in use (mounted, mapped, or part of an array)",
				 path);
	return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
}

/* A regular file is in use when a loop device stands on it. */
static bool loop_on(const char *real, const char *loop)
{
	char name[PATH_MAX];
	char text[PATH_MAX] = "";
	(void)snprintf(name, sizeof name, "/sys/block/%.64s/loop/backing_file", loop);
	SCOPED(fclosep) FILE *f = fopen(name, "re");
	if (f == NULL || fgets(text, sizeof text, f) == NULL)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, real) == 0;
}

static kms_err_t check_no_loop(const char *path, diag_t *why)
{
	SCOPED(freep) char *real = realpath(path, NULL);
	DIR *dir = opendir("/sys/block");
	kms_err_t e = KMS_OK;
	if (dir == NULL)
		return KMS_OK; /* no sysfs: no loop devices to be seen */
	for (struct dirent *d = readdir(dir); real != NULL && d != NULL && e == KMS_OK; d = readdir(dir))
		if (strncmp(d->d_name, "loop", 4) == 0 && loop_on(real, d->d_name))
			e = diag_fail(why, KMS_E_CONFLICT, "%s is in use by /dev/%s", path, d->d_name);
	(void)closedir(dir);
	return e;
}

static kms_err_t measure(device_t *d, const char *path, diag_t *why)
{
	struct stat st;
	if (fstat(d->fd, &st) != 0)
		return open_error(path, why);
	if (S_ISREG(st.st_mode)) {
		d->size = (uint64_t)st.st_size;
		return KMS_OK;
	}
	if (!S_ISBLK(st.st_mode))
		return diag_fail(why, KMS_E_CONFLICT, "%s is neither a block device nor a regular file",
				 path);
	d->block = true;
	d->number = st.st_rdev;
	if (ioctl(d->fd, BLKGETSIZE64, &d->size) != 0)
		return open_error(path, why);
	return KMS_OK;
}

/* O_EXCL without O_CREAT is the kernel's claim on a block device; on a regular file it means nothing.
 * O_NONBLOCK: a FIFO in the place of the device must not hang us. */
static int open_flags(device_mode_t mode, bool block)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	switch (mode) {
	case DEVICE_READ:
		return flags | O_RDONLY;
	case DEVICE_EXCLUSIVE_READ:
		return flags | O_RDONLY | (block ? O_EXCL : 0);
	case DEVICE_EXCLUSIVE_WRITE:
		return flags | O_RDWR | (block ? O_EXCL : 0);
	}
	return flags;
}

kms_err_t device_open(const char *path, device_mode_t mode, device_t *out, diag_t *why)
{
	SCOPED(device_close) device_t first = {.fd = open(path, open_flags(DEVICE_READ, false))};
	if (first.fd < 0)
		return open_error(path, why);
	KMS_TRY(measure(&first, path, why));
	if (mode == DEVICE_READ) {
		*out = first;
		first.fd = -1;
		return KMS_OK;
	}
	if (!first.block)
		KMS_TRY(check_no_loop(path, why));
	char same[DEVICE_FD_PATH_CAP];
	device_fd_path(first.fd, same);
	device_t d = first;
	d.fd = open(same, open_flags(mode, first.block));
	if (d.fd < 0)
		return open_error(path, why);
	*out = d;
	return KMS_OK;
}

void device_close(device_t *d)
{
	closep(&d->fd);
}

void device_fd_path(int fd, char out[DEVICE_FD_PATH_CAP])
{
	(void)snprintf(out, DEVICE_FD_PATH_CAP, "/proc/self/fd/%d", fd);
}

kms_err_t device_read(int fd, void *to, size_t n, uint64_t at, diag_t *why)
{
	uint8_t *p = to;
	while (n > 0) {
		ssize_t got = pread(fd, p, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return diag_fail(why, KMS_E_IO, "reading the device at byte %llu: %s",
					 (unsigned long long)at,
					 got == 0 ? "it ends there" : strerror(errno));
		p += got;
		n -= (size_t)got;
		at += (uint64_t)got;
	}
	return KMS_OK;
}

kms_err_t device_write(int fd, const void *from, size_t n, uint64_t at, diag_t *why)
{
	const uint8_t *p = from;
	while (n > 0) {
		ssize_t put = pwrite(fd, p, n, (off_t)at);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return diag_fail(why, KMS_E_IO, "writing the device at byte %llu: %s",
					 (unsigned long long)at, put == 0 ? "no room" : strerror(errno));
		p += put;
		n -= (size_t)put;
		at += (uint64_t)put;
	}
	return KMS_OK;
}

kms_err_t device_sync(int fd, diag_t *why)
{
	if (fsync(fd) != 0)
		return diag_fail(why, KMS_E_IO, "flushing the device: %s", strerror(errno));
	return KMS_OK;
}

bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

kms_err_t device_copy(const device_t *d, int copy_fd, uint64_t from, uint64_t to, diag_t *why)
{
	SCOPED(freep) uint8_t *chunk = malloc(CHUNK);
	if (chunk == NULL)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	for (uint64_t at = from; at < to;) {
		size_t n = to - at < CHUNK ? (size_t)(to - at) : CHUNK;
		KMS_TRY(device_read(d->fd, chunk, n, at, why));
		if (!all_zero(chunk, n))
			KMS_TRY(device_write(copy_fd, chunk, n, at, why));
		at += n;
	}
	return KMS_OK;
}
