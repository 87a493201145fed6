#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/cmd_node_replace.h"
#include "tools/kmsctl/invitation.h"
#include "tools/kmsctl/scope.h"

static const column_t columns[] = {
	{.title = "NODE", .path = "node"},
	{.title = "STATE", .path = "state"},
	{.title = "GENERATION", .path = "generation"},
	{.title = "ENROLLED", .path = "enrolled_ms", .kind = VALUE_TIME},
	{.title = "CERTIFICATE UNTIL", .path = "not_after_ms", .kind = VALUE_TIME},
	{.title = "LAST SEEN", .path = "last_seen_ms", .kind = VALUE_TIME},
};

static const column_t details[] = {
	{.title = "NODE", .path = "node"},
	{.title = "STATE", .path = "state"},
	{.title = "GENERATION", .path = "generation"},
	{.title = "ENROLLED", .path = "enrolled_ms", .kind = VALUE_TIME},
	{.title = "CERTIFICATE UNTIL", .path = "not_after_ms", .kind = VALUE_TIME},
	{.title = "LAST SEEN", .path = "last_seen_ms", .kind = VALUE_TIME},
	{.title = "SERIAL", .path = "serial"},
	{.title = "KEY SHA-256", .path = "spki_sha256"},
};

static const column_t invitation[] = {
	{.title = "NODE", .path = "node"},
	{.title = "GENERATION", .path = "generation"},
	{.title = "EXPIRES", .path = "expires_ms", .kind = VALUE_TIME},
};

static const conf_setting_t invite_flags[] = {
	INVITATION_FLAGS,
	{.key = "replace", .type = CONF_BOOL, .help = "for a node that is enrolled: a new generation of it"},
};

static kms_err_t node_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	path3_t p = {0};
	KMS_TRY(path3_parse("node", span_str(conf_word(c->conf, 0)), &p, why));
	return cli_path(out, why, "/v1/customers/%s/services/%s/nodes/%s%s", p.customer, p.service, p.name,
			act);
}

static kms_err_t invite(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	int64_t ttl = 0;
	KMS_TRY(node_path(c, ":invite", path, why));
	KMS_TRY(invitation_flags(c, &ttl, why));
	if (conf_bool(c->conf, "replace"))
		KMS_TRY(json_build(&body, "{s:I, s:b}", "ttl_s", (json_int_t)ttl, "replace", 1));
	else
		KMS_TRY(json_build(&body, "{s:I}", "ttl_s", (json_int_t)ttl));
	KMS_TRY(cli_request(c, "POST", path, body, &answer, why));
	KMS_TRY(invitation_give(c, answer, invitation, COUNT(invitation), why));
	char until[TIME_TEXT_CAP];
	time_text(value_number(answer, "expires_ms"), until);
	if (cli_is_terminal(c->err))
		(void)fprintf(c->err, "On the node, before %s: node-agent enroll --server %s --token FILE\n",
			      until, conf_text(c->conf, "addr"));
	return KMS_OK;
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(node_path(c, "", path, why));
	return cli_show(c, "GET", path, NULL, details, COUNT(details), why);
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	return scope_list(c, "nodes", columns, COUNT(columns), NULL, why);
}

static kms_err_t act(cli_t *c, const char *verb, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(node_path(c, verb, path, why));
	return cli_show(c, "POST", path, NULL, details, COUNT(details), why);
}

static kms_err_t revoke_node(cli_t *c, diag_t *why)
{
	return act(c, ":revoke", why);
}

static kms_err_t suspend(cli_t *c, diag_t *why)
{
	return act(c, ":suspend", why);
}

static kms_err_t resume(cli_t *c, diag_t *why)
{
	return act(c, ":resume", why);
}

static const command_t commands[] = {
	{"invite", "CUSTOMER/SERVICE/NODE", "make a one-time token for `node-agent enroll`", 1, 1,
	 invite_flags, COUNT(invite_flags), invite},
	{"list", "[CUSTOMER[/SERVICE]]", "the nodes of a service, of a customer, or all", 0, 1, list_flags, 1,
	 list},
	{"show", "CUSTOMER/SERVICE/NODE", "one node", 1, 1, NULL, 0, show},
	{"revoke", "CUSTOMER/SERVICE/NODE", "end a node's certificate for good", 1, 1, NULL, 0, revoke_node},
	{"suspend", "CUSTOMER/SERVICE/NODE", "refuse a node until it is resumed", 1, 1, NULL, 0, suspend},
	{"replace", "C/S/OLD C/S/NEW", "put another node in a node's place, step by step; may be repeated", 2,
	 2, node_replace_flags, NODE_REPLACE_FLAGS, node_replace},
	{"resume", "CUSTOMER/SERVICE/NODE", "let a suspended node act again", 1, 1, NULL, 0, resume},
};
const noun_t noun_node = {"node", "machines that open volumes", commands, COUNT(commands)};
