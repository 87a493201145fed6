#include "tools/kmsctl/command.h"
#include "tools/kmsctl/list.h"

static const column_t columns[] = {
	{.title = "CUSTOMER", .path = "customer"},
	{.title = "STATE", .path = "state"},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
};

static kms_err_t one(cli_t *c, const char *method, diag_t *why)
{
	char name[NAME_CAP];
	char path[CLI_PATH_CAP];
	KMS_TRY(name_parse("customer", span_str(conf_word(c->conf, 0)), name, why));
	KMS_TRY(cli_path(path, why, "/v1/customers/%s", name));
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
	return list_print(c, "/v1/customers", columns, COUNT(columns), why);
}

static const command_t commands[] = {
	{"create", "CUSTOMER", "make a customer; one that is there already is shown", 1, 1, NULL, 0, create},
	{"list", "", "all customers", 0, 0, list_flags, 1, list},
	{"show", "CUSTOMER", "one customer", 1, 1, NULL, 0, show},
};
const noun_t noun_customer = {"customer", "whose disks are kept", commands, COUNT(commands)};
