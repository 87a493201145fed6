#include "kms-server/app/verbs.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "kms-server/app/bundle.h"
#include "kms-server/app/settings.h"
#include "kms-server/app/shares.h"
#include "kms-server/core/copies.h"
#include "kms-server/core/init.h"
#include "kms-server/store/backup.h"
#include "kms-server/store/lmdb_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/* A restore is complete before anything that was there changes its name: the database is read into `staged`,
 * on the same file system, checked, marked, and then changes places with the old one, which is kept. */
typedef struct restoring {
	const char *dir, *file, *keyfile;
	bool accept_rollback, accept_loss;
	size_t losses; /* volumes that would not open, as far as can be told */
	bool there;    /* dir is a server's folder already */
	int lock;
	char *staged; /* holds "db" */
	buf_t extra;  /* the backup's bundle */
	bundle_t bundle;
	secret_t *backup_key;
	note_signer_t *log_signer;
	log_head_t head;  /* of the restored database */
	buf_t checkpoint; /* its newest */
} restoring_t;

static void restoring_end(restoring_t *r)
{
	server_dir_discard(&r->staged);
	buf_free(&r->extra);
	secret_freep(&r->backup_key);
	note_signer_freep(&r->log_signer);
	buf_free(&r->checkpoint);
	closep(&r->lock);
}

/* --- the key --- */

static kms_err_t key_by_seal(restoring_t *r, diag_t *why)
{
	SCOPED(seal_freep) seal_t *seal = NULL;
	SCOPED(secret_freep) secret_t *seal_key = NULL;
	span_t config = {0};
	seal_info_t info;
	if (core_backup_seal_config(r->bundle.core, &config) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "%s: its header is not one of a backup", r->file);
	KMS_TRY(seal_load(config, r->dir, r->keyfile, &seal, why));
	seal_info(seal, &info);
	kms_err_t e =
		info.threshold > 0 ? shares_read(seal, &seal_key, why) : seal_try_open(seal, &seal_key, why);
	if (e == KMS_E_UNAVAILABLE && info.threshold == 0) {
		diag_t first = *why;
		return diag_fail(why, e, "%.300s; name the seal's key file with --seal-keyfile PATH",
				 first.text);
	}
	KMS_TRY(e);
	e = core_backup_key(r->bundle.core, seal_key, &r->backup_key);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s: the seal does not open it", r->file);
	return KMS_OK;
}

static kms_err_t same_deployment(const restoring_t *r, diag_t *why)
{
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	kms_err_t e = server_dir_read(r->dir, SERVER_DIR_CA, &ca, why);
	if (e == KMS_E_NOTFOUND)
		return KMS_OK;
	KMS_TRY(e);
	if (!span_eq(buf_span(&ca), r->bundle.ca))
		return diag_fail(why, KMS_E_CONFLICT,
				 "%s is a backup of another deployment than %s (another CA)", r->file,
				 r->dir);
	return KMS_OK;
}

/* Where the server's own backup key is still there, nobody needs to come together. */
static kms_err_t find_key(restoring_t *r, diag_t *why)
{
	if (!r->there)
		return key_by_seal(r, why);
	KMS_TRY(same_deployment(r, why));
	kms_err_t e = server_dir_read_secret(r->dir, SERVER_DIR_BACKUP, &r->backup_key, why);
	return e == KMS_E_NOTFOUND ? key_by_seal(r, why) : e;
}

static kms_err_t key_of(void *ctx, span_t header_extra, secret_t **key, diag_t *why)
{
	restoring_t *r = ctx;
	buf_bytes(&r->extra, header_extra);
	KMS_TRY(r->extra.err);
	if (bundle_parse(buf_span(&r->extra), &r->bundle) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "%s: its header is not one of a backup", r->file);
	KMS_TRY(find_key(r, why));
	return secret_from(secret_span(r->backup_key), key);
}

/* --- what would be lost --- */

static bool further(const log_head_t *a, const log_head_t *b)
{
	return a->epoch != b->epoch ? a->epoch > b->epoch : a->size > b->size;
}

/* The furthest that the log in dir is known to have gone, by the database and by the mark outside it. A
 * database that cannot be opened is what restores are for: then the mark speaks alone. */
static kms_err_t present_head(const restoring_t *r, log_head_t *out, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(store_closep) store_t *store = NULL;
	log_head_t mark, head;
	diag_t ignored;
	const lmdb_store_options_t o = {.read_only = true};
	*out = (log_head_t){.epoch = 0};
	kms_err_t e = core_log_mark_read(r->dir, LOG_MARK, NULL, &mark, why);
	if (e == KMS_OK)
		*out = mark;
	else if (e != KMS_E_NOTFOUND)
		return e;
	KMS_TRY(path_join(r->dir, SERVER_DIR_DB, &db));
	if (lmdb_store_open(db, &o, &store, &ignored) == KMS_OK && core_log_head(store, &head) == KMS_OK &&
	    further(&head, out))
		*out = head;
	return KMS_OK;
}

