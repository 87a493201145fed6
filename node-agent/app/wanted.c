#include "node-agent/app/wanted.h"

#include <stdio.h>

void wanted_add(wanted_t *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->names[i], name) == 0)
			return;
	if (w->n < KMS_VOLUMES_MAX)
		(void)snprintf(w->names[w->n++], NAME_CAP, "%s", name);
}

bool wanted_has(const wanted_t *w, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->names[i], name) == 0)
			return true;
	return w->all && w->n == 0;
}

kms_err_t wanted_check(const conf_t *c, diag_t *why)
{
	if (conf_bool(c, "all") == (conf_words(c) > 0))
		return diag_fail(why, KMS_E_INVALID, "name the volumes, or say --all");
	if (conf_words(c) > KMS_VOLUMES_MAX)
		return diag_fail(why, KMS_E_INVALID, "more than %u volumes", KMS_VOLUMES_MAX);
	for (size_t i = 0; i < conf_words(c); i++)
		KMS_TRY(agent_check_word(conf_word(c, i), why));
	return KMS_OK;
}

kms_err_t wanted_read(const agent_t *a, wanted_t *out, diag_t *why)
{
	const conf_t *c = a->conf;
	char name[NAME_CAP];
	out->all = conf_bool(c, "all");
	for (size_t i = 0; i < conf_words(c); i++) {
		KMS_TRY(agent_volume_name(a, conf_word(c, i), name, why));
		wanted_add(out, name);
	}
	return KMS_OK;
}
