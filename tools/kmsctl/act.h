/* What a request is in the words of policies and grants: its action, and the resource that it is about
 * (docs/POLICY.md). The server decides by the same table of routes; a test holds both against each other. */
#ifndef CLAVIGER_TOOLS_KMSCTL_ACT_H
#define CLAVIGER_TOOLS_KMSCTL_ACT_H

#include "common/crypto/x509.h"
#include "tools/kmsctl/cli.h"

typedef struct act {
	const char *action; /* "node.invite" */
	const char *type;   /* "node" */
	/* "acme/db/n1"; "*" in the place of what a list does not name; "" where the type has no segments */
	char resource[CLI_PATH_CAP];
} act_t;

typedef struct act_row {
	const char *method, *pattern, *action, *type;
	unsigned segments; /* of the type's resources */
} act_row_t;

const act_row_t *act_rows(size_t *n);

/* path may have a query. NOTFOUND: no route of the server's. */
KMS_MUST act_of(const char *method, const char *path, act_t *out);

/* Who the certificate of the settings names. INVALID. */
KMS_MUST act_who_calls(const cli_t *c, x509_identity_t *id, diag_t *why);

/* --output-policy: the statement that would allow the request, for who calls, on the command's output. */
KMS_MUST act_print_statement(cli_t *c, const act_t *act, diag_t *why);
/* --request-grant REASON[:TICKET]: what POST /v1/grants takes, for this act with this body (may be NULL). */
KMS_MUST act_grant_body(const act_t *act, const char *reason_ticket, const json_t *body, json_t **out,
			diag_t *why);

#endif
