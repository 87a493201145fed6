/* A log in the layout of https://c2sp.org/tlog-tiles, made from given events by plain recursion over RFC
 * 9162's definition: nothing of it comes from the server, or from what reads logs. Failures abort. */
#ifndef CLAVIGER_TESTS_SUPPORT_TESTLOG_H
#define CLAVIGER_TESTS_SUPPORT_TESTLOG_H

#include "common/tlog/checkpoint.h"

/* Appends the bytes of event i. */
typedef void (*testlog_event_fn)(void *ctx, uint64_t i, buf_t *out);

typedef struct testlog {
	const char *dir; /* an empty folder */
	uint64_t n;
	testlog_event_fn event; /* NULL: testlog_event */
	void *ctx;
	const note_signer_t *signer;
	const note_signer_t *witness; /* cosigns; or NULL */
	uint64_t cosigned_s;
} testlog_t;

/* Writes checkpoint, all hash tiles and all entry bundles. */
void testlog_write(const testlog_t *t);
/* The checkpoint alone, as bytes. */
void testlog_checkpoint(const testlog_t *t, buf_t *out);

/* Canonical JSON of about 700 bytes. Event i is of customer acme, beta or of nobody, in turn, with the
 * customer's own sequence. */
void testlog_event(void *ctx, uint64_t i, buf_t *out);

/* MTH of the events [0, n) (RFC 9162, section 2.1.1). */
void testlog_root(const testlog_t *t, uint64_t n, uint8_t out[MERKLE_HASH_LEN]);

/* A new key. */
note_signer_t *testlog_signer(const char *name, note_alg_t alg);
/* A file with the signer's verifier key. */
void testlog_vkey(const note_signer_t *s, const char *path);

#endif