static kms_err_t refuse_rollback(const restoring_t *r, const log_head_t *lost, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY,
			 "the log in %s has gone on to %llu events (epoch %u), the backup has %llu (epoch "
			 "%u): restoring it "
			 "would lose what lies between; if that is wanted, say --accept-rollback",
			 r->dir, (unsigned long long)lost->size, lost->epoch,
			 (unsigned long long)r->head.size, r->head.epoch);
}

static void tell_loss(void *ctx, const char *volume, const char *reason)
{
	restoring_t *r = ctx;
	r->losses++;
	printf("%s would not open: %s.\n", volume, reason);
}

/* Nothing here knows what became of the disks since the backup. */
static kms_err_t tell_unknown(store_t *restored, diag_t *why)
{
	int64_t ms;
	struct tm tm;
	char text[32] = "the backup";
	if (copies_time(restored, &ms) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the newest event of the backup cannot be read");
	time_t at = (time_t)(ms / 1000);
	if (ms != 0 && gmtime_r(&at, &tm) != NULL)
		(void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("No newer database can be read here: volumes that were rotated, re-encrypted or made after %s "
	       "would not open. If this is the newest confirmed copy and the setting copies was not 0, none "
	       "was rotated or re-encrypted.\n",
	       text);
	return KMS_OK;
}

static kms_err_t look_for_losses(restoring_t *r, store_t *restored, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(store_closep) store_t *newer = NULL;
	const lmdb_store_options_t o = {.read_only = true};
	log_head_t head;
	diag_t ignored;
	KMS_TRY(path_join(r->dir, SERVER_DIR_DB, &db));
	if (!r->there || lmdb_store_open(db, &o, &newer, &ignored) != KMS_OK ||
	    core_log_head(newer, &head) != KMS_OK)
		return tell_unknown(restored, why);
	if (!further(&head, &r->head))
		return KMS_OK;
	return copies_losses(newer, restored, tell_loss, r) == KMS_OK ? KMS_OK : tell_unknown(restored, why);
}

static kms_err_t refuse_loss(const restoring_t *r, diag_t *why)
{
	return diag_fail(why, KMS_E_INTEGRITY,
			 "%zu volumes, named above, would not open after it: take a newer backup, or say "
			 "--accept-loss; nothing was changed",
			 r->losses);
}

/* The folder's own key goes before the backup's: it is the one that auditors know. */
static kms_err_t load_signer(restoring_t *r, diag_t *why)
{
	SCOPED(secret_freep) secret_t *text = NULL;
	kms_err_t e =
		r->there ? server_dir_read_secret(r->dir, SERVER_DIR_LOG_KEY, &text, why) : KMS_E_NOTFOUND;
	if (e == KMS_OK)
		return note_signer_load(text, &r->log_signer, why);
	if (e != KMS_E_NOTFOUND)
		return e;
	e = bundle_log_signer(&r->bundle, r->backup_key, &r->log_signer);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s: the log's key in it does not open", r->file);
	return KMS_OK;
}

static kms_err_t check_and_mark(restoring_t *r, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(store_closep) store_t *store = NULL;
	const lmdb_store_options_t o = {.map_size_max = 0};
	log_head_t lost = {.epoch = 0};
	const kms_clock_t clock = clock_system();
	if (r->there)
		KMS_TRY(present_head(r, &lost, why));
	KMS_TRY(path_join(r->staged, SERVER_DIR_DB, &db));
	KMS_TRY(lmdb_store_open(db, &o, &store, why));
	KMS_TRY(core_log_head(store, &r->head));
	bool rollback = further(&lost, &r->head);
	KMS_TRY(look_for_losses(r, store, why));
	(void)fflush(stdout);
	if (rollback && !r->accept_rollback)
		return refuse_rollback(r, &lost, why);
	if (r->losses > 0 && !r->accept_loss)
		return refuse_loss(r, why);
	if (rollback)
		KMS_TRY(core_restore_mark(store, &clock, r->log_signer, &lost, why));
	KMS_TRY(core_log_head(store, &r->head));
	return core_log_checkpoint(store, &r->checkpoint);
}

/* --- putting it in place --- */

static kms_err_t write_missing(const char *dir, const char *name, span_t content, unsigned mode, diag_t *why)
{
	kms_err_t e = server_dir_write(dir, name, content, mode, why);
	return e == KMS_E_CONFLICT ? KMS_OK : e; /* what is there stays */
}

static kms_err_t write_files(const restoring_t *r, const char *dir, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	kms_err_t e = bundle_server_key(&r->bundle, r->backup_key, &key);
	if (e != KMS_OK)
		return diag_fail(why, e, "%s: the server's key in it does not open", r->file);
	KMS_TRY(write_missing(dir, SERVER_DIR_CA, r->bundle.ca, 0644, why));
	KMS_TRY(write_missing(dir, SERVER_DIR_CERT, r->bundle.cert, 0644, why));
	KMS_TRY(write_missing(dir, SERVER_DIR_KEY, secret_span(key), 0600, why));
	e = server_dir_write_signer(dir, r->log_signer, why);
	KMS_TRY(e == KMS_E_CONFLICT ? KMS_OK : e);
	return write_missing(dir, SERVER_DIR_BACKUP, secret_span(r->backup_key), 0600, why);
}

/* The old database gets the name db.before-EPOCH-SIZE of what took its place. */
static kms_err_t keep_old(const restoring_t *r, const char *old, diag_t *why)
{
	SCOPED(freep) char *name = NULL;
	SCOPED(freep) char *path = NULL;
	if (asprintf(&name, "%s.before-%u-%llu-%lld", SERVER_DIR_DB, r->head.epoch,
		     (unsigned long long)r->head.size, (long long)time(NULL)) < 0)
		return KMS_E_NOMEM;
	KMS_TRY(path_join(r->dir, name, &path));
	if (rename(old, path) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	printf("The database that was there is kept as %s.\n", path);
	return KMS_OK;
}

static kms_err_t sync_path(const char *path, diag_t *why)
{
	SCOPED(closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", path, strerror(errno));
	return KMS_OK;
}

/* The two change places in one step: at no instant is there no database. */
static kms_err_t swap_in(const restoring_t *r, diag_t *why)
{
	SCOPED(freep) char *db = NULL;
	SCOPED(freep) char *fresh = NULL;
	KMS_TRY(path_join(r->dir, SERVER_DIR_DB, &db));
	KMS_TRY(path_join(r->staged, SERVER_DIR_DB, &fresh));
	bool exchanged = renameat2(AT_FDCWD, fresh, AT_FDCWD, db, RENAME_EXCHANGE) == 0;
	if (!exchanged && errno != ENOENT)
		return diag_fail(why, KMS_E_IO, "%s: %s", db, strerror(errno));
	if (!exchanged && rename(fresh, db) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", db, strerror(errno));
	KMS_TRY(sync_path(r->dir, why));
	return exchanged ? keep_old(r, fresh, why) : KMS_OK;
}

static kms_err_t put_back(restoring_t *r, diag_t *why)
{
	KMS_TRY(write_files(r, r->dir, why));
	KMS_TRY(swap_in(r, why));
	/* after the database: a mark ahead of it would refuse the next start */
	return core_log_mark_write(r->dir, buf_span(&r->checkpoint), why);
}

static kms_err_t put_new(restoring_t *r, diag_t *why)
{
	KMS_TRY(write_files(r, r->staged, why));
	KMS_TRY(server_dir_write(r->staged, SERVER_DIR_LOCK, span_of(NULL, 0), 0600, why));
	KMS_TRY(core_log_mark_write(r->staged, buf_span(&r->checkpoint), why));
	KMS_TRY(server_dir_publish(r->staged, r->dir, why));
	free(TAKE(r->staged));
	return KMS_OK;
}

/* --- the verb --- */

static kms_err_t stage(restoring_t *r, diag_t *why)
{
	SCOPED(freep) char *lock = NULL;
	SCOPED(freep) char *db = NULL;
	struct stat st;
	bool exists = false;
	KMS_TRY(path_join(r->dir, SERVER_DIR_LOCK, &lock));
	r->there = lstat(lock, &st) == 0;
	if (!r->there) {
		KMS_TRY(server_dir_vacant(r->dir, &exists, why));
		return server_dir_stage(r->dir, &r->staged, why);
	}
	KMS_TRY(server_dir_lock(r->dir, &r->lock, why));
	KMS_TRY(path_join(r->dir, SERVER_DIR_DB, &db));
	return server_dir_stage(db, &r->staged, why);
}

static kms_err_t tell(const restoring_t *r, diag_t *why)
{
	printf("Restored %s to %s: the log has %llu events, epoch %u.\n", r->file, r->dir,
	       (unsigned long long)r->head.size, r->head.epoch);
	printf("Next: kms-server run --dir %s --listen 127.0.0.1:8443%s%s\n", r->dir,
	       r->keyfile != NULL ? " --seal-keyfile " : "", r->keyfile != NULL ? r->keyfile : "");
	if (fflush(stdout) != 0)
		return diag_fail(why, KMS_E_IO, "standard output cannot be written");
	return KMS_OK;
}

static kms_err_t restore(restoring_t *r, diag_t *why)
{
	SCOPED(freep) char *target = NULL;
	KMS_TRY(stage(r, why));
	KMS_TRY(path_join(r->staged, SERVER_DIR_DB, &target));
	KMS_TRY(backup_read(r->file, key_of, r, target, why));
	KMS_TRY(load_signer(r, why));
	KMS_TRY(check_and_mark(r, why));
	KMS_TRY(r->there ? put_back(r, why) : put_new(r, why));
	return tell(r, why);
}

kms_err_t verb_restore(int argc, char **argv, diag_t *why)
{
	SCOPED(conf_freep) conf_t *conf = NULL;
	KMS_TRY(settings_load(SETTINGS_RESTORE, argc, argv, 1, &conf, why));
	SCOPED(restoring_end)
	restoring_t r = {.dir = conf_text(conf, "dir"),
			 .file = conf_word(conf, 0),
			 .keyfile = conf_text(conf, "seal-keyfile"),
			 .accept_rollback = conf_bool(conf, "accept-rollback"),
			 .accept_loss = conf_bool(conf, "accept-loss"),
			 .lock = -1};
	return restore(&r, why);
}
