#include "tools/bench/report.h"

#include <inttypes.h>
#include <stdio.h>

static double ms(uint32_t us)
{
	return (double)us / 1000;
}

void report_head(void)
{
	printf("%-24s %6s %6s %9s | %8s %8s %8s %8s | %9s %9s\n", "", "asked", "good", "good/s", "p50 ms",
	       "p90 ms", "p99 ms", "max ms", "server us", "client us");
}

static void line(const char *what, const round_result_t *r)
{
	printf("%-24s %6zu %6zu %9.1f | %8.1f %8.1f %8.1f %8.1f | %9.0f %9.0f\n", what, r->asked, r->good,
	       r->per_second, ms(r->p50_us), ms(r->p90_us), ms(r->p99_us), ms(r->max_us), r->server_cpu_us,
	       r->client_cpu_us);
	(void)fflush(stdout);
}

void report_round(const char *what, size_t number, const round_result_t *r)
{
	char name[64];
	(void)snprintf(name, sizeof(name), "%s #%zu", what, number);
	line(name, r);
}

double report_median(const char *what, const round_result_t *r, size_t n)
{
	const round_result_t *m = measure_median(r, n);
	char name[64];
	(void)snprintf(name, sizeof(name), "%s MEDIAN", what);
	line(name, m);
	return m->per_second;
}

bool report_ratio(const char *what, double value, double goal)
{
	bool met = value >= goal;
	printf("RATIO %-28s %6.2f  (at least %.2f: %s)\n", what, value, goal, met ? "met" : "NOT met");
	(void)fflush(stdout);
	return met;
}

void report_pairs(const round_result_t *above, const round_result_t *below, size_t n)
{
	printf("      round by round:");
	for (size_t i = 0; i < n; i++)
		printf(" %.2f", above[i].per_second / below[i].per_second);
	printf("\n");
}

void report_memory(const char *when, uint64_t kib)
{
	printf("RSSANON %-26s %6.1f MiB\n", when, (double)kib / 1024);
	(void)fflush(stdout);
}

int report_end(const char *program, kms_err_t e, const diag_t *why, bool missed)
{
	if (e == KMS_OK)
		return missed ? 1 : 0;
	(void)fprintf(stderr, "%s: %s\n", program, why->text[0] != '\0' ? why->text : kms_err_name(e));
	return 1;
}
