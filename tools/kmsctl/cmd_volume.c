#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/cmd_volume_release.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/prompt.h"
#include "tools/kmsctl/scope.h"

/* The newest secret version that is in use. */
static void version_format(const json_t *row, buf_t *out)
{
	const json_t *secrets = value_at(row, "secrets");
	json_int_t newest = 0;
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		const json_t *s = json_array_get(secrets, i);
		json_int_t v = value_number(s, "version");
		if (strcmp(value_text(s, "state"), "active") == 0 && v > newest)
			newest = v;
	}
	if (newest > 0)
		buf_printf(out, "%lld", (long long)newest);
	else
		buf_u8(out, '-');
}

static void rotation_format(const json_t *row, buf_t *out)
{
	if (json_is_object(value_at(row, "rotation")))
		buf_printf(out, "to %lld", (long long)value_number(row, "rotation.version"));
	else
		buf_u8(out, '-');
}

static const column_t columns[] = {
	{.title = "VOLUME", .path = "volume"},
	{.title = "NODE", .path = "node"},
	{.title = "STATE", .path = "state"},
	{.title = "SECRET", .format = version_format},
	{.title = "ROTATION", .format = rotation_format},
	{.title = "ROTATED", .path = "rotated_ms", .kind = VALUE_TIME},
	{.title = "LAST RELEASED", .path = "last_released_ms", .kind = VALUE_TIME},
	{.title = "PROVEN", .path = "escrow.proven_ms", .kind = VALUE_TIME},
};

static const column_t details[] = {
	{.title = "VOLUME", .path = "volume"},
	{.title = "NODE", .path = "node"},
	{.title = "GENERATION", .path = "generation"},
	{.title = "STATE", .path = "state"},
	{.title = "LUKS UUID", .path = "luks_uuid"},
	{.title = "LINEAGE", .path = "lineage"},
	{.title = "FINGERPRINT", .path = "fingerprints.0.value"},
	{.title = "ROTATION", .format = rotation_format},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
	{.title = "ROTATED", .path = "rotated_ms", .kind = VALUE_TIME},
	{.title = "LAST RELEASED", .path = "last_released_ms", .kind = VALUE_TIME},
	{.title = "PROVEN TO OPEN", .path = "escrow.proven_ms", .kind = VALUE_TIME},
	{.title = "DID NOT OPEN", .path = "escrow.failed_ms", .kind = VALUE_TIME},
	{.title = "REASON", .path = "escrow.reason"},
	{.title = "HEADER COPIED", .path = "headers.0.stored_ms", .kind = VALUE_TIME},
	{.title = "DESTROYED AFTER", .path = "destroy_after_ms", .kind = VALUE_TIME},
};

static const column_t secret_columns[] = {
	{.title = "SECRET", .path = "version"},
	{.title = "STATE", .path = "state"},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
};

static const conf_setting_t node_flags[] = {
	{.key = "node",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "NODE",
	 .help = "the node of that service (wanted)"},
};

static const conf_setting_t delete_flags[] = {
	{.key = "confirm",
	 .type = CONF_TEXT,
	 .max = 200,
	 .arg = "C/S/V",
	 .help = "the volume's name once more"},
};

static const conf_setting_t release_flags[] = {
	{.key = "out",
	 .type = CONF_TEXT,
	 .max = 4000,
	 .arg = "DIR",
	 .help = "a folder of yours, mode 0700, for a file a secret (wanted)"},
};

static kms_err_t volume_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	path3_t p = {0};
	KMS_TRY(path3_parse("volume", span_str(conf_word(c->conf, 0)), &p, why));
	return cli_path(out, why, "/v1/customers/%s/services/%s/volumes/%s%s", p.customer, p.service, p.name,
			act);
}

static kms_err_t print_volume(cli_t *c, const json_t *j, diag_t *why)
{
	table_t t;
	KMS_TRY(cli_print_record(c, details, COUNT(details), j, why));
	const json_t *secrets = value_at(j, "secrets");
	if (c->json || json_array_size(secrets) == 0)
		return KMS_OK;
	(void)fputc('\n', c->out);
	table_init(&t, secret_columns, COUNT(secret_columns), c->out);
	kms_err_t e = table_rows(&t, secrets);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the answer");
}

static kms_err_t act(cli_t *c, const char *method, const char *verb, const json_t *body, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	char path[CLI_PATH_CAP];
	KMS_TRY(volume_path(c, verb, path, why));
	KMS_TRY(cli_request(c, method, path, body, &j, why));
	return print_volume(c, j, why);
}

static kms_err_t act_with_node(cli_t *c, const char *method, const char *verb, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char node[NAME_CAP];
	const char *text = conf_text(c->conf, "node");
	if (text == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "--node NODE is missing: which node the volume belongs to");
	KMS_TRY(name_parse("node", span_str(text), node, why));
	KMS_TRY(json_build(&body, "{s:s}", "node", node));
	return act(c, method, verb, body, why);
}

static kms_err_t create(cli_t *c, diag_t *why)
{
	return act_with_node(c, "PUT", "", why);
}

