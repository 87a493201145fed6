/* What a flood of strangers costs the enrolled nodes: releases a second of a storm, with and without a flood
 * of callers that have no certificate, or one of another CA, at the same server in the same run; and what the
 * flood leaves in the log and on the disk. See tools/bench/run-flood. */
#include "common/base/scope.h"
#include "common/base/steady.h"
#include "common/io/file.h"
#include "common/proto/json.h"
#include "tools/bench/ground.h"
#include "tools/bench/options.h"
#include "tools/bench/proc.h"
#include "tools/bench/report.h"
#include "tools/bench/strangers.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#define ROUNDS_MAX 15U
#define GOAL       0.5
#define WARM_MS    1500

typedef struct settings {
	const char *server, *parent;
	unsigned nodes, connections, strangers, rude, silent, rounds, alone, threads, seconds;
	bool check;
} settings_t;

typedef struct flood {
	settings_t set;
	ground_t ground;
	char *data; /* the database */
	kms_process_t kms;
	fleet_t fleet;
	strangers_t *strangers, *rude;
	int64_t deadline_us;
	bool met;
} flood_t;

static void flood_end(flood_t *f)
{
	strangers_end(&f->strangers);
	strangers_end(&f->rude);
	proc_kill(&f->kms.pid);
	fleet_free(&f->fleet);
	ground_remove(&f->ground);
	free(f->data);
}

static kms_err_t prepare(flood_t *f, diag_t *why)
{
	KMS_TRY(ground_make(f->set.parent, "flood", &f->ground, why));
	KMS_TRY(path_join(f->ground.server, "db/data.mdb", &f->data));
	kms_setup_t setup = {.program = f->set.server,
			     .dir = f->ground.server,
			     .log = f->ground.log,
			     .threads = f->set.threads};
	KMS_TRY(kms_init(&setup, why));
	KMS_TRY(kms_start(&setup, &f->kms, why));
	const fleet_options_t o = {.server_dir = f->ground.server,
				   .port = f->kms.port,
				   .connections = f->set.connections,
				   .nodes = f->set.nodes,
				   .deadline_us = f->deadline_us};
	return fleet_make(&o, &f->fleet, why);
}

/* --- what it leaves --- */

typedef struct growth {
	int64_t events, bytes;
} growth_t;

