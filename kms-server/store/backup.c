#include "kms-server/store/backup.h"

#include "common/base/reader.h"
#include "common/base/scope.h"
#include "kms-server/store/backup_format.h"
#include "kms-server/store/lmdb_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>

#define COPY_BUFFER (64U * 1024U)

static kms_err_t fail_errno(diag_t *why, const char *what, const char *path)
{
	int err = errno;
	kms_err_t e = err == ENOSPC || err == EDQUOT ? KMS_E_FULL : KMS_E_IO;
	return diag_fail(why, e, "cannot %s %s: %s", what, path, strerror(err));
}

/* --- what is removed unless it was completed --- */

typedef struct scratch {
	char *path; /* NULL: nothing to remove, or no longer scratch */
	bool folder;
} scratch_t;

static const char *const DB_FILES[] = {"data.mdb", "lock.mdb"};

/* Without memory of its own: it must not fail for want of it. */
static void remove_in(const char *dir, const char *name)
{
	SCOPED(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		(void)unlinkat(fd, name, 0);
}

static void scratch_remove(scratch_t *s)
{
	if (s->path == NULL)
		return;
	if (s->folder) {
		for (size_t i = 0; i < sizeof(DB_FILES) / sizeof(DB_FILES[0]); i++)
			remove_in(s->path, DB_FILES[i]);
		(void)rmdir(s->path);
	} else {
		(void)unlink(s->path);
	}
	free(s->path);
	s->path = NULL;
}

static kms_err_t scratch_name(const char *beside, const char *mark, char **out)
{
	return asprintf(out, "%s.%s-XXXXXX", beside, mark) < 0 || *out == NULL ? KMS_E_NOMEM : KMS_OK;
}

static kms_err_t scratch_folder(const char *beside, const char *mark, scratch_t *out, diag_t *why)
{
	SCOPED(freep) char *name = NULL;
	KMS_TRY(scratch_name(beside, mark, &name));
	if (mkdtemp(name) == NULL) /* 0700 */
		return fail_errno(why, "create", name);
	*out = (scratch_t){.path = TAKE(name), .folder = true};
	return KMS_OK;
}

static kms_err_t scratch_file(const char *beside, scratch_t *out, int *fd, diag_t *why)
{
	SCOPED(freep) char *name = NULL;
	KMS_TRY(scratch_name(beside, "partial", &name));
	int f = mkostemp(name, O_CLOEXEC); /* 0600 */
	if (f < 0)
		return fail_errno(why, "create", name);
	*fd = f;
	*out = (scratch_t){.path = TAKE(name)};
	return KMS_OK;
}

static kms_err_t sync_folder(const char *dir, diag_t *why)
{
	SCOPED(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return fail_errno(why, "make durable", dir);
	return KMS_OK;
}

/* Opened before something is renamed in it, so that afterwards only the flush itself can fail. */
static kms_err_t open_parent(const char *path, int *fd, diag_t *why)
{
	SCOPED(freep) char *copy = strdup(path);
	if (copy == NULL)
		return KMS_E_NOMEM;
	const char *parent = dirname(copy);
	*fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *fd >= 0 ? KMS_OK : fail_errno(why, "open", parent);
}

static kms_err_t sync_parent(int fd, const char *path, diag_t *why)
{
	return fsync(fd) == 0 ? KMS_OK : fail_errno(why, "make durable the name of", path);
}

/* --- checking a database that was read back --- */

/* Reads every entry, so that every page is looked at. */
static kms_err_t walk_table(store_txn_t *t, store_table_t table, uint64_t *n)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	KMS_TRY(store_seek(t, table, span_of(NULL, 0), STORE_UP, &c));
	span_t key = {0};
	span_t value = {0};
	uint64_t seen = 0;
	unsigned sum = 0;
	kms_err_t e = KMS_OK;
	while ((e = store_next(c, &key, &value)) == KMS_OK) {
		for (size_t i = 0; i < value.n; i += 512)
			sum += ((const volatile uint8_t *)value.p)[i];
		seen++;
	}
	(void)sum;
	*n = seen;
	return e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t check_tables(store_t *s, const uint64_t counts[STORE_TABLES], diag_t *why)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	KMS_TRY(store_begin_read(s, &t));
	for (int i = 0; i < STORE_TABLES; i++) {
		const char *name = lmdb_store_table_name((store_table_t)i);
		uint64_t n = 0;
		kms_err_t e = walk_table(t, (store_table_t)i, &n);
		if (e != KMS_OK)
			return diag_fail(why, e, "table %s of the backup cannot be read", name);
		if (n != counts[i])
			return diag_fail(why, KMS_E_INTEGRITY,
					 "table %s of the backup has %" PRIu64
					 " entries and was copied with %" PRIu64,
					 name, n, counts[i]);
	}
	return KMS_OK;
}

static kms_err_t check_database(const char *dir, const uint64_t counts[STORE_TABLES], diag_t *why)
{
	SCOPED(store_closep) store_t *s = NULL;
	KMS_TRY(lmdb_store_open(dir, &(lmdb_store_options_t){.read_only = true}, &s, why));
	KMS_TRY(check_tables(s, counts, why));
	store_closep(&s);
	remove_in(dir, "lock.mdb");
	return KMS_OK;
}

/* --- decrypting into a folder --- */

static kms_err_t opener_failed(kms_err_t e, diag_t *why)
{
	if (e == KMS_E_INTEGRITY)
		return diag_fail(why, e,
				 "the backup does not open: another key, or the file was changed or cut off");
	return diag_fail(why, e, "the backup cannot be read: %s", kms_err_name(e));
}

static kms_err_t extract_to(backup_opener_t *o, int fd, uint64_t counts[STORE_TABLES], diag_t *why)
{
	span_t plain = {0};
	kms_err_t e = backup_opener_next(o, &plain);
	if (e != KMS_OK)
		return opener_failed(e, why);
	reader_t r = reader_of(plain);
	span_t manifest = reader_lp(&r);
	if (r.failed)
		return diag_fail(why, KMS_E_INTEGRITY, "the backup has no manifest");
	KMS_TRY(backup_manifest_get(manifest, counts, why));
	plain = r.rest;
	while (e == KMS_OK) {
		if (backup_write_full(fd, plain) != KMS_OK)
			return fail_errno(why, "write", "the restored database");
		e = backup_opener_next(o, &plain);
	}
	return e == KMS_E_NOTFOUND ? KMS_OK : opener_failed(e, why);
}

/* `dir` is a new folder of ours. */
static kms_err_t extract(backup_opener_t *o, const char *dir, diag_t *why)
{
	uint64_t counts[STORE_TABLES] = {0};
	SCOPED(freep) char *path = NULL;
	if (asprintf(&path, "%s/data.mdb", dir) < 0 || path == NULL)
		return KMS_E_NOMEM;
	SCOPED(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail_errno(why, "create", path);
	KMS_TRY(extract_to(o, fd, counts, why));
	if (fsync(fd) != 0)
		return fail_errno(why, "make durable", path);
	KMS_TRY(check_database(dir, counts, why));
	return sync_folder(dir, why);
}

static kms_err_t extract_file(const char *path, backup_key_fn key_of, void *ctx, const char *dir, diag_t *why)
{
	SCOPED(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? diag_fail(why, KMS_E_NOTFOUND, "%s: %s", path, strerror(errno))
				       : fail_errno(why, "open", path);
	SCOPED(backup_header_free) backup_header_t h = {.bytes = BUF_INIT};
	KMS_TRY(backup_header_read(fd, &h, why));
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(key_of(ctx, h.extra, &key, why));
	SCOPED(backup_opener_freep) backup_opener_t *o = NULL;
	kms_err_t e = backup_opener_new(fd, &h, key, &o);
	if (e != KMS_OK)
		return opener_failed(e, why);
	return extract(o, dir, why);
}

/* --- writing --- */

static kms_err_t pump(int from, backup_sealer_t *s, diag_t *why)
{
	SCOPED(freep) uint8_t *b = malloc(COPY_BUFFER);
	if (b == NULL)
		return KMS_E_NOMEM;
	size_t n = 0;
	do {
		if (backup_read_full(from, b, COPY_BUFFER, &n) != KMS_OK)
			return fail_errno(why, "read", "the copy of the database");
		if (backup_sealer_put(s, span_of(b, n)) != KMS_OK)
			return fail_errno(why, "write", "the backup");
	} while (n == COPY_BUFFER);
	return KMS_OK;
}

static kms_err_t seal_copy(lmdb_copy_t *c, backup_sealer_t *s, diag_t *why)
{
	SCOPED(buf_free) buf_t manifest = BUF_INIT;
	KMS_TRY(backup_manifest_put(lmdb_copy_counts(c), &manifest));
	KMS_TRY(backup_sealer_put(s, buf_span(&manifest)));
	return pump(lmdb_copy_fd(c), s, why);
}

/* The stream gets its end mark only when the copy is known to be whole. */
static kms_err_t write_body(lmdb_env_t *env, backup_sealer_t *s, diag_t *why)
{
	lmdb_copy_t *c = NULL;
	KMS_TRY(lmdb_copy_start(env, &c, why));
	kms_err_t e = seal_copy(c, s, why);
	kms_err_t copied = lmdb_copy_end(c, e == KMS_OK ? why : NULL);
	KMS_TRY(e);
	KMS_TRY(copied);
	e = backup_sealer_end(s);
	return e == KMS_OK ? KMS_OK : fail_errno(why, "write", "the backup");
}

static kms_err_t write_file(lmdb_env_t *env, span_t extra, const secret_t *key, int fd, diag_t *why)
{
	SCOPED(backup_sealer_freep) backup_sealer_t *s = NULL;
	kms_err_t e = backup_sealer_new(fd, extra, key, &s);
	if (e == KMS_E_IO || e == KMS_E_FULL)
		return fail_errno(why, "write", "the backup");
	if (e != KMS_OK)
		return diag_fail(why, e, "cannot begin the backup: %s", kms_err_name(e));
	KMS_TRY(write_body(env, s, why));
	if (fsync(fd) != 0)
		return fail_errno(why, "make durable", "the backup");
	/* what is read back shall come from the disk where it can */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return KMS_OK;
}

static kms_err_t given_key(void *ctx, span_t header_extra, secret_t **key, diag_t *why)
{
	(void)header_extra;
	(void)why;
	return secret_from(secret_span(ctx), key);
}

static kms_err_t read_back(const char *file, const char *beside, secret_t *key, diag_t *why)
{
	SCOPED(scratch_remove) scratch_t dir = {0};
	KMS_TRY(scratch_folder(beside, "verify", &dir, why));
	return extract_file(file, given_key, key, dir.path, why);
}

static kms_err_t check_destination(const char *path, diag_t *why)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return errno == ENOENT ? KMS_OK : fail_errno(why, "use", path);
	return S_ISREG(st.st_mode) ? KMS_OK
				   : diag_fail(why, KMS_E_CONFLICT, "%s is not a regular file", path);
}

kms_err_t backup_write(store_t *s, span_t header_extra, const secret_t *backup_key, const char *path,
		       diag_t *why)
{
	lmdb_env_t *env = lmdb_store_env(s);
	if (env == NULL)
		return diag_fail(why, KMS_E_INVALID, "only a store on disk has backups");
	KMS_TRY(check_destination(path, why));
	SCOPED(secret_freep) secret_t *key = NULL;
	KMS_TRY(secret_from(secret_span(backup_key), &key));
	SCOPED(scratch_remove) scratch_t file = {0};
	SCOPED(closep) int fd = -1;
	KMS_TRY(scratch_file(path, &file, &fd, why));
	KMS_TRY(write_file(env, header_extra, key, fd, why));
	KMS_TRY(read_back(file.path, path, key, why));
	SCOPED(closep) int parent = -1;
	KMS_TRY(open_parent(path, &parent, why));
	if (rename(file.path, path) != 0)
		return fail_errno(why, "rename the backup to", path);
	freep(&file.path);
	return sync_parent(parent, path, why);
}

/* --- restoring --- */

/* File systems without RENAME_NOREPLACE (EINVAL): a plain rename still refuses any folder that holds
 * something. */
static kms_err_t put_in_place(const char *from, const char *to, diag_t *why)
{
	int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
	if (rc != 0 && errno == EINVAL)
		rc = rename(from, to);
	if (rc == 0)
		return KMS_OK;
	if (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR)
		return diag_fail(why, KMS_E_CONFLICT, "%s exists: restore into a new folder", to);
	return fail_errno(why, "rename the restored folder to", to);
}

kms_err_t backup_read(const char *path, backup_key_fn key_of, void *ctx, const char *target_dir, diag_t *why)
{
	struct stat st;
	if (lstat(target_dir, &st) == 0)
		return diag_fail(why, KMS_E_CONFLICT, "%s exists: restore into a new folder", target_dir);
	SCOPED(scratch_remove) scratch_t dir = {0};
	KMS_TRY(scratch_folder(target_dir, "restore", &dir, why));
	KMS_TRY(extract_file(path, key_of, ctx, dir.path, why));
	SCOPED(closep) int parent = -1;
	KMS_TRY(open_parent(target_dir, &parent, why));
	KMS_TRY(put_in_place(dir.path, target_dir, why));
	freep(&dir.path);
	return sync_parent(parent, target_dir, why);
}
