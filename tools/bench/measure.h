/* One round: every node of the fleet connects anew and asks once, from a client process of its own. */
#ifndef CLAVIGER_TOOLS_BENCH_MEASURE_H
#define CLAVIGER_TOOLS_BENCH_MEASURE_H

#include "tools/bench/fleet.h"

#include <sys/types.h>

typedef struct round_options {
	uint16_t port;
	pid_t server; /* whose processor time is counted */
	unsigned connections;
	size_t nodes;     /* the first so many of the fleet */
	const char *want; /* what a good answer holds */
	int64_t deadline_us;
} round_options_t;

typedef struct round_result {
	size_t asked, good;
	double seconds;
	double per_second; /* good ones */
	uint32_t p50_us, p90_us, p99_us, max_us;
	double server_cpu_us, client_cpu_us; /* for each good one */
} round_result_t;

/* IO when no answer was good, FULL when there was no time left. */
KMS_MUST measure_round(const round_options_t *o, const fleet_t *f, round_result_t *out, diag_t *why);

/* The round with the median of per_second; n > 0. */
const round_result_t *measure_median(const round_result_t *r, size_t n);
/* The median of n numbers, which it puts in order; 0 of none. */
double measure_middle(double *v, size_t n);

/* FULL when the time is up: the last rounds were not finished, and figures of them are worth nothing. */
KMS_MUST measure_in_time(int64_t deadline_us, diag_t *why);

#endif
