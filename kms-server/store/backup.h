/* Backups of the store: one encrypted file, made while the server runs, believed only after it was read back.
 * The format is in docs/STORAGE.md. What opens a backup (the seal's description and the backup key wrapped
 * under the root key) travels in header_extra, whose content is the caller's. */
#ifndef CLAVIGER_KMS_SERVER_STORE_BACKUP_H
#define CLAVIGER_KMS_SERVER_STORE_BACKUP_H

#include "common/base/secret.h"
#include "kms-server/ports/store.h"

/* Writes to a temporary name beside path, reads the file back (decrypts all of it to a folder beside it,
 * walks every table, compares the number of entries with what was copied), and only then renames it to path,
 * replacing a regular file of that name. Needs room for the file and for one unencrypted copy of the
 * database. A failure leaves neither, and what was at path before stays. backup_key: 32 bytes. header_extra:
 * at most 16 KiB. */
KMS_MUST backup_write(store_t *s, span_t header_extra, const secret_t *backup_key, const char *path,
		      diag_t *why);

/* Yields the key for the header_extra of the file (which is not yet known to be genuine: it proves itself
 * when the key opens the body). */
typedef kms_err_t (*backup_key_fn)(void *ctx, span_t header_extra, secret_t **key, diag_t *why);

/* Restores into the folder target_dir, which must not exist (CONFLICT): a database that is there is never
 * touched. The folder appears under its name only when it is whole, checked and on disk. INTEGRITY: wrong
 * key, changed or cut-off file. */
KMS_MUST backup_read(const char *path, backup_key_fn key_of, void *ctx, const char *target_dir, diag_t *why);

#endif
