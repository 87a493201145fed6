/* What a decision over many statements costs beside the cold release that it is made for: a node's, over a
 * new TLS connection to a real server in the same run. Both in processor time. See tools/bench/run-decide. */
#include "common/base/scope.h"
#include "policy/actions.h"
#include "policy/document.h"
#include "tools/bench/ground.h"
#include "tools/bench/options.h"
#include "tools/bench/proc.h"
#include "tools/bench/report.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#define ROUNDS_MAX   15U
#define PER_DOCUMENT 200U
#define DECISIONS    5000U /* of one round */
#define GOAL         0.02

/* SPREAD: each is about the next action of the table. ACTION: all are about the request's action, each about
 * another node. ALL: each is about all actions, this caller and this volume, and has a condition and an
 * exception to look at; no policy that people write is like that. None ends the search. */
typedef enum shape { SPREAD, ACTION, ALL, SHAPES } shape_t;

static const char *const shape_name[SHAPES] = {"about all actions in turn", "all about this action",
					       "all of which match"};

typedef struct settings {
	const char *server; /* kms-server */
	const char *parent; /* where the temporary folder goes */
	unsigned nodes, connections, rounds, statements, threads, seconds;
	bool check;
} settings_t;

typedef struct bench {
	settings_t set;
	ground_t ground;
	kms_process_t kms;
	fleet_t fleet;
	policy_t *policy[SHAPES];
	int64_t deadline_us;
	bool met;
} bench_t;

static void bench_end(bench_t *b)
{
	proc_kill(&b->kms.pid);
	fleet_free(&b->fleet);
	ground_remove(&b->ground);
	for (size_t i = 0; i < SHAPES; i++)
		policy_freep(&b->policy[i]);
}

/* --- policies --- */

static void put_statement(buf_t *b, size_t i, shape_t shape)
{
	size_t n;
	const policy_action_t *all = policy_actions(&n);
	if (shape == ALL)
		buf_printf(b,
			   "{\"name\":\"s%zu\",\"effect\":\"deny\",\"principals\":[\"node:acme/db/"
			   "*\"],\"actions\":[\"*."
			   "*\"],\"resources\":[\"volume:${self}/${self}/"
			   "*\"],\"conditions\":{\"maintenance\":false},"
			   "\"unless\":{\"own\":true}}",
			   i);
	else
		buf_printf(b,
			   "{\"name\":\"s%zu\",\"effect\":\"deny\",\"principals\":[\"node:acme/db/n%zu\"],"
			   "\"actions\":[\"%s\"],\"resources\":[\"volume:acme/db/*\"]}",
			   i, i, shape == SPREAD ? all[i % n].name : "key.release");
}

static kms_err_t document_of(size_t from, size_t to, shape_t shape, policy_document_t **out, diag_t *why)
{
	static const char allow[] = "{\"name\":\"allow\",\"effect\":\"allow\",\"principals\":[\"node:*\"],"
				    "\"actions\":[\"key.release\"],\"resources\":[\"volume:*/*/*\"],"
				    "\"conditions\":{\"own\":true}}";
	SCOPED(buf_free) buf_t text = BUF_INIT;
	policy_error_t error = {0};
	char name[32];
	(void)snprintf(name, sizeof name, "d%zu", from);
	buf_str(&text, "{\"version\":1,\"statements\":[");
	for (size_t i = from; i < to; i++) {
		buf_str(&text, i > from ? "," : "");
		if (i == 0)
			buf_str(&text, allow);
		else
			put_statement(&text, i, shape);
	}
	buf_str(&text, "]}");
	kms_err_t e = policy_parse(name, buf_span(&text), out, &error);
	return e == KMS_OK ? e : diag_fail(why, e, "%s", error.why.text);
}

static kms_err_t policy_make(size_t n, shape_t shape, policy_t **out, diag_t *why)
{
	policy_document_t *all[POLICY_DOCUMENTS_MAX] = {NULL};
	size_t documents = 0;
	kms_err_t e = KMS_OK;
	for (size_t from = 0; from < n && e == KMS_OK; from += PER_DOCUMENT, documents++) {
		size_t to = from + PER_DOCUMENT < n ? from + PER_DOCUMENT : n;
		e = document_of(from, to, shape, &all[documents], why);
	}
	if (e == KMS_OK)
		return policy_new(all, documents, out, why);
	for (size_t i = 0; i < documents; i++)
		policy_document_freep(&all[i]);
	return e;
}

/* --- decisions --- */

static policy_request_t request(void)
{
	return (policy_request_t){.who = POLICY_NODE,
				  .node = {"acme", "db", "node"},
				  .person = {.name = "", .role = ""},
				  .action = "key.release",
				  .customer = "acme",
				  .service = "db",
				  .type = "volume",
				  .name = "v1",
				  .own = true,
				  .now_ms = INT64_C(1800000000000),
				  .known_address = true,
				  .grant = {.reason = "", .ticket = ""}};
}

