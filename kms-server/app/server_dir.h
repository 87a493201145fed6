/* The server's folder, 0700:
 *
 *   db/                          the database (kms-server/store)
 *   ca.crt  server.crt           0644
 *   server.key  backup.key       0600
 *   seal.key                     0600, with a key-file seal that keeps its key here
 *   log.key                      0600: signs the log's checkpoints (C2SP signer text)
 *   log.vkey                     0644: what verifies them, for auditors
 *   log.checkpoint log.cosigned  how far the log has gone, kept outside the database (kms-server/core/init.h)
 *   export/NAME.position         0600: how far each exporter is (kms-server/audit/position.h)
 *   copies/LABEL                 0600: the checkpoint in a confirmed copy (kms-server/core/copies.h)
 *   operators/NAME.crt NAME.key  the first operator's, to be moved to its owner
 *   lock                         held while a process may write to the database */
#ifndef CLAVIGER_KMS_SERVER_APP_SERVER_DIR_H
#define CLAVIGER_KMS_SERVER_APP_SERVER_DIR_H

#include "common/base/buf.h"
#include "common/base/secret.h"
#include "common/tlog/note.h"

#define SERVER_DIR_DB        "db"
#define SERVER_DIR_CA        "ca.crt"
#define SERVER_DIR_CERT      "server.crt"
#define SERVER_DIR_KEY       "server.key"
#define SERVER_DIR_BACKUP    "backup.key"
#define SERVER_DIR_LOG_KEY   "log.key"
#define SERVER_DIR_LOG_VKEY  "log.vkey"
#define SERVER_DIR_SEAL      "seal.key"
#define SERVER_DIR_OPERATORS "operators"
#define SERVER_DIR_LOCK      "lock"

typedef struct server_files {
	buf_t ca, cert;
	secret_t *key;
	note_signer_t *log_signer;
} server_files_t;

/* ca.crt, server.crt and server.key, checked to belong together, and log.key. */
KMS_MUST server_dir_load(const char *dir, server_files_t *out, diag_t *why);
void server_files_free(server_files_t *f);

/* One process at a time may write: LMDB itself would let a second server in. The lock ends with the
 * descriptor. CONFLICT: another process has it. NOTFOUND: no such folder, or not initialised. */
KMS_MUST server_dir_lock(const char *dir, int *fd, diag_t *why);

/* Reads or writes one file of the folder. */
KMS_MUST server_dir_read(const char *dir, const char *name, buf_t *out, diag_t *why);
KMS_MUST server_dir_read_secret(const char *dir, const char *name, secret_t **out, diag_t *why);
KMS_MUST server_dir_write(const char *dir, const char *name, span_t content, unsigned mode, diag_t *why);
/* log.key, in a new file. */
KMS_MUST server_dir_write_signer(const char *dir, const note_signer_t *signer, diag_t *why);
/* log.vkey, anew where it does not say the same already. */
KMS_MUST server_dir_put_vkey(const char *dir, const note_vkey_t *key, diag_t *why);

/* A new folder DIR.new-XXXXXX beside dir (0700) for what becomes dir all at once. */
KMS_MUST server_dir_stage(const char *dir, char **staged, diag_t *why);
/* The staged folder becomes dir, which must not exist or be empty: CONFLICT. Durable when it returns. */
KMS_MUST server_dir_publish(const char *staged, const char *dir, diag_t *why);
/* Removes a folder and all in it; for SCOPED on a staged path (NULL after it was published). */
void server_dir_discard(char **staged);

/* Nothing is at dir, or an empty folder of ours: OK. CONFLICT otherwise. *exists: it is there. */
KMS_MUST server_dir_vacant(const char *dir, bool *exists, diag_t *why);

#endif
