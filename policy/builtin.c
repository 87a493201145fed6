#include "policy/decide.h"

#include "policy/statement.h"

#define COUNTED(list) (list), sizeof(list) / sizeof *(list)

static const policy_principal_t anonymous[] = {{POLICY_ANONYMOUS, ""}};
static const policy_principal_t nodes[] = {{POLICY_NODE, ""}};
static const policy_principal_t operators[] = {{POLICY_OPERATOR, POLICY_ANY}};
static const policy_principal_t admins[] = {{POLICY_OPERATOR, "admin"}};
static const policy_principal_t maintainers[] = {{POLICY_OPERATOR, "operator"}};
static const policy_principal_t auditors[] = {{POLICY_OPERATOR, "auditor"}};

static const policy_resource_t anything[] = {{POLICY_ANY, POLICY_ANY, POLICY_ANY, POLICY_ANY}};
static const policy_resource_t a_node[] = {{"node", POLICY_ANY, POLICY_ANY, POLICY_ANY}};
static const policy_resource_t the_server[] = {{"sys", POLICY_ANY, POLICY_ANY, POLICY_ANY}};
/* needs_own says which of them; this line says that no mistake in that can reach another tenant */
static const policy_resource_t volumes_of_service[] = {{"volume", POLICY_SELF, POLICY_SELF, POLICY_ANY}};
static const policy_resource_t itself[] = {
	{"node", POLICY_SELF, POLICY_SELF, POLICY_SELF},
	{"node", "", "", ""},
	{"identity", "", "", ""},
};

static const char *const enroll[] = {"node.enroll"};
static const char *const everything[] = {"*.*"};
static const char *const unseal[] = {"sys.unseal", "sys.seal-status"};
static const char *const own_volumes[] = {"key.release",   "volume.read",     "volume.create",
					  "volume.commit", "volume.reformat", "rotation.*"};
/* key.release on the node itself asks for all of its volumes: each of them is decided on its own then */
static const char *const node_self[] = {"node.tasks", "node.report", "node.read", "identity.renew",
					"key.release"};
static const char *const node_secrets[] = {"key.release",     "rotation.stage", "rotation.promote",
					   "rotation.retire", "volume.commit",  "volume.reformat",
					   "node.tasks",      "node.report"};
static const char *const maintenance[] = {
	"customer.read",  "customer.list",   "service.read",   "service.list",  "node.read",
	"node.list",      "volume.read",     "volume.list",    "maintenance.*", "rotation.abort",
	"volume.suspend", "volume.resume",   "node.suspend",   "audit.query",   "audit.read",
	"sys.unseal",     "sys.seal-status", "identity.renew",
};
static const char *const audit[] = {"audit.query", "audit.read", "*.read", "*.list", "identity.renew"};

static const policy_statement_t statements[] = {
	{"operators-hold-no-node-secrets", POLICY_DENY, false, COUNTED(operators), COUNTED(node_secrets),
	 COUNTED(anything)},
	{"anyone-enroll", POLICY_ALLOW, false, COUNTED(anonymous), COUNTED(enroll), COUNTED(a_node)},
	{"node-own-volumes", POLICY_ALLOW, true, COUNTED(nodes), COUNTED(own_volumes),
	 COUNTED(volumes_of_service)},
	{"node-self", POLICY_ALLOW, true, COUNTED(nodes), COUNTED(node_self), COUNTED(itself)},
	{"admin-all", POLICY_ALLOW, false, COUNTED(admins), COUNTED(everything), COUNTED(anything)},
	{"operator-maintenance", POLICY_ALLOW, false, COUNTED(maintainers), COUNTED(maintenance),
	 COUNTED(anything)},
	{"auditor-read", POLICY_ALLOW, false, COUNTED(auditors), COUNTED(audit), COUNTED(anything)},
	{"operator-unseal", POLICY_ALLOW, false, COUNTED(operators), COUNTED(unseal), COUNTED(the_server)},
};

const policy_t *policy_builtin(void)
{
	static const policy_t builtin = {COUNTED(statements)};
	return &builtin;
}
