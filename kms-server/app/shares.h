/* Shamir shares between people and the program: shown once, and read back. Texts stay in secret_t; no stdio
 * buffer sees them. */
#ifndef CLAVIGER_KMS_SERVER_APP_SHARES_H
#define CLAVIGER_KMS_SERVER_APP_SHARES_H

#include "kms-server/ports/seal.h"

/* One a line on standard output. IO when it cannot be written in full. */
KMS_MUST shares_print(secret_t *const *texts, size_t n, diag_t *why);

/* Reads shares from standard input, one a line, until the seal opens; on a terminal it asks, without echo. A
 * bad share on a terminal is told and asked for again; from a file or pipe it is an error. UNAVAILABLE: the
 * input ended before. */
KMS_MUST shares_read(seal_t *seal, secret_t **seal_key, diag_t *why);

#endif
