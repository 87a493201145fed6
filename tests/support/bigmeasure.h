/* What a page out of a large log costs, and a batch into it, against a small one of the same fleet. */
#ifndef CLAVIGER_TESTS_SUPPORT_BIGMEASURE_H
#define CLAVIGER_TESTS_SUPPORT_BIGMEASURE_H

#include "tests/support/biglog.h"

/* Prints one line a measurement: medians of interleaved repeats, and their ratio. */
KMS_MUST bigmeasure(biglog_t *small, biglog_t *large);

#endif
