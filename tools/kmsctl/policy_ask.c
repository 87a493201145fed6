#include "tools/kmsctl/policy_ask.h"

#include "common/base/network.h"
#include "policy/actions.h"
#include "tools/kmsctl/args.h"

#include <stdlib.h>

#define DAY_MS  INT64_C(86400000)
#define MOST    "36500" /* days */
#define TEXT(f) conf_text(c->conf, f)

const conf_setting_t policy_ask_flags[POLICY_ASK_FLAGS] = {
	{.key = "as",
	 .type = CONF_TEXT,
	 .max = 255,
	 .arg = "WHO",
	 .help = "operator:NAME, scoped:NAME (confined to some customers), node:C/S/N or anonymous"},
	{.key = "action",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "ACTION",
	 .help = "node.invite (kmsctl policy actions)"},
	{.key = "resource",
	 .type = CONF_TEXT,
	 .max = 255,
	 .arg = "R",
	 .help = "volume:acme/db/v1, sys; the type may be left out; without it: the list, or the node "
		 "itself"},
	{.key = "role",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "ROLE",
	 .help = "the person's (operator; scoped: auditor)"},
	{.key = "group", .type = CONF_TEXT, .max = 1500, .arg = "G,…", .help = "the person's groups"},
	{.key = "from",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "ADDR",
	 .help = "the address of the caller (not known)"},
	{.key = "at",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "TIME",
	 .help = "when: 2026-11-23T16:40:00Z, or 2h for two hours ago (now)"},
	{.key = "maintenance", .type = CONF_BOOL, .help = "an open maintenance event covers the resource"},
	{.key = "bootstrap", .type = CONF_BOOL, .help = "there never was a second person who could approve"},
	{.key = "own", .type = CONF_BOOL, .help = "the resource is the node's own"},
	{.key = "own-customers",
	 .type = CONF_BOOL,
	 .help = "the resource is of a customer of the scoped person"},
	{.key = "certificate-age",
	 .type = CONF_NUMBER,
	 .min = 0,
	 .max = 36500,
	 .arg = "DAYS",
	 .help = "how old the caller's certificate is (not known)"},
	{.key = "unseen",
	 .type = CONF_NUMBER,
	 .min = 0,
	 .max = 36500,
	 .arg = "DAYS",
	 .help = "when the node was last seen (just now)"},
	{.key = "never-seen", .type = CONF_BOOL, .help = "the node was never seen"},
	{.key = "new-address", .type = CONF_BOOL, .help = "the node was never seen from this address"},
	{.key = "grant", .type = CONF_BOOL, .help = "the call names a grant; so do the flags that follow"},
	{.key = "reason", .type = CONF_TEXT, .max = 63, .arg = "CODE", .help = "the grant's reason"},
	{.key = "ticket", .type = CONF_TEXT, .max = 255, .arg = "T", .help = "the grant's ticket"},
	{.key = "break-glass", .type = CONF_BOOL, .help = "it is a break-glass grant"},
	{.key = "approved-by",
	 .type = CONF_TEXT,
	 .max = 4000,
	 .arg = "A,…",
	 .help = "who approved it, each NAME[@ROLE][:GROUP+GROUP]: bob@admin,carol:approvers"},
	{.key = "shipped",
	 .type = CONF_BOOL,
	 .help = "the files beside the shipped documents (without a file: these alone)"},
	{.key = "explain", .type = CONF_BOOL, .help = "what each statement says, and why"},
};

/* --- people --- */

static KMS_MUST check_role(const char *flag, const char *role, diag_t *why)
{
	static const char *const roles[] = {"admin", "operator", "approver", "reviewer", "auditor"};
	for (size_t i = 0; i < COUNT(roles); i++)
		if (strcmp(roles[i], role) == 0)
			return KMS_OK;
	return diag_fail(
		why, KMS_E_INVALID,
		"%s: \"%.60s\" is no role: it is one of admin, operator, approver, reviewer, auditor", flag,
		role);
}

static KMS_MUST check_name(const char *flag, const char *name, diag_t *why)
{
	char unused[NAME_CAP];
	return name_parse(flag, span_str(name), unused, why);
}

/* Cuts the text at `sep`. */
static KMS_MUST read_groups(const char *flag, char *text, const char *sep, policy_person_t *p, diag_t *why)
{
	char *rest = text, *one;
	while (text != NULL && (one = strsep(&rest, sep)) != NULL) {
		KMS_TRY(check_name(flag, one, why));
		if (p->n_groups == POLICY_GROUPS_MAX)
			return diag_fail(why, KMS_E_INVALID, "%s: more than %u groups", flag,
					 POLICY_GROUPS_MAX);
		p->groups[p->n_groups++] = one;
	}
	return KMS_OK;
}

