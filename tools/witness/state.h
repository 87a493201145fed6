/* A witness's folder: its key (witness.key, 0600) and verifier key (witness.vkey), a lock, and the newest
 * checkpoint of each log, state/<hex of SHA-256 of the origin>.checkpoint, with the witness's own cosignature
 * on it, by which it knows its own state again. */
#ifndef CLAVIGER_TOOLS_WITNESS_STATE_H
#define CLAVIGER_TOOLS_WITNESS_STATE_H

#include "tools/witness/judge.h"

/* Makes the folder where there is none, and a new key in it. CONFLICT: there is a key already. */
KMS_MUST state_init(const char *dir, const char *name, char vkey[NOTE_VKEY_CAP], diag_t *why);

/* CONFLICT: another witness uses the folder. The lock lives as long as *fd is open. */
KMS_MUST state_lock(const char *dir, int *fd, diag_t *why);
KMS_MUST state_key(const char *dir, note_signer_t **out, diag_t *why);

/* What was kept of the log; out->any is false when there is no file. INTEGRITY: there is one, and it is not
 * what this witness wrote: a witness that forgot would sign a second history. */
KMS_MUST state_read(const char *dir, const char *origin, const note_vkey_t *own, judge_known_t *out,
		    diag_t *why);
/* Durable and atomic. note: a checkpoint with the own cosignature. */
KMS_MUST state_write(const char *dir, const char *origin, span_t note, diag_t *why);

#endif
