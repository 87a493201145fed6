/* Many agents in one process, against a running server, through maintenance events: the agents' own protocol
 * (core/rotate) and their own way to the KMS (real TLS, each with an identity of its own), on volumes in
 * memory whose power can be cut.
 *
 *   fleet --server-dir DIR --url URL --pid PID --agents N --wave N [--crash PERCENT] [--fail PERCENT]
 *
 * First event: some agents crash in the middle and come back, some can never do it (no free keyslot); all
 * that can be rotated must be. Second event: with a failure limit, which must halt it. Prints figures, and
 * what is wrong; exit code 1 then. */
#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/client/client.h"
#include "common/crypto/digest.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "common/proto/json.h"
#include "common/proto/token.h"
#include "node-agent/app/kms.h"
#include "node-agent/core/fingerprint.h"
#include "node-agent/core/rotate.h"
#include "tests/unit/node-agent/core/sim.h"

#include <getopt.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH_MOST    512U
#define STACK        (512U * 1024U)
#define POLL_S       50U
#define CALL_S       60U
#define SERVICE      "/v1/customers/fleet/services/s"
#define EVENT_MOST_S 900
#define ALONE        20U /* rotations of one agent alone, the baseline */

typedef enum kind { WELL = 0, CRASHES, FAILS } kind_t;

typedef struct agent {
	unsigned number;
	kind_t kind;
	char name[NAME_CAP];
	char cert[PATH_MOST], key[PATH_MOST];
	path3_t self;
	sim_t machine;
	kms_client_t *kms;
	pthread_t thread;
	bool crashed;          /* in this event */
	int64_t told_us;       /* when the first task of this event came */
	atomic_uint rotations; /* that this agent has ended */
	atomic_uint crashes, reports;
} agent_t;

typedef struct fleet {
	const char *server_dir, *url;
	char ca[PATH_MOST], work[64];
	long pid;
	unsigned n, wave, crash, fail;
	client_t *operator_client;
	agent_t *agents;
	unsigned wrong;
} fleet_t;

static fleet_t fleet = {.n = 100, .wave = 10, .crash = 5, .fail = 1};

static int64_t now_us(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void rest_ms(unsigned ms)
{
	(void)nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000},
			NULL);
}

static _Noreturn void give_up(const char *what, const diag_t *why)
{
	(void)fprintf(stderr, "fleet: %s: %s\n", what, why->text);
	_exit(2);
}

static unsigned dice(unsigned sides)
{
	uint32_t v = 0;
	diag_t none = {"no random bytes"};
	if (crypto_random((uint8_t *)&v, sizeof v) != KMS_OK)
		give_up("dice", &none);
	return v % sides;
}

__attribute__((format(printf, 1, 2))) static void wrong(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)printf("WRONG: ");
	(void)vprintf(fmt, ap);
	(void)printf("\n");
	va_end(ap);
	fleet.wrong++;
}

/* --- the operator --- */

/* Everybody has a budget of requests: 429 is waited for. */
static kms_err_t call(client_t *c, const char *method, const char *path, const json_t *body, json_t **out,
		      diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	kms_err_t e = KMS_E_FULL;
	if (body != NULL)
		KMS_TRY(json_write(body, &text));
	for (unsigned tries = 0; tries < 100 && e == KMS_E_FULL; tries++) {
		SCOPED(client_reply_free) client_reply_t reply = {0};
		KMS_TRY(client_call(c, method, path, buf_span(&text), NULL, CALL_S, &reply, why));
		e = client_status(&reply, why);
		if (e == KMS_E_FULL)
			rest_ms(200);
		if (e == KMS_OK && out != NULL)
			KMS_TRY(json_parse(buf_span(&reply.body), 16U << 20, out, why));
	}
	return e;
}

static json_t *as_operator(const char *method, const char *path, json_t *body)
{
	json_t *out = NULL;
	diag_t why = {""};
	if (call(fleet.operator_client, method, path, body, &out, &why) != KMS_OK)
		give_up(path, &why);
	json_decref(body);
	return out;
}

/* --- making an agent --- */

