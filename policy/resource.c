#include "policy/resource.h"

#include "policy/pattern.h"

#define SELF "${self}"

static const char *segments_of(const policy_type_t *t)
{
	return t->segments == 0   ? ""
	       : t->segments == 1 ? ":NAME"
	       : t->segments == 2 ? ":CUSTOMER/SERVICE"
				  : ":CUSTOMER/SERVICE/NAME";
}

static kms_err_t no_resource(span_t text, const policy_type_t *t, diag_t *why)
{
	if (t == NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"\"%s\" is no resource: write *, or TYPE:a/b/c with a type that kmsctl policy "
			"actions shows",
			pattern_shown(text).text);
	return diag_fail(why, KMS_E_INVALID,
			 "\"%s\" is no resource: write %s%s; a segment is a name, *, or empty for a list",
			 pattern_shown(text).text, t->name, segments_of(t));
}

static const policy_type_t *type_of(span_t name)
{
	size_t n;
	const policy_type_t *all = policy_types(&n);
	for (size_t i = 0; i < n; i++)
		if (span_eq(name, span_str(all[i].name)))
			return &all[i];
	return NULL;
}

/* Only what belongs to a node's own customer can be its own by name. */
static bool segment_good(const policy_type_t *t, span_t s)
{
	if (span_eq(s, span_str(SELF)))
		return t->first == 0;
	return s.n == 0 || span_eq(s, span_str("*")) || name_valid(s);
}

static kms_err_t parse_segments(pool_t *pool, span_t text, span_t rest, resource_t *out, diag_t *why)
{
	const policy_type_t *t = out->type;
	for (unsigned i = 0; i < t->segments; i++) {
		const uint8_t *slash = rest.n > 0 ? memchr(rest.p, '/', rest.n) : NULL;
		span_t one = span_of(rest.p, slash != NULL ? (size_t)(slash - rest.p) : rest.n);
		bool last = i + 1 == t->segments;
		if (last != (slash == NULL) || !segment_good(t, one))
			return no_resource(text, t, why);
		KMS_TRY(pool_text(pool, one, &out->segment[t->first + i]));
		rest = last ? span_of(NULL, 0) : span_of(slash + 1, rest.n - one.n - 1);
	}
	return KMS_OK;
}

kms_err_t resource_parse(pool_t *pool, span_t text, resource_t *out, diag_t *why)
{
	resource_t r = {.segment = {"", "", ""}};
	if (!span_eq(text, span_str("*"))) {
		const uint8_t *colon = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
		span_t name = span_of(text.p, colon != NULL ? (size_t)(colon - text.p) : text.n);
		r.type = type_of(name);
		if (r.type == NULL || (colon != NULL) != (r.type->segments > 0))
			return no_resource(text, r.type, why);
		if (colon != NULL)
			KMS_TRY(parse_segments(pool, text, span_of(colon + 1, text.n - name.n - 1), &r, why));
	}
	*out = r;
	return KMS_OK;
}

static bool segment_matches(const char *pattern, const char *self, const char *text)
{
	if (strcmp(pattern, "*") == 0)
		return true;
	if (strcmp(pattern, SELF) == 0)
		return self[0] != '\0' && strcmp(self, text) == 0;
	return strcmp(pattern, text) == 0;
}

bool resource_matches(const resource_t *p, const policy_request_t *r)
{
	static const path3_t nobody = {.name = ""};
	const path3_t *self = r->who == POLICY_NODE ? &r->node : &nobody;
	if (p->type == NULL)
		return true;
	return strcmp(p->type->name, r->type) == 0 &&
	       segment_matches(p->segment[0], self->customer, r->customer) &&
	       segment_matches(p->segment[1], self->service, r->service) &&
	       segment_matches(p->segment[2], self->name, r->name);
}
