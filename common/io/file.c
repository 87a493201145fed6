#include "common/io/file.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/io/errno_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#define READ_STEP 4096U

/* Reads to the end or to limit + 1 bytes, by which the caller sees that there is more. st_size is not
 * believed: it is 0 for /proc and wrong for what is being written. */
static kms_err_t read_up_to(int fd, const char *path, size_t limit, buf_t *out, diag_t *why)
{
	while (out->n <= limit) {
		size_t want = limit + 1 - out->n < READ_STEP ? limit + 1 - out->n : READ_STEP;
		uint8_t *at = buf_reserve(out, want);
		if (at == NULL)
			return diag_fail(why, out->err, "cannot read %s: not enough memory", path);
		ssize_t got = read(fd, at, want);
		out->n -= want - (got > 0 ? (size_t)got : 0);
		if (got == 0)
			return KMS_OK;
		if (got < 0 && errno != EINTR)
			return io_fail(why, "cannot read", path, errno);
	}
	return KMS_OK;
}

kms_err_t file_read(const char *path, size_t limit, buf_t *out, diag_t *why)
{
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return io_fail(why, "cannot open", path, errno);
	SCOPED(buf_free) buf_t b = BUF_INIT;
	b.limit = limit + 1;
	KMS_TRY(read_up_to(fd, path, limit, &b, why));
	if (b.n > limit)
		return diag_fail(why, KMS_E_INVALID, "%s is larger than %zu bytes", path, limit);
	buf_bytes(out, buf_span(&b));
	if (out->err != KMS_OK)
		return diag_fail(why, out->err, "cannot read %s: not enough memory", path);
	return KMS_OK;
}

/* Asked of the open file, not of the path: what is checked is what is read. */
static kms_err_t secret_file_check(int fd, const char *path, diag_t *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return io_fail(why, "cannot look at", path, errno);
	if (!S_ISREG(st.st_mode))
		return diag_fail(why, KMS_E_DENIED, "%s is not a regular file", path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return diag_fail(why, KMS_E_DENIED, "%s belongs to user %u: it must be ours or root's", path,
				 (unsigned)st.st_uid);
	if ((st.st_mode & 077) != 0)
		return diag_fail(why, KMS_E_DENIED,
				 "%s has mode %04o: a secret's file must be for its owner only (chmod 600)",
				 path, (unsigned)(st.st_mode & 07777));
	return KMS_OK;
}

kms_err_t file_read_secret(const char *path, secret_t **out, diag_t *why)
{
	/* NONBLOCK: a FIFO put in the file's place must not hang us before it is refused. */
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ELOOP)
		return diag_fail(why, KMS_E_DENIED, "%s is a symbolic link: name the file itself", path);
	if (fd < 0)
		return io_fail(why, "cannot open", path, errno);
	KMS_TRY(secret_file_check(fd, path, why));
	SCOPED(secret_freep) secret_t *page = NULL;
	if (secret_new(SECRET_MAX, &page) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "cannot lock memory for %s (see ulimit -l)", path);
	size_t n = 0;
	ssize_t got = 1;
	while (n < SECRET_MAX && got != 0) {
		got = read(fd, secret_data(page) + n, SECRET_MAX - n);
		if (got < 0 && errno != EINTR)
			return io_fail(why, "cannot read", path, errno);
		n += got > 0 ? (size_t)got : 0;
	}
	uint8_t more = 0;
	if (n == SECRET_MAX && read(fd, &more, 1) != 0) {
		wipe(&more, 1);
		return diag_fail(why, KMS_E_INVALID, "%s is larger than %u bytes", path, SECRET_MAX);
	}
	if (n == 0)
		return diag_fail(why, KMS_E_INVALID, "%s is empty", path);
	kms_err_t e = secret_from(span_of(secret_data(page), n), out);
	return e == KMS_OK ? e : diag_fail(why, e, "cannot lock memory for %s (see ulimit -l)", path);
}

/* Where a file is written: its folder, held open so that all steps happen in one and the same, and two names.
 */
typedef struct place {
	const char *path;
	const char *base; /* within path */
	int dir;
	char tmp[40];
} place_t;

