/* Named steps at which a test may kill the process: CLAVIGER_FAILPOINT=NAME (the process gets SIGKILL there)
 * or NAME:N (at the N-th passing). Compiled in only with -DCLAVIGER_FAILPOINTS; a release has none. */
#ifndef CLAVIGER_COMMON_BASE_FAILPOINT_H
#define CLAVIGER_COMMON_BASE_FAILPOINT_H

#ifdef CLAVIGER_FAILPOINTS
void failpoint(const char *name);
#else
static inline void failpoint(const char *name)
{
	(void)name;
}
#endif

#endif
