#include "policy/document.h"

#include "common/base/scope.h"
#include "policy/condition_read.h"
#include "policy/statement.h"

#include <stdlib.h>

#define DESCRIPTION_MAX 1000U
#define ACTIONS_MAX     64U
#define RESOURCES_MAX   64U
#define TEXT_MAX        1024U

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct policy_document {
	pool_t pool;
	const char *name;
	const policy_statement_t *statements;
	size_t n;
};

/* --- a statement --- */

static kms_err_t read_description(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	(void)into; /* for readers of the text */
	return read_string(r, v, DESCRIPTION_MAX, &s);
}

static kms_err_t read_statement_name(read_t *r, const json_t *v, void *into)
{
	policy_statement_t *s = into;
	KMS_TRY(read_name(r, v, &s->name));
	if (strcmp(s->name, "default-deny") == 0)
		return read_fail(r, "\"default-deny\" is what events say when no statement matched");
	return KMS_OK;
}

static kms_err_t read_effect(read_t *r, const json_t *v, void *into)
{
	policy_statement_t *s = into;
	span_t text = {NULL, 0};
	KMS_TRY(read_string(r, v, TEXT_MAX, &text));
	bool allow = span_eq(text, span_str("allow"));
	if (!allow && !span_eq(text, span_str("deny")))
		return read_fail(r, "must be \"allow\" or \"deny\"");
	s->effect = allow ? POLICY_ALLOW : POLICY_DENY;
	return KMS_OK;
}

static kms_err_t read_action(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	kms_err_t e = pattern_actions(s, into, &why);
	return e == KMS_OK ? e : read_fail(r, "%s", why.text);
}

static kms_err_t read_actions(read_t *r, const json_t *v, void *into)
{
	return read_each(r, v, 1, ACTIONS_MAX, read_action, into);
}

static kms_err_t read_resource(read_t *r, const json_t *v, void *into)
{
	span_t s = {NULL, 0};
	diag_t why = {""};
	KMS_TRY(read_string(r, v, TEXT_MAX, &s));
	kms_err_t e = resource_parse(r->pool, s, into, &why);
	return e == KMS_E_INVALID ? read_fail(r, "%s", why.text) : e;
}

static kms_err_t read_resources(read_t *r, const json_t *v, void *into)
{
	policy_statement_t *s = into;
	void *items = NULL;
	KMS_TRY(read_list(r, v, 1, RESOURCES_MAX, sizeof(resource_t), read_resource, &items,
			  &s->n_resources));
	s->resources = items;
	return KMS_OK;
}

/* One that asks for nothing always holds: the deny would be none. */
static kms_err_t read_alternative(read_t *r, const json_t *v, void *into)
{
	KMS_TRY(condition_read(r, v, into));
	if (json_object_size(v) == 0)
		return read_fail(r, "is empty, and so would always hold: the statement would never deny");
	return KMS_OK;
}

/* An object is an array of one. */
static kms_err_t read_unless(read_t *r, const json_t *v, void *into)
{
	policy_statement_t *s = into;
	void *items = NULL;
	if (json_typeof(v) == JSON_ARRAY) {
		KMS_TRY(read_list(r, v, 1, POLICY_UNLESS_MAX, sizeof(condition_t), read_alternative, &items,
				  &s->n_unless));
	} else {
		KMS_TRY(pool_array(r->pool, 1, sizeof(condition_t), &items));
		KMS_TRY(read_alternative(r, v, items));
		s->n_unless = 1;
	}
	s->unless = items;
	return KMS_OK;
}

static kms_err_t read_statement(read_t *r, const json_t *v, void *into)
{
	static const read_field_t fields[] = {
		{"name", read_statement_name, 0, true},
		{"effect", read_effect, 0, true},
		{"description", read_description, 0, false},
		{"principals", condition_read_principals, offsetof(policy_statement_t, principals), true},
		{"actions", read_actions, offsetof(policy_statement_t, actions), true},
		{"resources", read_resources, 0, true},
		{"conditions", condition_read, offsetof(policy_statement_t, conditions), false},
		{"unless", read_unless, 0, false},
	};
	policy_statement_t *s = into;
	KMS_TRY(read_object(r, v, fields, COUNT(fields), s));
	if (s->effect == POLICY_ALLOW && s->n_unless > 0)
		return read_fail_at(r, v, "unless",
				    "only a deny has it: an allow says in \"conditions\" when it holds");
	if (s->effect == POLICY_DENY && s->conditions.set[PART_APPROVALS])
		return read_fail_at(r, v, "conditions",
				    "this would deny because of approvals: a deny that they lift has them in "
				    "\"unless\"");
	return KMS_OK;
}

