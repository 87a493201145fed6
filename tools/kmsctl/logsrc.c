#include "tools/kmsctl/logsrc.h"

#include "common/base/scope.h"
#include "common/tlog/checkpoint.h"
#include "tools/kmsctl/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define LOG_PATH     "/v1/audit/log"
#define TRIES        8U
#define FIRST_PAUSE  200U /* ms; doubled each time */
#define MOST_PAUSE_S 30U

struct logsrc {
	cli_t *cli;
	char *name;
	char *addr;      /* of a server, where it is not the setting's */
	int dir;         /* -1: a server */
	uint64_t served; /* size of the tree that the server has by now, 0: not asked yet */
};

void logsrc_freep(logsrc_t **s)
{
	logsrc_t *gone = *s;
	*s = NULL;
	if (gone == NULL)
		return;
	closep(&gone->dir);
	if (gone->addr != NULL)
		gone->cli->addr = NULL;
	free(gone->addr);
	free(gone->name);
	free(gone);
}

bool logsrc_is_folder(const logsrc_t *s)
{
	return s->dir >= 0;
}

const char *logsrc_name(const logsrc_t *s)
{
	return s->name;
}

/* "https://a:1/v1/audit/log,https://b:2" to "https://a:1,https://b:2". */
static void cut_paths(char *urls)
{
	char *to = urls;
	for (const char *at = urls;;) {
		size_t n = strcspn(at, ",");
		size_t keep = n > 0 && at[n - 1] == '/' ? n - 1 : n;
		size_t path = strlen(LOG_PATH);
		if (keep > path && memcmp(at + keep - path, LOG_PATH, path) == 0)
			keep -= path;
		memmove(to, at, keep);
		to += keep;
		at += n;
		if (*at == '\0')
			break;
		*to++ = *at++;
	}
	*to = '\0';
}

static kms_err_t make(cli_t *cli, const char *name, logsrc_t **out)
{
	SCOPED(logsrc_freep) logsrc_t *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KMS_E_NOMEM;
	s->cli = cli;
	s->dir = -1;
	s->name = strdup(name);
	if (s->name == NULL)
		return KMS_E_NOMEM;
	*out = TAKE(s);
	return KMS_OK;
}

static kms_err_t open_folder(logsrc_t *s, diag_t *why)
{
	s->dir = open(s->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir >= 0)
		return KMS_OK;
	if (errno == ENOENT || errno == ENOTDIR)
		return diag_fail(why, KMS_E_NOTFOUND, "there is no folder %.300s", s->name);
	return diag_fail(why, KMS_E_IO, "cannot open the folder %.300s: %m", s->name);
}

