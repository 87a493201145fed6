#include "tests/support/access.h"

#include "kms-server/http/route.h"
#include "policy/actions.h"

#include <stdlib.h>
#include <string.h>

/* Letters as in access.h; blanks are for the eye. From left to right:
 *
 *	anonymous | node: own, neighbour's, other service's, other tenant's
 *		  | admin operator approver reviewer auditor | scoped auditor: own customer, other's
 *		  | auditors in the groups break-glass, approvers */
typedef struct row {
	core_op_t op;
	const char *type; /* NULL: the route's own */
	const char *when[ACCESS_SITUATION_COUNT];
} row_t;

/* The same in every situation. */
#define ALWAYS(op, text)                                                                                     \
	{                                                                                                    \
		op, NULL,                                                                                    \
		{                                                                                            \
			text, text, text, text                                                               \
		}                                                                                            \
	}
/* An act on keys: while there is nobody to approve; alone; with an approved grant; with the glass broken. */
#define KEYS(op, first, alone, granted, glass)                                                               \
	{                                                                                                    \
		op, NULL,                                                                                    \
		{                                                                                            \
			first, alone, granted, glass                                                         \
		}                                                                                            \
	}
/* The second decision, on the event that was asked for. */
#define EVENT(op, text)                                                                                      \
	{                                                                                                    \
		op, "event",                                                                                 \
		{                                                                                            \
			text, text, text, text                                                               \
		}                                                                                            \
	}

