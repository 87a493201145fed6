/* A request to a policy out of flags: who asks for what, from where, when, with which grant. */
#ifndef CLAVIGER_TOOLS_KMSCTL_POLICY_ASK_H
#define CLAVIGER_TOOLS_KMSCTL_POLICY_ASK_H

#include "policy/decide.h"
#include "tools/kmsctl/command.h"

/* What the request's texts point into; NULL texts are not set. */
typedef struct policy_ask {
	policy_request_t request;
	char customer[NAME_CAP], service[NAME_CAP], name[NAME_CAP], who[NAME_CAP];
	char *groups, *approvers; /* owned; cut into pieces in place */
} policy_ask_t;

/* All flags of kmsctl policy test. */
#define POLICY_ASK_FLAGS 22U
extern const conf_setting_t policy_ask_flags[POLICY_ASK_FLAGS];

/* INVALID says which flag and what is expected. Free it in any case. */
KMS_MUST policy_ask_read(const cli_t *c, policy_ask_t *out, diag_t *why);
void policy_ask_free(policy_ask_t *a);

#endif
