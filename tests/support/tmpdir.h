/* A folder of a test's own, 0700, and its removal with all that is in it. Failures abort: no test can go on.
 */
#ifndef CLAVIGER_TESTS_SUPPORT_TMPDIR_H
#define CLAVIGER_TESTS_SUPPORT_TMPDIR_H

#include <stddef.h>

#define TMPDIR_CAP 256U

/* Below TMPDIR, or /tmp. */
void tmpdir_make(char out[TMPDIR_CAP]);
void tmpdir_remove(const char *path);
/* Number of entries, without . and .. */
size_t tmpdir_entries(const char *path);
/* dir + "/" + name into out. */
void tmpdir_path(const char *dir, const char *name, char out[TMPDIR_CAP]);

#endif