static const row_t rows[] = {
	ALWAYS(OP_SEAL_STATUS, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_UNSEAL, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_SEAL, "d nnnn adddd nn dd"),

	ALWAYS(OP_ENROLL, "a nnnn adddd nn dd"),
	ALWAYS(OP_RENEW, "d aaaa aaaaa aa aa"),

	ALWAYS(OP_OPERATOR_GET, "d nnnn adaaa nn aa"),
	ALWAYS(OP_OPERATOR_LIST, "d nnnn adaaa nn aa"),
	ALWAYS(OP_OPERATOR_SUSPEND, "d nnnn addad nn dd"),
	ALWAYS(OP_OPERATOR_ENROLL, "a nnnn adddd nn dd"),
	ALWAYS(OP_OPERATOR_RECERTIFY, "d nnnn adddd nn dd"),
	KEYS(OP_OPERATOR_PUT, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),
	KEYS(OP_OPERATOR_REVOKE, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),
	KEYS(OP_OPERATOR_RESUME, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),
	KEYS(OP_OPERATOR_INVITE, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),
	KEYS(OP_OPERATOR_UPDATE, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),

	ALWAYS(OP_CUSTOMER_PUT, "d nnnn adddd dn dd"),
	ALWAYS(OP_CUSTOMER_GET, "d nnnn aaaaa an aa"),
	ALWAYS(OP_CUSTOMER_LIST, "d nnnn aaaaa aa aa"),
	ALWAYS(OP_SERVICE_PUT, "d ddnn adddd dn dd"),
	ALWAYS(OP_SERVICE_GET, "d ddnn aaaaa an aa"),
	ALWAYS(OP_SERVICE_LIST, "d nnnn aaaaa an aa"),

	ALWAYS(OP_NODE_GET, "d annn aaaaa an aa"),
	ALWAYS(OP_NODE_LIST, "d ddnn aaaaa an aa"),
	ALWAYS(OP_NODE_REVOKE, "d dnnn adddd dn dd"),
	ALWAYS(OP_NODE_SUSPEND, "d dnnn aaddd dn dd"),
	KEYS(OP_NODE_RESUME, "d dnnn adddd dn dd", "d dnnn hdddd dn dd", "d dnnn adddd dn dd",
	     "d dnnn adddd dn dd"),
	KEYS(OP_NODE_INVITE, "d dnnn adddd dn dd", "d dnnn hdddd dn dd", "d dnnn adddd dn dd",
	     "d dnnn aaddd dn ad"),

	ALWAYS(OP_VOLUME_GET, "d annn aaaaa an aa"),
	ALWAYS(OP_VOLUME_LIST, "d nnnn aaaaa an aa"),
	ALWAYS(OP_VOLUME_PUT, "d annn adddd dn dd"),
	ALWAYS(OP_VOLUME_COMMIT, "d annn ddddd dn dd"),
	ALWAYS(OP_VOLUME_REFUSED, "d annn ddddd dn dd"),
	ALWAYS(OP_VOLUME_PROVE, "d annn ddddd dn dd"),
	ALWAYS(OP_HEADER_PUT, "d annn ddddd dn dd"),
	ALWAYS(OP_HEADER_GET, "d annn ddddd dn dd"),
	ALWAYS(OP_VOLUME_REFORMAT, "d annn ddddd dn dd"),
	ALWAYS(OP_VOLUME_SUSPEND, "d dnnn aaddd dn dd"),
	KEYS(OP_VOLUME_RESUME, "d dnnn aaddd dn dd", "d dnnn hhddd dn dd", "d dnnn aaddd dn dd",
	     "d dnnn aaddd dn dd"),
	KEYS(OP_VOLUME_ASSIGN, "d dnnn adddd dn dd", "d dnnn hdddd dn dd", "d dnnn adddd dn dd",
	     "d dnnn aaddd dn ad"),
	KEYS(OP_VOLUME_DELETE, "d dnnn adddd dn dd", "d dnnn hdddd dn dd", "d dnnn adddd dn dd",
	     "d dnnn adddd dn dd"),
	KEYS(OP_VOLUME_RESTORE, "d dnnn adddd dn dd", "d dnnn hdddd dn dd", "d dnnn adddd dn dd",
	     "d dnnn aaddd dn ad"),
	KEYS(OP_VOLUME_RELEASE, "d annn ddddd dn dd", "d annn ddddd dn dd", "d annn ddddd dn dd",
	     "d annn aaddd dn ad"),

	ALWAYS(OP_ROTATION_STAGE, "d annn ddddd dn dd"),
	ALWAYS(OP_ROTATION_PROMOTE, "d annn ddddd dn dd"),
	ALWAYS(OP_ROTATION_RETIRE, "d annn ddddd dn dd"),
	ALWAYS(OP_ROTATION_ABORT, "d annn aaddd dn dd"),

	ALWAYS(OP_REENCRYPTION_START, "d annn ddddd dn dd"),
	ALWAYS(OP_REENCRYPTION_PROGRESS, "d annn ddddd dn dd"),
	ALWAYS(OP_REENCRYPTION_PROMOTE, "d annn ddddd dn dd"),
	ALWAYS(OP_REENCRYPTION_ABORT, "d annn aaddd dn dd"),

	/* of the calling node: nobody else's in sight */
	KEYS(OP_NODE_RELEASE, "d aaaa ddddd nn dd", "d aaaa ddddd nn dd", "d aaaa ddddd nn dd",
	     "d aaaa aaddd nn ad"),
	ALWAYS(OP_NODE_TASKS, "d aaaa ddddd nn dd"),
	ALWAYS(OP_NODE_REPORT, "d aaaa ddddd nn dd"),

	ALWAYS(OP_MAINT_CREATE, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_PLAN, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_GET, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_MAINT_LIST, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_MAINT_OPEN, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_CLOSE, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_HALT, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_PAUSE, "d nnnn aaddd nn dd"),
	ALWAYS(OP_MAINT_ABORT, "d nnnn aaddd nn dd"),

	ALWAYS(OP_AUDIT_LIST, "d nnnn aadaa aa aa"),
	ALWAYS(OP_AUDIT_GET, "d nnnn aadaa aa aa"),
	EVENT(OP_AUDIT_GET, "d nnnn aadaa an aa"),
	ALWAYS(OP_AUDIT_PROOF, "d nnnn aadaa aa aa"),
	EVENT(OP_AUDIT_PROOF, "d nnnn aadaa an aa"),
	ALWAYS(OP_LOG_CHECKPOINT, "d nnnn aadaa aa aa"),
	ALWAYS(OP_LOG_VKEY, "d nnnn aadaa aa aa"),
	ALWAYS(OP_LOG_TILE, "d nnnn aadaa aa aa"),
	ALWAYS(OP_LOG_ENTRIES, "d nnnn aadaa nn aa"),

	ALWAYS(OP_POLICY_LIST, "d nnnn adaaa nn aa"),
	ALWAYS(OP_POLICY_GET, "d nnnn adaaa nn aa"),
	KEYS(OP_POLICY_PUT, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),
	KEYS(OP_POLICY_DELETE, "d nnnn adddd nn dd", "d nnnn hdddd nn dd", "d nnnn adddd nn dd",
	     "d nnnn adddd nn dd"),

	ALWAYS(OP_GRANT_REQUEST, "d nnnn aaddd nn ad"),
	ALWAYS(OP_GRANT_LIST, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_GRANT_GET, "d nnnn aaaaa nn aa"),
	ALWAYS(OP_GRANT_APPROVE, "d nnnn adadd nn aa"),
	ALWAYS(OP_GRANT_DENY, "d nnnn adadd nn aa"),
	ALWAYS(OP_GRANT_REVOKE, "d nnnn aaadd nn da"),

	ALWAYS(OP_REVIEW_LIST, "d nnnn addaa aa aa"),
	ALWAYS(OP_REVIEW_GET, "d nnnn addaa aa aa"),
	ALWAYS(OP_REVIEW_CLOSE, "d nnnn addad nn dd"),

	ALWAYS(OP_UNKNOWN, "d nnnn adddd nn dd"),
};

