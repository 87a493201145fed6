#include "node-agent/app/command.h"

#include "common/base/scope.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/backoff.h"
#include "node-agent/app/wanted.h"
#include "node-agent/core/unlock.h"

#define WAIT_MAX_S   (7 * 24 * 3600)
#define SAY_EVERY_MS 10000
#define ASK_EVERY_MS 60000 /* while a person is waited for */
#define NAMES_CAP    400U

typedef struct unlocking {
	agent_t *agent;
	wanted_t wanted;
	int64_t deadline_ms, say_ms;
	char grant[NAME_CAP]; /* of which say_ms tells when it is said again */
	backoff_t backoff;
	int worst; /* exit code */
} unlocking_t;

/* Waiting is the least of what can be wrong. */
static void worse(unlocking_t *u, int code)
{
	int waits = kms_err_exit(KMS_E_PENDING);
	if (u->worst == 0 || u->worst == waits || (code != waits && code > u->worst))
		u->worst = code != 0 ? code : u->worst;
}

/* --- one volume --------------------------------------------------------------------------------------------
 */

static kms_err_t try_device(const unlocking_t *u, const kms_release_t *r, const char *device,
			    unlock_done_t *done, diag_t *why)
{
	const conf_t *c = u->agent->conf;
	const char *mapper = conf_text(c, "mapper-name");
	const unlock_order_t order = {
		.device = device,
		.mapper = mapper != NULL ? mapper : r->volume.name,
		.test_open = conf_bool(c, "test-open"),
	};
	return unlock_volume(u->agent->volumes, r, &order, done, why);
}

static kms_err_t find_and_unlock(const unlocking_t *u, const kms_release_t *r, unlock_done_t *done,
				 diag_t *why)
{
	char device[AGENT_PATH_CAP];
	const char *given = conf_text(u->agent->conf, "device");
	KMS_TRY(unlock_released(r, why));
	kms_err_t e = agent_device(u->agent, r->volume.name, given, device, why);
	if (e == KMS_OK)
		e = try_device(u, r, device, done, why);
	if (agent_elsewhere(e, given, r->luks_uuid, device))
		e = try_device(u, r, device, done, why);
	agent_tell_refused(u->agent, r->volume.name, e, why);
	return e;
}

static void print_done(const char *volume, const unlock_done_t *done)
{
	switch (done->result) {
	case UNLOCK_MAPPED:
		(void)printf("%s: unlocked as /dev/mapper/%s\n", volume, done->mapping);
		return;
	case UNLOCK_ALREADY:
		(void)printf("%s: already unlocked as /dev/mapper/%s\n", volume, done->mapping);
		return;
	case UNLOCK_OPENS:
		(void)printf("%s: opens; not mapped\n", volume);
		return;
	}
}

static void unlock_one(unlocking_t *u, const kms_release_t *r)
{
	unlock_done_t done;
	diag_t why = {""};
	char volume[PATH3_CAP];
	path3_format(&r->volume, volume);
	/* a volume that is registered and not formatted yet is nothing that --all could unlock */
	if (u->wanted.all && r->status == KMS_RELEASED && r->luks_uuid[0] == '\0') {
		(void)printf("%s: not formatted yet, passed over\n", volume);
		return;
	}
	kms_err_t e = find_and_unlock(u, r, &done, &why);
	if (e == KMS_OK) {
		print_done(volume, &done);
		return;
	}
	agent_say("%s: %s", volume, why.text[0] != '\0' ? why.text : kms_err_name(e));
	worse(u, kms_err_exit(e));
}

/* --- asking, and asking again ------------------------------------------------------------------------------
 */

static kms_err_t ask(unlocking_t *u, kms_releases_t *out, diag_t *why)
{
	const char *names[KMS_VOLUMES_MAX];
	for (size_t i = 0; i < u->wanted.n; i++)
		names[i] = u->wanted.names[i];
	return kms_release(kms_client_port(u->agent->kms), names, u->wanted.n, out, why);
}

/* Does what can be done, and leaves in *pending what waits for approval. */
static void take_answer(unlocking_t *u, const kms_releases_t *answer, wanted_t *pending)
{
	for (size_t i = 0; i < answer->n; i++) {
		const kms_release_t *r = &answer->list[i];
		if (!wanted_has(&u->wanted, r->volume.name))
			continue;
		if (r->status == KMS_RELEASE_PENDING)
			wanted_add(pending, r->volume.name);
		else
			unlock_one(u, r);
	}
}

