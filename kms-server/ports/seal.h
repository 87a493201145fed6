/* How the seal key is opened: the 32-byte key under which core wraps the root key. Two kinds: shares of it
 * that people hold (Shamir, threshold k of n), or a key file of the server's own. What is public about a seal
 * is an opaque `config`, made once and kept by core in STORE_META; it holds no secret, only commitments.
 *
 *   config = version 0x01 | kind (1 shamir, 2 key file) | salt (32) | key commitment (32)
 *            | shamir:   threshold u8 | shares u8 | a commitment (32) for each share
 *            | key file: lp(path)
 *   key commitment   = SHA-256("claviger seal key v1" | salt | seal key)
 *   share commitment = SHA-256("claviger seal share v1" | salt | index u8 | share value)
 *
 * Implementation: kms-server/seal. Threads: one caller at a time for each seal_t. */
#ifndef CLAVIGER_KMS_SERVER_PORTS_SEAL_H
#define CLAVIGER_KMS_SERVER_PORTS_SEAL_H

#include "common/base/buf.h"
#include "common/base/secret.h"

#define SEAL_KEY_LEN    32U
#define SEAL_SHARES_MAX 16U
#define SEAL_PATH_CAP   1024U

typedef struct seal seal_t;

typedef struct seal_info {
	const char *type;   /* "shamir" or "keyfile", static text */
	uint32_t threshold; /* shares that open it; 0 for a key file */
	uint32_t shares;    /* shares that there are; 0 for a key file */
	uint32_t progress;  /* different good shares offered since the start or the last reset */
} seal_info_t;

/* A new random seal key, written to a new file of 32 raw bytes, mode 0600. path: absolute, or below the
 * server's folder `dir`; kept in the config as it is given. CONFLICT when the file exists. Appends to config.
 */
KMS_MUST seal_create_keyfile(const char *dir, const char *path, secret_t **seal_key, buf_t *config,
			     diag_t *why);

/* A new random seal key in n shares of which k open it, 2 <= k <= n <= SEAL_SHARES_MAX, else INVALID.
 * texts[0..n-1] become the share texts (no end mark, no line end), each the caller's to free; the rest is
 * left as it is. clvs1-<threshold>-<index>-<64 hex digits of the value>-<first 8 hex digits of the SHA-256 of
 * the text before> */
KMS_MUST seal_create_shamir(unsigned n, unsigned k, secret_t **seal_key, secret_t *texts[SEAL_SHARES_MAX],
			    buf_t *config, diag_t *why);

/* keyfile: NULL, or the path to read instead of the config's (absolute or below dir). INTEGRITY when config
 * is not what a seal_create_* made. */
KMS_MUST seal_load(span_t config, const char *dir, const char *keyfile, seal_t **out, diag_t *why);
/* Wipes what was offered. */
void seal_freep(seal_t **s);

void seal_info(const seal_t *s, seal_info_t *out);

/* Counts a share. The same share again is OK and counts once. INVALID with a sentence for a text that is no
 * share, is mistyped, or is not one of this seal's (by its commitment); what was offered before stays. The
 * text is the exact text: the caller trims white space and wipes its own copy. */
KMS_MUST seal_offer(seal_t *s, span_t text, diag_t *why);

/* UNAVAILABLE until enough shares are there, or while the key file is absent; DENIED or IO when the file may
 * not be used or read; INTEGRITY when what it yields is not the key that was sealed with. Offered shares
 * stay. */
KMS_MUST seal_try_open(seal_t *s, secret_t **seal_key, diag_t *why);

/* Wipes the offered shares. */
void seal_reset(seal_t *s);

#endif
