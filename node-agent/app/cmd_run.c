/* The agent as a service: waits for work by long poll, does it, keeps its certificate young.
 *
 * Signals: SIGTERM and SIGINT are blocked while there is work, and let through while the agent waits, where
 * their handler ends the process at once: nothing is under way then. So a rotation is never cut short by a
 * stop, and a stop never waits for a poll's end. */
#include "node-agent/app/command.h"

#include "common/base/clock.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/io/file.h"
#include "common/io/log.h"
#include "node-agent/app/backoff.h"
#include "node-agent/app/escrow.h"
#include "node-agent/app/notify.h"
#include "node-agent/app/reencryption.h"
#include "node-agent/app/rotation.h"

#include <signal.h>

#define DELAY_MOST_MS   10000U /* of what the server says */
#define BACKOFF_MOST_MS 60000U
#define FIRST_PROOF_S   600 /* within which the first proof comes after a start */

typedef struct runner {
	agent_t *agent;
	unsigned poll_s;
	int64_t prove_every_ms, prove_at_ms; /* backoff_now_ms; every 0: never */
	backoff_t backoff;
	kms_clock_t clock;
	sigset_t stops;
} runner_t;

/* --- stopping --- */

static void stop_now(int signo)
{
	(void)signo;
	_exit(0);
}

static kms_err_t block_stops(runner_t *r, diag_t *why)
{
	struct sigaction act = {.sa_handler = stop_now};
	(void)sigemptyset(&r->stops);
	(void)sigaddset(&r->stops, SIGTERM);
	(void)sigaddset(&r->stops, SIGINT);
	if (sigprocmask(SIG_BLOCK, &r->stops, NULL) != 0 || sigaction(SIGTERM, &act, NULL) != 0 ||
	    sigaction(SIGINT, &act, NULL) != 0)
		return diag_fail(why, KMS_E_IO, "signals cannot be set up");
	return KMS_OK;
}

static void idle(runner_t *r, bool yes)
{
	(void)sigprocmask(yes ? SIG_UNBLOCK : SIG_BLOCK, &r->stops, NULL);
}

static void wait_idle(runner_t *r)
{
	uint32_t ms = backoff_next(&r->backoff, kms_client_retry_after(r->agent->kms));
	idle(r, true);
	backoff_sleep(ms);
	idle(r, false);
}

/* --- the certificate --- */

static bool renewal_due(const runner_t *r)
{
	const x509_identity_t *id = &r->agent->identity.id;
	int64_t life = id->not_after_ms - id->not_before_ms;
	return id->not_after_ms - clock_now(&r->clock) < life / 3;
}

static kms_err_t renew(runner_t *r, diag_t *why)
{
	agent_t *a = r->agent;
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	identity_t fresh = {.urls = NULL};
	KMS_TRY(file_read_secret(a->state.key, &key, why));
	KMS_TRY(x509_csr_new(key, &csr));
	KMS_TRY(kms_client_renew(a->kms, buf_span(&csr), &cert, why));
	KMS_TRY(state_renew(&a->state, &a->identity.id, buf_span(&cert), why));
	KMS_TRY(state_identity(&a->state, &fresh, why));
	identity_clear(&a->identity);
	a->identity = fresh;
	return agent_connect(a, why);
}

/* A renewal that fails is tried again with the next round: there is a third of the certificate's life for it.
 */
static void renew_when_due(runner_t *r)
{
	diag_t why = {""};
	if (!renewal_due(r))
		return;
	kms_err_t e = renew(r, &why);
	if (e == KMS_OK)
		log_notice("certificate renewed");
	else
		log_warn("the certificate could not be renewed (%s): %s", kms_err_name(e), why.text);
}

/* --- proofs of escrow --- */

/* Many nodes start together, after an outage say: each picks its moment. */
static void schedule_first_proof(runner_t *r)
{
	uint8_t dice[4] = {0};
	int64_t within = r->prove_every_ms < FIRST_PROOF_S * 1000 ? r->prove_every_ms : FIRST_PROOF_S * 1000;
	if (crypto_random(dice, sizeof dice) != KMS_OK)
		log_warn("no random bytes: the first proof of escrow comes at once");
	int64_t at = (int64_t)(dice[0] | dice[1] << 8 | dice[2] << 16) * within / (1 << 24);
	r->prove_at_ms = backoff_now_ms() + at;
}

static void prove_when_due(runner_t *r)
{
	int64_t now = backoff_now_ms();
	if (r->prove_every_ms == 0 || now < r->prove_at_ms)
		return;
	escrow_prove(r->agent, NULL);
	r->prove_at_ms = now + r->prove_every_ms;
}

/* A poll ends in time for the next proof. */
static unsigned poll_seconds(const runner_t *r)
{
	int64_t left = (r->prove_at_ms - backoff_now_ms() + 999) / 1000;
	if (r->prove_every_ms == 0 || left >= (int64_t)r->poll_s)
		return r->poll_s;
	return left > 0 ? (unsigned)left : 0;
}

/* --- tasks --- */

static kms_err_t rotate_task(runner_t *r, const kms_task_t *t, const char *volume, const char *name,
			     diag_t *why)
{
	rotate_done_t done;
	KMS_TRY(rotation_do(r->agent, name, NULL, t->maintenance, &done, why));
	log_notice("%s: rotated for %s; secret %u is active, secret %u is retired", volume, t->maintenance,
		   done.version, done.retired);
	escrow_prove(r->agent, name);
	return KMS_OK;
}

