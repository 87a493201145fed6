#include "kms-server/audit/sink_file.h"

#include "common/base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define NAME_ROOM 16U            /* for ".1000" behind the path */
#define LINE_MAX_ (128U * 1024U) /* more than any line of ours */
#define PATH_MOST 4000U

static const char FIRST[] = "{\"index\":";

typedef struct sink_file {
	sink_t sink;
	char *path, *folder;
	uint64_t size_max;
	unsigned keep;
	int fd; /* -1: to be opened */
	buf_t lines;
} sink_file_t;

static kms_err_t fail(const sink_file_t *f, const char *what, diag_t *why)
{
	int code = errno;
	return diag_fail(why, code == ENOSPC || code == EDQUOT ? KMS_E_FULL : KMS_E_IO, "cannot %s %s: %s",
			 what, f->path, strerror(code));
}

/* A rename or a new name is durable once its folder is. */
static kms_err_t sync_folder(const sink_file_t *f, diag_t *why)
{
	SCOPED(closep) int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? KMS_OK : fail(f, "make durable the folder of", why);
}

static kms_err_t flush(sink_file_t *f, diag_t *why)
{
	if (f->fd < 0 || fdatasync(f->fd) == 0)
		return KMS_OK;
	kms_err_t e = fail(f, "make durable", why);
	/* what the kernel dropped it would call durable the next time */
	f->sink.lost = true;
	closep(&f->fd);
	return e;
}

/* --- what is there already --- */

/* Appending to a file of another kind would spoil it. Zeros are what some file systems leave of a first
 * write. */
static kms_err_t check_first(const sink_file_t *f, int fd, uint64_t size, diag_t *why)
{
	char first[sizeof FIRST - 1];
	size_t want = size < sizeof first ? (size_t)size : sizeof first;
	ssize_t got = pread(fd, first, want, 0);
	if (got != (ssize_t)want)
		return fail(f, "read", why);
	if (want == 0 || first[0] == '\0' || memcmp(first, FIRST, want) == 0)
		return KMS_OK;
	return diag_fail(why, KMS_E_INVALID, "%s holds something else than events: name another file",
			 f->path);
}

