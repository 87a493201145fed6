#include "tools/kmsctl/expdir.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define NAME_BYTES 256U

static kms_err_t fail(diag_t *why, const char *what, const char *path)
{
	kms_err_t e = errno == ENOSPC || errno == EDQUOT ? KMS_E_FULL
		      : errno == EACCES                  ? KMS_E_DENIED
							 : KMS_E_IO;
	return diag_fail(why, e, "cannot %s %.300s: %m", what, path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void expdir_free(expdir_t *d)
{
	fclosep(&d->sums);
	closep(&d->fd);
	if (d->path != NULL)
		(void)nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(d->path);
	free(d->final);
	*d = (expdir_t){.fd = -1};
}

/* An empty folder is taken for one that was made for this. */
static kms_err_t check_free(const char *dir, diag_t *why)
{
	DIR *at = opendir(dir);
	size_t n = 0;
	if (at == NULL && errno == ENOENT)
		return KMS_OK;
	if (at == NULL && errno == ENOTDIR)
		return diag_fail(why, KMS_E_CONFLICT, "%.300s exists, and is no folder", dir);
	if (at == NULL)
		return fail(why, "open", dir);
	for (const struct dirent *e = readdir(at); e != NULL; e = readdir(at))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	(void)closedir(at);
	return n == 0 ? KMS_OK : diag_fail(why, KMS_E_CONFLICT, "the folder %.300s is not empty", dir);
}

static kms_err_t begin(const char *dir, expdir_t *d, diag_t *why)
{
	size_t n = strlen(dir);
	KMS_TRY(check_free(dir, why));
	while (n > 1 && dir[n - 1] == '/')
		n--;
	d->final = strndup(dir, n);
	SCOPED(freep) char *path = NULL;
	if (d->final == NULL || asprintf(&path, "%s.partial-XXXXXX", d->final) < 0) {
		path = NULL;
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the folder");
	}
	if (mkdtemp(path) == NULL)
		return fail(why, "make the folder", path);
	d->path = TAKE(path);
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 || fchmod(d->fd, 0755) != 0)
		return fail(why, "open the folder", d->path);
	int sums = openat(d->fd, EXPDIR_SUMS, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (sums < 0 || (d->sums = fdopen(sums, "w")) == NULL)
		return fail(why, "write", EXPDIR_SUMS);
	return KMS_OK;
}

kms_err_t expdir_begin(const char *dir, expdir_t *out, diag_t *why)
{
	expdir_t d = {.fd = -1};
	kms_err_t e = begin(dir, &d, why);
	if (e != KMS_OK) {
		expdir_free(&d);
		return e;
	}
	*out = d;
	return KMS_OK;
}

static kms_err_t note_sum(expdir_t *d, const char *name, span_t content, diag_t *why)
{
	uint8_t digest[SHA256_LEN];
	char hex[2 * SHA256_LEN + 1];
	if (crypto_sha256(content, digest) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "the hash function failed");
	hex_encode(span_of(digest, sizeof digest), hex);
	return fprintf(d->sums, "%s  %s\n", hex, name) > 0 ? KMS_OK : fail(why, "write", EXPDIR_SUMS);
}

/* The folders that the name goes through. process_harden's umask would keep them to ourselves: fchmodat. */
static kms_err_t make_way(const expdir_t *d, const char *name, diag_t *why)
{
	char way[NAME_BYTES];
	if (strlen(name) >= sizeof way)
		return diag_fail(why, KMS_E_INVALID, "the name %.100s is too long", name);
	memcpy(way, name, strlen(name) + 1);
	for (char *slash = way; (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		if (mkdirat(d->fd, way, 0755) == 0) {
			if (fchmodat(d->fd, way, 0755, 0) != 0)
				return fail(why, "make the folder", way);
		} else if (errno != EEXIST) {
			return fail(why, "make the folder", way);
		}
		*slash = '/';
	}
	return KMS_OK;
}

static kms_err_t write_new(const expdir_t *d, const char *name, span_t s, diag_t *why)
{
	SCOPED(closep)
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || fchmod(fd, 0644) != 0)
		return fail(why, "create", name);
	while (s.n > 0) {
		ssize_t put = write(fd, s.p, s.n);
		if (put < 0 && errno != EINTR)
			return fail(why, "write", name);
		if (put > 0)
			s = span_of(s.p + put, s.n - (size_t)put);
	}
	return KMS_OK;
}

kms_err_t expdir_put(expdir_t *d, const char *name, span_t content, diag_t *why)
{
	KMS_TRY(make_way(d, name, why));
	KMS_TRY(write_new(d, name, content, why));
	return note_sum(d, name, content, why);
}

kms_err_t expdir_add(expdir_t *d, const char *name, diag_t *why)
{
	struct stat st;
	SCOPED(closep) int fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || fchmod(fd, 0644) != 0)
		return fail(why, "read", name);
	if (st.st_size == 0)
		return note_sum(d, name, span_of(NULL, 0), why);
	/* it may be larger than memory, and nobody but us writes to it */
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return fail(why, "read", name);
	kms_err_t e = note_sum(d, name, span_of(at, (size_t)st.st_size), why);
	(void)munmap(at, (size_t)st.st_size);
	return e;
}

kms_err_t expdir_close(expdir_t *d, diag_t *why)
{
	FILE *sums = TAKE(d->sums);
	bool good = fchmod(fileno(sums), 0644) == 0;
	return fclose(sums) == 0 && good ? KMS_OK : fail(why, "write", EXPDIR_SUMS);
}

static kms_err_t sync_parent(const char *path, diag_t *why)
{
	SCOPED(freep) char *copy = strdup(path);
	if (copy == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the folder");
	SCOPED(closep) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? KMS_OK : fail(why, "make durable the folder of", path);
}

kms_err_t expdir_finish(expdir_t *d, diag_t *why)
{
	/* once for tens of thousands of files */
	if (syncfs(d->fd) != 0)
		return fail(why, "make durable", d->path);
	if (rename(d->path, d->final) != 0)
		return errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
			       ? diag_fail(why, KMS_E_CONFLICT, "%.300s has come into being meanwhile",
					   d->final)
			       : fail(why, "rename to", d->final);
	free(d->path);
	d->path = NULL;
	return sync_parent(d->final, why);
}
