#include "kms-server/app/verbs.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/app/bundle.h"
#include "kms-server/app/settings.h"
#include "kms-server/core/init.h"
#include "kms-server/store/backup.h"
#include "kms-server/store/lmdb_store.h"

/* No lock: LMDB lets a reader of another process see one consistent state while the server writes on. */
static kms_err_t backup(const char *dir, const char *file, diag_t *why)
{
	SCOPED(store_closep) store_t *store = NULL;
	SCOPED(server_files_free) server_files_t files = {.key = NULL};
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t header = BUF_INIT;
	log_head_t head;
	const lmdb_store_options_t o = {.read_only = true};
	KMS_TRY(server_dir_load(dir, &files, why));
	KMS_TRY(server_dir_read_secret(dir, SERVER_DIR_BACKUP, &key, why));
	SCOPED(freep) char *db = NULL;
	KMS_TRY(path_join(dir, SERVER_DIR_DB, &db));
	KMS_TRY(lmdb_store_open(db, &o, &store, why));
	KMS_TRY(bundle_make(store, &files, key, &header));
	KMS_TRY(core_log_head(store, &head));
	KMS_TRY(backup_write(store, buf_span(&header), key, file, why));
	printf("Backup written to %s and read back: the log had %llu events of epoch %u or a few more.\n",
	       file, (unsigned long long)head.size, head.epoch);
	return fflush(stdout) == 0 ? KMS_OK : KMS_E_IO;
}

kms_err_t verb_backup(int argc, char **argv, diag_t *why)
{
	SCOPED(conf_freep) conf_t *conf = NULL;
	KMS_TRY(settings_load(SETTINGS_BACKUP, argc, argv, 1, &conf, why));
	return backup(conf_text(conf, "dir"), conf_word(conf, 0), why);
}
