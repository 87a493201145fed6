#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/scope.h"

static const column_t columns[] = {
	{.title = "SERVICE", .path = "service"},
	{.title = "STATE", .path = "state"},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
};

static kms_err_t one(cli_t *c, const char *method, diag_t *why)
{
	path3_t p = {0};
	char path[CLI_PATH_CAP];
	KMS_TRY(arg_path2(conf_word(c->conf, 0), &p, why));
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s", p.customer, p.service));
	return cli_show(c, method, path, NULL, columns, COUNT(columns), why);
}

static kms_err_t create(cli_t *c, diag_t *why)
{
	return one(c, "PUT", why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	return one(c, "GET", why);
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	return scope_list(c, NULL, columns, COUNT(columns), NULL, why);
}

static const command_t commands[] = {
	{"create", "CUSTOMER/SERVICE", "make a service; one that is there already is shown", 1, 1, NULL, 0,
	 create},
	{"list", "[CUSTOMER]", "the services of a customer, or of all", 0, 1, list_flags, 1, list},
	{"show", "CUSTOMER/SERVICE", "one service", 1, 1, NULL, 0, show},
};
const noun_t noun_service = {"service", "what a customer's nodes and volumes belong to", commands,
			     COUNT(commands)};
