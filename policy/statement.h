/* What a policy document is compiled into; for the files of policy/ and its tests. */
#ifndef CLAVIGER_POLICY_STATEMENT_H
#define CLAVIGER_POLICY_STATEMENT_H

#include "policy/condition.h"
#include "policy/document.h"
#include "policy/pattern.h"
#include "policy/resource.h"

#define POLICY_UNLESS_MAX 4U

_Static_assert(POLICY_DOCUMENTS_MAX *POLICY_STATEMENTS_MAX <= UINT16_MAX, "a place in all statements");

typedef enum policy_effect { POLICY_DENY = 0, POLICY_ALLOW } policy_effect_t;

/* Matches when one principal, one action and one resource match and the conditions hold. */
typedef struct policy_statement {
	const char *name;
	policy_effect_t effect;
	policy_list_t principals;
	action_set_t actions;
	const resource_t *resources;
	size_t n_resources;
	condition_t conditions;
	const condition_t *unless; /* DENY: one of them takes it back */
	size_t n_unless;
} policy_statement_t;

struct policy {
	policy_document_t **documents; /* owned */
	size_t n_documents;
	const policy_statement_t **statements; /* of all of them, in their order */
	const char **of;                       /* the name of each one's document */
	size_t n;
	/* Those about an action, in their order: places in `statements`, from first[i] to first[i + 1] for
	 * the i-th of policy_actions(). Most statements are about few actions. */
	uint16_t *about;
	size_t first[ACTION_SET_MAX + 1];
};

/* Of a document; borrowed. */
const policy_statement_t *policy_document_all(const policy_document_t *d, size_t *n);

/* What one statement says of a request. */
typedef enum policy_say {
	POLICY_SAYS_NOTHING = 0,
	POLICY_SAYS_NO,
	POLICY_SAYS_WAIT, /* a deny that a grant could lift, an allow that a grant would bring about */
	POLICY_SAYS_YES
} policy_say_t;

/* Of a statement about the request's action. lacks: WAIT: what for. why may be NULL. */
policy_say_t policy_statement_say(const policy_statement_t *s, const policy_request_t *r,
				  const condition_t **lacks, diag_t *why);

#endif