const char *access_caller_name(access_caller_t c)
{
	static const char *const names[] = {
#define X(id, name) name,
		ACCESS_CALLERS(X)
#undef X
	};
	return names[c];
}

const char *access_situation_name(access_situation_t s)
{
	static const char *const names[] = {
#define X(id, name) name,
		ACCESS_SITUATIONS(X)
#undef X
	};
	return names[s];
}

char access_expected(core_op_t op, const char *type, access_caller_t c, access_situation_t s)
{
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].op != op || (rows[i].type == NULL) != (type == NULL))
			continue;
		size_t column = 0;
		for (const char *p = rows[i].when[s]; *p != '\0'; p++) {
			if (*p == ' ')
				continue;
			if (column++ == (size_t)c)
				return *p;
		}
	}
	return 0;
}

/* --- the request --- */

static const policy_person_t people[ACCESS_CALLER_COUNT] = {
	[CALLS_ANONYMOUS] = {.name = "", .role = ""},
	[CALLS_NODE] = {.name = "", .role = ""},
	[CALLS_NEIGHBOUR] = {.name = "", .role = ""},
	[CALLS_OTHER_SERVICE] = {.name = "", .role = ""},
	[CALLS_OTHER_TENANT] = {.name = "", .role = ""},
	[CALLS_ADMIN] = {.name = "admin", .role = "admin"},
	[CALLS_OPERATOR] = {.name = "operator", .role = "operator"},
	[CALLS_APPROVER] = {.name = "approver", .role = "approver"},
	[CALLS_REVIEWER] = {.name = "reviewer", .role = "reviewer"},
	[CALLS_AUDITOR] = {.name = "auditor", .role = "auditor"},
	[CALLS_SCOPED] = {.name = "scoped", .role = "auditor"},
	[CALLS_SCOPED_TENANT] = {.name = "scoped", .role = "auditor"},
	[CALLS_GLASS] = {.name = "glass", .role = "auditor", .groups = {"break-glass"}, .n_groups = 1},
	[CALLS_APPROVING] = {.name = "approving", .role = "auditor", .groups = {"approvers"}, .n_groups = 1},
};

