/* Makes writes and flushes of this process fail, or kill it, at the Nth call from now. By interposing the C
 * library's functions, so it reaches into LMDB as well. Not before threads that write are joined. */
#ifndef CLAVIGER_TESTS_SUPPORT_IOFAIL_H
#define CLAVIGER_TESTS_SUPPORT_IOFAIL_H

typedef enum iofail_call {
	IOFAIL_FDATASYNC,
	IOFAIL_FSYNC,
	IOFAIL_SYNC_WRITE, /* pwrite to a descriptor opened with O_DSYNC: LMDB's meta page */
	IOFAIL_WRITE,      /* any other write, pwrite or writev to a regular file */
	IOFAIL_CALLS
} iofail_call_t;

/* The nth call from now (1: the next) fails with err, without having done anything. */
void iofail_arm(iofail_call_t call, unsigned nth, int err);
/* The process kills itself by SIGKILL in the nth call from now, before it has done anything. */
void iofail_kill(iofail_call_t call, unsigned nth);
void iofail_disarm(void);
/* Calls since the last arm, kill or disarm. */
unsigned iofail_seen(iofail_call_t call);

#endif
