#include "common/base/failpoint.h"

#ifdef CLAVIGER_FAILPOINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void failpoint(const char *name)
{
	static atomic_ulong passed;
	const char *want = getenv("CLAVIGER_FAILPOINT");
	if (want == NULL)
		return;
	size_t n = strlen(name);
	if (strncmp(want, name, n) != 0 || (want[n] != '\0' && want[n] != ':'))
		return;
	unsigned long nth = want[n] == ':' ? strtoul(want + n + 1, NULL, 10) : 1;
	if (atomic_fetch_add(&passed, 1) + 1 >= nth)
		(void)raise(SIGKILL);
}
#else
typedef int failpoint_not_compiled_in_t;
#endif