static kms_err_t reencrypt_task(runner_t *r, const kms_task_t *t, const char *volume, const char *name,
				diag_t *why)
{
	reencrypt_done_t done;
	KMS_TRY(reencryption_do(r->agent, name, NULL, t->maintenance, false, &done, why));
	log_notice("%s: re-encrypted for %s; secret %u is active", volume, t->maintenance, done.version);
	escrow_prove(r->agent, name);
	return KMS_OK;
}

static const struct {
	const char *type;
	kms_err_t (*run)(runner_t *r, const kms_task_t *t, const char *volume, const char *name, diag_t *why);
} task_types[] = {
	{"rotate", rotate_task},
	{"reencrypt", reencrypt_task},
};

static kms_err_t run_task(runner_t *r, const kms_task_t *t, diag_t *why)
{
	char name[NAME_CAP];
	char volume[PATH3_CAP];
	path3_format(&t->volume, volume);
	KMS_TRY(agent_volume_name(r->agent, volume, name, why));
	for (size_t i = 0; i < sizeof task_types / sizeof task_types[0]; i++)
		if (strcmp(t->type, task_types[i].type) == 0)
			return task_types[i].run(r, t, volume, name, why);
	return diag_fail(why, KMS_E_INVALID,
			 "this agent (" CLAVIGER_VERSION ") does not know the task \"%s\"", t->type);
}

/* The server's own troubles are no failure of the volume: the task stays open and comes again. */
static bool to_report(kms_err_t e)
{
	return e != KMS_E_UNAVAILABLE && e != KMS_E_PENDING;
}

/* False when the agent should rest before it asks again, or it would get the same task at once. */
static bool do_task(runner_t *r, const kms_task_t *t)
{
	diag_t why = {""};
	char detail[AGENT_DETAIL_CAP];
	kms_err_t e = run_task(r, t, &why);
	if (e == KMS_OK)
		return true;
	log_error("%s/%s/%s: %s", t->volume.customer, t->volume.service, t->volume.name, why.text);
	if (!to_report(e))
		return false;
	agent_plain(why.text, detail);
	e = kms_client_report(r->agent->kms, t, detail, &why);
	if (e != KMS_OK)
		log_warn("the failure could not be reported: %s", why.text);
	return e == KMS_OK;
}

static void one_round(runner_t *r)
{
	SCOPED(kms_tasks_clear) kms_tasks_t tasks = {0};
	diag_t why = {""};
	bool well = true;
	renew_when_due(r);
	prove_when_due(r);
	idle(r, true);
	kms_err_t e = kms_client_tasks(r->agent->kms, poll_seconds(r), &tasks, &why);
	idle(r, false);
	if (e != KMS_OK) {
		log_warn("asking for work: %s", why.text);
		wait_idle(r);
		return;
	}
	if (tasks.n > 0 && tasks.list[0].delay_ms > 0)
		backoff_sleep(tasks.list[0].delay_ms < DELAY_MOST_MS ? tasks.list[0].delay_ms
								     : DELAY_MOST_MS);
	for (size_t i = 0; i < tasks.n; i++)
		well = do_task(r, &tasks.list[i]) && well;
	if (well)
		backoff_reset(&r->backoff);
	else
		wait_idle(r);
}

/* --- the verb --- */

static int check_config(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	diag_t why = {""};
	kms_err_t e = agent_open(c, &a, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	(void)printf("settings and identity are good: %s/%s/%s\n", a.identity.id.node.customer,
		     a.identity.id.node.service, a.identity.id.node.name);
	return 0;
}

static int run(const conf_t *c)
{
	if (conf_bool(c, "check-config"))
		return check_config(c);
	SCOPED(agent_close) agent_t a = {.conf = c};
	runner_t r = {
		.agent = &a,
		.poll_s = (unsigned)conf_number(c, "poll"),
		.prove_every_ms = conf_number(c, "prove-every") * 1000,
		.backoff = {.most_ms = BACKOFF_MOST_MS},
		.clock = clock_system(),
	};
	diag_t why = {""};
	log_init("node-agent", LOG_INFO_);
	kms_err_t e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = block_stops(&r, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	log_info("node %s/%s/%s waits for work of %s", a.identity.id.node.customer,
		 a.identity.id.node.service, a.identity.id.node.name, a.identity.urls);
	notify(conf_text(c, "notify-socket"), "READY=1");
	reencryption_resume_all(&a);
	schedule_first_proof(&r);
	for (;;)
		one_round(&r);
}

static const conf_setting_t flags[] = {
	{"notify-socket", "NOTIFY_SOCKET", CONF_TEXT, 0, 107, NULL, "PATH",
	 "where to tell a service manager: ready"},
	{"check-config", NULL, CONF_BOOL, 0, 0, NULL, NULL, "look at settings and identity, and end"},
	{"poll", NULL, CONF_NUMBER, 0, 60, "50", "SECONDS", "how long one request waits for work"},
	{"prove-every", NULL, CONF_NUMBER, 0, 2592000, "86400", "SECONDS",
	 "how often volumes are test-opened with what the KMS holds; 0: never"},
};

const command_t command_run = {
	.name = "run",
	.synopsis = "[--check-config] [--poll SECONDS] [--prove-every SECONDS]",
	.help = "wait for work (rotations of maintenance events) and do it; renew the certificate in time",
	.flags = flags,
	.n_flags = COMMAND_COUNT(flags),
	.run = run,
};
