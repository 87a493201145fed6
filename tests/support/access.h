/* Who may do what, written by hand: what the shipped policies are meant to say, for each operation, each kind
 * of caller and each situation. policy_access_test holds the policies to it, integration/access_table_test
 * the server (by the program access, which prints it). */
#ifndef CLAVIGER_TESTS_SUPPORT_ACCESS_H
#define CLAVIGER_TESTS_SUPPORT_ACCESS_H

#include "kms-server/core/ops.h"
#include "policy/decide.h"

/*      id                   name         in access_for's tables, from left to right */
#define ACCESS_CALLERS(X)                                                                                    \
	X(CALLS_ANONYMOUS, "anonymous")   /* without a certificate */                                        \
	X(CALLS_NODE, "node")             /* a node, on what is its own */                                   \
	X(CALLS_NEIGHBOUR, "neighbour")   /* on what is another node's of its service */                     \
	X(CALLS_OTHER_SERVICE, "service") /* of another service of its customer */                           \
	X(CALLS_OTHER_TENANT, "tenant")   /* of another customer, with the same names below */               \
	X(CALLS_ADMIN, "admin")           /* people of each role, who are nobody's tenant */                 \
	X(CALLS_OPERATOR, "operator")                                                                        \
	X(CALLS_APPROVER, "approver")                                                                        \
	X(CALLS_REVIEWER, "reviewer")                                                                        \
	X(CALLS_AUDITOR, "auditor")                                                                          \
	X(CALLS_SCOPED, "scoped")           /* an auditor of one customer, on what is that customer's */     \
	X(CALLS_SCOPED_TENANT, "elsewhere") /* the same on what is another's */                              \
	X(CALLS_GLASS, "glass")             /* an auditor in the group break-glass */                        \
	X(CALLS_APPROVING, "approving")     /* an auditor in the group approvers */

typedef enum access_caller {
#define X(id, name) id,
	ACCESS_CALLERS(X)
#undef X
		ACCESS_CALLER_COUNT
} access_caller_t;

#define ACCESS_SITUATIONS(X)                                                                                 \
	X(WHEN_FIRST, "first")     /* nobody can approve yet; no grant */                                    \
	X(WHEN_ALONE, "alone")     /* no grant */                                                            \
	X(WHEN_GRANTED, "granted") /* a grant that one of the group approvers approved */                    \
	X(WHEN_GLASS, "glass")     /* a break-glass grant that two of the group break-glass approved */

typedef enum access_situation {
#define X(id, name) id,
	ACCESS_SITUATIONS(X)
#undef X
		ACCESS_SITUATION_COUNT
} access_situation_t;

const char *access_caller_name(access_caller_t c);
const char *access_situation_name(access_situation_t s);

/* 'a' allowed · 'h' held: allowed on a grant · 'd' refused, 403 (401 without a certificate) · 'n' refused
 * like what does not exist, 404. 0: the table has no such row. type: NULL for the one that the route's
 * decision is about, "event" for the second decision on an event of the log. */
char access_expected(core_op_t op, const char *type, access_caller_t c, access_situation_t s);

/* The request that core makes of this route, caller and situation. */
policy_request_t access_request(core_op_t op, const char *type, access_caller_t c, access_situation_t s);
/* The same letters, of a decision. */
char access_outcome(const policy_decision_t *d);

#endif