static kms_err_t enrol(agent_t *a, diag_t *why)
{
	SCOPED(client_freep) client_t *stranger = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(token_free) token_t token = {.secret = NULL};
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t secret = BUF_INIT;
	char path[PATH_MOST], self[PATH3_CAP];
	const client_options_t o = {.urls = fleet.url, .ca_file = fleet.ca, .user_agent = "fleet/1"};
	(void)snprintf(path, sizeof path, SERVICE "/nodes/%s:invite", a->name);
	SCOPED(json_freep) json_t *invited = as_operator("POST", path, json_object());
	KMS_TRY(token_decode(span_str(json_string_value(json_object_get(invited, "token"))), &token, why));
	KMS_TRY(x509_key_new(&key));
	KMS_TRY(x509_csr_new(key, &csr));
	base64_encode(secret_span(token.secret), &secret);
	path3_format(&token.node, self);
	a->self = token.node;
	KMS_TRY(json_build(&body, "{s:s%, s:s, s:s%}", "secret", (const char *)secret.p, secret.n, "node",
			   self, "csr", (const char *)csr.p, csr.n));
	KMS_TRY(client_new(&o, &stranger, why));
	KMS_TRY(call(stranger, "POST", "/v1/enroll", body, &answer, why));
	const char *cert = json_string_value(json_object_get(answer, "certificate"));
	if (cert == NULL)
		return diag_fail(why, KMS_E_INTEGRITY, "no certificate");
	KMS_TRY(file_write(a->cert, span_str(cert), 0600, FILE_REPLACE, why));
	return file_write(a->key, secret_span(key), 0600, FILE_REPLACE, why);
}

static kms_err_t connect_to(const agent_t *a, kms_client_t **out, diag_t *why)
{
	const kms_client_options_t o = {.urls = fleet.url,
					.ca_file = fleet.ca,
					.cert_file = a->cert,
					.key_file = a->key,
					.timeout_s = CALL_S,
					.self = &a->self};
	kms_client_freep(out);
	return kms_client_new(&o, out, why);
}

/* Of this agent's one volume. */
static kms_err_t release(const agent_t *a, kms_client_t *k, kms_releases_t *out, diag_t *why)
{
	KMS_TRY(kms_release(kms_client_port(k), NULL, 0, out, why));
	return out->n == 1 && out->list[0].n_secrets > 0
		       ? KMS_OK
		       : diag_fail(why, KMS_E_INTEGRITY, "no secret of %s", a->name);
}

/* As node-agent format does it: registered, its header made, committed. The simulated KMS beside the
 * simulated disk knows of nothing and is not used. */
static kms_err_t format(agent_t *a, diag_t *why)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	SCOPED(volume_closep) volume_t *v = NULL;
	SCOPED(secret_freep) secret_t *key = NULL;
	uint8_t fp[FINGERPRINT_LEN];
	kms_volume_t made;
	char volume[NAME_CAP];
	sim_disk_t *d = &a->machine.disk;
	kms_port_t *k = kms_client_port(a->kms);
	(void)snprintf(volume, sizeof volume, "v%04u", a->number);
	KMS_TRY(kms_put(k, volume, &made, why));
	KMS_TRY(release(a, a->kms, &answer, why));
	d->present = d->begun = true;
	(void)snprintf(d->uuid, sizeof d->uuid, "00000000-0000-4000-8000-%012x", a->number);
	(void)snprintf(d->cipher, sizeof d->cipher, VOLUME_CIPHER);
	KMS_TRY(crypto_random(d->key, sizeof d->key));
	d->slots[0].used = true;
	memcpy(d->slots[0].secret, secret_span(answer.list[0].secrets[0].secret).p, 32);
	for (size_t i = 1; i < SIM_SLOTS && a->kind == FAILS; i++)
		d->slots[i].used = d->slots[i].foreign = true;
	KMS_TRY(secret_from(span_of(d->key, sizeof d->key), &key));
	KMS_TRY(volume_load(&a->machine.volumes, SIM_DEVICE, &v, why));
	KMS_TRY(fingerprint_make(volume_facts(v), key, fp));
	return kms_commit(k, volume, d->uuid, fp, 1, why);
}

static kms_err_t make_agent(agent_t *a, unsigned number, diag_t *why)
{
	unsigned place = number % 100;
	a->number = number;
	a->kind = place < fleet.crash ? CRASHES : place < fleet.crash + fleet.fail ? FAILS : WELL;
	(void)snprintf(a->name, sizeof a->name, "n%04u", number);
	(void)snprintf(a->cert, sizeof a->cert, "%s/%s.crt", fleet.work, a->name);
	(void)snprintf(a->key, sizeof a->key, "%s/%s.key", fleet.work, a->name);
	sim_init(&a->machine);
	a->machine.state = 0;
	KMS_TRY(enrol(a, why));
	KMS_TRY(connect_to(a, &a->kms, why));
	return KMS_OK;
}

/* --- an agent at work --- */

static kms_err_t rotate(agent_t *a, const char *maintenance, diag_t *why)
{
	char volume[NAME_CAP];
	rotate_done_t done;
	(void)snprintf(volume, sizeof volume, "v%04u", a->number);
	const rotate_order_t order = {.volume = volume, .device = SIM_DEVICE, .maintenance = maintenance};
	return rotate_run(&a->machine.volumes, kms_client_port(a->kms), &order, &done, why);
}