/* A volume that was asked for and is not in the answer is not passed over in silence. */
static void say_missing(unlocking_t *u, const kms_releases_t *answer)
{
	for (size_t w = 0; w < u->wanted.n; w++) {
		bool found = false;
		for (size_t i = 0; i < answer->n; i++)
			found = found || strcmp(answer->list[i].volume.name, u->wanted.names[w]) == 0;
		if (!found) {
			agent_say("%s: the KMS does not know it", u->wanted.names[w]);
			worse(u, kms_err_exit(KMS_E_NOTFOUND));
		}
	}
	if (u->wanted.all && answer->n == 0)
		agent_say("no volumes are registered for this node: nothing to unlock");
}

static int64_t seconds_left(const unlocking_t *u)
{
	int64_t ms = u->deadline_ms - backoff_now_ms();
	return ms > 0 ? (ms + 999) / 1000 : 0;
}

static void pause_before_next(unlocking_t *u, uint32_t retry_after_s)
{
	uint32_t ms = backoff_next(&u->backoff, retry_after_s);
	int64_t left = u->deadline_ms - backoff_now_ms();
	if (left > 0)
		backoff_sleep(ms < left ? ms : (uint32_t)left);
}

static bool worth_waiting(kms_err_t e)
{
	return e == KMS_E_UNAVAILABLE || e == KMS_E_FULL || e == KMS_E_PENDING;
}

/* False when the time is over. */
static bool wait_for_kms(unlocking_t *u, const char *reason)
{
	int64_t now = backoff_now_ms();
	if (now >= u->deadline_ms)
		return false;
	if (now >= u->say_ms || u->grant[0] != '\0') {
		agent_say("%s; trying again for %lld s", reason, (long long)seconds_left(u));
		u->say_ms = now + SAY_EVERY_MS;
		u->grant[0] = '\0';
	}
	pause_before_next(u, kms_client_retry_after(u->agent->kms));
	return true;
}

/* --- waiting for a person ----------------------------------------------------------------------------------
 */

static bool waits_for(const unlocking_t *u, const kms_release_t *r, const char *grant)
{
	return r->status == KMS_RELEASE_PENDING && wanted_has(&u->wanted, r->volume.name) &&
	       strcmp(r->grant, grant) == 0;
}

/* Those that wait for the same grant, as many as fit. */
static void names_of(const unlocking_t *u, const kms_releases_t *a, const char *grant, char out[NAMES_CAP])
{
	size_t n = 0, more = 0;
	for (size_t i = 0; i < a->n; i++) {
		char path[PATH3_CAP];
		if (!waits_for(u, &a->list[i], grant))
			continue;
		path3_format(&a->list[i].volume, path);
		if (more > 0 || n + strlen(path) + sizeof ", and 256 more" >= NAMES_CAP)
			more++;
		else
			n += (size_t)snprintf(out + n, NAMES_CAP - n, "%s%s", n > 0 ? ", " : "", path);
	}
	if (more > 0)
		(void)snprintf(out + n, NAMES_CAP - n, " and %zu more", more);
}

/* For whom: one line a grant, not a volume. */
static void say_waiting(const unlocking_t *u, const kms_releases_t *a, const char *end)
{
	for (size_t i = 0; i < a->n; i++) {
		const kms_release_t *r = &a->list[i];
		char names[NAMES_CAP];
		bool said = !waits_for(u, r, r->grant);
		for (size_t k = 0; k < i; k++)
			said = said || waits_for(u, &a->list[k], r->grant);
		if (said)
			continue;
		names_of(u, a, r->grant, names);
		agent_say("%s: %s%s%s; %s", names, r->reason[0] != '\0' ? r->reason : "waits for approval",
			  r->grant[0] != '\0' ? "; to approve: kmsctl grant approve " : "", r->grant, end);
	}
}

/* What the answer asks for; a partial one has it with the volumes alone. */
static uint32_t retry_after(const kms_releases_t *a)
{
	uint32_t s = a->retry_after;
	for (size_t i = 0; i < a->n; i++)
		s = a->list[i].retry_after > s ? a->list[i].retry_after : s;
	return s;
}

