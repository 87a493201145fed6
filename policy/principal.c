#include "policy/principal.h"

#include "policy/pattern.h"

#include <stdio.h>

/* --- reading --- */

typedef struct form {
	const char *prefix;
	principal_kind_t kind;
	bool any;  /* "*" too */
	bool role; /* the name is a role */
} form_t;

static const form_t forms[] = {
	{"operator:", PRINCIPAL_OPERATOR, true, false},
	{"role:", PRINCIPAL_ROLE, false, true},
	{"group:", PRINCIPAL_GROUP, false, false},
	{"scoped:", PRINCIPAL_SCOPED, true, true},
};

static bool is_any(span_t s)
{
	return span_eq(s, span_str("*"));
}

static bool is_role(span_t s)
{
	static const char *const roles[] = {"admin", "operator", "approver", "reviewer", "auditor"};
	for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
		if (span_eq(s, span_str(roles[i])))
			return true;
	return false;
}

static kms_err_t bad(span_t text, const char *what, diag_t *why)
{
	return diag_fail(why, KMS_E_INVALID, "\"%s\" %s", pattern_shown(text).text, what);
}

static kms_err_t parse_name(pool_t *pool, const form_t *f, span_t text, principal_t *out, diag_t *why)
{
	size_t skip = strlen(f->prefix);
	span_t name = span_of(text.p + skip, text.n - skip);
	bool good = f->role ? is_role(name) : name_valid(name);
	if (!good && !(f->any && is_any(name)))
		return bad(
			text,
			f->role ? "names no role: it is one of admin, operator, approver, reviewer, auditor"
				: "holds no name: a-z, 0-9 and -, at most 63, beginning with a letter or "
				  "digit",
			why);
	out->kind = f->kind;
	return pool_text(pool, name, &out->segment[0]);
}

/* "node:*" or three segments. */
static kms_err_t parse_node(pool_t *pool, span_t text, principal_t *out, diag_t *why)
{
	static const char *const form = "is no principal: write node:* or node:CUSTOMER/SERVICE/NODE, any of "
					"them may be *";
	span_t rest = span_of(text.p + strlen("node:"), text.n - strlen("node:"));
	out->kind = PRINCIPAL_NODE;
	if (is_any(rest)) {
		out->segment[0] = out->segment[1] = out->segment[2] = "*";
		return KMS_OK;
	}
	for (size_t i = 0; i < 3; i++) {
		const uint8_t *slash = rest.n > 0 ? memchr(rest.p, '/', rest.n) : NULL;
		span_t one = span_of(rest.p, slash != NULL ? (size_t)(slash - rest.p) : rest.n);
		if ((i < 2) != (slash != NULL) || (!is_any(one) && !name_valid(one)))
			return bad(text, form, why);
		KMS_TRY(pool_text(pool, one, &out->segment[i]));
		rest = span_of(rest.p + one.n + 1, i < 2 ? rest.n - one.n - 1 : 0);
	}
	return KMS_OK;
}

static bool starts(span_t text, const char *prefix)
{
	size_t n = strlen(prefix);
	return text.n >= n && memcmp(text.p, prefix, n) == 0;
}

kms_err_t principal_parse(pool_t *pool, span_t text, principal_t *out, diag_t *why)
{
	principal_t p = {.segment = {"", "", ""}};
	kms_err_t e = KMS_E_INVALID;
	const form_t *f = NULL;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		if (starts(text, forms[i].prefix))
			f = &forms[i];
	if (f != NULL)
		e = parse_name(pool, f, text, &p, why);
	else if (starts(text, "node:"))
		e = parse_node(pool, text, &p, why);
	else if (span_eq(text, span_str("anonymous")))
		p.kind = PRINCIPAL_ANONYMOUS, e = KMS_OK;
	else
		e = bad(text,
			"is no principal: write anonymous, node:C/S/N, operator:NAME, role:ROLE, group:NAME "
			"or "
			"scoped:ROLE",
			why);
	KMS_TRY(e);
	*out = p;
	return KMS_OK;
}

void principal_format(const principal_t *p, char out[PRINCIPAL_TEXT_CAP])
{
	const char *prefix = "";
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
		if (forms[i].kind == p->kind)
			prefix = forms[i].prefix;
	if (p->kind == PRINCIPAL_ANONYMOUS)
		(void)snprintf(out, PRINCIPAL_TEXT_CAP, "anonymous");
	else if (p->kind == PRINCIPAL_NODE)
		(void)snprintf(out, PRINCIPAL_TEXT_CAP, "node:%s/%s/%s", p->segment[0], p->segment[1],
			       p->segment[2]);
	else
		(void)snprintf(out, PRINCIPAL_TEXT_CAP, "%s%s", prefix, p->segment[0]);
}

/* --- matching --- */

static bool segment_is(const char *pattern, const char *text)
{
	return strcmp(pattern, "*") == 0 || strcmp(pattern, text) == 0;
}

static bool in_group(const policy_person_t *person, const char *group)
{
	for (size_t i = 0; i < person->n_groups && i < POLICY_GROUPS_MAX; i++)
		if (strcmp(person->groups[i], group) == 0)
			return true;
	return false;
}

bool principal_is_person(const principal_t *p)
{
	return p->kind == PRINCIPAL_OPERATOR || p->kind == PRINCIPAL_ROLE || p->kind == PRINCIPAL_GROUP;
}

bool principal_names(const principal_t *p, const policy_person_t *person)
{
	switch (p->kind) {
	case PRINCIPAL_OPERATOR:
		return segment_is(p->segment[0], person->name);
	case PRINCIPAL_ROLE:
		return strcmp(p->segment[0], person->role) == 0;
	case PRINCIPAL_GROUP:
		return in_group(person, p->segment[0]);
	case PRINCIPAL_ANONYMOUS:
	case PRINCIPAL_NODE:
	case PRINCIPAL_SCOPED:
		return false;
	}
	return false;
}

bool principal_matches(const principal_t *p, const policy_request_t *r)
{
	switch (r->who) {
	case POLICY_ANONYMOUS:
		return p->kind == PRINCIPAL_ANONYMOUS;
	case POLICY_NODE:
		return p->kind == PRINCIPAL_NODE && segment_is(p->segment[0], r->node.customer) &&
		       segment_is(p->segment[1], r->node.service) && segment_is(p->segment[2], r->node.name);
	case POLICY_OPERATOR:
		return principal_names(p, &r->person);
	case POLICY_SCOPED:
		return p->kind == PRINCIPAL_SCOPED && segment_is(p->segment[0], r->person.role);
	}
	return false;
}

/* --- lists --- */

static bool same(const principal_t *a, const principal_t *b)
{
	return a->kind == b->kind && strcmp(a->segment[0], b->segment[0]) == 0 &&
	       strcmp(a->segment[1], b->segment[1]) == 0 && strcmp(a->segment[2], b->segment[2]) == 0;
}

bool policy_list_equal(const policy_list_t *a, const policy_list_t *b)
{
	if (a == NULL || b == NULL || a->n != b->n)
		return a == b;
	for (size_t i = 0; i < a->n; i++)
		if (!same(&a->item[i], &b->item[i]))
			return false;
	return true;
}

bool policy_list_names(const policy_list_t *list, const policy_person_t *person)
{
	for (size_t i = 0; i < list->n; i++)
		if (principal_names(&list->item[i], person))
			return true;
	return false;
}