/* The machine is gone with all that the agent knew, and comes back. */
static void restart(agent_t *a)
{
	diag_t why = {""};
	atomic_fetch_add(&a->crashes, 1);
	kms_client_freep(&a->kms);
	rest_ms(200 + dice(800));
	sim_power_on(&a->machine);
	if (connect_to(a, &a->kms, &why) != KMS_OK)
		give_up(a->name, &why);
}

static void do_task(agent_t *a, const kms_task_t *t)
{
	diag_t why = {""};
	if (t->delay_ms > 0)
		rest_ms(t->delay_ms);
	if (a->kind == CRASHES && !a->crashed) {
		a->crashed = true;
		sim_cut(&a->machine, 1 + dice(12), dice(2) == 0);
	}
	kms_err_t e = rotate(a, t->maintenance, &why);
	if (a->machine.dead) {
		restart(a);
	} else if (e == KMS_OK) {
		atomic_fetch_add(&a->rotations, 1);
	} else if (e == KMS_E_UNAVAILABLE || e == KMS_E_PENDING) {
		rest_ms(500);
	} else if (kms_client_report(a->kms, t, why.text, &why) == KMS_OK) {
		atomic_fetch_add(&a->reports, 1);
	}
}

static void *live(void *ctx)
{
	agent_t *a = ctx;
	for (;;) {
		SCOPED(kms_tasks_clear) kms_tasks_t tasks = {0};
		diag_t why = {""};
		if (kms_client_tasks(a->kms, POLL_S, &tasks, &why) != KMS_OK) {
			rest_ms(500);
			continue;
		}
		if (tasks.n > 0 && a->told_us == 0)
			a->told_us = now_us();
		for (size_t i = 0; i < tasks.n; i++)
			do_task(a, &tasks.list[i]);
	}
	return NULL;
}

/* --- an event --- */

typedef struct figures {
	unsigned todo, running, done, failed, skipped;
	char state[16];
} figures_t;

static unsigned count_of(const json_t *event, const char *name)
{
	return (unsigned)json_integer_value(json_object_get(json_object_get(event, "counts"), name));
}

static figures_t look(const char *id)
{
	char path[128];
	figures_t f = {.todo = 0};
	(void)snprintf(path, sizeof path, "/v1/maintenance/%s", id);
	SCOPED(json_freep) json_t *j = as_operator("GET", path, NULL);
	f.todo = count_of(j, "todo");
	f.running = count_of(j, "running");
	f.done = count_of(j, "done");
	f.failed = count_of(j, "failed");
	f.skipped = count_of(j, "skipped");
	(void)snprintf(f.state, sizeof f.state, "%s", json_string_value(json_object_get(j, "state")));
	return f;
}

