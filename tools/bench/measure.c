#include "tools/bench/measure.h"

#include "common/base/scope.h"
#include "tools/bench/proc.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* What the client process leaves for its parent, in memory that both see. */
typedef struct sample {
	int status;
	bool good;
	uint32_t latency_us;
} sample_t;

typedef struct shared {
	int64_t began_us, ended_us;
	sample_t samples[];
} shared_t;

static kms_err_t run_client(const round_options_t *o, const fleet_t *f, shared_t *out, diag_t *why)
{
	const load_options_t l = {.port = o->port,
				  .connections = o->connections,
				  .server = f->server.cert,
				  .deadline_us = o->deadline_us};
	SCOPED(freep) load_job_t *jobs = calloc(o->nodes, sizeof(load_job_t));
	if (jobs == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < o->nodes; i++)
		jobs[i] = (load_job_t){
			.who = &f->nodes[i].id, .request = buf_span(&f->nodes[i].request), .want = o->want};
	out->began_us = load_now_us();
	KMS_TRY(load_run(&l, jobs, o->nodes, why));
	out->ended_us = load_now_us();
	for (size_t i = 0; i < o->nodes; i++)
		out->samples[i] = (sample_t){jobs[i].status, jobs[i].good, jobs[i].latency_us};
	return KMS_OK;
}

static void be_client(const round_options_t *o, const fleet_t *f, shared_t *out)
{
	diag_t why = {.text = ""};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	kms_err_t e = run_client(o, f, out, &why);
	if (e != KMS_OK)
		(void)fprintf(stderr, "storm: client: %s\n", why.text);
	_exit(e == KMS_OK ? 0 : 1);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t percentile(const uint32_t *sorted, size_t n, unsigned percent)
{
	size_t i = (n * percent + 99) / 100;
	return sorted[i > 0 ? i - 1 : 0];
}

static kms_err_t summarise(const round_options_t *o, const shared_t *s, round_result_t *out, diag_t *why)
{
	SCOPED(freep) uint32_t *good = calloc(o->nodes, sizeof(uint32_t));
	if (good == NULL)
		return KMS_E_NOMEM;
	round_result_t r = {.seconds = (double)(s->ended_us - s->began_us) / 1e6};
	int odd = 0;
	for (size_t i = 0; i < o->nodes; i++) {
		r.asked += s->samples[i].status != 0;
		if (s->samples[i].good)
			good[r.good++] = s->samples[i].latency_us;
		else if (s->samples[i].status != 0)
			odd = s->samples[i].status;
	}
	if (r.asked == 0)
		return diag_fail(why, KMS_E_FULL, "the time of --seconds was up before this round began");
	if (r.good == 0)
		return diag_fail(why, KMS_E_IO, "no good answer of %zu; one had the status %d", r.asked, odd);
	qsort(good, r.good, sizeof(uint32_t), by_value);
	r.per_second = (double)r.good / r.seconds;
	r.p50_us = percentile(good, r.good, 50);
	r.p90_us = percentile(good, r.good, 90);
	r.p99_us = percentile(good, r.good, 99);
	r.max_us = good[r.good - 1];
	*out = r;
	return KMS_OK;
}

static double cpu_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1e6 +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static kms_err_t run_in_child(const round_options_t *o, const fleet_t *f, shared_t *s, round_result_t *out,
			      diag_t *why)
{
	struct rusage used = {0};
	int status = 0;
	int64_t before = proc_cpu_us(o->server);
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return diag_fail(why, KMS_E_IO, "fork: %s", strerror(errno));
	if (pid == 0)
		be_client(o, f, s);
	if (wait4(pid, &status, 0, &used) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return diag_fail(why, KMS_E_IO, "the client process failed");
	int64_t after = proc_cpu_us(o->server);
	KMS_TRY(summarise(o, s, out, why));
	out->server_cpu_us = (double)(after - before) / (double)out->good;
	out->client_cpu_us = cpu_of(&used) / (double)out->good;
	return KMS_OK;
}

kms_err_t measure_round(const round_options_t *o, const fleet_t *f, round_result_t *out, diag_t *why)
{
	size_t n = sizeof(shared_t) + o->nodes * sizeof(sample_t);
	shared_t *s = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return KMS_E_NOMEM;
	kms_err_t e = run_in_child(o, f, s, out, why);
	(void)munmap(s, n);
	return e;
}

const round_result_t *measure_median(const round_result_t *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t below = 0;
		size_t same_before = 0;
		for (size_t j = 0; j < n; j++) {
			below += r[j].per_second < r[i].per_second;
			same_before += j < i && r[j].per_second == r[i].per_second;
		}
		if (below + same_before == (n - 1) / 2)
			return &r[i];
	}
	return r;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double measure_middle(double *v, size_t n)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof *v, by_size);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

kms_err_t measure_in_time(int64_t deadline_us, diag_t *why)
{
	if (load_now_us() >= deadline_us)
		return diag_fail(why, KMS_E_FULL,
				 "the time of --seconds was up: the figures are of unfinished rounds");
	return KMS_OK;
}