static policy_who_t who(access_caller_t c)
{
	if (c == CALLS_ANONYMOUS)
		return POLICY_ANONYMOUS;
	if (c <= CALLS_OTHER_TENANT)
		return POLICY_NODE;
	return c == CALLS_SCOPED || c == CALLS_SCOPED_TENANT ? POLICY_SCOPED : POLICY_OPERATOR;
}

static policy_grant_t grant(access_situation_t s)
{
	static const policy_person_t
		carol = {.name = "carol", .role = "approver"},
		erin = {.name = "erin", .role = "operator", .groups = {"break-glass"}, .n_groups = 1},
		frank = {.name = "frank", .role = "auditor", .groups = {"break-glass"}, .n_groups = 1};
	policy_grant_t g = {.present = s == WHEN_GRANTED || s == WHEN_GLASS,
			    .break_glass = s == WHEN_GLASS,
			    .reason = "incident",
			    .ticket = "OPS-1"};
	if (s == WHEN_GRANTED)
		g.approvers[g.n_approvers++] = carol;
	if (s == WHEN_GLASS) {
		g.approvers[g.n_approvers++] = erin;
		g.approvers[g.n_approvers++] = frank;
	}
	return g;
}

static const route_t *route_of(core_op_t op)
{
	size_t n;
	const route_t *table = route_table(&n);
	for (size_t i = 0; i < n; i++)
		if (table[i].op == op && table[i].need != NEED_HEALTH)
			return &table[i];
	return NULL;
}

static const char *type_of(core_op_t op)
{
	/* the one action that is decided on two types */
	if (op == OP_NODE_RELEASE)
		return "node";
	const policy_action_t *a = policy_action(core_op_info(op)->action);
	return a != NULL ? a->type : "";
}

/* About a node's own: as far as a name stands in the path, that name's; on no volume (but to make it) unless
 * it is bound to the caller. */
static bool own(const policy_request_t *r, access_caller_t c)
{
	if (r->who != POLICY_NODE || strcmp(r->type, "event") == 0)
		return false;
	if (r->name[0] == '\0' && strcmp(r->type, "volume") != 0)
		return true;
	return c == CALLS_NODE && r->customer[0] != '\0' && r->name[0] != '\0';
}

policy_request_t access_request(core_op_t op, const char *type, access_caller_t c, access_situation_t s)
{
	const route_t *route = route_of(op);
	const char *pattern = type != NULL ? "{c}" : route != NULL ? route->pattern : "";
	bool there = strstr(pattern, "{c}") != NULL;
	bool other = c == CALLS_OTHER_TENANT || c == CALLS_SCOPED_TENANT;
	policy_request_t r = {.who = who(c),
			      .node = {"acme", "db", "n1"},
			      .person = people[c],
			      .action = core_op_info(op)->action,
			      .type = type != NULL ? type : type_of(op),
			      .customer = !there  ? ""
					  : other ? "globex"
						  : "acme",
			      .service = strstr(pattern, "{s}") == NULL ? ""
					 : c == CALLS_OTHER_SERVICE     ? "web"
									: "db",
			      .name = strstr(pattern, "{n}") == NULL ? ""
				      : c == CALLS_NEIGHBOUR         ? "n2"
								     : "n1",
			      .in_scope = c == CALLS_SCOPED && there,
			      .now_ms = 1800000000000,
			      .bootstrap = s == WHEN_FIRST,
			      .grant = grant(s)};
	r.own = own(&r, c);
	return r;
}

char access_outcome(const policy_decision_t *d)
{
	switch (d->outcome) {
	case POLICY_ALLOWED:
		return 'a';
	case POLICY_HELD:
		return 'h';
	case POLICY_DENIED:
		return d->visible ? 'd' : 'n';
	}
	abort();
}
