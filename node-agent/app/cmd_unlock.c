#include "node-agent/app/command.h"

#include "common/base/scope.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/backoff.h"
#include "node-agent/core/unlock.h"

#define WAIT_MAX_S   (7 * 24 * 3600)
#define SAY_EVERY_MS 10000

/* The volumes that are still to be asked for. n == 0 with `all`: whatever is this node's. */
typedef struct wanted {
	bool all;
	size_t n;
	char names[KMS_VOLUMES_MAX][NAME_CAP];
} wanted_t;

typedef struct unlocking {
	agent_t *agent;
	wanted_t wanted;
	int64_t deadline_ms, say_ms;
	backoff_t backoff;
	int worst; /* exit code */
} unlocking_t;

static void worse(unlocking_t *u, int code)
{
	if (code > u->worst)
		u->worst = code;
}

static void want(wanted_t *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->names[i], name) == 0)
			return;
	if (w->n < KMS_VOLUMES_MAX)
		(void)snprintf(w->names[w->n++], NAME_CAP, "%s", name);
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
	return agent_elsewhere(e, given, r->luks_uuid, device) ? try_device(u, r, device, done, why) : e;
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

static bool asked_for(const wanted_t *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->names[i], name) == 0)
			return true;
	return w->all && w->n == 0;
}

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
		if (!asked_for(&u->wanted, r->volume.name))
			continue;
		if (r->status == KMS_RELEASE_PENDING)
			want(pending, r->volume.name);
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

/* False when the time is over. */
static bool wait_a_little(unlocking_t *u, uint32_t retry_after_s, const char *reason)
{
	int64_t now = backoff_now_ms();
	uint32_t ms = backoff_next(&u->backoff, retry_after_s);
	if (now >= u->deadline_ms)
		return false;
	if (now >= u->say_ms) {
		agent_say("%s; trying again for %lld s", reason, (long long)(u->deadline_ms - now) / 1000);
		u->say_ms = now + SAY_EVERY_MS;
	}
	backoff_sleep(now + ms < u->deadline_ms ? ms : (uint32_t)(u->deadline_ms - now));
	return true;
}

static bool worth_waiting(kms_err_t e)
{
	return e == KMS_E_UNAVAILABLE || e == KMS_E_FULL || e == KMS_E_PENDING;
}

/* True when there is more to ask for. */
static bool one_round(unlocking_t *u)
{
	SCOPED(kms_releases_clear) kms_releases_t answer = {0};
	wanted_t pending = {.n = 0};
	diag_t why = {""};
	kms_err_t e = ask(u, &answer, &why);
	if (worth_waiting(e) && wait_a_little(u, kms_client_retry_after(u->agent->kms), why.text))
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
	if (wait_a_little(u, answer.retry_after, "volumes wait for approval"))
		return true;
	for (size_t i = 0; i < pending.n; i++)
		agent_say("%s: waits for approval; the time to wait is over", pending.names[i]);
	worse(u, kms_err_exit(KMS_E_PENDING));
	return false;
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

static kms_err_t check_words(const conf_t *c, diag_t *why)
{
	if (conf_bool(c, "all") == (conf_words(c) > 0))
		return diag_fail(why, KMS_E_INVALID, "name the volumes, or say --all");
	if (conf_words(c) > KMS_VOLUMES_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %u volumes", KMS_VOLUMES_MAX);
	for (size_t i = 0; i < conf_words(c); i++)
		KMS_TRY(agent_check_word(conf_word(c, i), why));
	return KMS_OK;
}

static kms_err_t what_is_wanted(const conf_t *c, const agent_t *a, wanted_t *out, diag_t *why)
{
	char name[NAME_CAP];
	out->all = conf_bool(c, "all");
	for (size_t i = 0; i < conf_words(c); i++) {
		KMS_TRY(agent_volume_name(a, conf_word(c, i), name, why));
		want(out, name);
	}
	return KMS_OK;
}

static kms_err_t check_unlock(const conf_t *c, diag_t *why)
{
	const char *mapper = conf_text(c, "mapper-name");
	KMS_TRY(check_words(c, why));
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
		e = what_is_wanted(c, &a, &u.wanted, &why);
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

/* --- lock --------------------------------------------------------------------------------------------------
 */

static kms_err_t lock_one(agent_t *a, const char *volume, diag_t *why)
{
	record_t r;
	volume_mapping_t m = {.found = false};
	KMS_TRY(records_get(a->records, volume, &r, why));
	if (r.state == RECORD_READY)
		KMS_TRY(volume_mapping(a->volumes, r.uuid, NULL, NULL, &m, why));
	if (!m.found) {
		(void)printf("%s: not unlocked\n", volume);
		return KMS_OK;
	}
	KMS_TRY(volume_deactivate(a->volumes, m.name, why));
	(void)printf("%s: locked\n", volume);
	return KMS_OK;
}

static kms_err_t what_to_lock(const conf_t *c, const agent_t *a, record_names_t *all, wanted_t *out,
			      diag_t *why)
{
	KMS_TRY(what_is_wanted(c, a, out, why));
	if (!out->all)
		return KMS_OK;
	KMS_TRY(records_list(&a->state, all, why));
	for (size_t i = 0; i < all->n; i++)
		want(out, all->list[i]);
	return KMS_OK;
}

static int run_lock(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	SCOPED(record_names_clear) record_names_t all = {0};
	wanted_t wanted = {.n = 0};
	diag_t why = {""};
	int worst = 0;
	kms_err_t e = check_words(c, &why);
	if (e == KMS_OK)
		e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = what_to_lock(c, &a, &all, &wanted, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	for (size_t i = 0; i < wanted.n; i++) {
		e = lock_one(&a, wanted.names[i], &why);
		if (e != KMS_OK) {
			agent_say("%s: %s", wanted.names[i], why.text);
			worst = kms_err_exit(e) > worst ? kms_err_exit(e) : worst;
		}
	}
	return worst;
}

static const conf_setting_t lock_flags[] = {
	{"all", NULL, CONF_BOOL, 0, 0, NULL, NULL, "all volumes of this node"},
};

const command_t command_lock = {
	.name = "lock",
	.synopsis = "[NAME… | --all]",
	.help = "take mappings down",
	.flags = lock_flags,
	.n_flags = COMMAND_COUNT(lock_flags),
	.max_words = 1024,
	.run = run_lock,
};