static void place_close(place_t *p)
{
	closep(&p->dir);
}

static kms_err_t place_open(const char *path, place_t *out, diag_t *why)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
		return diag_fail(why, KMS_E_INVALID, "\"%s\" does not name a file", path);
	SCOPED(freep) char *dir = NULL;
	if (slash == NULL)
		dir = strdup(".");
	else
		dir = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (dir == NULL)
		return diag_fail(why, KMS_E_NOMEM, "cannot write %s: not enough memory", path);
	uint8_t random[8];
	char hex[17];
	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		return io_fail(why, "no random numbers for writing", path, errno);
	hex_encode(span_of(random, sizeof random), hex);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return io_fail(why, "cannot open the folder", dir, errno);
	*out = (place_t){.path = path, .base = base, .dir = fd};
	(void)snprintf(out->tmp, sizeof out->tmp, ".claviger-%s.tmp", hex);
	return KMS_OK;
}

static kms_err_t write_all(int fd, const char *path, span_t s, diag_t *why)
{
	while (s.n > 0) {
		ssize_t put = write(fd, s.p, s.n);
		if (put < 0 && errno != EINTR)
			return io_fail(why, "cannot write", path, errno);
		if (put > 0)
			s = span_of(s.p + put, s.n - (size_t)put);
	}
	return KMS_OK;
}

/* The mode at creation is never wider than the one asked for. A umask may have made it narrower
 * (process_harden's 077 does, for files that are for all to read); only then is the mode set, which cannot
 * open a secret to others. */
static kms_err_t fill(int fd, const place_t *at, span_t content, unsigned mode, diag_t *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return io_fail(why, "cannot look at", at->path, errno);
	if ((st.st_mode & 07777) != mode && fchmod(fd, mode) != 0)
		return io_fail(why, "cannot set the mode of", at->path, errno);
	return write_all(fd, at->path, content, why);
}

static kms_err_t put_in_place(const place_t *at, file_write_mode_t how, diag_t *why)
{
	switch (how) {
	case FILE_REPLACE:
		if (renameat(at->dir, at->tmp, at->dir, at->base) != 0)
			return io_fail(why, "cannot replace", at->path, errno);
		return KMS_OK;
	case FILE_CREATE_ONLY:
		if (linkat(at->dir, at->tmp, at->dir, at->base, 0) != 0)
			return errno == EEXIST ? diag_fail(why, KMS_E_CONFLICT, "%s exists already", at->path)
					       : io_fail(why, "cannot create", at->path, errno);
		if (unlinkat(at->dir, at->tmp, 0) != 0)
			return io_fail(why, "cannot remove the temporary file of", at->path, errno);
		return KMS_OK;
	}
	return KMS_E_INVALID;
}

static kms_err_t write_in(const place_t *at, span_t content, unsigned mode, file_write_mode_t how,
			  diag_t *why)
{
	SCOPED(closep)
	int fd = openat(at->dir, at->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
	if (fd < 0)
		return io_fail(why, "cannot create a file beside", at->path, errno);
	kms_err_t e = fill(fd, at, content, mode, why);
	if (e == KMS_OK && fsync(fd) != 0)
		e = io_fail(why, "cannot make durable", at->path, errno);
	/* some file systems report a failed write only here */
	if (close(fd_take(&fd)) != 0 && e == KMS_OK)
		e = io_fail(why, "cannot write", at->path, errno);
	if (e == KMS_OK)
		e = put_in_place(at, how, why);
	if (e != KMS_OK)
		(void)unlinkat(at->dir, at->tmp, 0);
	return e;
}

kms_err_t file_write(const char *path, span_t content, unsigned mode, file_write_mode_t how, diag_t *why)
{
	if (mode != 0600 && mode != 0644)
		return diag_fail(why, KMS_E_INVALID, "%s: mode %04o is neither 0600 nor 0644", path, mode);
	SCOPED(place_close) place_t at = {.dir = -1};
	KMS_TRY(place_open(path, &at, why));
	KMS_TRY(write_in(&at, content, mode, how, why));
	if (fsync(at.dir) != 0)
		return io_fail(why, "cannot make durable the folder of", path, errno);
	return KMS_OK;
}
