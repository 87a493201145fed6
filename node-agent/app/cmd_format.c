#include "node-agent/app/command.h"

#include "common/base/scope.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/escrow.h"
#include "node-agent/core/format.h"

static kms_err_t check_usage(const conf_t *c, diag_t *why)
{
	const char *confirm = conf_text(c, "confirm");
	const char *volume = conf_text(c, "volume");
	if (volume == NULL)
		return diag_fail(why, KMS_E_INVALID, "format needs --volume NAME");
	KMS_TRY(agent_check_word(volume, why));
	if (conf_bool(c, "force") && (confirm == NULL || strcmp(confirm, volume) != 0))
		return diag_fail(
			why, KMS_E_INVALID,
			"--force destroys what is on the device: repeat the volume's name with --confirm %s",
			volume);
	return KMS_OK;
}

static void print_done(const agent_t *a, const char *volume, const char *device, const format_done_t *d)
{
	const path3_t *self = &a->identity.id.node;
	const char *what = "formatted";
	switch (d->result) {
	case FORMAT_DONE:
		break;
	case FORMAT_COMPLETED:
		what = "completed the interrupted format of";
		break;
	case FORMAT_ALREADY:
		what = "already formatted, and checked:";
		break;
	}
	(void)printf("%s/%s/%s: %s %s (LUKS UUID %s, lineage %u)\n", self->customer, self->service, volume,
		     what, device, d->uuid, d->lineage);
}

static kms_err_t format(const conf_t *c, agent_t *a, diag_t *why)
{
	char volume[NAME_CAP];
	char device[AGENT_PATH_CAP];
	format_done_t done;
	KMS_TRY(agent_volume_name(a, conf_text(c, "volume"), volume, why));
	KMS_TRY(agent_absolute(conf_word(c, 0), device, why));
	SCOPED(closep) int lock = -1;
	KMS_TRY(records_lock(&a->state, volume, &lock, why));
	const format_ports_t ports = {a->volumes, kms_client_port(a->kms), a->records};
	const format_order_t order = {.volume = volume, .device = device, .force = conf_bool(c, "force")};
	KMS_TRY(format_run(&ports, &order, &done, why));
	print_done(a, volume, device, &done);
	closep(&lock);
	escrow_prove(a, volume);
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
		e = format(c, &a, &why);
	return e == KMS_OK ? 0 : agent_fail(e, &why);
}

static const conf_setting_t flags[] = {
	{"volume", NULL, CONF_TEXT, 0, 256, NULL, "NAME", "the volume that the device becomes"},
	{"force", NULL, CONF_BOOL, 0, 0, NULL, NULL, "destroy what the device holds; needs --confirm"},
	{"confirm", NULL, CONF_TEXT, 0, 256, NULL, "NAME", "the volume's name again"},
};

const command_t command_format = {
	.name = "format",
	.synopsis = "DEVICE --volume NAME [--force --confirm NAME]",
	.help = "make a device a LUKS2 volume whose secret the KMS holds",
	.flags = flags,
	.n_flags = COMMAND_COUNT(flags),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
