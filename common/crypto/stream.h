/* Encryption of a long stream in chunks (the backup file's body): AES-256-GCM with a nonce of chunk counter
 * and last-chunk flag (the STREAM construction, Hoang, Reyhanitabar, Rogaway, Vizár 2015), so that chunks
 * cannot be cut off, reordered or repeated. The key must be fresh for each stream. One object a thread. */
#ifndef CLAVIGER_COMMON_CRYPTO_STREAM_H
#define CLAVIGER_COMMON_CRYPTO_STREAM_H

#include "common/base/buf.h"
#include "common/base/secret.h"

#define STREAM_CHUNK (64U * 1024U) /* plaintext bytes of every chunk but the last */
#define STREAM_TAG   16U

typedef struct stream stream_t;

KMS_MUST stream_new(const secret_t *key, stream_t **out);
void stream_freep(stream_t **s);
/* plain: STREAM_CHUNK bytes, or 0..STREAM_CHUNK when last. Appends ciphertext and tag. */
KMS_MUST stream_seal(stream_t *s, span_t plain, bool last, buf_t *out);
/* INTEGRITY when the chunk is not the next one of the stream. */
KMS_MUST stream_open(stream_t *s, span_t chunk, bool last, buf_t *out);

#endif
