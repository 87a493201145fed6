/* Kills a server by SIGKILL at random instants under load and starts it again, as often as told. What it had
 * answered goes to a file, one line an answer: "OPERATION RESOURCE EVENT", EVENT "-" where the answer names
 * none. After each kill and after each start it runs what the caller has to look with (KMS_PORT in its
 * environment is where the server listens). See tests/integration/log_kill_test. */
#include "common/base/scope.h"
#include "tools/bench/fleet.h"
#include "tools/bench/proc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#define NODES       6U
#define JOBS        1500U /* more than are answered before the kill */
#define CONNECTIONS 12U
#define EARLIEST_US 20000U
#define SPREAD_US   350000U
#define PATH_BYTES  160U
#define SERVICE     "/v1/customers/storm/services/bench"

typedef struct kills {
	const char *server, *dir, *log, *acks, *after_kill, *after_start;
	unsigned rounds;
	uint64_t random;
	fleet_t fleet;
	kms_process_t kms;
	size_t acked;
} kills_t;

static unsigned random_below(kills_t *k, unsigned n)
{
	k->random ^= k->random >> 12;
	k->random ^= k->random << 25;
	k->random ^= k->random >> 27;
	return (unsigned)((k->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

/* --- the load --- */

typedef struct job {
	const char *operation;
	char resource[64];
	buf_t request, answer;
} job_t;

static kms_err_t ask(job_t *j, load_job_t *l, const load_identity_t *who, const char *method,
		     const char *path, const char *body)
{
	buf_printf(&j->request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n%s", method,
		   path, strlen(body), body);
	*l = (load_job_t){.who = who, .request = buf_span(&j->request), .answer = &j->answer};
	return j->request.err;
}

/* Releases, new volumes and rotations, of several nodes and the operator by turns. */
static kms_err_t make_job(kills_t *k, unsigned round, unsigned i, job_t *j, load_job_t *l)
{
	char path[PATH_BYTES], body[64];
	unsigned node = random_below(k, NODES), what = random_below(k, 8);
	const load_identity_t *who = &k->fleet.nodes[node].id;
	(void)snprintf(j->resource, sizeof j->resource, "storm/bench/v%05u", node);
	if (what < 5) {
		j->operation = "key.release";
		(void)snprintf(path, sizeof path, SERVICE "/volumes/v%05u:release", node);
		return ask(j, l, who, "POST", path, "{}");
	}
	if (what == 5) {
		j->operation = "rotation.stage";
		(void)snprintf(path, sizeof path, SERVICE "/volumes/v%05u/rotation", node);
		return ask(j, l, who, "POST", path, "{}");
	}
	j->operation = "volume.create";
	(void)snprintf(j->resource, sizeof j->resource, "storm/bench/r%u-%u", round, i);
	(void)snprintf(path, sizeof path, SERVICE "/volumes/r%u-%u", round, i);
	(void)snprintf(body, sizeof body, "{\"node\":\"n%05u\"}", node);
	return ask(j, l, &k->fleet.operator_id, "PUT", path, body);
}

/* The number behind "event": in a release's answer. */
static const char *event_of(const job_t *j, char out[24])
{
	static const char mark[] = "\"event\":";
	const char *at = j->answer.n > 0 ? memmem(j->answer.p, j->answer.n, mark, sizeof mark - 1) : NULL;
	size_t n = 0;
	out[0] = '-';
	out[1] = '\0';
	if (at == NULL || strcmp(j->operation, "key.release") != 0)
		return out;
	const char *end = (const char *)j->answer.p + j->answer.n;
	for (at += sizeof mark - 1; at < end && n < 20 && *at >= '0' && *at <= '9'; at++)
		out[n++] = *at;
	out[n] = '\0';
	return out;
}

static kms_err_t write_acks(kills_t *k, const job_t *jobs, const load_job_t *loads, size_t *n)
{
	SCOPED(fclosep) FILE *f = fopen(k->acks, "ae");
	char event[24];
	if (f == NULL)
		return KMS_E_IO;
	*n = 0;
	for (size_t i = 0; i < JOBS; i++) {
		if (!loads[i].good)
			continue;
		(void)fprintf(f, "%s %s %s\n", jobs[i].operation, jobs[i].resource,
			      event_of(&jobs[i], event));
		++*n;
	}
	k->acked += *n;
	return fflush(f) == 0 ? KMS_OK : KMS_E_IO;
}

/* --- the kill --- */

static pid_t start_killer(const kills_t *k, unsigned after_us)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	(void)nanosleep(&(struct timespec){.tv_nsec = (long)after_us * 1000}, NULL);
	(void)kill(k->kms.pid, SIGKILL);
	_exit(0);
}

static void free_jobs(job_t *jobs)
{
	for (size_t i = 0; i < JOBS; i++) {
		buf_free(&jobs[i].request);
		buf_free(&jobs[i].answer);
	}
}

static kms_err_t load_and_kill(kills_t *k, unsigned after_us, load_job_t *loads, diag_t *why)
{
	const load_options_t o = {.port = k->kms.port,
				  .connections = CONNECTIONS,
				  .server = k->fleet.server.cert,
				  .deadline_us = load_now_us() + 10000000};
	int status = 0;
	pid_t killer = start_killer(k, after_us);
	if (killer < 0)
		return diag_fail(why, KMS_E_IO, "fork: %s", strerror(errno));
	kms_err_t e = load_run(&o, loads, JOBS, why);
	(void)waitpid(killer, NULL, 0);
	if (waitpid(k->kms.pid, &status, 0) != k->kms.pid || !WIFSIGNALED(status) ||
	    WTERMSIG(status) != SIGKILL)
		return diag_fail(why, KMS_E_IO, "the server ended by itself");
	k->kms.pid = 0;
	return e;
}

static kms_err_t run_round(kills_t *k, unsigned round, unsigned after_us, size_t *n, diag_t *why)
{
	SCOPED(freep) job_t *jobs = calloc(JOBS, sizeof *jobs);
	SCOPED(freep) load_job_t *loads = calloc(JOBS, sizeof *loads);
	kms_err_t e = jobs != NULL && loads != NULL ? KMS_OK : KMS_E_NOMEM;
	for (unsigned i = 0; i < JOBS && e == KMS_OK; i++)
		e = make_job(k, round, i, &jobs[i], &loads[i]);
	if (e == KMS_OK)
		e = load_and_kill(k, after_us, loads, why);
	if (e == KMS_OK)
		e = write_acks(k, jobs, loads, n);
	if (jobs != NULL)
		free_jobs(jobs);
	return e;
}

/* --- the rest --- */

static kms_err_t look(const kills_t *k, const char *command, diag_t *why)
{
	char port[16];
	int status = 0;
	(void)snprintf(port, sizeof port, "%u", k->kms.port);
	pid_t pid = fork();
	if (pid == 0) {
		(void)setenv("KMS_PORT", port, 1);
		(void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "%s: failed", command);
	return KMS_OK;
}

static kms_err_t start(kills_t *k, diag_t *why)
{
	const kms_setup_t s = {.program = k->server, .dir = k->dir, .log = k->log, .threads = 2};
	return kms_start(&s, &k->kms, why);
}

static kms_err_t run(kills_t *k, diag_t *why)
{
	KMS_TRY(start(k, why));
	const fleet_options_t o = {.server_dir = k->dir,
				   .port = k->kms.port,
				   .connections = CONNECTIONS,
				   .nodes = NODES,
				   .deadline_us = load_now_us() + 60000000};
	KMS_TRY(fleet_make(&o, &k->fleet, why));
	for (unsigned i = 1; i <= k->rounds; i++) {
		unsigned after_us = EARLIEST_US + random_below(k, SPREAD_US);
		size_t n = 0;
		KMS_TRY(run_round(k, i, after_us, &n, why));
		KMS_TRY(look(k, k->after_kill, why));
		KMS_TRY(start(k, why));
		KMS_TRY(look(k, k->after_start, why));
		printf("kill %u after %u ms: %zu answers before it\n", i, after_us / 1000, n);
		(void)fflush(stdout);
	}
	KMS_TRY(proc_stop(&k->kms.pid, why));
	printf("killed %u times, %zu answers in all\n", k->rounds, k->acked);
	return KMS_OK;
}

static void kills_end(kills_t *k)
{
	proc_kill(&k->kms.pid);
	fleet_free(&k->fleet);
}

int main(int argc, char **argv)
{
	diag_t why = {""};
	if (argc != 9) {
		(void)fprintf(stderr,
			      "usage: kills KMS_SERVER DIR LOG ACKS ROUNDS SEED AFTER_KILL AFTER_START\n");
		return 2;
	}
	SCOPED(kills_end)
	kills_t k = {.server = argv[1],
		     .dir = argv[2],
		     .log = argv[3],
		     .acks = argv[4],
		     .rounds = (unsigned)strtoul(argv[5], NULL, 10),
		     .random = strtoull(argv[6], NULL, 10) * UINT64_C(0x9E3779B97F4A7C15) | 1,
		     .after_kill = argv[7],
		     .after_start = argv[8]};
	(void)signal(SIGPIPE, SIG_IGN);
	kms_err_t e = run(&k, &why);
	if (e != KMS_OK)
		(void)fprintf(stderr, "kills: %s\n", why.text[0] != '\0' ? why.text : kms_err_name(e));
	return e == KMS_OK ? 0 : 1;
}
