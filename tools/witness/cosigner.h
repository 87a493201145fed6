/* A witness: its key, the logs that it knows, and what it has cosigned. Checking the old size, keeping the
 * new checkpoint durably and answering are one step under a lock, so that of two requests at once the second
 * sees what the first has done. */
#ifndef CLAVIGER_TOOLS_WITNESS_COSIGNER_H
#define CLAVIGER_TOOLS_WITNESS_COSIGNER_H

#include "common/base/clock.h"
#include "tools/witness/judge.h"

#define WITNESS_LOGS_MAX 256U

typedef struct cosigner cosigner_t;

typedef struct cosigner_answer {
	unsigned status;
	const char *content_type;
	buf_t body;
} cosigner_answer_t;

/* logs: n verifier keys; several may have one name. Takes the folder's lock and reads what is kept of every
 * log. CONFLICT: another witness uses the folder. INTEGRITY: what is kept of a log is damaged. */
KMS_MUST cosigner_open(const char *dir, const note_vkey_t *logs, size_t n, kms_clock_t clock,
		       cosigner_t **out, diag_t *why);
void cosigner_freep(cosigner_t **w);
const note_vkey_t *cosigner_vkey(const cosigner_t *w);

/* Thread-safe. Always an answer: what fails here is a 500 with nothing in it, and the reason goes to the
 * program's log. The caller frees with cosigner_answer_free. */
void cosigner_add_checkpoint(cosigner_t *w, span_t body, cosigner_answer_t *out);
void cosigner_answer_free(cosigner_answer_t *a);

#endif
