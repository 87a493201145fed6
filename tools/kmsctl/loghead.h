/* The head of a log as an auditor sees it: its newest checkpoint, signed by the log's key, and the witnesses
 * that cosigned it. */
#ifndef CLAVIGER_TOOLS_KMSCTL_LOGHEAD_H
#define CLAVIGER_TOOLS_KMSCTL_LOGHEAD_H

#include "common/tlog/checkpoint.h"
#include "tools/kmsctl/logsrc.h"

#define LOGHEAD_WITNESSES 16U

typedef struct loghead_witness {
	char name[NOTE_NAME_CAP];
	uint64_t time_s; /* of its cosignature */
} loghead_witness_t;

typedef struct loghead {
	note_vkey_t key;
	checkpoint_t head;
	buf_t note; /* the checkpoint with its signatures, as it was read */
	size_t n_witnesses;
	loghead_witness_t witness[LOGHEAD_WITNESSES];
} loghead_t;

void loghead_free(loghead_t *h);

/* A file with one verifier key (C2SP vkey). NOTFOUND, INVALID. */
KMS_MUST loghead_vkey(const char *file, note_vkey_t *out, diag_t *why);

/* Reads the checkpoint and checks the log's signature and those of all witnesses; witnesses: files with their
 * keys, separated by commas, or NULL. Sets all but the key, which the caller has set. INTEGRITY says what is
 * wrong; NOTFOUND: this is no log at all. */
KMS_MUST loghead_read(logsrc_t *src, const char *witnesses, loghead_t *h, diag_t *why);

/* An earlier checkpoint of the same key, from a file. */
KMS_MUST loghead_since(const char *file, const note_vkey_t *key, checkpoint_t *out, diag_t *why);
/* The verdicts against it, whichever way they were come to: INTEGRITY. */
KMS_MUST since_is_larger(const checkpoint_t *since, const checkpoint_t *head, diag_t *why);
KMS_MUST since_differs(const checkpoint_t *since, diag_t *why);

#endif