static double processor_us(void)
{
	struct timespec t = {0};
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static kms_err_t decide_round(const policy_t *p, double *out, diag_t *why)
{
	const policy_request_t r = request();
	policy_decision_t d;
	double began = processor_us();
	for (unsigned i = 0; i < DECISIONS; i++) {
		policy_decide(p, &r, &d);
		if (d.outcome != POLICY_ALLOWED)
			return diag_fail(why, KMS_E_INVALID, "refused by statement \"%s\"", d.statement);
	}
	*out = (processor_us() - began) / DECISIONS;
	return KMS_OK;
}

/* --- pairs --- */

typedef struct pairs {
	round_result_t release[ROUNDS_MAX];
	double us[SHAPES][ROUNDS_MAX], part[SHAPES][ROUNDS_MAX];
} pairs_t;

static void report(bench_t *b, pairs_t *p, shape_t shape)
{
	double us = measure_middle(p->us[shape], b->set.rounds);
	double part = measure_middle(p->part[shape], b->set.rounds);
	printf("RATIO decision over %u statements, %s / cold release: %.4f (%.2f us", b->set.statements,
	       shape_name[shape], part, us);
	if (shape == ALL) {
		printf("; no goal)\n");
		return;
	}
	printf("; below %.2f: %s)\n", GOAL, part < GOAL ? "met" : "NOT met");
	b->met = b->met && part < GOAL;
}

static kms_err_t decide_all(bench_t *b, pairs_t *p, size_t i, diag_t *why)
{
	for (size_t shape = 0; shape < SHAPES; shape++)
		KMS_TRY(decide_round(b->policy[shape], &p->us[shape][i], why));
	return KMS_OK;
}

/* The other first every second time; a round that is not counted warms the server. */
static kms_err_t compare(bench_t *b, diag_t *why)
{
	pairs_t p;
	const round_options_t o = {.port = b->kms.port,
				   .server = b->kms.pid,
				   .connections = b->set.connections,
				   .nodes = b->set.nodes,
				   .want = "\"released\"",
				   .deadline_us = b->deadline_us};
	KMS_TRY(measure_round(&o, &b->fleet, &p.release[0], why));
	report_head();
	for (size_t i = 0; i < b->set.rounds; i++) {
		if (i % 2 == 0)
			KMS_TRY(decide_all(b, &p, i, why));
		KMS_TRY(measure_round(&o, &b->fleet, &p.release[i], why));
		if (i % 2 != 0)
			KMS_TRY(decide_all(b, &p, i, why));
		report_round("cold release", i + 1, &p.release[i]);
		for (size_t shape = 0; shape < SHAPES; shape++)
			p.part[shape][i] = p.us[shape][i] / p.release[i].server_cpu_us;
	}
	(void)report_median("cold release", p.release, b->set.rounds);
	for (unsigned shape = 0; shape < SHAPES; shape++)
		report(b, &p, (shape_t)shape);
	return KMS_OK;
}

static kms_err_t run(bench_t *b, diag_t *why)
{
	b->deadline_us = load_now_us() + (int64_t)b->set.seconds * 1000000;
	b->met = true;
	for (unsigned i = 0; i < SHAPES; i++)
		KMS_TRY(policy_make(b->set.statements, (shape_t)i, &b->policy[i], why));
	KMS_TRY(ground_make(b->set.parent, "decide", &b->ground, why));
	kms_setup_t setup = {.program = b->set.server,
			     .dir = b->ground.server,
			     .log = b->ground.log,
			     .threads = b->set.threads};
	KMS_TRY(kms_init(&setup, why));
	KMS_TRY(kms_start(&setup, &b->kms, why));
	fleet_options_t f = {.server_dir = b->ground.server,
			     .port = b->kms.port,
			     .connections = b->set.connections,
			     .nodes = b->set.nodes,
			     .deadline_us = b->deadline_us};
	KMS_TRY(fleet_make(&f, &b->fleet, why));
	KMS_TRY(compare(b, why));
	return measure_in_time(b->deadline_us, why);
}

/* --- the command line --- */

static const char USAGE[] = "usage: decide --server KMS_SERVER [options]\n"
			    "  --statements N       statements of the policy (1000)\n"
			    "  --nodes N            cold releases of a round (500)\n"
			    "  --connections C      connections in flight (16)\n"
			    "  --rounds N           pairs of releases and decisions (7)\n"
			    "  --threads N          HTTPS threads of the server (one a core, at least 2)\n"
			    "  --seconds N          end of it all, finished or not (120)\n"
			    "  --dir DIR            where the temporary folder goes (/tmp)\n"
			    "  --check              fail when a ratio is not below its goal\n";

static const option_row_t OPTIONS[] = {
	{"server", OPTION_NEEDED, offsetof(settings_t, server), 0, 0},
	{"statements", OPTION_NUMBER, offsetof(settings_t, statements), 1, 10000},
	{"nodes", OPTION_NUMBER, offsetof(settings_t, nodes), 1, 20000},
	{"connections", OPTION_NUMBER, offsetof(settings_t, connections), 1, 1000},
	{"rounds", OPTION_NUMBER, offsetof(settings_t, rounds), 1, ROUNDS_MAX},
	{"threads", OPTION_NUMBER, offsetof(settings_t, threads), 2, 256},
	{"seconds", OPTION_NUMBER, offsetof(settings_t, seconds), 10, 3600},
	{"dir", OPTION_TEXT, offsetof(settings_t, parent), 0, 0},
	{"check", OPTION_FLAG, offsetof(settings_t, check), 0, 0},
};

static const command_line_t COMMAND = {"decide", USAGE, OPTIONS, sizeof OPTIONS / sizeof *OPTIONS};

int main(int argc, char **argv)
{
	SCOPED(bench_end)
	bench_t b = {.set = {.parent = "/tmp",
			     .statements = 1000,
			     .nodes = 500,
			     .connections = 16,
			     .rounds = 7,
			     .threads = proc_threads(),
			     .seconds = 120}};
	int exit_code = options_read(&COMMAND, argc, argv, &b.set);
	if (exit_code >= 0)
		return exit_code;
	(void)signal(SIGPIPE, SIG_IGN);
	diag_t why = {.text = ""};
	kms_err_t e = run(&b, &why);
	return report_end("decide", e, &why, b.set.check && !b.met);
}
