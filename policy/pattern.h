/* The patterns of actions ("rotation.*") and tickets ("OPS-*"). */
#ifndef CLAVIGER_POLICY_PATTERN_H
#define CLAVIGER_POLICY_PATTERN_H

#include "common/base/err.h"
#include "policy/actions.h"

#define ACTION_SET_MAX     128U
#define PATTERN_TICKET_MAX 128U

/* Actions by their place in policy_actions(). */
typedef struct action_set {
	uint64_t bits[ACTION_SET_MAX / 64];
} action_set_t;

/* What a person may see of bad input: printable ASCII, cut. */
typedef struct shown {
	char text[84];
} shown_t;
shown_t pattern_shown(span_t s);

/* Adds all that the pattern stands for: two segments, each exact or "*". INVALID when that is nothing. */
KMS_MUST pattern_actions(span_t text, action_set_t *set, diag_t *why);
bool action_set_has(const action_set_t *set, const policy_action_t *action);

/* A "*" is any run of characters, also none; all else is exact. A ticket of no characters never matches. */
KMS_MUST pattern_ticket(span_t text, diag_t *why);
bool pattern_ticket_matches(const char *pattern, const char *ticket);

#endif