static figures_t event(unsigned max_failures, int64_t *began_us, int64_t *ended_us)
{
	char id[64];
	figures_t f;
	for (unsigned i = 0; i < fleet.n; i++) {
		fleet.agents[i].told_us = 0;
		fleet.agents[i].crashed = false;
	}
	*began_us = now_us();
	SCOPED(json_freep)
	json_t *made = as_operator("POST", "/v1/maintenance",
				   json_pack("{s:s, s:s, s:s, s:i, s:i}", "customer", "fleet", "service", "s",
					     "action", "rotate", "wave", (int)fleet.wave, "max_failures",
					     (int)max_failures));
	(void)snprintf(id, sizeof id, "%s", json_string_value(json_object_get(made, "id")));
	do {
		rest_ms(100);
		f = look(id);
		*ended_us = now_us();
	} while (((strcmp(f.state, "open") == 0 && f.todo + f.running > 0) || f.running > 0) &&
		 *ended_us - *began_us < EVENT_MOST_S * INT64_C(1000000));
	return f;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

/* From the event's opening until the agents of the first wave had their task. */
static void print_latency(int64_t began_us)
{
	SCOPED(freep) int64_t *took = calloc(fleet.n, sizeof *took);
	unsigned n = 0;
	if (took == NULL)
		return;
	for (unsigned i = 0; i < fleet.n; i++)
		if (fleet.agents[i].told_us > 0)
			took[n++] = fleet.agents[i].told_us - began_us;
	qsort(took, n, sizeof *took, by_value);
	unsigned first = n < fleet.wave ? n : fleet.wave;
	if (first == 0)
		return;
	(void)printf("first wave told of its work      p50 %lld ms, p99 %lld ms, last %lld ms\n",
		     (long long)took[first / 2] / 1000, (long long)took[first * 99 / 100] / 1000,
		     (long long)took[first - 1] / 1000);
}

static long server_kib(const char *field)
{
	char path[64], line[256];
	long kib = -1;
	(void)snprintf(path, sizeof path, "/proc/%ld/status", fleet.pid);
	SCOPED(fclosep) FILE *f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtol(line + strlen(field) + 1, NULL, 10);
	return kib;
}

/* --- what must hold --- */

static unsigned keyslots_of(const sim_disk_t *d, span_t secret, unsigned *ours)
{
	unsigned opens = 0;
	for (size_t i = 0; i < SIM_SLOTS; i++) {
		bool mine = d->slots[i].used && !d->slots[i].foreign;
		*ours += mine ? 1 : 0;
		opens += mine && memcmp(d->slots[i].secret, secret.p, 32) == 0 ? 1 : 0;
	}
	return opens;
}

/* One live secret of this version, which opens the one keyslot; or, in a halted event, any clean state. */
static void check_agent(agent_t *a, uint32_t version)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	SCOPED(kms_client_freep) kms_client_t *k = NULL; /* the agent's own waits in a poll */
	diag_t why = {""};
	unsigned ours = 0;
	if (connect_to(a, &k, &why) != KMS_OK || release(a, k, &answer, &why) != KMS_OK) {
		wrong("%s: %s", a->name, why.text);
		return;
	}
	const kms_release_t *r = &answer.list[0];
	unsigned opens = keyslots_of(&a->machine.disk, secret_span(r->secrets[0].secret), &ours);
	if (r->n_secrets != 1 || opens != 1 || ours != 1)
		wrong("%s: %zu live secrets, %u keyslots, of which the newest secret opens %u", a->name,
		      r->n_secrets, ours, opens);
	else if (version > 0 && r->secrets[0].version != version)
		wrong("%s: version %u, want %u", a->name, r->secrets[0].version, version);
}

static unsigned number_of(kind_t kind)
{
	unsigned n = 0;
	for (unsigned i = 0; i < fleet.n; i++)
		n += fleet.agents[i].kind == kind ? 1 : 0;
	return n;
}

static unsigned sum_crashes(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < fleet.n; i++)
		n += atomic_load(&fleet.agents[i].crashes);
	return n;
}

static void first_event(double alone)
{
	int64_t began = 0, ended = 0;
	unsigned fails = number_of(FAILS);
	figures_t f = event(0, &began, &ended);
	double s = (double)(ended - began) / 1e6;
	(void)printf("rotated %u of %u in %.1f s, in waves of %u: %.1f a second (alone: %.1f a second; RATIO "
		     "%.2f)\n",
		     f.done, fleet.n, s, fleet.wave, f.done / s, alone, f.done / s / alone);
	(void)printf("agents that crashed on the way   %u (%u crashes)\n", number_of(CRASHES), sum_crashes());
	(void)printf("failed for good, and said so     %u of %u\n", f.failed, fails);
	print_latency(began);
	if (f.done != fleet.n - fails || f.failed != fails || f.todo + f.running + f.skipped != 0)
		wrong("the event ended %s with %u done, %u failed, %u todo, %u running, %u skipped", f.state,
		      f.done, f.failed, f.todo, f.running, f.skipped);
	if (sum_crashes() < number_of(CRASHES))
		wrong("only %u crashes", sum_crashes());
	for (unsigned i = 0; i < fleet.n; i++)
		check_agent(&fleet.agents[i], (fleet.agents[i].kind == FAILS ? 1 : 2) + (i == 0 ? ALONE : 0));
}

/* Half of those that fail are enough. */
static void second_event(void)
{
	int64_t began = 0, ended = 0;
	unsigned limit = (number_of(FAILS) + 1) / 2;
	figures_t f = event(limit, &began, &ended);
	(void)printf("with a limit of %u failures       %s after %u failures, %u rotated, %u not begun\n",
		     limit, f.state, f.failed, f.done, f.todo + f.skipped);
	if (strcmp(f.state, "halted") != 0 || f.failed < limit || f.todo + f.skipped == 0)
		wrong("the limit did not halt it");
	rest_ms(3000); /* nothing more begins */
	unsigned before = f.done;
	for (unsigned i = 0; i < fleet.n; i++)
		check_agent(&fleet.agents[i], 0);
	unsigned now = 0;
	for (unsigned i = 0; i < fleet.n; i++)
		now += atomic_load(&fleet.agents[i].rotations);
	if (now != before + fleet.n - number_of(FAILS))
		wrong("%u rotations more after the halt", now - before - (fleet.n - number_of(FAILS)));
}