/* NAME[@ROLE][:GROUP+GROUP] */
static KMS_MUST read_approver(char *text, policy_person_t *p, diag_t *why)
{
	char *groups = strchr(text, ':');
	if (groups != NULL)
		*groups++ = '\0';
	char *role = strchr(text, '@');
	if (role != NULL)
		*role++ = '\0';
	p->name = text;
	p->role = role != NULL ? role : "operator";
	KMS_TRY(check_name("--approved-by", p->name, why));
	KMS_TRY(check_role("--approved-by", p->role, why));
	return read_groups("--approved-by", groups, "+", p, why);
}

static KMS_MUST copy(const char *text, char **out, diag_t *why)
{
	*out = text != NULL ? strdup(text) : NULL;
	return text != NULL && *out == NULL ? diag_fail(why, KMS_E_NOMEM, "no memory") : KMS_OK;
}

static KMS_MUST read_approvers(const cli_t *c, policy_ask_t *a, diag_t *why)
{
	policy_grant_t *g = &a->request.grant;
	char *one;
	KMS_TRY(copy(TEXT("approved-by"), &a->approvers, why));
	char *rest = a->approvers;
	while (rest != NULL && (one = strsep(&rest, ",")) != NULL) {
		if (g->n_approvers == POLICY_APPROVERS_MAX)
			return diag_fail(why, KMS_E_INVALID, "--approved-by: more than %u people",
					 POLICY_APPROVERS_MAX);
		KMS_TRY(read_approver(one, &g->approvers[g->n_approvers++], why));
	}
	return KMS_OK;
}

/* --- who --- */

