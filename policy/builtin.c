#include "policy/decide.h"

#include "policy/statement.h"

#define COUNTED(list) (list), sizeof(list) / sizeof *(list)

static const policy_principal_t anonymous[] = {{POLICY_ANONYMOUS, ""}};
static const policy_principal_t nodes[] = {{POLICY_NODE, ""}};
static const policy_principal_t operators[] = {{POLICY_OPERATOR, POLICY_ANY}};
static const policy_principal_t admins[] = {{POLICY_OPERATOR, "admin"}};
static const policy_principal_t maintainers[] = {{POLICY_OPERATOR, "operator"}};
static const policy_principal_t auditors[] = {{POLICY_OPERATOR, "auditor"}};
static const policy_principal_t scoped_auditors[] = {{POLICY_SCOPED, "auditor"}};
static const policy_principal_t people[] = {{POLICY_OPERATOR, POLICY_ANY}, {POLICY_SCOPED, POLICY_ANY}};

static const policy_resource_t anything[] = {{POLICY_ANY, POLICY_ANY, POLICY_ANY, POLICY_ANY}};
static const policy_resource_t a_node[] = {{"node", POLICY_ANY, POLICY_ANY, POLICY_ANY}};
static const policy_resource_t the_server[] = {{"sys", POLICY_ANY, POLICY_ANY, POLICY_ANY}};
/* needs_own says which of them; this line says that no mistake in that can reach another tenant */
static const policy_resource_t volumes_of_service[] = {{"volume", POLICY_SELF, POLICY_SELF, POLICY_ANY}};
static const policy_resource_t the_log[] = {{"log", "", "", ""}};
static const policy_resource_t of_customers[] = {
	{"customer", POLICY_ANY, POLICY_ANY, POLICY_ANY}, {"service", POLICY_ANY, POLICY_ANY, POLICY_ANY},
	{"node", POLICY_ANY, POLICY_ANY, POLICY_ANY},     {"volume", POLICY_ANY, POLICY_ANY, POLICY_ANY},
	{"event", POLICY_ANY, POLICY_ANY, POLICY_ANY},
};
static const policy_resource_t the_list[] = {{"customer", "", "", ""}};
static const policy_resource_t an_identity[] = {{"identity", "", "", ""}};
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
	"sys.unseal",     "sys.seal-status", "identity.renew", "audit.proof",   "log.checkpoint",
	"log.vkey",       "log.tile",        "log.entries",
};
static const char *const audit[] = {"audit.query", "audit.read",    "audit.proof", "log.checkpoint",
				    "log.vkey",    "log.tile",      "log.entries", "*.read",
				    "*.list",      "identity.renew"};
static const char *const scoped_read[] = {"customer.read", "customer.list", "service.read", "service.list",
					  "node.read",     "node.list",     "volume.read",  "volume.list",
					  "audit.read",    "audit.proof"};
/* Entry bundles hold everybody's events: they are not among these. An event and its proof are decided twice,
 * here as a number and by scoped_read as what stands there. */
static const char *const scoped_log[] = {"audit.query",    "audit.read", "audit.proof",
					 "log.checkpoint", "log.vkey",   "log.tile"};
/* the list of customers, each of which is decided by scoped_read */
static const char *const scoped_list[] = {"customer.list"};
static const char *const scoped_self[] = {"identity.renew"};

static const policy_statement_t statements[] = {
	{"operators-hold-no-node-secrets", POLICY_DENY, POLICY_NEEDS_NOTHING, COUNTED(people),
	 COUNTED(node_secrets), COUNTED(anything)},
	{"anyone-enroll", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(anonymous), COUNTED(enroll),
	 COUNTED(a_node)},
	{"node-own-volumes", POLICY_ALLOW, POLICY_NEEDS_OWN, COUNTED(nodes), COUNTED(own_volumes),
	 COUNTED(volumes_of_service)},
	{"node-self", POLICY_ALLOW, POLICY_NEEDS_OWN, COUNTED(nodes), COUNTED(node_self), COUNTED(itself)},
	{"admin-all", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(admins), COUNTED(everything),
	 COUNTED(anything)},
	{"operator-maintenance", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(maintainers),
	 COUNTED(maintenance), COUNTED(anything)},
	{"auditor-read", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(auditors), COUNTED(audit),
	 COUNTED(anything)},
	{"auditor-customers", POLICY_ALLOW, POLICY_NEEDS_SCOPE, COUNTED(scoped_auditors),
	 COUNTED(scoped_read), COUNTED(of_customers)},
	{"auditor-log", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(scoped_auditors), COUNTED(scoped_log),
	 COUNTED(the_log)},
	{"auditor-list", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(scoped_auditors), COUNTED(scoped_list),
	 COUNTED(the_list)},
	{"auditor-self", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(scoped_auditors), COUNTED(scoped_self),
	 COUNTED(an_identity)},
	{"operator-unseal", POLICY_ALLOW, POLICY_NEEDS_NOTHING, COUNTED(operators), COUNTED(unseal),
	 COUNTED(the_server)},
};

const policy_t *policy_builtin(void)
{
	static const policy_t builtin = {COUNTED(statements)};
	return &builtin;
}
