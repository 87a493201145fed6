/* Signed notes (C2SP signed-note, https://c2sp.org/signed-note) and the two kinds of signature that the log
 * uses: Ed25519 (type 0x01) and timestamped Ed25519 cosignatures of witnesses (type 0x04,
 * https://c2sp.org/tlog-cosignature).
 *
 *   note      = text (UTF-8, no control characters but line ends, ends with a line end) | "\n" | signature
 * lines line      = "— " name " " base64(key id (4) | signature) "\n" vkey      = name "+" key id as 8 hex
 * digits "+" base64(type | public key) key id    = SHA-256(name | 0x0a | type | public key)[:4] signer    =
 * "PRIVATE+KEY+" name "+" key id "+" base64(type | seed)
 *
 * A name has 1 to NOTE_NAME_CAP-1 bytes and no white space and no plus sign. Nothing here does I/O. */
#ifndef CLAVIGER_COMMON_TLOG_NOTE_H
#define CLAVIGER_COMMON_TLOG_NOTE_H

#include "common/base/buf.h"
#include "common/base/secret.h"
#include "common/crypto/sign.h"

#define NOTE_NAME_CAP 128U
#define NOTE_SIGS_MAX 64U             /* signature lines read of one note; more is INVALID */
#define NOTE_MAX      (1024U * 1024U) /* bytes of a whole note */
#define NOTE_VKEY_CAP 256U            /* a vkey's text with its end mark */

typedef enum note_alg { NOTE_ED25519 = 1, NOTE_COSIGNATURE = 4 } note_alg_t;

typedef struct note_vkey {
	char name[NOTE_NAME_CAP];
	uint8_t id[4];
	note_alg_t alg;
	uint8_t public_key[ED25519_PUBLIC_LEN];
} note_vkey_t;

/* text: one vkey, a single line end behind it is passed over. INVALID says why. */
KMS_MUST note_vkey_parse(span_t text, note_vkey_t *out, diag_t *why);
/* Without a line end. */
void note_vkey_format(const note_vkey_t *k, char out[NOTE_VKEY_CAP]);

/* The same key under another name, with the key id that it then has. INVALID: the name. */
KMS_MUST note_vkey_rename(note_vkey_t *k, const char *name);

typedef struct note_signer note_signer_t;

/* A new random key. INVALID: the name. */
KMS_MUST note_signer_new(const char *name, note_alg_t alg, note_signer_t **out, diag_t *why);
/* From the text of note_signer_text (a single line end behind it is passed over). INVALID: it is none. */
KMS_MUST note_signer_load(const secret_t *text, note_signer_t **out, diag_t *why);
/* The same key under another name: another signer, with another key id. */
KMS_MUST note_signer_renamed(const note_signer_t *s, const char *name, note_signer_t **out, diag_t *why);
/* "PRIVATE+KEY+…" with a line end, for a file that only its owner may read. */
KMS_MUST note_signer_text(const note_signer_t *s, secret_t **out);
const note_vkey_t *note_signer_vkey(const note_signer_t *s);
void note_signer_freep(note_signer_t **s);

/* Appends one signature line over text. now_s: Unix seconds, used by a cosignature only. */
KMS_MUST note_sign(const note_signer_t *s, span_t text, uint64_t now_s, buf_t *out);

typedef struct note_sig {
	span_t name;
	uint8_t id[4];
	span_t line;           /* the whole line with its line end */
	uint8_t signature[72]; /* what stands behind the key id */
	size_t n; /* 64: Ed25519; 72: a cosignature's time and signature; other lengths are of unknown
		     kinds, cut to 72 */
} note_sig_t;

typedef struct note {
	span_t text; /* with its last line end */
	size_t n_sigs;
	note_sig_t sig[NOTE_SIGS_MAX];
} note_t;

/* Spans point into bytes. INVALID: not a signed note. At least one signature line. */
KMS_MUST note_parse(span_t bytes, note_t *out, diag_t *why);
/* Signature lines alone, as a witness answers them. */
KMS_MUST note_parse_sigs(span_t lines, note_t *out, diag_t *why);

/* Whether the note has a good signature of this key over text. NOTFOUND: none by its name and id. INTEGRITY:
 * there is one, and it is wrong. cosigned_s (may be NULL): the time of a cosignature, 0 for the other kind.
 */
KMS_MUST note_verify(const note_t *n, span_t text, const note_vkey_t *k, uint64_t *cosigned_s);

#endif
