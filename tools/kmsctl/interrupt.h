/* Ctrl-C (and SIGTERM) as something to wait for: between two looks it ends the wait, within one it is noticed
 * right after. */
#ifndef CLAVIGER_TOOLS_KMSCTL_INTERRUPT_H
#define CLAVIGER_TOOLS_KMSCTL_INTERRUPT_H

#include "common/base/err.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct interrupt {
	int fd; /* -1: not open */
	sigset_t before;
} interrupt_t;

KMS_MUST interrupt_open(interrupt_t *i, diag_t *why);
/* A signal that came is used up; later ones end the process again. */
void interrupt_close(interrupt_t *i);

/* True when a signal came, at once or within ms. */
bool interrupt_wait(const interrupt_t *i, int64_t ms);
/* The same signals as something that becomes true, for waits that are not ours (client_options_t.stop):
 * system calls that wait are woken by them. At most one of these at a time, and not beside an interrupt_t. */
typedef struct interrupt_flag {
	const atomic_bool *came; /* NULL: not open */
	struct sigaction before_int, before_term;
} interrupt_flag_t;

KMS_MUST interrupt_flag_open(interrupt_flag_t *f, diag_t *why);
void interrupt_flag_close(interrupt_flag_t *f);

#endif