static const char *behind(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

static KMS_MUST read_person(const cli_t *c, const char *name, policy_ask_t *a, diag_t *why)
{
	policy_person_t *p = &a->request.person;
	KMS_TRY(name_parse("--as", span_str(name), a->who, why));
	p->name = a->who;
	p->role = TEXT("role") != NULL              ? TEXT("role")
		  : a->request.who == POLICY_SCOPED ? "auditor"
						    : "operator";
	KMS_TRY(check_role("--role", p->role, why));
	KMS_TRY(copy(TEXT("group"), &a->groups, why));
	return read_groups("--group", a->groups, ",", p, why);
}

static KMS_MUST read_who(const cli_t *c, policy_ask_t *a, diag_t *why)
{
	const char *as = TEXT("as"), *rest;
	policy_request_t *r = &a->request;
	if (as == NULL)
		return diag_fail(
			why, KMS_E_INVALID,
			"--as is missing: who asks (operator:NAME, scoped:NAME, node:C/S/N, anonymous)");
	bool person = behind(as, "operator:") != NULL || behind(as, "scoped:") != NULL;
	if (!person && (TEXT("role") != NULL || TEXT("group") != NULL))
		return diag_fail(why, KMS_E_INVALID, "--role and --group are of people: --as operator:NAME");
	if (strcmp(as, "anonymous") == 0) {
		r->who = POLICY_ANONYMOUS;
		return KMS_OK;
	}
	if ((rest = behind(as, "node:")) != NULL) {
		r->who = POLICY_NODE;
		return path3_parse("--as", span_str(rest), &r->node, why);
	}
	r->who = behind(as, "scoped:") != NULL ? POLICY_SCOPED : POLICY_OPERATOR;
	rest = strchr(as, ':');
	if (!person)
		return diag_fail(why, KMS_E_INVALID,
				 "--as: \"%.60s\" is nobody: write operator:NAME, scoped:NAME, node:C/S/N or "
				 "anonymous",
				 as);
	return read_person(c, rest + 1, a, why);
}

/* --- what --- */

static KMS_MUST read_segments(const policy_type_t *t, const char *path, policy_ask_t *a, diag_t *why)
{
	char *const to[] = {a->customer, a->service, a->name};
	const char *at = path;
	for (unsigned i = 0; i < t->segments; i++) {
		size_t n = strcspn(at, "/");
		if ((at[n] == '\0') != (i + 1 == t->segments))
			return diag_fail(why, KMS_E_INVALID,
					 "--resource: \"%.80s\" has not the %u segments of a %s", path,
					 t->segments, t->name);
		if (n > 0)
			KMS_TRY(name_parse("--resource", span_of(at, n), to[t->first + i], why));
		at += n + 1;
	}
	return KMS_OK;
}

static KMS_MUST read_resource(const cli_t *c, const policy_action_t *action, policy_ask_t *a, diag_t *why)
{
	const char *text = TEXT("resource") != NULL ? TEXT("resource") : "";
	const char *colon = strchr(text, ':');
	const policy_type_t *t = policy_type(action->type);
	size_t n;
	const policy_type_t *all = policy_types(&n);
	for (size_t i = 0; i < n; i++) {
		bool named = colon != NULL
				     ? span_eq(span_of(text, (size_t)(colon - text)), span_str(all[i].name))
				     : strcmp(text, all[i].name) == 0 && all[i].segments == 0;
		if (named)
			t = &all[i], text = colon != NULL ? colon + 1 : "", colon = NULL;
	}
	if (colon != NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "--resource: \"%.80s\" has no type that there is (kmsctl policy actions)",
				 text);
	a->request.type = t->name;
	if (text[0] == '\0')
		return KMS_OK;
	if (t->segments == 0)
		return diag_fail(why, KMS_E_INVALID, "--resource: %s has no names behind it", t->name);
	return read_segments(t, text, a, why);
}

static KMS_MUST read_what(const cli_t *c, policy_ask_t *a, diag_t *why)
{
	const char *name = TEXT("action");
	if (name == NULL)
		return diag_fail(why, KMS_E_INVALID, "--action is missing (kmsctl policy actions lists all)");
	const policy_action_t *action = policy_action(name);
	if (action == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "--action: there is no \"%.60s\" (kmsctl policy actions lists all)", name);
	a->request.action = action->name;
	KMS_TRY(read_resource(c, action, a, why));
	a->request.customer = a->customer;
	a->request.service = a->service;
	a->request.name = a->name;
	return KMS_OK;
}

/* --- where, when, on whose word --- */

static KMS_MUST read_circumstances(const cli_t *c, policy_request_t *r, diag_t *why)
{
	const char *from = TEXT("from");
	r->now_ms = clock_now(&c->clock);
	if (from != NULL && network_addr(span_str(from), r->address) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "--from: \"%.60s\" is no address", from);
	r->has_address = from != NULL;
	if (TEXT("at") != NULL)
		KMS_TRY(arg_time("--at", TEXT("at"), r->now_ms, &r->now_ms, why));
	if (conf_is_set(c->conf, "certificate-age"))
		r->certificate_from_ms = r->now_ms - conf_number(c->conf, "certificate-age") * DAY_MS;
	if (!conf_bool(c->conf, "never-seen"))
		r->seen_ms = r->now_ms -
			     (conf_is_set(c->conf, "unseen") ? conf_number(c->conf, "unseen") * DAY_MS : 0);
	r->known_address = !conf_bool(c->conf, "new-address") && !conf_bool(c->conf, "never-seen");
	r->maintenance = conf_bool(c->conf, "maintenance");
	r->bootstrap = conf_bool(c->conf, "bootstrap");
	r->own = conf_bool(c->conf, "own");
	r->in_scope = conf_bool(c->conf, "own-customers");
	return KMS_OK;
}

static KMS_MUST read_grant(const cli_t *c, policy_ask_t *a, diag_t *why)
{
	policy_grant_t *g = &a->request.grant;
	g->reason = TEXT("reason") != NULL ? TEXT("reason") : "";
	g->ticket = TEXT("ticket") != NULL ? TEXT("ticket") : "";
	g->break_glass = conf_bool(c->conf, "break-glass");
	KMS_TRY(read_approvers(c, a, why));
	g->present = conf_bool(c->conf, "grant") || g->break_glass || TEXT("reason") != NULL ||
		     TEXT("ticket") != NULL || TEXT("approved-by") != NULL;
	return KMS_OK;
}

kms_err_t policy_ask_read(const cli_t *c, policy_ask_t *out, diag_t *why)
{
	*out = (policy_ask_t){.request = {.person = {.name = "", .role = ""}}};
	KMS_TRY(read_who(c, out, why));
	KMS_TRY(read_what(c, out, why));
	KMS_TRY(read_circumstances(c, &out->request, why));
	return read_grant(c, out, why);
}

void policy_ask_free(policy_ask_t *a)
{
	free(a->groups);
	free(a->approvers);
	a->groups = a->approvers = NULL;
}
