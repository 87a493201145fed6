#include "policy/actions.h"

static const policy_type_t types[] = {
	{"customer", 1, 0}, {"service", 2, 0}, {"node", 3, 0},  {"volume", 3, 0}, {"event", 3, 0},
	{"operator", 1, 2}, {"policy", 1, 2},  {"grant", 1, 2}, {"review", 1, 2}, {"maintenance", 1, 2},
	{"identity", 0, 0}, {"log", 0, 0},     {"sys", 0, 0},   {"api", 0, 0},
};

#define KEYS true, false
#define BODY true, true
#define NONE false, false

static const policy_action_t actions[] = {
	{"sys.seal-status", "sys", NONE, "read how far an unsealing has come"},
	{"sys.unseal", "sys", NONE, "give a share that opens the server"},
	{"sys.seal", "sys", NONE, "close the server: no key is released until it is unsealed"},

	{"identity.renew", "identity", NONE, "renew the own certificate"},

	{"operator.create", "operator", BODY, "make or replace an operator with a key of their own"},
	{"operator.invite", "operator", BODY, "invite an operator, who enrols with a token"},
	{"operator.enroll", "operator", NONE, "enrol with an operator's token"},
	{"operator.update", "operator", BODY, "change an operator's role, groups or customers"},
	{"operator.recertify", "operator", NONE, "confirm that an operator's access is still needed"},
	{"operator.read", "operator", NONE, "see one operator"},
	{"operator.list", "operator", NONE, "list operators"},
	{"operator.revoke", "operator", KEYS, "end an operator's identity for good"},
	{"operator.suspend", "operator", NONE, "stop an operator until resumed"},
	{"operator.resume", "operator", KEYS, "let a suspended operator work again"},

	{"customer.create", "customer", NONE, "make a customer"},
	{"customer.read", "customer", NONE, "see one customer"},
	{"customer.list", "customer", NONE, "list customers"},
	{"service.create", "service", NONE, "make a service"},
	{"service.read", "service", NONE, "see one service"},
	{"service.list", "service", NONE, "list a customer's services"},

	{"node.enroll", "node", NONE, "enrol with a node's token"},
	{"node.invite", "node", KEYS, "invite a node, also in place of one that is there"},
	{"node.read", "node", NONE, "see one node"},
	{"node.list", "node", NONE, "list a service's nodes"},
	{"node.revoke", "node", NONE, "end a node's identity for good"},
	{"node.suspend", "node", NONE, "stop a node until resumed"},
	{"node.resume", "node", KEYS, "let a suspended node work again"},
	{"node.tasks", "node", NONE, "a node asks what it is to do"},
	{"node.report", "node", NONE, "a node tells how a task went"},

	{"volume.create", "volume", NONE, "register a volume; its first secret is made"},
	{"volume.read", "volume", NONE, "see one volume"},
	{"volume.list", "volume", NONE, "list a service's volumes"},
	{"volume.commit", "volume", NONE, "a node tells that the volume is formatted"},
	{"volume.refused", "volume", NONE,
	 "a node tells that it does not open what it found in the volume's place"},
	{"volume.prove", "volume", NONE, "a node tells that the volume's secret opens it"},
	{"header.store", "volume", NONE, "a node stores a sealed copy of the volume's LUKS2 header"},
	{"header.read", "volume", NONE, "a node gets such a copy"},
	{"volume.reformat", "volume", NONE, "a node formats the volume anew"},
	{"volume.suspend", "volume", NONE, "stop releases of a volume"},
	{"volume.resume", "volume", KEYS, "allow releases of a suspended volume again"},
	{"volume.assign", "volume", KEYS, "bind a volume to another node or generation"},
	{"volume.delete", "volume", KEYS, "schedule the destruction of a volume's secrets"},
	{"volume.restore", "volume", KEYS, "take a scheduled destruction back"},

	{"key.release", "volume", KEYS, "get a volume's secrets (for a node: without a second person)"},
	{"rotation.stage", "volume", NONE, "a node gets the next secret"},
	{"rotation.promote", "volume", NONE, "a node has the next secret in place"},
	{"rotation.retire", "volume", NONE, "a node has removed the former secret"},
	{"rotation.abort", "volume", NONE, "drop the next secret"},
	{"reencryption.start", "volume", NONE, "a node registers a new volume key's fingerprint"},
	{"reencryption.progress", "volume", NONE, "a node tells how far a re-encryption is"},
	{"reencryption.promote", "volume", NONE, "a node has re-encrypted the volume"},
	{"reencryption.abort", "volume", NONE, "drop a re-encryption that has not begun"},

	{"maintenance.create", "maintenance", NONE, "plan a maintenance event"},
	{"maintenance.plan", "maintenance", NONE, "see what a maintenance event would do"},
	{"maintenance.read", "maintenance", NONE, "see one maintenance event"},
	{"maintenance.list", "maintenance", NONE, "list maintenance events"},
	{"maintenance.open", "maintenance", NONE, "let a maintenance event begin"},
	{"maintenance.close", "maintenance", NONE, "end a maintenance event"},
	{"maintenance.halt", "maintenance", NONE, "stop a maintenance event"},
	{"maintenance.pause", "maintenance", NONE, "let a maintenance event rest"},
	{"maintenance.abort", "maintenance", NONE, "give a maintenance event up"},

	{"policy.put", "policy", BODY, "write a policy document"},
	{"policy.delete", "policy", KEYS, "remove a policy document"},
	{"policy.read", "policy", NONE, "see one policy document"},
	{"policy.list", "policy", NONE, "list policy documents"},

	{"grant.request", "grant", NONE, "ask for a grant"},
	{"grant.approve", "grant", NONE, "approve a grant"},
	{"grant.deny", "grant", NONE, "deny a grant"},
	{"grant.revoke", "grant", NONE, "end a grant"},
	{"grant.read", "grant", NONE, "see one grant"},
	{"grant.list", "grant", NONE, "list grants"},

	{"review.read", "review", NONE, "see one review"},
	{"review.list", "review", NONE, "list reviews"},
	{"review.close", "review", NONE, "close a review with a finding"},

	{"audit.query", "log", NONE, "search events"},
	{"audit.read", "log", NONE, "see one event (decided again as type event)"},
	{"audit.proof", "log", NONE, "get the proof of one event (decided again as type event)"},
	{"log.checkpoint", "log", NONE, "get the log's signed head"},
	{"log.vkey", "log", NONE, "get the log's verifier key"},
	{"log.tile", "log", NONE, "get hashes of the log"},
	{"log.entries", "log", NONE, "get whole bundles of everybody's events"},

	{"api.unknown", "api", NONE, "a path that the API does not have"},
};

const policy_action_t *policy_actions(size_t *n)
{
	*n = sizeof actions / sizeof *actions;
	return actions;
}

const policy_action_t *policy_action(const char *name)
{
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return NULL;
}

const policy_type_t *policy_types(size_t *n)
{
	*n = sizeof types / sizeof *types;
	return types;
}

const policy_type_t *policy_type(const char *name)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	return NULL;
}