static kms_err_t log_size(const flood_t *f, int64_t *out, diag_t *why)
{
	SCOPED(buf_free) buf_t answer = BUF_INIT;
	SCOPED(json_freep) json_t *j = NULL;
	load_job_t job = {.request = span_str("GET /v1/sys/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
			  .answer = &answer};
	const load_options_t o = {.port = f->kms.port,
				  .connections = 1,
				  .server = f->fleet.server.cert,
				  .deadline_us = load_now_us() + 10000000};
	KMS_TRY(load_run(&o, &job, 1, why));
	if (!job.good)
		return diag_fail(why, KMS_E_IO, "health answers %d", job.status);
	KMS_TRY(json_parse(buf_span(&answer), 65536, &j, why));
	*out = json_integer_value(json_object_get(j, "log_size"));
	return KMS_OK;
}

static kms_err_t look(const flood_t *f, growth_t *out, diag_t *why)
{
	struct stat st;
	KMS_TRY(log_size(f, &out->events, why));
	if (stat(f->data, &st) != 0)
		return diag_fail(why, KMS_E_IO, "%s: %s", f->data, strerror(errno));
	out->bytes = (int64_t)st.st_blocks * 512;
	return KMS_OK;
}

static kms_err_t strangers_on(flood_t *f, diag_t *why)
{
	strangers_options_t o = {.port = f->kms.port,
				 .connections = f->set.strangers,
				 .silent = f->set.silent,
				 .server = f->fleet.server.cert,
				 .deadline_us = f->deadline_us};
	if (o.connections > 0 || o.silent > 0)
		KMS_TRY(strangers_start(&o, &f->strangers, why));
	o.rude = true;
	o.connections = f->set.rude;
	o.silent = 0;
	if (o.connections > 0)
		KMS_TRY(strangers_start(&o, &f->rude, why));
	steady_pause(WARM_MS);
	return KMS_OK;
}

static void tell(const char *who, strangers_t **s)
{
	strangers_count_t c = {0};
	if (*s == NULL)
		return;
	strangers_stop(s, &c);
	printf("      %s: %.0f connections a second, %.0f refusals, %.0f other answers; %.2f of a core\n",
	       who, (double)c.asked / c.seconds, (double)c.refused / c.seconds, (double)c.other / c.seconds,
	       c.cpu_seconds / c.seconds);
	(void)fflush(stdout);
}

static void strangers_off(flood_t *f)
{
	tell("rude strangers", &f->rude);
	tell("strangers", &f->strangers);
}

/* --- the rounds --- */

static kms_err_t turn_of(flood_t *f, bool flooded, round_result_t *out, diag_t *why)
{
	const round_options_t r = {.port = f->kms.port,
				   .server = f->kms.pid,
				   .connections = f->set.connections,
				   .nodes = f->set.nodes,
				   .want = "\"released\"",
				   .deadline_us = f->deadline_us};
	if (flooded)
		KMS_TRY(strangers_on(f, why));
	KMS_TRY(measure_round(&r, &f->fleet, out, why));
	if (flooded)
		strangers_off(f);
	return KMS_OK;
}

/* The other first every second time, so that what else the machine does meets both; one turn before that is
 * not counted. */
static kms_err_t compare(flood_t *f, diag_t *why)
{
	round_result_t calm[ROUNDS_MAX], flooded[ROUNDS_MAX];
	double ratio[ROUNDS_MAX] = {0};
	report_head();
	KMS_TRY(turn_of(f, false, &calm[0], why));
	for (size_t i = 0; i < f->set.rounds; i++) {
		bool first = i % 2 != 0;
		KMS_TRY(turn_of(f, first, first ? &flooded[i] : &calm[i], why));
		KMS_TRY(turn_of(f, !first, first ? &calm[i] : &flooded[i], why));
		report_round("without", i + 1, &calm[i]);
		report_round("under flood", i + 1, &flooded[i]);
		ratio[i] = flooded[i].per_second / calm[i].per_second;
	}
	(void)report_median("without", calm, f->set.rounds);
	(void)report_median("under flood", flooded, f->set.rounds);
	report_pairs(flooded, calm, f->set.rounds);
	f->met = report_ratio("releases under flood / without", measure_middle(ratio, f->set.rounds), GOAL);
	for (size_t i = 0; i < f->set.rounds; i++)
		if (flooded[i].good != flooded[i].asked) {
			printf("NOT met: %zu releases failed under the flood\n",
			       flooded[i].asked - flooded[i].good);
			f->met = false;
		}
	return KMS_OK;
}

/* Nothing but the flood: what the log and the disk have more afterwards. */
static kms_err_t flood_alone(flood_t *f, diag_t *why)
{
	growth_t before = {0}, after = {0};
	KMS_TRY(look(f, &before, why));
	KMS_TRY(strangers_on(f, why));
	steady_pause((int64_t)f->set.alone * 1000);
	strangers_off(f);
	KMS_TRY(look(f, &after, why));
	printf("GROWTH in %u s of flood alone: %lld events in the log, %lld bytes on disk\n", f->set.alone,
	       (long long)(after.events - before.events), (long long)(after.bytes - before.bytes));
	return KMS_OK;
}

static kms_err_t run(flood_t *f, diag_t *why)
{
	f->deadline_us = load_now_us() + (int64_t)f->set.seconds * 1000000;
	KMS_TRY(prepare(f, why));
	printf("%u nodes on %u connections; %u connections of strangers, %u of rude ones, %u silent; "
	       "%u server threads\n",
	       f->set.nodes, f->set.connections, f->set.strangers, f->set.rude, f->set.silent,
	       f->set.threads);
	KMS_TRY(compare(f, why));
	KMS_TRY(flood_alone(f, why));
	report_memory("after the flood", proc_rss_anon_kib(f->kms.pid));
	KMS_TRY(measure_in_time(f->deadline_us, why));
	return proc_stop(&f->kms.pid, why);
}

/* --- the command line --- */

static const char USAGE[] =
	"usage: flood --server KMS_SERVER [options]\n"
	"  --nodes N            nodes, each with its own certificate and volume (1000)\n"
	"  --connections C      their connections in flight (64)\n"
	"  --strangers C        the flood's connections in flight (256)\n"
	"  --rude C             connections that do not wait for answers (32)\n"
	"  --silent C           silent connections besides (256)\n"
	"  --rounds N           measured pairs of rounds (5)\n"
	"  --alone SECONDS      of the flood without nodes, for what it leaves behind (10)\n"
	"  --threads N          HTTPS threads of the server (one a core, at least 2)\n"
	"  --seconds N          end of it all, finished or not (300)\n"
	"  --dir DIR            where the temporary folder goes (/tmp)\n"
	"  --check              fail when the ratio is below its goal\n";

static const option_row_t OPTIONS[] = {
	{"server", OPTION_NEEDED, offsetof(settings_t, server), 0, 0},
	{"nodes", OPTION_NUMBER, offsetof(settings_t, nodes), 1, 20000},
	{"connections", OPTION_NUMBER, offsetof(settings_t, connections), 1, 1000},
	{"strangers", OPTION_NUMBER, offsetof(settings_t, strangers), 0, 1000},
	{"rude", OPTION_NUMBER, offsetof(settings_t, rude), 0, 1000},
	{"silent", OPTION_NUMBER, offsetof(settings_t, silent), 0, 4000},
	{"rounds", OPTION_NUMBER, offsetof(settings_t, rounds), 1, ROUNDS_MAX},
	{"alone", OPTION_NUMBER, offsetof(settings_t, alone), 0, 600},
	{"threads", OPTION_NUMBER, offsetof(settings_t, threads), 2, 256},
	{"seconds", OPTION_NUMBER, offsetof(settings_t, seconds), 10, 3600},
	{"dir", OPTION_TEXT, offsetof(settings_t, parent), 0, 0},
	{"check", OPTION_FLAG, offsetof(settings_t, check), 0, 0},
};

static const command_line_t COMMAND = {"flood", USAGE, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS};

int main(int argc, char **argv)
{
	SCOPED(flood_end)
	flood_t f = {.set = {.parent = "/tmp",
			     .nodes = 1000,
			     .connections = 64,
			     .strangers = 256,
			     .rude = 32,
			     .silent = 256,
			     .rounds = 5,
			     .alone = 10,
			     .threads = proc_threads(),
			     .seconds = 300}};
	int exit_code = options_read(&COMMAND, argc, argv, &f.set);
	if (exit_code >= 0)
		return exit_code;
	(void)signal(SIGPIPE, SIG_IGN);
	diag_t why = {.text = ""};
	kms_err_t e = run(&f, &why);
	return report_end("flood", e, &why, f.set.check && !f.met);
}
