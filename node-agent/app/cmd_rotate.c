#include "node-agent/app/rotation.h"

#include "common/base/scope.h"
#include "node-agent/app/command.h"
#include "node-agent/app/escrow.h"
#include "node-agent/app/reencryption.h"
#include "node-agent/core/rotate.h"

#include <signal.h>

kms_err_t rotation_do(agent_t *a, const char *volume, const char *device, const char *maintenance,
		      rotate_done_t *out, diag_t *why)
{
	char path[AGENT_PATH_CAP];
	record_t record;
	diag_t ignored;
	SCOPED(closep) int lock = -1;
	KMS_TRY(agent_device(a, volume, device, path, why));
	KMS_TRY(records_lock(&a->state, volume, &lock, why));
	const rotate_order_t order = {.volume = volume, .device = path, .maintenance = maintenance};
	kms_err_t e = rotate_run(a->volumes, kms_client_port(a->kms), &order, out, why);
	if (e != KMS_OK && records_get(a->records, volume, &record, &ignored) == KMS_OK &&
	    agent_elsewhere(e, device, record.uuid, path))
		e = rotate_run(a->volumes, kms_client_port(a->kms), &order, out, why);
	agent_tell_refused(a, volume, e, why);
	return e;
}

/* A stop between two steps of the library is one that the next run goes on from without repairs. */
static void block_stops(void)
{
	sigset_t stops;
	(void)sigemptyset(&stops);
	(void)sigaddset(&stops, SIGTERM);
	(void)sigaddset(&stops, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &stops, NULL);
}

static void prove(const conf_t *c, agent_t *a, const char *volume)
{
	(void)fflush(stdout);
	if (!conf_bool(c, "no-proof"))
		escrow_prove(a, volume);
}

static kms_err_t reencrypt(const conf_t *c, agent_t *a, const char *volume, diag_t *why)
{
	reencrypt_done_t done;
	const path3_t *self = &a->identity.id.node;
	block_stops();
	kms_err_t e = reencryption_do(a, volume, conf_text(c, "device"), conf_text(c, "maintenance"), true,
				      &done, why);
	if (e == KMS_E_PENDING)
		return diag_fail(why, KMS_E_IO,
				 "stopped; %s stays usable, and the same command goes on with it", volume);
	KMS_TRY(e);
	(void)printf("%s/%s/%s: re-encrypted with a new volume key; secret %u is active\n", self->customer,
		     self->service, volume, done.version);
	prove(c, a, volume);
	return KMS_OK;
}

static kms_err_t rotate(const conf_t *c, agent_t *a, diag_t *why)
{
	char volume[NAME_CAP];
	rotate_done_t done;
	const path3_t *self = &a->identity.id.node;
	KMS_TRY(agent_volume_name(a, conf_word(c, 0), volume, why));
	if (conf_bool(c, "reencrypt"))
		return reencrypt(c, a, volume, why);
	KMS_TRY(rotation_do(a, volume, conf_text(c, "device"), conf_text(c, "maintenance"), &done, why));
	(void)printf("%s/%s/%s: rotated; secret %u is active, secret %u is retired\n", self->customer,
		     self->service, volume, done.version, done.retired);
	prove(c, a, volume);
	return KMS_OK;
}

static int run(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	diag_t why = {""};
	kms_err_t e = agent_check_word(conf_word(c, 0), &why);
	if (e == KMS_OK)
		e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = rotate(c, &a, &why);
	return e == KMS_OK ? 0 : agent_fail(e, &why);
}

static const conf_setting_t flags[] = {
	{"reencrypt", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "replace the volume key too: all data are written anew, in place"},
	{"no-proof", NULL, CONF_BOOL, 0, 0, NULL, NULL,
	 "do not test-open it afterwards and leave no copy of the header with the KMS: node-agent run does, "
	 "later"},
	{"maintenance", NULL, CONF_TEXT, 0, KMS_MAINTENANCE_CAP - 1, NULL, "ID",
	 "the maintenance event that this is for"},
	{"device", NULL, CONF_TEXT, 0, 4000, NULL, "DEVICE", "instead of the device on record"},
};

const command_t command_rotate = {
	.name = "rotate",
	.synopsis = "NAME [--reencrypt] [--no-proof] [--maintenance ID] [--device DEVICE]",
	.help = "replace a volume's secret, and with --reencrypt its volume key, or go on where that was "
		"interrupted; works while it is in use",
	.flags = flags,
	.n_flags = COMMAND_COUNT(flags),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
