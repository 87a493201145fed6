/* What the measurements print. */
#ifndef CLAVIGER_TOOLS_BENCH_REPORT_H
#define CLAVIGER_TOOLS_BENCH_REPORT_H

#include "tools/bench/measure.h"

void report_head(void);
void report_round(const char *what, size_t number, const round_result_t *r);
/* The median round of n, printed; its releases per second. */
double report_median(const char *what, const round_result_t *r, size_t n);
/* "RATIO release/bare 0.93 (at least 0.80: met)"; whether it is. */
bool report_ratio(const char *what, double value, double goal);
/* The ratio round by round, which shows how much the machine's other work disturbed it. */
void report_pairs(const round_result_t *above, const round_result_t *below, size_t n);
void report_memory(const char *when, uint64_t kib);
/* What went wrong, to standard error; the program's exit code. */
int report_end(const char *program, kms_err_t e, const diag_t *why, bool missed);

#endif
