/* Every node of a fleet connects at once and asks for its volumes' secrets: how many a second the server
 * releases, and how that compares, in the same run, with a server that does nothing but the handshake, and
 * with one that commits every request by itself. See tools/bench/run-storm. */
#include "common/base/scope.h"
#include "tools/bench/bare.h"
#include "tools/bench/ground.h"
#include "tools/bench/options.h"
#include "tools/bench/proc.h"
#include "tools/bench/report.h"

#include <signal.h>
#include <stdio.h>

#define ROUNDS_MAX       15U
#define GOAL_BARE        0.8
#define GOAL_COMMIT_EACH 5.0
#define COMMIT_EACH_MAX  400U /* nodes of a round where every release waits for flushes of its own */

typedef struct settings {
	const char *server;   /* kms-server */
	const char *slowsync; /* libslowsync.so */
	const char *parent;   /* where the temporary folder goes */
	unsigned nodes, connections, rounds, slow_rounds, slow_ms, threads, volumes, seconds;
	bool check;
} settings_t;

typedef struct storm {
	settings_t set;
	ground_t ground;
	kms_process_t kms;
	pid_t bare;
	uint16_t bare_port;
	fleet_t fleet;
	int64_t deadline_us;
	bool met;
} storm_t;

static void storm_end(storm_t *s)
{
	proc_kill(&s->kms.pid);
	proc_kill(&s->bare);
	fleet_free(&s->fleet);
	ground_remove(&s->ground);
}

static kms_setup_t setup_of(const storm_t *s)
{
	return (kms_setup_t){.program = s->set.server,
			     .dir = s->ground.server,
			     .log = s->ground.log,
			     .threads = s->set.threads};
}

/* --- the parts --- */

static fleet_options_t fleet_options(const storm_t *s)
{
	return (fleet_options_t){.server_dir = s->ground.server,
				 .port = s->kms.port,
				 .connections = s->set.connections,
				 .nodes = s->set.nodes,
				 .deadline_us = s->deadline_us};
}

static kms_err_t prepare(storm_t *s, diag_t *why)
{
	KMS_TRY(ground_make(s->set.parent, "storm", &s->ground, why));
	kms_setup_t setup = setup_of(s);
	KMS_TRY(kms_init(&setup, why));
	KMS_TRY(kms_start(&setup, &s->kms, why));
	KMS_TRY(bare_start(s->ground.server, s->set.threads, &s->bare, &s->bare_port, why));
	fleet_options_t o = fleet_options(s);
	return fleet_make(&o, &s->fleet, why);
}

static round_options_t round_of(const storm_t *s, bool bare)
{
	return (round_options_t){.port = bare ? s->bare_port : s->kms.port,
				 .server = bare ? s->bare : s->kms.pid,
				 .connections = s->set.connections,
				 .nodes = s->set.nodes,
				 .want = bare ? "{}" : "\"released\"",
				 .deadline_us = s->deadline_us};
}

typedef struct pair {
	round_options_t bare_round, kms_round;
	round_result_t bare[ROUNDS_MAX], kms[ROUNDS_MAX];
} pair_t;

static kms_err_t turn_of(storm_t *s, pair_t *p, size_t i, bool bare, diag_t *why)
{
	round_result_t *r = bare ? &p->bare[i] : &p->kms[i];
	KMS_TRY(measure_round(bare ? &p->bare_round : &p->kms_round, &s->fleet, r, why));
	report_round(bare ? "bare handshake" : "release", i + 1, r);
	return KMS_OK;
}

/* Turn by turn, and the other first every second time, so that what else the machine does meets both. One
 * turn of each comes before and is not counted: it warms caches and the server's heap. */
static kms_err_t compare_with_bare(storm_t *s, diag_t *why)
{
	pair_t p = {.bare_round = round_of(s, true), .kms_round = round_of(s, false)};
	report_head();
	KMS_TRY(measure_round(&p.bare_round, &s->fleet, &p.bare[0], why));
	KMS_TRY(measure_round(&p.kms_round, &s->fleet, &p.kms[0], why));
	for (size_t i = 0; i < s->set.rounds; i++) {
		KMS_TRY(turn_of(s, &p, i, i % 2 == 0, why));
		KMS_TRY(turn_of(s, &p, i, i % 2 != 0, why));
	}
	double b = report_median("bare handshake", p.bare, s->set.rounds);
	double k = report_median("release", p.kms, s->set.rounds);
	s->met = report_ratio("release / bare handshake", k / b, GOAL_BARE) && s->met;
	report_pairs(p.kms, p.bare, s->set.rounds);
	report_memory("after the storm", proc_rss_anon_kib(s->kms.pid));
	return KMS_OK;
}

static kms_err_t restart(storm_t *s, const kms_setup_t *setup, diag_t *why)
{
	KMS_TRY(proc_stop(&s->kms.pid, why));
	return kms_start(setup, &s->kms, why);
}

static kms_err_t slow_round(storm_t *s, bool commit_each, round_result_t *out, diag_t *why)
{
	kms_setup_t setup = setup_of(s);
	setup.slowsync = s->set.slowsync;
	setup.slow_ms = s->set.slow_ms;
	setup.commit_each = commit_each;
	KMS_TRY(restart(s, &setup, why));
	round_options_t r = round_of(s, false);
	if (commit_each && r.nodes > COMMIT_EACH_MAX)
		r.nodes = COMMIT_EACH_MAX;
	return measure_round(&r, &s->fleet, out, why);
}

