/* Small files, read and written whole. Secrets' files are made 0600 at creation (never chmod'ed afterwards),
 * in a temporary name, synced, and renamed into place, so that no reader ever sees half a file or a wider
 * mode. */
#ifndef CLAVIGER_COMMON_IO_FILE_H
#define CLAVIGER_COMMON_IO_FILE_H

#include "common/base/buf.h"
#include "common/base/secret.h"

/* Refuses files larger than limit (INVALID), absent ones are NOTFOUND. `why` names the path and the reason.
 */
KMS_MUST file_read(const char *path, size_t limit, buf_t *out, diag_t *why);
/* A secret's file must be a regular file that only its owner may read (mode & 077 == 0), owned by us or root:
 * DENIED otherwise. At most SECRET_MAX bytes. */
KMS_MUST file_read_secret(const char *path, secret_t **out, diag_t *why);

typedef enum file_write_mode { FILE_REPLACE, FILE_CREATE_ONLY } file_write_mode_t;
/* Atomic and durable: temporary file with the final mode, fsync, rename (link for CREATE_ONLY: CONFLICT when
 * it exists), fsync of the folder. mode: 0600 or 0644. */
KMS_MUST file_write(const char *path, span_t content, unsigned mode, file_write_mode_t how, diag_t *why);

/* Creates a folder 0700 where there is none; refuses one that others may write to. */
KMS_MUST dir_ensure(const char *path, diag_t *why);
/* dir + "/" + name in a new string; the caller frees. */
KMS_MUST path_join(const char *dir, const char *name, char **out);

#endif
