#include "node-agent/app/command.h"

#include "common/base/scope.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/wanted.h"

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

static kms_err_t what_to_lock(const agent_t *a, record_names_t *all, wanted_t *out, diag_t *why)
{
	KMS_TRY(wanted_read(a, out, why));
	if (!out->all)
		return KMS_OK;
	KMS_TRY(records_list(&a->state, all, why));
	for (size_t i = 0; i < all->n; i++)
		wanted_add(out, all->list[i]);
	return KMS_OK;
}

static int run_lock(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	SCOPED(record_names_clear) record_names_t all = {0};
	wanted_t wanted = {.n = 0};
	diag_t why = {""};
	int worst = 0;
	kms_err_t e = wanted_check(c, &why);
	if (e == KMS_OK)
		e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = what_to_lock(&a, &all, &wanted, &why);
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
