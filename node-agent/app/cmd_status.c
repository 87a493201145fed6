#include "node-agent/app/command.h"

#include "common/base/clock.h"
#include "common/base/scope.h"
#include "node-agent/app/agent.h"

#include <stdio.h>
#include <time.h>

static void format_time(int64_t ms, char out[32])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	if (gmtime_r(&t, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(out, 32, "?");
}

static void print_identity(const agent_t *a)
{
	const x509_identity_t *id = &a->identity.id;
	char end[32];
	format_time(id->not_after_ms, end);
	kms_clock_t clock = clock_system();
	int64_t days = (id->not_after_ms - clock_now(&clock)) / 86400000;
	(void)printf("node         %s/%s/%s\n", id->node.customer, id->node.service, id->node.name);
	(void)printf("certificate  until %s (%lld days), serial %s\n", end, (long long)days, id->serial);
	(void)printf("server       %s\n", a->identity.urls);
}

static const char *state_word(kms_volume_state_t s)
{
	switch (s) {
	case KMS_VOLUME_PRE_ACTIVE:
		return "pre-active";
	case KMS_VOLUME_ACTIVE:
		return "active";
	case KMS_VOLUME_SUSPENDED:
		return "suspended";
	case KMS_VOLUME_DEACTIVATED:
		return "deactivated";
	case KMS_VOLUME_DESTROYED:
		return "destroyed";
	}
	return "?";
}

static void server_column(agent_t *a, const char *volume, bool reachable, char out[64])
{
	kms_volume_t v = {.lineage = 0};
	diag_t why = {""};
	(void)snprintf(out, 64, "?");
	if (!reachable)
		return;
	kms_err_t e = kms_get(kms_client_port(a->kms), volume, &v, &why);
	if (e == KMS_OK)
		(void)snprintf(out, 64, "%s, secret %u%s", state_word(v.state), v.version,
			       v.rotating ? ", rotating" : "");
	else
		(void)snprintf(out, 64, "%s", kms_err_name(e));
}

static void print_volume(agent_t *a, const char *volume, bool reachable)
{
	record_t r;
	volume_mapping_t m = {.found = false};
	diag_t why = {""};
	char server[64];
	kms_err_t e = records_get(a->records, volume, &r, &why);
	if (e != KMS_OK) {
		(void)printf("%-20s  %s\n", volume, why.text);
		return;
	}
	/* without sysfs nothing is known to be mapped; the column says so */
	e = r.state == RECORD_READY ? volume_mapping(a->volumes, r.uuid, NULL, NULL, &m, &why) : KMS_OK;
	server_column(a, volume, reachable, server);
	const char *mapped = r.state == RECORD_FORMATTING ? "format not completed"
			     : e != KMS_OK                ? "?"
			     : m.found                    ? m.name
							  : "no";
	(void)printf("%-20s  %-36s  %-20s  %-24s  %s\n", volume, r.uuid[0] != '\0' ? r.uuid : "-", mapped,
		     server, r.device);
}

static kms_err_t status(agent_t *a, bool *reachable, diag_t *why)
{
	SCOPED(record_names_clear) record_names_t names = {0};
	char health[32] = "";
	diag_t reach = {""};
	print_identity(a);
	kms_err_t e = kms_client_health(a->kms, health, &reach);
	*reachable = e == KMS_OK && strcmp(health, "ok") == 0;
	(void)printf("KMS          %s\n", e == KMS_OK ? health : reach.text);
	KMS_TRY(records_list(&a->state, &names, why));
	if (names.n == 0) {
		(void)printf("\nno volumes on record\n");
		return KMS_OK;
	}
	(void)printf("\n%-20s  %-36s  %-20s  %-24s  %s\n", "VOLUME", "LUKS UUID", "MAPPED", "AT THE KMS",
		     "DEVICE");
	for (size_t i = 0; i < names.n; i++)
		print_volume(a, names.list[i], *reachable);
	return KMS_OK;
}

static int run(const conf_t *c)
{
	SCOPED(agent_close) agent_t a = {.conf = c};
	diag_t why = {""};
	bool reachable = false;
	kms_err_t e = agent_open(c, &a, &why);
	if (e == KMS_OK)
		e = status(&a, &reachable, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	return reachable ? 0 : kms_err_exit(KMS_E_UNAVAILABLE);
}

const command_t command_status = {
	.name = "status",
	.synopsis = "",
	.help = "this node's identity, its way to the KMS and its volumes; exit 5 when the KMS is not "
		"reachable or sealed",
	.run = run,
};
