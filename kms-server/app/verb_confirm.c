#include "kms-server/app/verbs.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/app/bundle.h"
#include "kms-server/app/settings.h"
#include "kms-server/core/copies.h"
#include "kms-server/store/backup.h"
#include "kms-server/store/lmdb_store.h"

#include <errno.h>
#include <fcntl.h>

/* A copy counts when it was read back, whole, from the place where it is kept: nobody's word is taken for it.
 * The server may run: what is written is the mark alone. */
typedef struct confirming {
	const char *dir, *file, *label;
	server_files_t files;
	secret_t *backup_key;
	char *staged; /* holds "db", removed at the end */
} confirming_t;

static void confirming_end(confirming_t *c)
{
	server_dir_discard(&c->staged);
	secret_freep(&c->backup_key);
	server_files_free(&c->files);
}

static kms_err_t key_of(void *ctx, span_t header_extra, secret_t **key, diag_t *why)
{
	const confirming_t *c = ctx;
	bundle_t b;
	if (bundle_parse(header_extra, &b) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "%s: its header is not one of a backup", c->file);
	if (!span_eq(buf_span(&c->files.ca), b.ca))
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s is a backup of another deployment than %s (another CA)", c->file,
				 c->dir);
	return secret_from(secret_span(c->backup_key), key);
}

/* File systems that have no such thing say EINVAL or EROFS: what is on them is as durable as it gets. */
static kms_err_t flush(const char *file, diag_t *why)
{
	SCOPED(closep) int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return diag_fail(why, errno == ENOENT ? KMS_E_NOTFOUND : KMS_E_IO, "%s: %s", file,
				 strerror(errno));
	if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
		return diag_fail(why, KMS_E_IO, "%s cannot be made durable: %s", file, strerror(errno));
	return KMS_OK;
}

static kms_err_t put_mark(confirming_t *c, const char *db, const char *copied, log_head_t *out, diag_t *why)
{
	SCOPED(store_closep) store_t *ours = NULL;
	SCOPED(store_closep) store_t *copy = NULL;
	const lmdb_store_options_t o = {.read_only = true};
	KMS_TRY(lmdb_store_open(copied, &o, &copy, why));
	KMS_TRY(lmdb_store_open(db, &o, &ours, why));
	return copies_confirm(ours, copy, c->dir, c->label, note_signer_vkey(c->files.log_signer), out, why);
}

static kms_err_t confirm(confirming_t *c, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(freep) char *copied = NULL;
	log_head_t head;
	KMS_TRY(server_dir_load(c->dir, &c->files, why));
	KMS_TRY(server_dir_read_secret(c->dir, SERVER_DIR_BACKUP, &c->backup_key, why));
	KMS_TRY(flush(c->file, why));
	KMS_TRY(path_join(c->dir, SERVER_DIR_DB, &db));
	KMS_TRY(server_dir_stage(db, &c->staged, why));
	KMS_TRY(path_join(c->staged, SERVER_DIR_DB, &copied));
	KMS_TRY(backup_read(c->file, key_of, c, copied, why));
	KMS_TRY(put_mark(c, db, copied, &head, why));
	printf("%s was read whole and counts as the copy \"%s\": it holds the log up to event %llu.\n",
	       c->file, c->label, (unsigned long long)head.size);
	return fflush(stdout) == 0 ? KMS_OK : KMS_E_IO;
}

kms_err_t verb_confirm(int argc, char **argv, diag_t *why)
{
	SCOPED(conf_freep) conf_t *conf = NULL;
	char label[NAME_CAP];
	KMS_TRY(settings_load(SETTINGS_CONFIRM, argc, argv, 1, &conf, why));
	const char *text = conf_text(conf, "label");
	if (text == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "--label NAME is missing: the place where the copy is kept");
	KMS_TRY(name_parse("label", span_str(text), label, why));
	SCOPED(confirming_end)
	confirming_t c = {.dir = conf_text(conf, "dir"), .file = conf_word(conf, 0), .label = label};
	return confirm(&c, why);
}
