#include "tools/kmsctl/person.h"

#include "common/base/name.h"
#include "common/base/scope.h"

static kms_err_t check_role(const char *role, diag_t *why)
{
	static const char *const roles[] = {"admin", "operator", "approver", "reviewer", "auditor"};
	for (size_t i = 0; i < COUNT(roles); i++)
		if (strcmp(role, roles[i]) == 0)
			return KMS_OK;
	return diag_fail(why, KMS_E_INVALID,
			 "--role is admin, operator, approver, reviewer or auditor, not \"%.20s\"", role);
}

static kms_err_t names_of(const char *flag, const char *text, json_t *list, diag_t *why)
{
	for (const char *at = text;; at++) {
		char name[NAME_CAP];
		size_t n = strcspn(at, ",");
		if (name_parse(flag, span_of(at, n), name, why) != KMS_OK)
			return KMS_E_INVALID;
		if (json_array_append_new(list, json_string(name)) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

static kms_err_t add(json_t *body, const char *key, json_t *value, diag_t *why)
{
	return json_object_set_new(body, key, value) == 0 ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "no memory");
}

static kms_err_t add_names(json_t *body, const char *key, const char *flag, const char *text, diag_t *why)
{
	SCOPED(json_freep) json_t *list = json_array();
	KMS_TRY(names_of(flag, text, list, why));
	return add(body, key, json_incref(list), why);
}

kms_err_t person_body(const cli_t *c, bool changes, json_t *body, diag_t *why)
{
	const char *role = conf_text(c->conf, "role");
	const char *groups = conf_text(c->conf, "group");
	const char *customers = conf_text(c->conf, "customer");
	bool no_groups = changes && conf_bool(c->conf, "no-groups");
	bool all = changes && conf_bool(c->conf, "all-customers");
	if (role != NULL)
		KMS_TRY(check_role(role, why));
	if (customers != NULL && role != NULL && strcmp(role, "auditor") != 0)
		return diag_fail(why, KMS_E_INVALID, "--customer goes with --role auditor only");
	if ((groups != NULL && no_groups) || (customers != NULL && all))
		return diag_fail(why, KMS_E_INVALID, "%s exclude one another",
				 no_groups && groups != NULL ? "--group and --no-groups"
							     : "--customer and --all-customers");
	if (role != NULL)
		KMS_TRY(add(body, "role", json_string(role), why));
	if (groups != NULL)
		KMS_TRY(add_names(body, "groups", "--group", groups, why));
	if (no_groups)
		KMS_TRY(add(body, "groups", json_array(), why));
	if (customers != NULL)
		KMS_TRY(add_names(body, "customers", "--customer", customers, why));
	return all ? add(body, "customers", json_null(), why) : KMS_OK;
}