static kms_err_t assign(cli_t *c, diag_t *why)
{
	return act_with_node(c, "POST", ":assign", why);
}

/* NIST SP 800-57 leaves it to the operator how long a key is used; a year is the longest that it names for
 * keys of this kind. */
#define CRYPTOPERIOD     "365d"
#define CRYPTOPERIOD_MAX (INT64_C(3650) * 86400)

static const conf_setting_t list_flag_rows[] = {
	LIST_LIMIT_FLAG,
	{.key = "due", .type = CONF_BOOL, .help = "only those whose secret is older than its cryptoperiod"},
	{.key = "cryptoperiod",
	 .type = CONF_TEXT,
	 .max = 40,
	 .dflt = CRYPTOPERIOD,
	 .arg = "DUR",
	 .help = "with --due: how long a secret is used"},
};

/* Whether the volume's active secret became that before this moment. */
static bool is_due(const void *ctx, const json_t *row)
{
	const int64_t *before_ms = ctx;
	const json_t *secrets = value_at(row, "secrets");
	const char *state = value_text(row, "state");
	if (strcmp(state, "active") != 0 && strcmp(state, "suspended") != 0)
		return false;
	for (size_t i = 0; i < json_array_size(secrets); i++) {
		const json_t *s = json_array_get(secrets, i);
		if (strcmp(value_text(s, "state"), "active") == 0)
			return value_number(s, "changed_ms") < *before_ms;
	}
	return false;
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	int64_t period = 0;
	KMS_TRY(arg_duration("--cryptoperiod", conf_text(c->conf, "cryptoperiod"), 1, CRYPTOPERIOD_MAX,
			     &period, why));
	int64_t before = clock_now(&c->clock) - period * 1000;
	const scope_filter_t due = {is_due, &before};
	if (!conf_bool(c->conf, "due") && conf_is_set(c->conf, "cryptoperiod"))
		return diag_fail(why, KMS_E_INVALID, "--cryptoperiod needs --due");
	return scope_list(c, "volumes", columns, COUNT(columns), conf_bool(c->conf, "due") ? &due : NULL,
			  why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	return act(c, "GET", "", NULL, why);
}

static kms_err_t suspend(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":suspend", NULL, why);
}

static kms_err_t resume(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":resume", NULL, why);
}

static kms_err_t restore(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":restore", NULL, why);
}

/* The end of a volume's secrets is the end of its data: the name is asked for twice. */
static kms_err_t confirmed(const cli_t *c, const char *name, diag_t *why)
{
	SCOPED(secret_freep) secret_t *typed = NULL;
	const char *flag = conf_text(c->conf, "confirm");
	span_t got = flag != NULL ? span_str(flag) : span_of(NULL, 0);
	if (flag == NULL) {
		kms_err_t e = prompt_line("The volume's secrets will be destroyed, and its data with them.\n"
					  "Type its name (CUSTOMER/SERVICE/VOLUME) to go on: ",
					  true, &typed, why);
		if (e == KMS_E_UNAVAILABLE)
			return diag_fail(why, KMS_E_INVALID,
					 "without a terminal, repeat the name: --confirm %s", name);
		KMS_TRY(e);
		got = secret_span(typed);
	}
	if (!span_eq(got, span_str(name)))
		return diag_fail(why, KMS_E_INVALID, "the name given again is not %s: nothing was done",
				 name);
	return KMS_OK;
}

static kms_err_t delete_volume(cli_t *c, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(volume_path(c, "", path, why));
	KMS_TRY(confirmed(c, conf_word(c->conf, 0), why));
	return act(c, "DELETE", "", NULL, why);
}

#define CSV "CUSTOMER/SERVICE/VOLUME"

static const command_t commands[] = {
	{"create", CSV, "register a volume of a node and make its first secret", 1, 1, node_flags,
	 COUNT(node_flags), create},
	{"list", "[CUSTOMER[/SERVICE]]", "the volumes of a service, of a customer, or all", 0, 1,
	 list_flag_rows, COUNT(list_flag_rows), list},
	{"show", CSV, "one volume and its secrets' versions", 1, 1, NULL, 0, show},
	{"suspend", CSV, "release nothing until it is resumed", 1, 1, NULL, 0, suspend},
	{"resume", CSV, "release a suspended volume again", 1, 1, NULL, 0, resume},
	{"assign", CSV, "give the volume to another node", 1, 1, node_flags, COUNT(node_flags), assign},
	{"delete", CSV, "destroy its secrets in 7 days; asks for the name again", 1, 1, delete_flags,
	 COUNT(delete_flags), delete_volume},
	{"release", CSV, "its live secrets into files, for cryptsetup; needs a grant, and is reviewed", 1, 1,
	 release_flags, COUNT(release_flags), volume_release},
	{"restore", CSV, "take a deletion back before it is carried out", 1, 1, NULL, 0, restore},
};
const noun_t noun_volume = {"volume", "encrypted disks and their secrets", commands, COUNT(commands)};
