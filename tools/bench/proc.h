/* Server processes: started and ended by their pid, looked at through /proc. */
#ifndef CLAVIGER_TOOLS_BENCH_PROC_H
#define CLAVIGER_TOOLS_BENCH_PROC_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct kms_process {
	pid_t pid; /* 0: none */
	uint16_t port;
} kms_process_t;

typedef struct kms_setup {
	const char *program;  /* kms-server */
	const char *dir;      /* its folder */
	const char *log;      /* where its standard error goes; appended */
	const char *slowsync; /* library to preload, NULL: none */
	unsigned slow_ms;     /* what each flush takes with it */
	unsigned threads;
	bool commit_each;
	const char *const *more; /* further arguments of `run`, a NULL behind them; or NULL */
} kms_setup_t;

KMS_MUST kms_init(const kms_setup_t *s, diag_t *why);
/* Waits until it listens. */
KMS_MUST kms_start(const kms_setup_t *s, kms_process_t *out, diag_t *why);
/* SIGTERM, and SIGKILL after 10 s. IO when it did not end by itself, or not with 0. */
KMS_MUST proc_stop(pid_t *pid, diag_t *why);
/* At once; for cleanup. */
void proc_kill(pid_t *pid);

/* HTTPS threads of a server: one a core, at least 2. */
unsigned proc_threads(void);

/* User and system time so far; 0 when the process is gone. */
int64_t proc_cpu_us(pid_t pid);
/* RssAnon in KiB; 0 when the process is gone. */
uint64_t proc_rss_anon_kib(pid_t pid);

#endif
