#include "kms-server/app/server_dir.h"

#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/stat.h>

#define PEM_MAX (64U * 1024U)

kms_err_t server_dir_read(const char *dir, const char *name, buf_t *out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, name, &path));
	return file_read(path, PEM_MAX, out, why);
}

kms_err_t server_dir_read_secret(const char *dir, const char *name, secret_t **out, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, name, &path));
	return file_read_secret(path, out, why);
}

kms_err_t server_dir_write(const char *dir, const char *name, span_t content, unsigned mode, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, name, &path));
	return file_write(path, content, mode, FILE_CREATE_ONLY, why);
}

void server_files_free(server_files_t *f)
{
	buf_free(&f->ca);
	buf_free(&f->cert);
	secret_freep(&f->key);
	note_signer_freep(&f->log_signer);
}

kms_err_t server_dir_write_signer(const char *dir, const note_signer_t *signer, diag_t *why)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	KMS_TRY(note_signer_text(signer, &text));
	return server_dir_write(dir, SERVER_DIR_LOG_KEY, secret_span(text), 0600, why);
}

kms_err_t server_dir_put_vkey(const char *dir, const note_vkey_t *key, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	SCOPED(buf_free) buf_t have = BUF_INIT;
	char text[NOTE_VKEY_CAP], line[NOTE_VKEY_CAP + 1];
	note_vkey_format(key, text);
	(void)snprintf(line, sizeof line, "%s\n", text);
	KMS_TRY(path_join(dir, SERVER_DIR_LOG_VKEY, &path));
	if (file_read(path, NOTE_VKEY_CAP, &have, NULL) == KMS_OK && span_eq(buf_span(&have), span_str(line)))
		return KMS_OK;
	return file_write(path, span_str(line), 0644, FILE_REPLACE, why);
}

static kms_err_t load_signer(const char *dir, server_files_t *f, diag_t *why)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	diag_t detail = {""};
	KMS_TRY(server_dir_read_secret(dir, SERVER_DIR_LOG_KEY, &text, why));
	kms_err_t e = note_signer_load(text, &f->log_signer, &detail);
	return e == KMS_E_INVALID ? diag_fail(why, KMS_E_INTEGRITY, "%s/%s is not a log's key: %.300s", dir,
					      SERVER_DIR_LOG_KEY, detail.text)
				  : e;
}

static kms_err_t load(const char *dir, server_files_t *f, diag_t *why)
{
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	KMS_TRY(server_dir_read(dir, SERVER_DIR_CA, &f->ca, why));
	KMS_TRY(server_dir_read(dir, SERVER_DIR_CERT, &f->cert, why));
	KMS_TRY(server_dir_read_secret(dir, SERVER_DIR_KEY, &f->key, why));
	KMS_TRY(load_signer(dir, f, why));
	KMS_TRY(x509_ca_load(buf_span(&f->ca), &ca, why));
	kms_err_t e = x509_key_matches(f->key, buf_span(&f->cert));
	if (e != KMS_OK)
		return diag_fail(why, e, "%s/%s is not the key of %s/%s", dir, SERVER_DIR_KEY, dir,
				 SERVER_DIR_CERT);
	return KMS_OK;
}

kms_err_t server_dir_load(const char *dir, server_files_t *out, diag_t *why)
{
	SCOPED(server_files_free) server_files_t f = {.key = NULL};
	KMS_TRY(load(dir, &f, why));
	*out = f;
	f = (server_files_t){.key = NULL};
	return KMS_OK;
}

kms_err_t server_dir_lock(const char *dir, int *fd, diag_t *why)
{
	SCOPED(freep) char *path = NULL;
	KMS_TRY(path_join(dir, SERVER_DIR_LOCK, &path));
	/* init makes the file: its absence says that this is no server's folder */
	SCOPED(closep) int lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (lock < 0 && (errno == ENOENT || errno == ENOTDIR))
		return diag_fail(why, KMS_E_NOTFOUND,
				 "%s is not a server's folder: make one with kms-server init --dir %s", dir,
				 dir);
	if (lock < 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return diag_fail(why, KMS_E_CONFLICT, "another kms-server uses %s", dir);
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	}
	*fd = fd_take(&lock);
	return KMS_OK;
}

/* --- making and removing folders --- */

static kms_err_t empty_folder(const char *dir, diag_t *why)
{
	DIR *d = opendir(dir);
	if (d == NULL)
		return diag_fail(why, KMS_E_CONFLICT, "%s cannot be used: %s", dir, strerror(errno));
	bool empty = true;
	for (const struct dirent *e = readdir(d); e != NULL && empty; e = readdir(d))
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	(void)closedir(d);
	if (!empty)
		return diag_fail(why, KMS_E_CONFLICT, "%s holds something already: nothing was changed", dir);
	return KMS_OK;
}

kms_err_t server_dir_vacant(const char *dir, bool *exists, diag_t *why)
{
	struct stat st;
	*exists = lstat(dir, &st) == 0;
	if (!*exists && errno == ENOENT)
		return KMS_OK;
	if (!*exists)
		return diag_fail(why, KMS_E_IO, "%s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return diag_fail(why, KMS_E_CONFLICT, "%s is not a folder", dir);
	return empty_folder(dir, why);
}

kms_err_t server_dir_stage(const char *dir, char **staged, diag_t *why)
{
	size_t n = strlen(dir);
	while (n > 1 && dir[n - 1] == '/')
		n--;
	char *path = NULL;
	if (asprintf(&path, "%.*s.new-XXXXXX", (int)n, dir) < 0)
		return KMS_E_NOMEM;
	if (mkdtemp(path) == NULL) {
		kms_err_t e =
			diag_fail(why, KMS_E_IO, "cannot make a folder beside %s: %s", dir, strerror(errno));
		free(path);
		return e;
	}
	*staged = path;
	return KMS_OK;
}

static kms_err_t sync_folder(const char *path, diag_t *why)
{
	SCOPED(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	return KMS_OK;
}

kms_err_t server_dir_publish(const char *staged, const char *dir, diag_t *why)
{
	KMS_TRY(sync_folder(staged, why));
	/* takes the place of an empty folder, never of one with something in it */
	if (rename(staged, dir) != 0) {
		kms_err_t e = errno == ENOTEMPTY || errno == EEXIST ? KMS_E_CONFLICT : KMS_E_IO;
		return diag_fail(why, e, "cannot put the new folder at %s: %s", dir, strerror(errno));
	}
	SCOPED(freep) char *copy = strdup(dir);
	return copy != NULL ? sync_folder(dirname(copy), why) : KMS_E_NOMEM;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void server_dir_discard(char **staged)
{
	if (*staged == NULL)
		return;
	/* what cannot be removed stays under a name that nothing else uses */
	(void)nftw(*staged, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(*staged);
	*staged = NULL;
}
