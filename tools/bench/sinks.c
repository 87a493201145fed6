/* What dead sinks of the audit log cost the nodes: releases a second of a storm at a server without
 * exporters, and at the same one with a webhook that accepts and never answers and a syslog server that is
 * not there. In turns, in one run. See tools/bench/run-sinks. */
#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/bench/proc.h"
#include "tools/bench/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#define ROUNDS_MAX 25U
#define GOAL       0.95

typedef struct settings {
	const char *server, *parent;
	unsigned nodes, connections, rounds, threads, seconds;
	bool check;
} settings_t;

typedef struct bench {
	settings_t set;
	char *dir, *server_dir, *log;
	kms_process_t kms;
	fleet_t fleet;
	int hole; /* listens; the kernel accepts, and nobody reads */
	char webhook[64], syslog[64];
	int64_t deadline_us;
	bool met;
} bench_t;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void bench_end(bench_t *b)
{
	proc_kill(&b->kms.pid);
	fleet_free(&b->fleet);
	closep(&b->hole);
	if (b->dir != NULL)
		(void)nftw(b->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(b->dir);
	free(b->server_dir);
	free(b->log);
}

static int bound(unsigned *port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(at);
	SCOPED(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &n) != 0)
		return -1;
	*port = ntohs(at.sin_port);
	return fd_take(&fd);
}

static kms_err_t make_dead_sinks(bench_t *b, diag_t *why)
{
	unsigned hook = 0;
	unsigned closed = 0;
	b->hole = bound(&hook);
	SCOPED(closep) int gone = bound(&closed); /* nobody listens there */
	if (b->hole < 0 || gone < 0 || listen(b->hole, 512) != 0)
		return diag_fail(why, KMS_E_IO, "no socket: %s", strerror(errno));
	(void)snprintf(b->webhook, sizeof(b->webhook), "http://127.0.0.1:%u/events", hook);
	(void)snprintf(b->syslog, sizeof(b->syslog), "tcp:127.0.0.1:%u", closed);
	return KMS_OK;
}

static kms_err_t start(bench_t *b, bool sinks, diag_t *why)
{
	const char *const more[] = {"--export-webhook", b->webhook, "--export-syslog", b->syslog, NULL};
	const kms_setup_t setup = {.program = b->set.server,
				   .dir = b->server_dir,
				   .log = b->log,
				   .threads = b->set.threads,
				   .more = sinks ? more : NULL};
	if (b->kms.pid != 0)
		KMS_TRY(proc_stop(&b->kms.pid, why));
	return kms_start(&setup, &b->kms, why);
}

static kms_err_t prepare(bench_t *b, diag_t *why)
{
	KMS_TRY(path_join(b->set.parent, "claviger-sinks-XXXXXX", &b->dir));
	if (mkdtemp(b->dir) == NULL) {
		int error = errno;
		freep(&b->dir);
		return diag_fail(why, KMS_E_IO, "no temporary folder in %s: %s", b->set.parent,
				 strerror(error));
	}
	KMS_TRY(path_join(b->dir, "server", &b->server_dir));
	KMS_TRY(path_join(b->dir, "server.log", &b->log));
	KMS_TRY(make_dead_sinks(b, why));
	const kms_setup_t setup = {.program = b->set.server, .dir = b->server_dir, .log = b->log};
	KMS_TRY(kms_init(&setup, why));
	KMS_TRY(start(b, false, why));
	const fleet_options_t o = {.server_dir = b->server_dir,
				   .port = b->kms.port,
				   .connections = b->set.connections,
				   .nodes = b->set.nodes,
				   .deadline_us = b->deadline_us};
	return fleet_make(&o, &b->fleet, why);
}

/* A server of its own; its first storm warms it up and is not counted. */
static kms_err_t turn_of(bench_t *b, bool sinks, round_result_t *out, diag_t *why)
{
	KMS_TRY(start(b, sinks, why));
	const round_options_t r = {.port = b->kms.port,
				   .server = b->kms.pid,
				   .connections = b->set.connections,
				   .nodes = b->set.nodes,
				   .want = "\"released\"",
				   .deadline_us = b->deadline_us};
	KMS_TRY(measure_round(&r, &b->fleet, out, why));
	return measure_round(&r, &b->fleet, out, why);
}

static double median(double *v, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && v[k] < v[k - 1]; k--) {
			double t = v[k];
			v[k] = v[k - 1];
			v[k - 1] = t;
		}
	if (n == 0)
		return 0;
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* The other first every second time, so that what else the machine does meets both. */
static kms_err_t compare(bench_t *b, diag_t *why)
{
	round_result_t without[ROUNDS_MAX], with[ROUNDS_MAX];
	double ratio[ROUNDS_MAX];
	report_head();
	for (size_t i = 0; i < b->set.rounds; i++) {
		bool first = i % 2 != 0;
		KMS_TRY(turn_of(b, first, first ? &with[i] : &without[i], why));
		KMS_TRY(turn_of(b, !first, first ? &without[i] : &with[i], why));
		report_round("without", i + 1, &without[i]);
		report_round("with dead sinks", i + 1, &with[i]);
		ratio[i] = with[i].per_second / without[i].per_second;
	}
	(void)report_median("without", without, b->set.rounds);
	(void)report_median("with dead sinks", with, b->set.rounds);
	report_pairs(with, without, b->set.rounds);
	b->met = report_ratio("with dead sinks / without", median(ratio, b->set.rounds), GOAL);
	return KMS_OK;
}

