/* Ctrl-C (and SIGTERM) as something to wait for: between two looks it ends the wait, within one it is noticed
 * right after. */
#ifndef CLAVIGER_TOOLS_KMSCTL_INTERRUPT_H
#define CLAVIGER_TOOLS_KMSCTL_INTERRUPT_H

#include "common/base/err.h"

#include <signal.h>
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
/* The same without waiting; i is an interrupt_t. */
bool interrupt_came(void *i);

#endif
