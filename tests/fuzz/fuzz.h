/* A fuzz target's one function, and its own assert: one that a release build keeps. */
#ifndef CLAVIGER_TESTS_FUZZ_FUZZ_H
#define CLAVIGER_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST_HOLD(cond)                                                                                      \
	do {                                                                                                 \
		if (!(cond)) {                                                                               \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);      \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

#endif
