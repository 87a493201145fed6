/* Statements and a request → a decision and the statement that made it (DESIGN.md section 7; the language is
 * docs/POLICY.md). Pure: no clock, no store, no allocation, no failure; safe on any thread. Default deny, and
 * any deny wins. */
#ifndef CLAVIGER_POLICY_DECIDE_H
#define CLAVIGER_POLICY_DECIDE_H

#include "common/base/name.h"

typedef struct policy policy_t; /* policy/document.h: immutable once made */

/* POLICY_SCOPED: an operator whose record names the only customers that concern it. A kind of its own, so
 * that no statement about operators holds for it by chance. */
typedef enum policy_who { POLICY_ANONYMOUS, POLICY_NODE, POLICY_OPERATOR, POLICY_SCOPED } policy_who_t;

#define POLICY_GROUPS_MAX    16U /* of one person */
#define POLICY_APPROVERS_MAX 16U /* of one grant */

/* Texts are never NULL and borrowed for the call, here and below. */
typedef struct policy_person {
	const char *name;
	const char *role; /* "admin", "operator", "approver", "reviewer", "auditor" */
	const char *groups[POLICY_GROUPS_MAX];
	size_t n_groups;
} policy_person_t;

/* The grant that the call names, and only if it covers exactly this call, has been asked for by this caller
 * (or for this node), and is neither ended nor used up: core's business. */
typedef struct policy_grant {
	bool present;
	bool break_glass;
	const char *reason; /* code: "replacement" */
	const char *ticket;
	/* who approved it and is still an active operator; the engine counts nobody twice and never the
	 * caller */
	policy_person_t approvers[POLICY_APPROVERS_MAX];
	size_t n_approvers;
} policy_grant_t;

/* All of it comes from the verified certificate, the connection, the route and the records; nothing from
 * query or body but what `own` says. */
typedef struct policy_request {
	policy_who_t who;
	path3_t node;           /* POLICY_NODE */
	policy_person_t person; /* POLICY_OPERATOR, POLICY_SCOPED */
	const char *action;     /* "key.release" */
	/* The resource; "" where it has none (a list) and where a node's request is about the node itself.
	 * Types and which of the others they have: policy/actions.h; "event" is one of the log, its
	 * customer's. */
	const char *customer, *service, *type, *name;
	/* NODE: the resource is a volume bound to this very generation of the node (or about to be:
	 * volume.create), or the node itself */
	bool own;
	/* SCOPED: the resource's customer is one of the caller's; never where it has none */
	bool in_scope;

	/* where and when */
	bool has_address;
	uint8_t address[16];         /* IPv6, or IPv4 as ::ffff:a.b.c.d */
	int64_t now_ms;              /* Unix time */
	int64_t certificate_from_ms; /* notBefore of the caller's certificate; 0: not known */
	bool maintenance;            /* an open maintenance event covers the resource */
	bool bootstrap;              /* the deployment has never had a second person who could approve */
	/* NODE */
	int64_t seen_ms;    /* last seen before this call; 0: never */
	bool known_address; /* it has been seen from this address before */

	policy_grant_t grant;
} policy_request_t;

/* One thing that only a grant can give: so many approvals by people that `from` names. */
typedef struct policy_need {
	const char *statement;          /* that asks for it; borrowed from the policy */
	uint32_t count;                 /* 0: no approval, but a grant (with its reason and ticket) */
	const struct policy_list *from; /* principals; borrowed from the policy; NULL where count is 0 */
	bool break_glass;               /* only a break-glass grant can meet it */
} policy_need_t;

/* A request that waits for more different ones than this is refused. */
#define POLICY_NEEDS_MAX 4U

typedef enum policy_outcome {
	POLICY_DENIED = 0,
	POLICY_HELD, /* it would be allowed with the approvals that `needs` lists: all of them */
	POLICY_ALLOWED
} policy_outcome_t;

typedef struct policy_decision {
	policy_outcome_t outcome;
	bool visible;          /* a refusal may say that the resource exists: 403, else 404 */
	const char *statement; /* the policy's own; "default-deny" when none matched */
	size_t n_needs;        /* HELD */
	policy_need_t needs[POLICY_NEEDS_MAX];
} policy_decision_t;

/* HELD says what is missing for a grant of the kind that the request has (grant.break_glass), and where the
 * request has no grant, for an ordinary one. A refusal that no grant could lift is DENIED: also a reason or a
 * ticket that a present grant lacks. */
void policy_decide(const policy_t *p, const policy_request_t *r, policy_decision_t *out);

/* Whether this person's approval counts for the need. */
bool policy_need_counts(const policy_need_t *n, const policy_person_t *approver);
/* "group:approvers role:admin", for people; cut with "…" when it does not fit. */
void policy_need_from(const policy_need_t *n, char *out, size_t cap);

/* Why each statement matched or did not, in the order of the policy: for `kmsctl policy test`. `why` is a
 * sentence without a full stop: "conditions.networks: 192.0.2.1 is in none of them". */
typedef void (*policy_explain_fn)(void *ctx, const char *document, const char *statement, bool deny,
				  bool matched, const char *why);
void policy_explain(const policy_t *p, const policy_request_t *r, policy_explain_fn each, void *ctx);

#endif