static kms_err_t compare_with_commit_each(storm_t *s, diag_t *why)
{
	round_result_t each[ROUNDS_MAX];
	round_result_t grouped[ROUNDS_MAX];
	char name[64];
	(void)snprintf(name, sizeof(name), "commit each, %u ms", s->set.slow_ms);
	for (size_t i = 0; i < s->set.slow_rounds; i++) {
		KMS_TRY(slow_round(s, true, &each[i], why));
		report_round(name, i + 1, &each[i]);
		KMS_TRY(slow_round(s, false, &grouped[i], why));
		report_round("grouped", i + 1, &grouped[i]);
	}
	double e = report_median(name, each, s->set.slow_rounds);
	double g = report_median("grouped", grouped, s->set.slow_rounds);
	s->met = report_ratio("grouped / commit each", g / e, GOAL_COMMIT_EACH) && s->met;
	return KMS_OK;
}

static kms_err_t fill_with_volumes(storm_t *s, diag_t *why)
{
	kms_setup_t setup = setup_of(s);
	char when[64];
	KMS_TRY(restart(s, &setup, why));
	fleet_options_t o = fleet_options(s);
	if (s->set.volumes > s->set.nodes)
		KMS_TRY(fleet_more_volumes(&o, &s->fleet, s->set.volumes - s->set.nodes, why));
	unsigned volumes = s->set.volumes > s->set.nodes ? s->set.volumes : s->set.nodes;
	(void)snprintf(when, sizeof(when), "with %u volumes", volumes);
	report_memory(when, proc_rss_anon_kib(s->kms.pid));
	KMS_TRY(restart(s, &setup, why));
	(void)snprintf(when, sizeof(when), "the same, started anew");
	report_memory(when, proc_rss_anon_kib(s->kms.pid));
	return proc_stop(&s->kms.pid, why);
}

static kms_err_t run(storm_t *s, diag_t *why)
{
	s->deadline_us = load_now_us() + (int64_t)s->set.seconds * 1000000;
	s->met = true;
	KMS_TRY(prepare(s, why));
	printf("%u nodes, %u connections at a time, %u server threads, TLS 1.3 with client certificates, no "
	       "resumption\n",
	       s->set.nodes, s->set.connections, s->set.threads);
	KMS_TRY(compare_with_bare(s, why));
	KMS_TRY(compare_with_commit_each(s, why));
	KMS_TRY(fill_with_volumes(s, why));
	KMS_TRY(measure_in_time(s->deadline_us, why));
	return KMS_OK;
}

/* --- the command line --- */

static const char USAGE[] =
	"usage: storm --server KMS_SERVER --slowsync LIBSLOWSYNC.SO [options]\n"
	"  --nodes N            nodes, each with its own certificate and volume (2000)\n"
	"  --connections C      connections in flight (64)\n"
	"  --rounds N           measured rounds of release and of the bare handshake (5)\n"
	"  --slow-rounds N      rounds grouped and with a commit for each request (2)\n"
	"  --slow-ms N          milliseconds that a flush takes in these (5)\n"
	"  --threads N          HTTPS threads of both servers (one a core, at least 2)\n"
	"  --volumes N          volumes at the last look at memory (as many as nodes)\n"
	"  --seconds N          end of it all, finished or not (300)\n"
	"  --dir DIR            where the temporary folder goes (/tmp)\n"
	"  --check              fail when a ratio is below its goal\n";

static const option_row_t OPTIONS[] = {
	{"server", OPTION_NEEDED, offsetof(settings_t, server), 0, 0},
	{"slowsync", OPTION_NEEDED, offsetof(settings_t, slowsync), 0, 0},
	{"nodes", OPTION_NUMBER, offsetof(settings_t, nodes), 1, 20000},
	{"connections", OPTION_NUMBER, offsetof(settings_t, connections), 1, 1000},
	{"rounds", OPTION_NUMBER, offsetof(settings_t, rounds), 1, ROUNDS_MAX},
	{"slow-rounds", OPTION_NUMBER, offsetof(settings_t, slow_rounds), 1, ROUNDS_MAX},
	{"slow-ms", OPTION_NUMBER, offsetof(settings_t, slow_ms), 1, 1000},
	{"threads", OPTION_NUMBER, offsetof(settings_t, threads), 2, 256},
	{"volumes", OPTION_NUMBER, offsetof(settings_t, volumes), 0, 99999},
	{"seconds", OPTION_NUMBER, offsetof(settings_t, seconds), 10, 3600},
	{"dir", OPTION_TEXT, offsetof(settings_t, parent), 0, 0},
	{"check", OPTION_FLAG, offsetof(settings_t, check), 0, 0},
};

static const command_line_t COMMAND = {"storm", USAGE, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS};

static settings_t defaults(void)
{
	return (settings_t){.parent = "/tmp",
			    .nodes = 2000,
			    .connections = 64,
			    .rounds = 5,
			    .slow_rounds = 2,
			    .slow_ms = 5,
			    .threads = proc_threads(),
			    .seconds = 300};
}

int main(int argc, char **argv)
{
	SCOPED(storm_end) storm_t s = {.set = defaults()};
	int exit_code = options_read(&COMMAND, argc, argv, &s.set);
	if (exit_code >= 0)
		return exit_code;
	(void)signal(SIGPIPE, SIG_IGN);
	diag_t why = {.text = ""};
	kms_err_t e = run(&s, &why);
	return report_end("storm", e, &why, s.set.check && !s.met);
}
