/* Policy documents: JSON (docs/POLICY.md) → statements → a policy. What a document may say, and nothing else,
 * is accepted; an error names the line and column. */
#ifndef CLAVIGER_POLICY_DOCUMENT_H
#define CLAVIGER_POLICY_DOCUMENT_H

#include "policy/decide.h"

#define POLICY_DOCUMENT_MAX   65536U /* bytes of one document */
#define POLICY_STATEMENTS_MAX 500U   /* of one document */
#define POLICY_DOCUMENTS_MAX  64U

typedef struct policy_document policy_document_t; /* immutable */

typedef struct policy_error {
	unsigned line, column; /* from 1, in characters; 0: of the whole */
	diag_t why;            /* what is wrong, where ("statements[2].actions[0]"), and what to do */
} policy_error_t;

/* name: a name (common/base/name.h). INVALID: *why says it; FULL: larger than a limit; NOMEM. */
KMS_MUST policy_parse(const char *name, span_t text, policy_document_t **out, policy_error_t *why);
void policy_document_free(policy_document_t *d);
void policy_document_freep(policy_document_t **d);
const char *policy_document_name(const policy_document_t *d);
size_t policy_document_statements(const policy_document_t *d);
/* The i-th statement's name; borrowed. */
const char *policy_document_statement(const policy_document_t *d, size_t i);

/* The policy of all these documents, in their order; statements' names must differ among them (CONFLICT names
 * both documents). Takes the documents over, also on failure. */
KMS_MUST policy_new(policy_document_t **documents, size_t n, policy_t **out, diag_t *why);
void policy_free(policy_t *p);
void policy_freep(policy_t **p);

/* --- what ships with the product --- */

/* The text of a shipped document; NULL: there is none of that name. `base` cannot be replaced: what nodes may
 * do, and what nobody may. */
typedef struct policy_shipped {
	const char *name;
	span_t text;
	bool fixed; /* base */
} policy_shipped_t;

/* The table, in the order in which it is decided. */
const policy_shipped_t *policy_shipped(size_t *n);
/* Of all shipped documents as they stand. NOMEM alone. */
KMS_MUST policy_default(policy_t **out);

#endif
