#include "policy/document.h"

#include "common/base/scope.h"
#include "policy/statement.h"

#include <stdlib.h>

/* Events say a statement's name alone, so it must lead to one statement: sorted, equal ones are neighbours.
 */
typedef struct named {
	const char *name, *document;
} named_t;

static int by_name(const void *a, const void *b)
{
	const named_t *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static KMS_MUST statements_differ(const policy_t *p, diag_t *why)
{
	SCOPED(freep) named_t *all = calloc(p->n + 1, sizeof *all);
	if (all == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < p->n; i++)
		all[i] = (named_t){p->statements[i]->name, p->of[i]};
	qsort(all, p->n, sizeof *all, by_name);
	for (size_t i = 1; i < p->n; i++)
		if (strcmp(all[i].name, all[i - 1].name) == 0)
			return diag_fail(
				why, KMS_E_CONFLICT,
				"the documents \"%s\" and \"%s\" both have a statement \"%s\": rename one, "
				"decisions are recorded by this name",
				all[i - 1].document, all[i].document, all[i].name);
	return KMS_OK;
}

static KMS_MUST documents_differ(const policy_t *p, diag_t *why)
{
	for (size_t i = 1; i < p->n_documents; i++)
		for (size_t k = 0; k < i; k++) {
			const char *name = policy_document_name(p->documents[i]);
			if (strcmp(name, policy_document_name(p->documents[k])) == 0)
				return diag_fail(why, KMS_E_CONFLICT, "there are two documents called \"%s\"",
						 name);
		}
	return KMS_OK;
}

static KMS_MUST collect(policy_t *p)
{
	size_t total = 0, k = 0;
	for (size_t i = 0; i < p->n_documents; i++)
		total += policy_document_statements(p->documents[i]);
	p->statements = calloc(total + 1, sizeof *p->statements);
	p->of = calloc(total + 1, sizeof *p->of);
	if (p->statements == NULL || p->of == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < p->n_documents; i++) {
		size_t n;
		const policy_statement_t *all = policy_document_all(p->documents[i], &n);
		for (size_t s = 0; s < n; s++, k++) {
			p->statements[k] = &all[s];
			p->of[k] = policy_document_name(p->documents[i]);
		}
	}
	p->n = total;
	return KMS_OK;
}

static KMS_MUST sort_by_action(policy_t *p)
{
	size_t n, total = 0;
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++)
		for (size_t s = 0; s < p->n; s++)
			total += action_set_has(&p->statements[s]->actions, &all[i]) ? 1 : 0;
	p->about = calloc(total + 1, sizeof *p->about);
	if (p->about == NULL)
		return KMS_E_NOMEM;
	total = 0;
	for (size_t i = 0; i < n; i++) {
		p->first[i] = total;
		for (size_t s = 0; s < p->n; s++)
			if (action_set_has(&p->statements[s]->actions, &all[i]))
				p->about[total++] = (uint16_t)s;
		p->first[i + 1] = total;
	}
	return KMS_OK;
}

static void drop(policy_document_t **documents, size_t n)
{
	for (size_t i = 0; i < n; i++)
		policy_document_freep(&documents[i]);
}

/* OK: p owns the documents. */
static KMS_MUST take(policy_t *p, policy_document_t **documents, size_t n, diag_t *why)
{
	if (n > POLICY_DOCUMENTS_MAX)
		return diag_fail(why, KMS_E_FULL, "a policy has at most %u documents", POLICY_DOCUMENTS_MAX);
	p->documents = calloc(n + 1, sizeof(policy_document_t *));
	if (p->documents == NULL)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < n; i++)
		p->documents[i] = TAKE(documents[i]);
	p->n_documents = n;
	return KMS_OK;
}

kms_err_t policy_new(policy_document_t **documents, size_t n, policy_t **out, diag_t *why)
{
	SCOPED(policy_freep) policy_t *p = calloc(1, sizeof *p);
	kms_err_t e = p == NULL ? KMS_E_NOMEM : take(p, documents, n, why);
	if (e == KMS_OK)
		e = documents_differ(p, why);
	if (e == KMS_OK)
		e = collect(p);
	if (e == KMS_OK)
		e = sort_by_action(p);
	if (e == KMS_OK)
		e = statements_differ(p, why);
	drop(documents, n);
	if (e != KMS_OK)
		return e == KMS_E_NOMEM ? diag_fail(why, e, "out of memory") : e;
	*out = TAKE(p);
	return KMS_OK;
}

void policy_free(policy_t *p)
{
	if (p == NULL)
		return;
	drop(p->documents, p->n_documents);
	free(p->documents);
	free(p->statements);
	free(p->of);
	free(p->about);
	free(p);
}

void policy_freep(policy_t **p)
{
	policy_free(*p);
	*p = NULL;
}
