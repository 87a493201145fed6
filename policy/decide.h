/* Statements and a request → a decision and the statement that made it (DESIGN.md section 7). Pure: no clock,
 * no store, no allocation, no failure; safe on any thread. Default deny, and any deny wins. */
#ifndef CLAVIGER_POLICY_DECIDE_H
#define CLAVIGER_POLICY_DECIDE_H

#include "common/base/name.h"

typedef struct policy policy_t; /* policy/statement.h */

/* POLICY_SCOPED: an operator whose record names the only customers that concern it. A kind of its own, so
 * that no statement about operators holds for it by chance. */
typedef enum policy_who { POLICY_ANONYMOUS, POLICY_NODE, POLICY_OPERATOR, POLICY_SCOPED } policy_who_t;

/* Texts are never NULL and borrowed for the call. All of it comes from the verified certificate, the route
 * and the records; nothing from query or body but what `own` says. */
typedef struct policy_request {
	policy_who_t who;
	path3_t node;              /* POLICY_NODE */
	const char *operator_name; /* POLICY_OPERATOR, POLICY_SCOPED */
	const char *role;          /* the same: "admin", "operator", "auditor" */
	const char *action;        /* "key.release" */
	/* The resource; "" where it has none, and where a node's request is about the node itself. Types:
	 * "volume", "node", "customer", "service", "operator", "maintenance", "log", "event" (one of the log,
	 * its customer's), "sys", "identity". */
	const char *customer, *service, *type, *name;
	/* NODE: the resource is a volume bound to this very generation of the node (or about to be:
	 * volume.create), or the node itself */
	bool own;
	/* SCOPED: the resource's customer is one of the caller's; never where it has none */
	bool in_scope;
} policy_request_t;

typedef struct policy_decision {
	bool allowed;
	bool visible;          /* a refusal may say that the resource exists: 403, else 404 */
	const char *statement; /* the policy's own; "default-deny" when none matched */
} policy_decision_t;

void policy_decide(const policy_t *p, const policy_request_t *r, policy_decision_t *out);

/* What holds where nobody wrote another policy. */
const policy_t *policy_builtin(void);

#endif
