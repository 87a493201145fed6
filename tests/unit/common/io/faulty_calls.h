/* Stands between the code under test and the kernel (the program's own definitions go before the C
 * library's): notes how files are created and makes the N-th call fail. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_IO_FAULTY_CALLS_H
#define CLAVIGER_TESTS_UNIT_COMMON_IO_FAULTY_CALLS_H

#include <stdbool.h>
#include <sys/types.h>

/* The n-th counted call (openat, write, fsync, fchmod, renameat, linkat) from here on fails with code; 0:
 * none. */
void calls_fail_at(unsigned n, int code);
/* Whether it has come to that; and no more failures. */
bool calls_fail_end(void);

/* The mode of the last file made by openat, and how it was asked for. */
typedef struct created {
	unsigned n;   /* how many since calls_forget */
	mode_t asked; /* third argument */
	mode_t first; /* the mode that the file had right after its creation */
	int flags;
	bool written_before_mode; /* bytes were written while the mode was wider than asked for */
	unsigned fsyncs;          /* of files and folders */
} created_t;
void calls_forget(void);
created_t calls_created(void);

#endif
