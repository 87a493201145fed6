/* Checkpoints: tree heads as signed notes (https://c2sp.org/tlog-checkpoint).
 *
 *   text = origin "\n" size in decimal "\n" base64(root hash) "\n" [extension lines]
 *
 * The log's key has the origin as its name. */
#ifndef CLAVIGER_COMMON_TLOG_CHECKPOINT_H
#define CLAVIGER_COMMON_TLOG_CHECKPOINT_H

#include "common/tlog/merkle.h"
#include "common/tlog/note.h"

#define CHECKPOINT_MAX (64U * 1024U) /* bytes of a checkpoint with all its signatures */

typedef struct checkpoint {
	char origin[NOTE_NAME_CAP];
	uint64_t size;
	uint8_t root[MERKLE_HASH_LEN];
} checkpoint_t;

/* Appends text and one signature line. INVALID: the signer's name is not the origin. */
KMS_MUST checkpoint_sign(const checkpoint_t *c, const note_signer_t *s, buf_t *out);

/* The text alone; no signature is looked at. INVALID says what is wrong. Extension lines are passed over. */
KMS_MUST checkpoint_parse(span_t text, checkpoint_t *out, diag_t *why);

/* Parses the note, checks the signature of the log's key and that the origin is its name. INVALID: not a
 * checkpoint. INTEGRITY: not signed by this key, or of another log. note (may be NULL) keeps the parsed note,
 * whose spans point into bytes. */
KMS_MUST checkpoint_open(span_t bytes, const note_vkey_t *log, checkpoint_t *out, note_t *note, diag_t *why);

#endif
