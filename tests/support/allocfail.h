/* Makes the Nth allocation of this process fail, in every library of it. Not with the sanitizers and not
 * under valgrind, which bring an allocator of their own: tests skip by name where it is not supported. */
#ifndef CLAVIGER_TESTS_SUPPORT_ALLOCFAIL_H
#define CLAVIGER_TESTS_SUPPORT_ALLOCFAIL_H

#include <stdbool.h>

bool allocfail_supported(void);
/* The nth malloc, calloc or realloc from now (1: the next) returns NULL. 0 disarms. */
void allocfail_arm(unsigned nth);
/* Whether it came to that since the last arm. */
bool allocfail_happened(void);

#endif
