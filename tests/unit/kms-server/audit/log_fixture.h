/* A log over the store in memory, with events that a test makes up, and its own slow idea of the tree: RFC
 * 6962 said a second time, by recursion over all leaves. */
#ifndef CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_LOG_FIXTURE_H
#define CLAVIGER_TESTS_UNIT_KMS_SERVER_AUDIT_LOG_FIXTURE_H

#include "kms-server/ports/audit.h"
#include "tests/support/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MUST(e)  assert_int_equal((e), KMS_OK)

typedef struct log_fixture {
	char dir[TMPDIR_CAP];
	store_t *store;
	note_signer_t *signer;
	audit_t *audit;
	uint8_t (*leaf)[MERKLE_HASH_LEN];
	size_t n, cap;
} log_fixture_t;

int log_setup(void **state);
int log_teardown(void **state);
/* Opens the log anew over the same store; what audit_open says. */
kms_err_t log_reopen(log_fixture_t *f, diag_t *why);

/* Appends n events, of `batch` a transaction, each "event INDEX". */
void log_grow(log_fixture_t *f, size_t n, size_t batch);
/* Appends n events of these times in one commit, each "event INDEX". */
void log_add_at(log_fixture_t *f, const int64_t *time_ms, size_t n);
/* One event in a transaction of its own. */
void log_add(log_fixture_t *f, const char *bytes, int64_t time_ms, const audit_term_t *terms, size_t n);

/* MTH(D[from:to]). */
void naive_hash(const log_fixture_t *f, size_t from, size_t to, uint8_t out[MERKLE_HASH_LEN]);

#endif
