/* The policy language once more: slow, out of docs/POLICY.md, on the JSON of the documents itself. Shares
 * nothing with policy/ but the request and the table of actions. */
#ifndef CLAVIGER_TESTS_UNIT_POLICY_REFERENCE_H
#define CLAVIGER_TESTS_UNIT_POLICY_REFERENCE_H

#include "common/proto/json.h"
#include "policy/decide.h"

typedef struct reference {
	policy_outcome_t outcome;
	const char *statement; /* borrowed from the JSON */
	size_t n_needs;
	struct {
		const char *statement;
		unsigned count;
		const json_t *from; /* NULL: none */
		bool break_glass;
	} needs[POLICY_NEEDS_MAX];
} reference_t;

/* statements: an array of all documents' statements. */
void reference_decide(const json_t *statements, const policy_request_t *r, reference_t *out);

#endif
