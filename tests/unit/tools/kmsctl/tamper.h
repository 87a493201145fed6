/* A log in a folder, a file of which is changed, verified and put back. */
#ifndef CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_TAMPER_H
#define CLAVIGER_TESTS_UNIT_TOOLS_KMSCTL_TAMPER_H

#include "tests/support/testlog.h"
#include "tests/support/tmpdir.h"
#include "tools/kmsctl/verify.h"

typedef struct tamper {
	char base[TMPDIR_CAP], log[TMPDIR_CAP]; /* log is a folder below base, and has a log's files only */
	char vkey[TMPDIR_CAP], wkey[TMPDIR_CAP], since[TMPDIR_CAP];
	note_signer_t *signer, *witness;
	testlog_t made;
	cli_t cli;
	bool witnessed; /* verify asks for the witness */
	bool look_back; /* verify has --since */
} tamper_t;

/* A new log of n events. */
void tamper_begin(tamper_t *t, uint64_t n, testlog_event_fn event);
void tamper_end(tamper_t *t);
/* Other files in the folder's place: the log is written again. */
void tamper_rewrite(tamper_t *t, uint64_t n, testlog_event_fn event, void *ctx);
/* Its checkpoint at size n as the earlier one. */
void tamper_since(tamper_t *t, uint64_t n);

kms_err_t tamper_verify(tamper_t *t, diag_t *why);
/* Fails the test unless verifying is an integrity failure whose words have `says`. */
void tamper_detected(tamper_t *t, const char *says, const char *what);

void tamper_read(const tamper_t *t, const char *file, buf_t *out);
void tamper_put(const tamper_t *t, const char *file, span_t content);
void tamper_remove(const tamper_t *t, const char *file);

/* The files of the log, in no order; *n of them, freed by tamper_files_free. */
char **tamper_files(const tamper_t *t, size_t *n);
void tamper_files_free(char **files, size_t n);

/* About 60 bytes. */
void tamper_small_event(void *ctx, uint64_t i, buf_t *out);
/* Where entry i of a bundle begins (its length's first byte), i up to the number of entries. */
size_t tamper_entry_at(span_t bundle, size_t i);

#endif
