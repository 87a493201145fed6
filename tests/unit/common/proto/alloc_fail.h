/* Makes the N-th allocation of the code under test fail, and looks at what it frees: the linker sends its
 * malloc, calloc and free here, and jansson's through json_wipe_on_free.. */
#ifndef CLAVIGER_TESTS_UNIT_COMMON_PROTO_ALLOC_FAIL_H
#define CLAVIGER_TESTS_UNIT_COMMON_PROTO_ALLOC_FAIL_H

#include <stdbool.h>

/* The n-th allocation from here on fails (from 1), and only it; 0: none. */
void alloc_fail_at(unsigned n);
/* Whether it has come to that; and no more failures. */
bool alloc_fail_end(void);

/* Counts the blocks that hold this text when they are freed; NULL: none. */
void alloc_watch(const char *text);
unsigned alloc_seen(void);

#endif