static kms_err_t run(bench_t *b, diag_t *why)
{
	b->deadline_us = load_now_us() + (int64_t)b->set.seconds * 1000000;
	KMS_TRY(prepare(b, why));
	printf("%u nodes on %u connections, %u server threads; webhook %s, syslog %s\n", b->set.nodes,
	       b->set.connections, b->set.threads, b->webhook, b->syslog);
	KMS_TRY(compare(b, why));
	if (load_now_us() >= b->deadline_us)
		return diag_fail(why, KMS_E_FULL,
				 "the time of --seconds was up: the figures are of unfinished rounds");
	return proc_stop(&b->kms.pid, why);
}

/* --- the command line --- */

static void usage(FILE *out)
{
	(void)fprintf(out, "usage: sinks --server KMS_SERVER [options]\n"
			   "  --nodes N            nodes, each with its own certificate and volume (2000)\n"
			   "  --connections C      connections in flight (64)\n"
			   "  --rounds N           measured pairs (9)\n"
			   "  --threads N          HTTPS threads of the server (one a core, at least 2)\n"
			   "  --seconds N          end of it all, finished or not (600)\n"
			   "  --dir DIR            where the temporary folder goes (/tmp)\n"
			   "  --check              fail when the ratio is below its goal\n");
}

typedef struct number_option {
	const char *name;
	size_t offset;
	unsigned min, max;
} number_option_t;

static const number_option_t NUMBERS[] = {
	{"nodes", offsetof(settings_t, nodes), 1, 20000},
	{"connections", offsetof(settings_t, connections), 1, 1000},
	{"rounds", offsetof(settings_t, rounds), 1, ROUNDS_MAX},
	{"threads", offsetof(settings_t, threads), 2, 256},
	{"seconds", offsetof(settings_t, seconds), 10, 3600},
};
#define N_NUMBERS (sizeof(NUMBERS) / sizeof(NUMBERS[0]))

static bool set_number(settings_t *s, size_t i, const char *text)
{
	char *end = NULL;
	errno = 0;
	unsigned long v = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < NUMBERS[i].min ||
	    v > NUMBERS[i].max) {
		(void)fprintf(stderr, "sinks: --%s is a number from %u to %u\n", NUMBERS[i].name,
			      NUMBERS[i].min, NUMBERS[i].max);
		return false;
	}
	unsigned value = (unsigned)v;
	memcpy((char *)s + NUMBERS[i].offset, &value, sizeof(value));
	return true;
}

enum { OPT_SERVER = 100, OPT_DIR, OPT_CHECK, OPT_HELP };

static int read_options(int argc, char **argv, settings_t *s)
{
	struct option options[N_NUMBERS + 5] = {{0}};
	for (size_t i = 0; i < N_NUMBERS; i++)
		options[i] = (struct option){NUMBERS[i].name, required_argument, NULL, (int)i};
	options[N_NUMBERS] = (struct option){"server", required_argument, NULL, OPT_SERVER};
	options[N_NUMBERS + 1] = (struct option){"dir", required_argument, NULL, OPT_DIR};
	options[N_NUMBERS + 2] = (struct option){"check", no_argument, NULL, OPT_CHECK};
	options[N_NUMBERS + 3] = (struct option){"help", no_argument, NULL, OPT_HELP};
	int o = 0;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == OPT_HELP) {
			usage(stdout);
			return 0;
		}
		if (o == '?' || (o < (int)N_NUMBERS && !set_number(s, (size_t)o, optarg)))
			return 2;
		s->server = o == OPT_SERVER ? optarg : s->server;
		s->parent = o == OPT_DIR ? optarg : s->parent;
		s->check = s->check || o == OPT_CHECK;
	}
	if (optind == argc && s->server != NULL)
		return -1;
	usage(stderr);
	return 2;
}

int main(int argc, char **argv)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	SCOPED(bench_end)
	bench_t b = {.hole = -1,
		     .set = {.parent = "/tmp",
			     .nodes = 2000,
			     .connections = 64,
			     .rounds = 9,
			     .threads = cores > 2 ? (unsigned)cores : 2,
			     .seconds = 600}};
	int exit_code = read_options(argc, argv, &b.set);
	if (exit_code >= 0)
		return exit_code;
	(void)signal(SIGPIPE, SIG_IGN);
	diag_t why = {.text = ""};
	kms_err_t e = run(&b, &why);
	if (e != KMS_OK) {
		(void)fprintf(stderr, "sinks: %s\n", why.text[0] != '\0' ? why.text : kms_err_name(e));
		return 1;
	}
	return b.set.check && !b.met ? 1 : 0;
}
