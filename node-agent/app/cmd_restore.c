#include "node-agent/app/command.h"

#include "common/base/scope.h"
#include "node-agent/app/agent.h"
#include "node-agent/core/restore.h"

static kms_err_t check_usage(const conf_t *c, diag_t *why)
{
	const char *confirm = conf_text(c, "confirm");
	KMS_TRY(agent_check_word(conf_word(c, 0), why));
	if (confirm != NULL && strcmp(confirm, conf_word(c, 0)) != 0)
		return diag_fail(why, KMS_E_INVALID, "--confirm is the volume's name once more: --confirm %s",
				 conf_word(c, 0));
	return KMS_OK;
}

static kms_err_t restore(const conf_t *c, agent_t *a, diag_t *why)
{
	SCOPED(closep) int lock = -1;
	char volume[NAME_CAP], device[AGENT_PATH_CAP];
	restore_done_t done;
	bool write = conf_text(c, "confirm") != NULL;
	KMS_TRY(agent_volume_name(a, conf_word(c, 0), volume, why));
	KMS_TRY(agent_device(a, volume, conf_text(c, "device"), device, why));
	KMS_TRY(records_lock(&a->state, volume, &lock, why));
	const restore_ports_t ports = {a->volumes, kms_client_port(a->kms), a->records};
	const restore_order_t order = {.volume = volume,
				       .device = device,
				       .generation = (uint32_t)conf_number(c, "generation"),
				       .write = write};
	KMS_TRY(restore_run(&ports, &order, &done, why));
	(void)printf("%s: found on the device: %s\n", device, done.found);
	if (write)
		(void)printf("%s: header restored (generation %u) and checked: secret %u opens it\n", device,
			     done.generation, done.version);
	else
		(void)printf("generation %u of the header of %s is good and would open with secret %u.\n"
			     "Nothing was written. To put it on %s: the same command with --confirm %s\n",
			     done.generation, volume, done.version, device, conf_word(c, 0));
	return KMS_OK;
}

static int run(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	diag_t why = {""};
	kms_err_t e = check_usage(c, &why);
	if (e == KMS_OK)
		e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = restore(c, &a, &why);
	return e == KMS_OK ? 0 : agent_fail(e, &why);
}

static const conf_setting_t flags[] = {
	{"device", NULL, CONF_TEXT, 0, 4000, NULL, "DEVICE", "instead of the device on record"},
	{"generation", NULL, CONF_NUMBER, 0, UINT32_MAX, "0", "N", "which copy; 0: the newest"},
	{"confirm", NULL, CONF_TEXT, 0, 256, NULL, "NAME",
	 "the volume's name again: write; without it everything is only checked"},
};

const command_t command_restore_header = {
	.name = "restore-header",
	.synopsis = "NAME [--device DEVICE] [--generation N] [--confirm NAME]",
	.help = "put the LUKS2 header of a volume back from the copy that the KMS keeps, after checks",
	.flags = flags,
	.n_flags = COMMAND_COUNT(flags),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
