/* A node's replacement by another, as steps that are read off the server's state alone: whoever looks again,
 * after whatever ended the last run, sees what is done and what is to do (docs/OPERATIONS.md, "Replacing a
 * node"). */
#ifndef CLAVIGER_TOOLS_KMSCTL_REPLACE_H
#define CLAVIGER_TOOLS_KMSCTL_REPLACE_H

#include "tools/kmsctl/cli.h"

typedef struct replace {
	cli_t *cli;
	path3_t old, new;
	char old_path[PATH3_CAP], new_path[PATH3_CAP];
	const char *recreate;   /* volumes' names with commas between, or NULL; borrowed */
	const char *token_file; /* where the token goes, or NULL; borrowed */
	bool detached;
	/* as of the last look */
	json_t *old_node, *new_node; /* new_node NULL: there is none */
	json_t *volumes;             /* what the old node has, or had and may still know */
	json_t *event;  /* with its volumes: the newest that rotates for this and has not ended, or NULL */
	json_t *grants; /* the caller's own that are open */
	int64_t now_ms; /* the server's */
} replace_t;

void replace_free(replace_t *r);
KMS_MUST replace_look(replace_t *r, diag_t *why);

/* Rows {"step":1..5,"act","what","state","note"}. act: enrol, move, recreate, revoke, rotate, erase. state:
 * done, todo, waits (for somebody else), refused, by-hand. INVALID: --recreate names what is none of them. */
KMS_MUST replace_steps(const replace_t *r, json_t **out, diag_t *why);

/* The caller's approved grant for this act, or "". one: the resource itself, else of the service with these
 * nodes. */
const char *replace_grant(const replace_t *r, const char *action, const char *resource, const char *state);

#endif
