/* What dead sinks of the audit log cost the nodes: releases a second of a storm at a server without
 * exporters, and at the same one with a webhook that accepts and never answers and a syslog server that is
 * not there. In turns, in one run. See tools/bench/run-sinks. */
#include "common/base/scope.h"
#include "tools/bench/ground.h"
#include "tools/bench/options.h"
#include "tools/bench/proc.h"
#include "tools/bench/report.h"

#include <arpa/inet.h>
#include <errno.h>
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
	ground_t ground;
	kms_process_t kms;
	fleet_t fleet;
	int hole; /* listens; the kernel accepts, and nobody reads */
	char webhook[64], syslog[64];
	int64_t deadline_us;
	bool met;
} bench_t;

static void bench_end(bench_t *b)
{
	proc_kill(&b->kms.pid);
	fleet_free(&b->fleet);
	closep(&b->hole);
	ground_remove(&b->ground);
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
				   .dir = b->ground.server,
				   .log = b->ground.log,
				   .threads = b->set.threads,
				   .more = sinks ? more : NULL};
	if (b->kms.pid != 0)
		KMS_TRY(proc_stop(&b->kms.pid, why));
	return kms_start(&setup, &b->kms, why);
}

static kms_err_t prepare(bench_t *b, diag_t *why)
{
	KMS_TRY(ground_make(b->set.parent, "sinks", &b->ground, why));
	KMS_TRY(make_dead_sinks(b, why));
	const kms_setup_t setup = {.program = b->set.server, .dir = b->ground.server, .log = b->ground.log};
	KMS_TRY(kms_init(&setup, why));
	KMS_TRY(start(b, false, why));
	const fleet_options_t o = {.server_dir = b->ground.server,
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
	b->met = report_ratio("with dead sinks / without", measure_middle(ratio, b->set.rounds), GOAL);
	return KMS_OK;
}

static kms_err_t run(bench_t *b, diag_t *why)
{
	b->deadline_us = load_now_us() + (int64_t)b->set.seconds * 1000000;
	KMS_TRY(prepare(b, why));
	printf("%u nodes on %u connections, %u server threads; webhook %s, syslog %s\n", b->set.nodes,
	       b->set.connections, b->set.threads, b->webhook, b->syslog);
	KMS_TRY(compare(b, why));
	KMS_TRY(measure_in_time(b->deadline_us, why));
	return proc_stop(&b->kms.pid, why);
}

/* --- the command line --- */

static const char USAGE[] = "usage: sinks --server KMS_SERVER [options]\n"
			    "  --nodes N            nodes, each with its own certificate and volume (2000)\n"
			    "  --connections C      connections in flight (64)\n"
			    "  --rounds N           measured pairs (9)\n"
			    "  --threads N          HTTPS threads of the server (one a core, at least 2)\n"
			    "  --seconds N          end of it all, finished or not (600)\n"
			    "  --dir DIR            where the temporary folder goes (/tmp)\n"
			    "  --check              fail when the ratio is below its goal\n";

static const option_row_t OPTIONS[] = {
	{"server", OPTION_NEEDED, offsetof(settings_t, server), 0, 0},
	{"nodes", OPTION_NUMBER, offsetof(settings_t, nodes), 1, 20000},
	{"connections", OPTION_NUMBER, offsetof(settings_t, connections), 1, 1000},
	{"rounds", OPTION_NUMBER, offsetof(settings_t, rounds), 1, ROUNDS_MAX},
	{"threads", OPTION_NUMBER, offsetof(settings_t, threads), 2, 256},
	{"seconds", OPTION_NUMBER, offsetof(settings_t, seconds), 10, 3600},
	{"dir", OPTION_TEXT, offsetof(settings_t, parent), 0, 0},
	{"check", OPTION_FLAG, offsetof(settings_t, check), 0, 0},
};

static const command_line_t COMMAND = {"sinks", USAGE, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS};

int main(int argc, char **argv)
{
	SCOPED(bench_end)
	bench_t b = {.hole = -1,
		     .set = {.parent = "/tmp",
			     .nodes = 2000,
			     .connections = 64,
			     .rounds = 9,
			     .threads = proc_threads(),
			     .seconds = 600}};
	int exit_code = options_read(&COMMAND, argc, argv, &b.set);
	if (exit_code >= 0)
		return exit_code;
	(void)signal(SIGPIPE, SIG_IGN);
	diag_t why = {.text = ""};
	kms_err_t e = run(&b, &why);
	return report_end("sinks", e, &why, b.set.check && !b.met);
}
