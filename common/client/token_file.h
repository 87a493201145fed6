/* The enrolment token from where a person has put it. */
#ifndef CLAVIGER_COMMON_CLIENT_TOKEN_FILE_H
#define CLAVIGER_COMMON_CLIENT_TOKEN_FILE_H

#include "common/proto/token.h"

/* "-": standard input, to its end. NOTFOUND, INVALID: `why` says what is wrong with the file or the token. */
KMS_MUST token_file_read(const char *file, token_t *out, diag_t *why);

#endif