/* --- the whole --- */

static double rotate_alone(void)
{
	diag_t why = {""};
	int64_t from = now_us();
	for (unsigned i = 0; i < ALONE; i++)
		if (rotate(&fleet.agents[0], NULL, &why) != KMS_OK)
			give_up("rotating alone", &why);
	return ALONE / ((double)(now_us() - from) / 1e6);
}

static void make_all(void)
{
	diag_t why = {""};
	char cert[PATH_MOST], key[PATH_MOST];
	(void)snprintf(cert, sizeof cert, "%s/operators/admin.crt", fleet.server_dir);
	(void)snprintf(key, sizeof key, "%s/operators/admin.key", fleet.server_dir);
	(void)snprintf(fleet.ca, sizeof fleet.ca, "%s/ca.crt", fleet.server_dir);
	const client_options_t o = {.urls = fleet.url,
				    .ca_file = fleet.ca,
				    .cert_file = cert,
				    .key_file = key,
				    .user_agent = "fleet/1"};
	if (client_new(&o, &fleet.operator_client, &why) != KMS_OK)
		give_up("operator", &why);
	json_decref(as_operator("PUT", "/v1/customers/fleet", json_object()));
	json_decref(as_operator("PUT", SERVICE, json_object()));
	int64_t from = now_us();
	for (unsigned i = 0; i < fleet.n; i++) {
		agent_t *a = &fleet.agents[i];
		if (make_agent(a, i, &why) != KMS_OK || format(a, &why) != KMS_OK)
			give_up(a->name, &why);
	}
	(void)printf("%u agents enrolled, their volumes formatted, in %.1f s\n", fleet.n,
		     (double)(now_us() - from) / 1e6);
}

static void start_all(void)
{
	pthread_attr_t attr;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK);
	for (unsigned i = 0; i < fleet.n; i++)
		if (pthread_create(&fleet.agents[i].thread, &attr, live, &fleet.agents[i]) != 0)
			give_up("threads", &(diag_t){"cannot start so many"});
	rest_ms(2000 + fleet.n); /* until they all wait */
}

static bool read_options(int argc, char **argv)
{
	static const struct option options[] = {{"server-dir", 1, NULL, 'd'}, {"url", 1, NULL, 'u'},
						{"pid", 1, NULL, 'p'},        {"agents", 1, NULL, 'n'},
						{"wave", 1, NULL, 'w'},       {"crash", 1, NULL, 'c'},
						{"fail", 1, NULL, 'f'},       {NULL, 0, NULL, 0}};
	int c;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned long v = c != 'd' && c != 'u' && c != '?' ? strtoul(optarg, NULL, 10) : 0;
		if (c == 'd')
			fleet.server_dir = optarg;
		else if (c == 'u')
			fleet.url = optarg;
		else if (c == 'p')
			fleet.pid = (long)v;
		else if (c == 'n')
			fleet.n = (unsigned)v;
		else if (c == 'w')
			fleet.wave = (unsigned)v;
		else if (c == 'c')
			fleet.crash = (unsigned)v;
		else if (c == 'f')
			fleet.fail = (unsigned)v;
		else
			return false;
	}
	return fleet.server_dir != NULL && fleet.url != NULL && fleet.n > 0 && fleet.n <= 5000 &&
	       fleet.wave > 0;
}

int main(int argc, char **argv)
{
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY}, files = {16384, 16384};
	if (!read_options(argc, argv)) {
		(void)fprintf(
			stderr,
			"usage: fleet --server-dir DIR --url URL --pid PID [--agents N] [--wave N] [--crash "
			"PERCENT] [--fail PERCENT]\n");
		return 2;
	}
	(void)setrlimit(RLIMIT_MEMLOCK, &all);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)snprintf(fleet.work, sizeof fleet.work, "fleet.XXXXXX");
	fleet.agents = calloc(fleet.n, sizeof *fleet.agents);
	if (fleet.agents == NULL || mkdtemp(fleet.work) == NULL)
		give_up("folder", &(diag_t){"cannot be made here"});
	make_all();
	double alone = rotate_alone();
	start_all();
	first_event(alone);
	second_event();
	long peak = server_kib("VmHWM:");
	(void)printf("server: %ld MiB of memory at most (goal: below 128)\n", peak / 1024);
	if (peak >= 128 * 1024)
		wrong("the server took %ld MiB", peak / 1024);
	(void)printf("%u wrong\n", fleet.wrong);
	(void)fflush(stdout);
	_exit(fleet.wrong > 0 ? 1 : 0); /* the agents wait in their polls */
}