static const char *first_grant(const unlocking_t *u, const kms_releases_t *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (waits_for(u, &a->list[i], a->list[i].grant))
			return a->list[i].grant;
	return "";
}

/* False when the time is over. */
static bool wait_for_person(unlocking_t *u, const kms_releases_t *a)
{
	int64_t now = backoff_now_ms();
	const char *grant = first_grant(u, a);
	char end[96];
	if (now >= u->deadline_ms) {
		say_waiting(u, a, "the time to wait is over (--wait SECONDS makes it longer)");
		worse(u, kms_err_exit(KMS_E_PENDING));
		return false;
	}
	if (now >= u->say_ms || strcmp(grant, u->grant) != 0) {
		(void)snprintf(end, sizeof end, "asking again for %lld s", (long long)seconds_left(u));
		say_waiting(u, a, end);
		u->say_ms = now + ASK_EVERY_MS;
		(void)snprintf(u->grant, sizeof u->grant, "%s", grant);
	}
	backoff_reset(&u->backoff); /* the server is there: nothing but its own word slows us down */
	pause_before_next(u, retry_after(a));
	return true;
}

/* True when there is more to ask for. */
static bool one_round(unlocking_t *u)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	wanted_t pending = {.n = 0};
	diag_t why = {""};
	kms_err_t e = ask(u, &answer, &why);
	if (worth_waiting(e) && wait_for_kms(u, why.text))
		return true;
	if (e != KMS_OK) {
		worse(u, agent_fail(e, &why));
		return false;
	}
	take_answer(u, &answer, &pending);
	say_missing(u, &answer);
	if (pending.n == 0)
		return false;
	u->wanted = pending;
	return wait_for_person(u, &answer);
}

/* --- unlock ------------------------------------------------------------------------------------------------
 */

static bool mapper_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+.";
	size_t n = strlen(name);
	return n > 0 && n < VOLUME_MAPPER_CAP && strspn(name, allowed) == n && name[0] != '.' &&
	       name[0] != '-';
}

static kms_err_t check_unlock(const conf_t *c, diag_t *why)
{
	const char *mapper = conf_text(c, "mapper-name");
	KMS_TRY(wanted_check(c, why));
	if ((mapper != NULL || conf_text(c, "device") != NULL) && conf_words(c) != 1)
		return diag_fail(why, KMS_E_INVALID, "--mapper-name and --device are for one volume");
	if (mapper != NULL && !mapper_valid(mapper))
		return diag_fail(
			why, KMS_E_INVALID,
			"--mapper-name: 1 to 127 of letters, digits and _-+., not beginning with - or .");
	return KMS_OK;
}

static int run_unlock(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	unlocking_t u = {.agent = &a, .backoff = {.most_ms = 15000}};
	diag_t why = {""};
	kms_err_t e = check_unlock(c, &why);
	if (e == KMS_OK)
		e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = wanted_read(&a, &u.wanted, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	u.deadline_ms = backoff_now_ms() + conf_number(c, "wait") * 1000;
	while (one_round(&u))
		;
	return u.worst;
}

static const conf_setting_t unlock_flags[] = {
	{"all", NULL, CONF_BOOL, 0, 0, NULL, NULL, "all volumes of this node"},
	{"test-open", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "do everything but map: a proof that the KMS's secret opens it"},
	{"wait", NULL, CONF_NUMBER, 0, WAIT_MAX_S, "60", "SECONDS",
	 "go on trying while the KMS is not reachable, sealed, or asks to wait"},
	{"mapper-name", NULL, CONF_TEXT, 0, 0, NULL, "NAME",
	 "below /dev/mapper, instead of the volume's name"},
	{"device", NULL, CONF_TEXT, 0, 4000, NULL, "DEVICE", "instead of the device on record"},
};

const command_t command_unlock = {
	.name = "unlock",
	.synopsis = "[NAME… | --all] [--test-open] [--wait SECONDS] [--mapper-name NAME] [--device DEVICE]",
	.help = "get the secrets of volumes, check that they are the registered ones, and map them",
	.flags = unlock_flags,
	.n_flags = COMMAND_COUNT(unlock_flags),
	.max_words = 1024,
	.run = run_unlock,
};
