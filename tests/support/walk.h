/* Random numbers for tests that say their seed: splitmix64. */
#ifndef CLAVIGER_TESTS_SUPPORT_WALK_H
#define CLAVIGER_TESTS_SUPPORT_WALK_H

#include <stdint.h>

static inline uint64_t walk_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to n - 1 */
static inline unsigned walk_below(uint64_t *state, unsigned n)
{
	return (unsigned)(walk_next(state) % n);
}

#endif