kms_err_t logsrc_open(cli_t *cli, const char *where, logsrc_t **out, diag_t *why)
{
	SCOPED(logsrc_freep) logsrc_t *s = NULL;
	if (make(cli, where, &s) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the log's source");
	if (strstr(where, "://") == NULL) {
		KMS_TRY(open_folder(s, why));
	} else {
		s->addr = strdup(where);
		if (s->addr == NULL)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the log's source");
		cut_paths(s->addr);
		cli->addr = s->addr;
	}
	*out = TAKE(s);
	return KMS_OK;
}

kms_err_t logsrc_server(cli_t *cli, logsrc_t **out, diag_t *why)
{
	kms_err_t e = make(cli, "the server", out);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the log's source");
}

/* --- one file --- */

static kms_err_t read_all(int fd, size_t expected, const char *file, buf_t *out, diag_t *why)
{
	/* one byte more than there should be, so that the end is seen without growing */
	size_t step = expected + 1;
	for (;;) {
		uint8_t *at = buf_reserve(out, step);
		if (at == NULL)
			return out->err == KMS_E_FULL
				       ? diag_fail(why, KMS_E_INTEGRITY,
						   "%s is larger than any file of a log", file)
				       : diag_fail(why, out->err, "not enough memory to read %s", file);
		ssize_t got = read(fd, at, step);
		out->n -= step - (got > 0 ? (size_t)got : 0);
		if (got == 0)
			return KMS_OK;
		if (got < 0 && errno != EINTR)
			return diag_fail(why, KMS_E_IO, "cannot read %s: %m", file);
		step = 4096;
	}
}

static kms_err_t read_file(const logsrc_t *s, const char *file, buf_t *out, diag_t *why)
{
	struct stat st;
	/* NONBLOCK: a FIFO in a file's place must not hang us */
	SCOPED(closep) int fd = openat(s->dir, file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return diag_fail(why, KMS_E_NOTFOUND, "there is no file %s", file);
	if (fd < 0 || fstat(fd, &st) != 0)
		return diag_fail(why, KMS_E_IO, "cannot open %s: %m", file);
	if (!S_ISREG(st.st_mode))
		return diag_fail(why, KMS_E_INTEGRITY, "%s is not a regular file", file);
	if (st.st_size < 0 || (uint64_t)st.st_size > LOGSRC_FILE_MAX)
		return diag_fail(why, KMS_E_INTEGRITY, "%s is larger than any file of a log", file);
	return read_all(fd, (size_t)st.st_size, file, out, why);
}

static void pause_ms(uint64_t ms)
{
	struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
	while (nanosleep(&t, &t) != 0 && errno == EINTR) {
	}
}

/* 429 and 503 are answers of a server that will do it later: tens of thousands of tiles are more than its
 * budget for one caller. */
static kms_err_t fetch(logsrc_t *s, const char *path, client_reply_t *r, diag_t *why)
{
	uint64_t ms = FIRST_PAUSE;
	for (unsigned i = 0;; i++, ms *= 2) {
		KMS_TRY(cli_get(s->cli, path, CLI_TIMEOUT_S, r, why));
		if ((r->status != 429 && r->status != 503) || i + 1 == TRIES)
			return KMS_OK;
		uint64_t told = r->retry_after < MOST_PAUSE_S ? r->retry_after : MOST_PAUSE_S;
		client_reply_free(r);
		pause_ms(told > 0 ? told * 1000 : ms);
	}
}

static kms_err_t read_url(logsrc_t *s, const char *file, buf_t *out, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	char path[CLI_PATH_CAP];
	KMS_TRY(cli_path(path, why, LOG_PATH "/%s", file));
	KMS_TRY(fetch(s, path, &r, why));
	KMS_TRY(client_status(&r, why));
	buf_free(out);
	*out = r.body;
	r.body = (buf_t)BUF_INIT;
	return KMS_OK;
}

kms_err_t logsrc_read(logsrc_t *s, const char *file, buf_t *out, diag_t *why)
{
	if (s->dir < 0)
		return read_url(s, file, out, why);
	/* not buf_clear: a log has no secrets, and wiping costs a tenth of the time that hashing takes */
	out->n = 0;
	out->err = KMS_OK;
	out->limit = LOGSRC_FILE_MAX + 4096;
	return read_file(s, file, out, why);
}

/* --- tiles --- */

/* How wide a server's tile is by now: the size that its newest checkpoint claims. It only says what to ask
 * for. */
static uint32_t width_by_now(logsrc_t *s, const tile_t *t)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	checkpoint_t now = {.size = 0};
	diag_t unused;
	if (s->dir >= 0)
		return 0;
	if (s->served == 0 && logsrc_read(s, "checkpoint", &b, &unused) == KMS_OK) {
		const uint8_t *end = b.n > 0 ? memmem(b.p, b.n, "\n\n", 2) : NULL;
		if (end != NULL &&
		    checkpoint_parse(span_of(b.p, (size_t)(end + 1 - b.p)), &now, &unused) == KMS_OK)
			s->served = now.size;
	}
	return tile_width(s->served, t->level == TILE_ENTRIES ? 0 : t->level, t->index);
}

static void entries_below(const tile_t *t, char *out, size_t cap)
{
	unsigned shift = t->level > 0 ? 8U * (unsigned)t->level : 0;
	uint64_t first = (t->index * TILE_WIDTH) << shift;
	uint64_t last = ((t->index * TILE_WIDTH + t->width) << shift) - 1;
	(void)snprintf(out, cap, "entries %llu to %llu", (unsigned long long)first, (unsigned long long)last);
}

/* Asks for t, the full tile, and what the server has of it now. */
static kms_err_t read_tile(logsrc_t *s, const tile_t *t, buf_t *buf, tile_t *is, char file[TILE_PATH_CAP],
			   diag_t *why)
{
	tile_t tries[3] = {*t, *t, *t};
	kms_err_t e = KMS_E_NOTFOUND;
	tries[1].width = TILE_WIDTH;
	for (size_t i = 0; i < COUNT(tries) && e == KMS_E_NOTFOUND; i++) {
		if (i == 2)
			tries[2].width = width_by_now(s, t);
		if (i > 0 && (tries[i].width <= t->width || (i == 2 && tries[2].width == TILE_WIDTH)))
			continue;
		*is = tries[i];
		tile_format(is, file);
		e = logsrc_read(s, file, buf, why);
	}
	if (e != KMS_E_NOTFOUND)
		return e;
	char what[64];
	entries_below(t, what, sizeof what);
	tile_format(t, file);
	return diag_fail(why, KMS_E_INTEGRITY, "%s is missing: %s%s", file, what,
			 s->dir < 0 && t->level == TILE_ENTRIES
				 ? " (an auditor of some customers gets no bundles: --mode customer)"
				 : "");
}

/* Where a tile's bytes end says from which entry on its hashes are gone. */
static kms_err_t bad_length(const tile_t *is, const char *file, size_t n, diag_t *why)
{
	size_t right = (size_t)is->width * MERKLE_HASH_LEN;
	unsigned shift = 8U * (unsigned)is->level;
	uint64_t from = (is->index * TILE_WIDTH + (n < right ? n : right) / MERKLE_HASH_LEN) << shift;
	return diag_fail(why, KMS_E_INTEGRITY, "%s has %zu bytes and not %zu: it was %s, at index %llu", file,
			 n, right, n < right ? "cut off" : "added to", (unsigned long long)from);
}

kms_err_t logsrc_hashes(logsrc_t *s, const tile_t *t, buf_t *buf, const uint8_t **hashes, diag_t *why)
{
	tile_t is = *t;
	char file[TILE_PATH_CAP];
	KMS_TRY(read_tile(s, t, buf, &is, file, why));
	if (buf->n != (size_t)is.width * MERKLE_HASH_LEN)
		return bad_length(&is, file, buf->n, why);
	*hashes = buf->p;
	return KMS_OK;
}

kms_err_t logsrc_bundle(logsrc_t *s, uint64_t index, uint32_t width, buf_t *buf, bool *whole, diag_t *why)
{
	tile_t t = {.level = TILE_ENTRIES, .index = index, .width = width};
	tile_t is = t;
	char file[TILE_PATH_CAP];
	KMS_TRY(read_tile(s, &t, buf, &is, file, why));
	*whole = is.width == width;
	return KMS_OK;
}
