/* Which volumes a command is about: those that its words name, or all. */
#ifndef CLAVIGER_NODE_AGENT_APP_WANTED_H
#define CLAVIGER_NODE_AGENT_APP_WANTED_H

#include "node-agent/app/agent.h"

/* n == 0 with `all`: whatever is this node's. */
typedef struct wanted {
	bool all;
	size_t n;
	char names[KMS_VOLUMES_MAX][NAME_CAP];
} wanted_t;

/* Once each; at most KMS_VOLUMES_MAX. */
void wanted_add(wanted_t *w, const char *name);
bool wanted_has(const wanted_t *w, const char *name);

/* The words alone, before the agent's folder is looked at: INVALID says what is wrong. */
KMS_MUST wanted_check(const conf_t *c, diag_t *why);
/* What wanted_check took; DENIED: of another service. */
KMS_MUST wanted_read(const agent_t *a, wanted_t *out, diag_t *why);

#endif
