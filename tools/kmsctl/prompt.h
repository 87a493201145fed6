/* Questions to the person at the terminal. */
#ifndef CLAVIGER_TOOLS_KMSCTL_PROMPT_H
#define CLAVIGER_TOOLS_KMSCTL_PROMPT_H

#include "common/base/secret.h"

/* One line from the controlling terminal; with echo off for secrets. UNAVAILABLE when there is no terminal,
 * CONFLICT when it was ended by Ctrl-C, INVALID when it is empty. */
KMS_MUST prompt_line(const char *question, bool echo, secret_t **out, diag_t *why);

/* The next line of standard input that is not blank, without white space around it; NOTFOUND at its end. */
KMS_MUST stdin_line(secret_t **out, diag_t *why);

#endif