static kms_err_t cut_torn_line(const sink_file_t *f, int fd, uint64_t size, diag_t *why)
{
	uint64_t from = size > LINE_MAX_ ? size - LINE_MAX_ : 0;
	size_t n = (size_t)(size - from);
	SCOPED(freep) char *tail = malloc(n > 0 ? n : 1);
	if (tail == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	if (pread(fd, tail, n, (off_t)from) != (ssize_t)n)
		return fail(f, "read", why);
	const char *end = n > 0 ? memrchr(tail, '\n', n) : NULL;
	if (end == NULL && from > 0)
		return diag_fail(why, KMS_E_INVALID, "%s ends with no line of ours: name another file",
				 f->path);
	uint64_t whole = end != NULL ? from + (uint64_t)(end - tail) + 1 : 0;
	if (whole < size && ftruncate(fd, (off_t)whole) != 0)
		return fail(f, "cut the torn last line of", why);
	return KMS_OK;
}

static kms_err_t check_kind(const sink_file_t *f, int fd, struct stat *st, diag_t *why)
{
	if (fstat(fd, st) != 0)
		return fail(f, "look at", why);
	if (!S_ISREG(st->st_mode))
		return diag_fail(why, KMS_E_INVALID, "%s is not a regular file", f->path);
	if (st->st_uid != geteuid() || (st->st_mode & 022) != 0)
		return diag_fail(why, KMS_E_DENIED, "%s can be written to by others: it must be ours alone",
				 f->path);
	return KMS_OK;
}

static kms_err_t open_file(sink_file_t *f, diag_t *why)
{
	struct stat st;
	SCOPED(closep)
	int fd = open(f->path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
		      0600);
	if (fd < 0)
		return fail(f, "open", why);
	KMS_TRY(check_kind(f, fd, &st, why));
	KMS_TRY(check_first(f, fd, (uint64_t)st.st_size, why));
	KMS_TRY(cut_torn_line(f, fd, (uint64_t)st.st_size, why));
	KMS_TRY(sync_folder(f, why));
	f->fd = fd_take(&fd);
	return KMS_OK;
}

/* --- rotation --- */

/* PATH, or PATH.i. */
static void name_of(const sink_file_t *f, unsigned i, char out[PATH_MOST + NAME_ROOM])
{
	(void)snprintf(out, PATH_MOST + NAME_ROOM, i > 0 ? "%s.%u" : "%s", f->path, i);
}

/* The first number that is free, so that a chain that a crash interrupted loses nothing more; keep when none
 * is. */
static unsigned first_free(const sink_file_t *f)
{
	char name[PATH_MOST + NAME_ROOM];
	struct stat st;
	for (unsigned i = 1; i < f->keep; i++) {
		name_of(f, i, name);
		if (lstat(name, &st) != 0 && errno == ENOENT)
			return i;
	}
	return f->keep;
}

static kms_err_t rotate(sink_file_t *f, diag_t *why)
{
	char from[PATH_MOST + NAME_ROOM];
	char to[PATH_MOST + NAME_ROOM];
	KMS_TRY(flush(f, why));
	for (unsigned i = first_free(f); i > 0; i--) {
		name_of(f, i - 1, from);
		name_of(f, i, to);
		if (rename(from, to) != 0)
			return fail(f, "rotate", why);
	}
	closep(&f->fd);
	return sync_folder(f, why);
}

/* Whether the path still names the file that is open; *size is its size. */
static bool still_ours(const sink_file_t *f, uint64_t *size)
{
	struct stat named;
	struct stat opened;
	if (f->fd < 0 || lstat(f->path, &named) != 0 || fstat(f->fd, &opened) != 0)
		return false;
	*size = (uint64_t)opened.st_size;
	return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

static kms_err_t ready(sink_file_t *f, size_t more, uint64_t *size, diag_t *why)
{
	if (f->fd >= 0 && !still_ours(f, size)) {
		KMS_TRY(flush(f, why)); /* its events are in a file that was moved away */
		closep(&f->fd);
	}
	if (f->fd < 0)
		KMS_TRY(open_file(f, why));
	if (!still_ours(f, size))
		return diag_fail(why, KMS_E_IO, "%s was moved while it was opened", f->path);
	if (*size == 0 || *size + more <= f->size_max)
		return KMS_OK;
	KMS_TRY(rotate(f, why));
	KMS_TRY(open_file(f, why));
	*size = 0;
	return KMS_OK;
}

static kms_err_t append(sink_file_t *f, span_t lines, uint64_t size, diag_t *why)
{
	while (lines.n > 0) {
		ssize_t put = write(f->fd, lines.p, lines.n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			kms_err_t e = fail(f, "write", why);
			/* the lines come again; a torn one among them would stay */
			if (ftruncate(f->fd, (off_t)size) != 0)
				closep(&f->fd);
			return e;
		}
		lines = span_of(lines.p + put, lines.n - (size_t)put);
	}
	return KMS_OK;
}

static kms_err_t file_take(sink_t *s, const sink_event_t *e, size_t n, diag_t *why)
{
	sink_file_t *f = (sink_file_t *)s;
	uint64_t size = 0;
	buf_clear(&f->lines);
	for (size_t i = 0; i < n; i++)
		sink_line(&e[i], &f->lines);
	if (f->lines.err != KMS_OK)
		return diag_fail(why, f->lines.err, "not enough memory");
	KMS_TRY(ready(f, f->lines.n, &size, why));
	return append(f, buf_span(&f->lines), size, why);
}

static kms_err_t file_settle(sink_t *s, diag_t *why)
{
	return flush((sink_file_t *)s, why);
}

static void file_close(sink_t *s)
{
	sink_file_t *f = (sink_file_t *)s;
	closep(&f->fd);
	buf_free(&f->lines);
	free(f->path);
	free(f->folder);
	free(f);
}

static kms_err_t check_path(const char *path, diag_t *why)
{
	size_t n = strlen(path);
	if (path[0] != '/' || n > PATH_MOST || path[n - 1] == '/')
		return diag_fail(why, KMS_E_INVALID,
				 "export-file: \"%.120s\" must be the absolute path of a file", path);
	return KMS_OK;
}

kms_err_t sink_file_new(const sink_file_options_t *o, sink_t **out, diag_t *why)
{
	static const sink_ops_t ops = {.take = file_take, .settle = file_settle, .close = file_close};
	struct stat st;
	KMS_TRY(check_path(o->path, why));
	sink_file_t *f = calloc(1, sizeof *f);
	if (f == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	*f = (sink_file_t){
		.sink = {.ops = &ops, .name = "file"}, .size_max = o->size, .keep = o->keep, .fd = -1};
	SCOPED(sink_closep) sink_t *s = &f->sink;
	const char *slash = strrchr(o->path, '/');
	f->path = strdup(o->path);
	f->folder = strndup(o->path, slash == o->path ? 1 : (size_t)(slash - o->path));
	if (f->path == NULL || f->folder == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory");
	if (stat(f->folder, &st) != 0 || !S_ISDIR(st.st_mode))
		return diag_fail(why, KMS_E_INVALID, "export-file: there is no folder %.200s", f->folder);
	*out = TAKE(s);
	return KMS_OK;
}
