/* The backup file, byte by byte (docs/STORAGE.md): a header in clear, then the database's copy in encrypted
 * chunks.
 *
 *   header  = "CLVRBKUP" | u16 version (1) | lp header_extra | salt (32 random bytes)
 *   key     = HKDF-SHA256(ikm = backup key, salt = salt, info = "claviger backup v1" | SHA-256(header)), 32
 * bytes body    = chunks of common/crypto/stream.h under that key inside  = lp manifest | the LMDB file
 *   manifest = u32 schema version | u8 number of tables | for each: lp name, u64 entries
 *
 * The header is bound to the body through the key: one changed bit in it, and no chunk opens. One object a
 * thread. */
#ifndef CLAVIGER_KMS_SERVER_STORE_BACKUP_FORMAT_H
#define CLAVIGER_KMS_SERVER_STORE_BACKUP_FORMAT_H

#include "common/base/buf.h"
#include "common/crypto/stream.h"
#include "kms-server/ports/store.h"

#define BACKUP_EXTRA_MAX 16384U

/* All of n bytes, or fewer at the end of the input. */
KMS_MUST backup_read_full(int fd, uint8_t *to, size_t n, size_t *got);
KMS_MUST backup_write_full(int fd, span_t bytes);

/* --- writing */

typedef struct backup_sealer backup_sealer_t;
/* Writes the header. fd is borrowed. */
KMS_MUST backup_sealer_new(int fd, span_t header_extra, const secret_t *backup_key, backup_sealer_t **out);
void backup_sealer_freep(backup_sealer_t **s);
KMS_MUST backup_sealer_put(backup_sealer_t *s, span_t plain);
/* Without it the file does not open. */
KMS_MUST backup_sealer_end(backup_sealer_t *s);

/* --- reading */

typedef struct backup_header {
	buf_t bytes;
	span_t extra, salt; /* into bytes */
} backup_header_t;
/* INTEGRITY: not a backup file, or of a version that this program does not know. */
KMS_MUST backup_header_read(int fd, backup_header_t *out, diag_t *why);
void backup_header_free(backup_header_t *h);

typedef struct backup_opener backup_opener_t;
KMS_MUST backup_opener_new(int fd, const backup_header_t *h, const secret_t *backup_key,
			   backup_opener_t **out);
void backup_opener_freep(backup_opener_t **o);
/* The next run of plaintext, valid until the next call; NOTFOUND after the last. INTEGRITY: changed, cut off,
 * or another key. */
KMS_MUST backup_opener_next(backup_opener_t *o, span_t *plain);

/* --- the manifest */

KMS_MUST backup_manifest_put(const uint64_t counts[STORE_TABLES], buf_t *out);
KMS_MUST backup_manifest_get(span_t manifest, uint64_t counts[STORE_TABLES], diag_t *why);

#endif