/* --- a document --- */

static kms_err_t read_version(read_t *r, const json_t *v, void *into)
{
	(void)into;
	if (json_typeof(v) != JSON_INTEGER || json_integer_value(v) != 1)
		return read_fail(r, "must be 1: no other version of the language is known here");
	return KMS_OK;
}

static KMS_MUST names_differ(read_t *r, const json_t *list, const policy_statement_t *all, size_t n)
{
	for (size_t i = 1; i < n; i++)
		for (size_t k = 0; k < i; k++) {
			if (strcmp(all[i].name, all[k].name) != 0)
				continue;
			r->name[r->depth] = NULL;
			r->child[r->depth++] = i;
			return read_fail_at(r, json_array_get(list, i), "name",
					    "statements[%zu] is called \"%s\" too: decisions are recorded by "
					    "this name",
					    k, all[i].name);
		}
	return KMS_OK;
}

static kms_err_t read_statements(read_t *r, const json_t *v, void *into)
{
	policy_document_t *d = into;
	void *items = NULL;
	KMS_TRY(read_list(r, v, 0, POLICY_STATEMENTS_MAX, sizeof(policy_statement_t), read_statement, &items,
			  &d->n));
	d->statements = items;
	return names_differ(r, v, d->statements, d->n);
}

static KMS_MUST read_document(read_t *r, const json_t *v, policy_document_t *d)
{
	static const read_field_t fields[] = {
		{"version", read_version, 0, true},
		{"description", read_description, 0, false},
		{"statements", read_statements, 0, true},
	};
	return read_object(r, v, fields, COUNT(fields), d);
}

static KMS_MUST fail_whole(policy_error_t *why, kms_err_t e, const char *what)
{
	why->line = why->column = 0;
	return diag_fail(&why->why, e, "%s", what);
}

static KMS_MUST parse_text(const char *name, span_t text, policy_document_t *d, policy_error_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	json_place_t at;
	read_t r = {.text = text, .pool = &d->pool, .why = why};
	kms_err_t e = json_parse_at(text, POLICY_DOCUMENT_MAX, &j, &at, &why->why);
	why->line = at.line;
	why->column = at.column;
	KMS_TRY(e);
	KMS_TRY(pool_text(&d->pool, span_str(name), &d->name));
	return read_document(&r, j, d);
}

kms_err_t policy_parse(const char *name, span_t text, policy_document_t **out, policy_error_t *why)
{
	policy_error_t unread;
	why = why != NULL ? why : &unread;
	if (!name_valid(span_str(name)))
		return fail_whole(why, KMS_E_INVALID,
				  "the document's name must be a-z, 0-9 and -, at most 63, beginning with a "
				  "letter or digit");
	if (text.n > POLICY_DOCUMENT_MAX)
		return fail_whole(why, KMS_E_FULL,
				  "the document is longer than 65536 bytes: split it in two");
	SCOPED(policy_document_freep) policy_document_t *d = calloc(1, sizeof *d);
	kms_err_t e = d == NULL ? KMS_E_NOMEM : parse_text(name, text, d, why);
	if (e == KMS_E_NOMEM)
		return fail_whole(why, e, "out of memory");
	KMS_TRY(e);
	*out = TAKE(d);
	return KMS_OK;
}

void policy_document_free(policy_document_t *d)
{
	if (d == NULL)
		return;
	pool_t pool = d->pool;
	pool_free(&pool);
	free(d);
}

void policy_document_freep(policy_document_t **d)
{
	policy_document_free(*d);
	*d = NULL;
}

const char *policy_document_name(const policy_document_t *d)
{
	return d->name;
}

size_t policy_document_statements(const policy_document_t *d)
{
	return d->n;
}

const char *policy_document_statement(const policy_document_t *d, size_t i)
{
	return d->statements[i].name;
}

const policy_statement_t *policy_document_all(const policy_document_t *d, size_t *n)
{
	*n = d->n;
	return d->statements;
}
