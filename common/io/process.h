/* What every program of ours does to itself at the start: no core dumps, not traceable, no environment that
 * changes how libraries behave, and a look at swap. */
#ifndef CLAVIGER_COMMON_IO_PROCESS_H
#define CLAVIGER_COMMON_IO_PROCESS_H

#include "common/base/err.h"

#include <stdbool.h>

/* prctl(PR_SET_DUMPABLE, 0), RLIMIT_CORE 0, umask 077, SIGPIPE ignored, and the environment cleared of what
 * makes libraries log session keys, load other code or trust, or take another way. Before any library is
 * initialised and before threads. */
KMS_MUST process_harden(diag_t *why);
/* mlockall of what is and what comes, locked as it is touched (MCL_ONFAULT): the agent's. */
KMS_MUST process_lock_all(diag_t *why);
/* Whether /proc/swaps lists swap that is not known to be encrypted (zram and dm-crypt devices count as safe).
 * `why` gets the sentence to print. */
bool process_swap_unsafe(diag_t *why);
/* The same below another root folder than "" (tests). */
bool process_swap_unsafe_in(const char *root, diag_t *why);

#endif
