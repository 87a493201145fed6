#include "tests/support/bigmeasure.h"

#include "common/base/scope.h"
#include "common/proto/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define PLACES  15U /* of a log, evenly spread */
#define REPEATS (PLACES * 13U)
#define APPENDS 330U /* of 100 events: four of the index's windows */
#define PAGE    100U
#define BATCH   100U
#define EXAMINE 2800U             /* as the server does for a page of 100 */
#define WINDOW  INT64_C(28800000) /* ms: eight hours hold more than a page of every customer */

static double now_us(clockid_t clock)
{
	struct timespec t;
	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	return v[n / 2];
}

static void tell(const char *what, const char *unit, double *small, double *large, size_t n)
{
	double s = median(small, n), l = median(large, n);
	printf("%-52s %9.0f %9.0f %-4s RATIO %.2f\n", what, s, l, unit, l / s);
}

/* What comes only once in many batches is in the mean and not in the median. */
static void tell_mean(const char *what, const char *unit, const double *small, const double *large, size_t n)
{
	double s = 0, l = 0;
	for (size_t i = 0; i < n; i++) {
		s += small[i] / (double)n;
		l += large[i] / (double)n;
	}
	printf("%-52s %9.0f %9.0f %-4s RATIO %.2f\n", what, s, l, unit, l / s);
}

/* What this process has had written so far. */
static double written_kib(void)
{
	SCOPED(fclosep) FILE *f = fopen("/proc/self/io", "re");
	char line[128];
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "wchar: ", 7) == 0)
			return (double)strtoull(line + 7, NULL, 10) / 1024;
	return 0;
}

/* --- pages --- */

typedef enum query { NEWEST, OLDEST, RARE, NEVER } query_t;

static kms_err_t found(void *ctx, uint64_t index, span_t bytes, bool *go_on)
{
	SCOPED(json_freep) json_t *event = NULL;
	unsigned *events = ctx;
	(void)index;
	*go_on = ++*events < PAGE;
	/* as the server does, which looks at each event before it shows it */
	return json_parse(bytes, 65535, &event, NULL);
}

static void set_search(const biglog_t *b, query_t q, size_t place, char customer[32], audit_search_t *out)
{
	uint64_t n = audit_size(b->audit);
	/* of those that are busy enough for a page in eight hours */
	(void)snprintf(customer, 32, "customer-%02zu", place % (BIGLOG_CUSTOMERS / 4));
	audit_search_t s = {.to_ms = INT64_MAX, .end = n, .examine = EXAMINE, .ascending = q == OLDEST};
	s.filter[s.n_filters++] = (audit_filter_t){.kind = AUDIT_CUSTOMER, .n = 1, .any_of = {customer}};
	if (q == RARE || q == NEVER) {
		s.filter[s.n_filters++] = (audit_filter_t){
			.kind = AUDIT_ACTOR, .n = 1, .any_of = {q == RARE ? "admin" : "nobody"}};
		s.filter[s.n_filters++] =
			(audit_filter_t){.kind = AUDIT_OPERATION,
					 .n = 1,
					 .any_of = {q == RARE ? "volume.delete" : "key.release"}};
	} else {
		uint64_t room = n - (uint64_t)(WINDOW / BIGLOG_STEP_MS);
		s.from_ms = biglog_time(room / PLACES * place);
		s.to_ms = s.from_ms + WINDOW;
	}
	*out = s;
}

static kms_err_t page(const biglog_t *b, query_t q, size_t place, double *us, unsigned *events)
{
	SCOPED(store_abortp) store_txn_t *t = NULL;
	audit_search_t s;
	char customer[32];
	uint64_t next = 0;
	bool more = false;
	unsigned n = 0;
	set_search(b, q, place, customer, &s);
	double from = now_us(CLOCK_MONOTONIC);
	KMS_TRY(store_begin_read(b->store, &t));
	kms_err_t e = audit_search(b->audit, t, &s, found, &n, &next, &more);
	*us = now_us(CLOCK_MONOTONIC) - from;
	*events += n;
	return e;
}

static kms_err_t turns(const biglog_t *small, const biglog_t *large, query_t q, size_t n, const char *what)
{
	double s[REPEATS], l[REPEATS];
	unsigned ns = 0, nl = 0;
	for (size_t i = 0; i < n; i++) {
		KMS_TRY(page(small, q, i % PLACES, &s[i], &ns));
		KMS_TRY(page(large, q, i % PLACES, &l[i], &nl));
	}
	tell(what, "us", s, l, n);
	printf("    events a page: %.1f and %.1f\n", (double)ns / (double)n, (double)nl / (double)n);
	return KMS_OK;
}

/* Each place is visited once before it counts: what the first visit costs is the disk's affair. */
static kms_err_t pages(const biglog_t *small, const biglog_t *large, query_t q, const char *what)
{
	KMS_TRY(turns(small, large, q, PLACES, "(first visits, partly from the disk)"));
	return turns(small, large, q, REPEATS, what);
}

/* --- batches --- */

typedef struct cost {
	double wall[APPENDS], cpu[APPENDS], kib[APPENDS];
} cost_t;

static kms_err_t batch(biglog_t *b, cost_t *c, size_t i)
{
	double kib = written_kib();
	double wall = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
	KMS_TRY(biglog_append(b, BATCH));
	c->wall[i] = now_us(CLOCK_MONOTONIC) - wall;
	c->cpu[i] = now_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
	c->kib[i] = written_kib() - kib;
	return KMS_OK;
}

static kms_err_t batches(biglog_t *small, biglog_t *large)
{
	cost_t s, l;
	for (size_t i = 0; i < APPENDS; i++) {
		KMS_TRY(batch(small, &s, i));
		KMS_TRY(batch(large, &l, i));
	}
	tell("append 100, with both flushes", "us", s.wall, l.wall, APPENDS);
	tell("append 100, processor time", "us", s.cpu, l.cpu, APPENDS);
	tell("append 100, written to the file", "KiB", s.kib, l.kib, APPENDS);
	tell_mean("append 100, mean with both flushes", "us", s.wall, l.wall, APPENDS);
	tell_mean("append 100, mean processor time", "us", s.cpu, l.cpu, APPENDS);
	tell_mean("append 100, mean written to the file", "KiB", s.kib, l.kib, APPENDS);
	return KMS_OK;
}

kms_err_t bigmeasure(biglog_t *small, biglog_t *large)
{
	printf("%-52s %9" PRIu64 " %9" PRIu64 " events\n", "", audit_size(small->audit),
	       audit_size(large->audit));
	KMS_TRY(pages(small, large, NEWEST, "page of 100 by customer and time, newest first"));
	KMS_TRY(pages(small, large, OLDEST, "page of 100 by customer and time, oldest first"));
	KMS_TRY(pages(small, large, RARE, "customer, actor and a rare operation"));
	KMS_TRY(pages(small, large, NEVER, "a combination that never happened"));
	return batches(small, large);
}
