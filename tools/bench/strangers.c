#include "tools/bench/strangers.h"

#include "common/base/scope.h"
#include "common/crypto/x509.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define JOBS       4096U
#define SILENT_MAX 4096U
#define YEAR_MS    (INT64_C(365) * 24 * 3600 * 1000)

/* In memory that both processes see. */
struct strangers {
	load_options_t load; /* its deadline is what ends the child */
	strangers_count_t count;
	int64_t began_us;
	pid_t pid;
	unsigned silent;
	bool rude;
};

static int64_t now_ms(void)
{
	struct timespec t = {0};
	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A node's certificate of a deployment that is not the server's, with the names of one that is. */
static kms_err_t foreign_identity(load_identity_t *out, diag_t *why)
{
	SCOPED(secret_freep) secret_t *ca_key = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t ca_pem = BUF_INIT;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(x509_ca_freep) x509_ca_t *ca = NULL;
	const x509_identity_t who = {.kind = X509_NODE, .node = {"storm", "bench", "n00001"}};
	int64_t now = now_ms();
	KMS_TRY(x509_ca_new("claviger.internal", now, YEAR_MS, &ca_key, &ca_pem));
	KMS_TRY(x509_ca_load(buf_span(&ca_pem), &ca, why));
	KMS_TRY(x509_key_new(&key));
	KMS_TRY(x509_csr_new(key, &csr));
	KMS_TRY(x509_issue_client(ca, ca_key, buf_span(&csr), &who, now, YEAR_MS, &cert, why));
	return load_identity_read(buf_span(&cert), secret_span(key), out);
}

static void hold(const strangers_t *s)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(s->load.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	for (unsigned i = 0; i < s->silent; i++) {
		/* kept until the process ends */
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd >= 0)
			(void)connect(fd, (const struct sockaddr *)&to, sizeof(to));
	}
}

static void tally(strangers_count_t *c, const load_job_t *jobs)
{
	for (size_t i = 0; i < JOBS; i++) {
		c->asked += jobs[i].status != 0;
		c->refused += jobs[i].status / 100 == 4 && jobs[i].status != 429;
		c->other += jobs[i].status > 0 && (jobs[i].status / 100 != 4 || jobs[i].status == 429);
	}
}

static kms_err_t flood(strangers_t *s, diag_t *why)
{
	static const char request[] =
		"POST /v1/node/release HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}";
	load_identity_t foreign = {0};
	SCOPED(freep) load_job_t *jobs = calloc(JOBS, sizeof(load_job_t));
	if (jobs == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(foreign_identity(&foreign, why));
	for (size_t i = 0; i < JOBS; i++)
		jobs[i] = (load_job_t){.who = i % 2 == 1 && !s->rude ? &foreign : NULL,
				       .request = span_str(request),
				       .hello = s->rude && i % 2 == 1,
				       .rude = s->rude};
	hold(s);
	while (load_now_us() < s->load.deadline_us) {
		KMS_TRY(load_run(&s->load, jobs, JOBS, why));
		tally(&s->count, jobs);
	}
	load_identity_free(&foreign);
	return KMS_OK;
}

static void be_strangers(strangers_t *s)
{
	diag_t why = {.text = ""};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	kms_err_t e = flood(s, &why);
	if (e != KMS_OK)
		(void)fprintf(stderr, "flood: %s\n", why.text);
	_exit(e == KMS_OK ? 0 : 1);
}

kms_err_t strangers_start(const strangers_options_t *o, strangers_t **out, diag_t *why)
{
	strangers_t *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return KMS_E_NOMEM;
	s->load = (load_options_t){.port = o->port,
				   .connections = o->connections,
				   .server = o->server,
				   .deadline_us = o->deadline_us};
	s->silent = o->silent < SILENT_MAX ? o->silent : SILENT_MAX;
	s->rude = o->rude;
	s->began_us = load_now_us();
	(void)fflush(NULL);
	s->pid = fork();
	if (s->pid == 0)
		be_strangers(s);
	if (s->pid < 0) {
		(void)munmap(s, sizeof(*s));
		return diag_fail(why, KMS_E_IO, "fork: %s", strerror(errno));
	}
	*out = s;
	return KMS_OK;
}

void strangers_stop(strangers_t **s, strangers_count_t *count)
{
	struct rusage used = {0};
	int status = 0;
	if (*s == NULL)
		return;
	double seconds = (double)(load_now_us() - (*s)->began_us) / 1e6;
	(*s)->load.deadline_us = 0;
	/* what it has open then ends with it */
	for (unsigned i = 0; i < 600 && wait4((*s)->pid, &status, WNOHANG, &used) == 0; i++) {
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
		if (i == 599)
			(void)kill((*s)->pid, SIGKILL);
	}
	if (count != NULL) {
		*count = (*s)->count;
		count->seconds = seconds;
		count->cpu_seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
				     (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	}
	(void)munmap(*s, sizeof(**s));
	*s = NULL;
}

void strangers_end(strangers_t **s)
{
	strangers_stop(s, NULL);
}
