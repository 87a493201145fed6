#include "common/base/scope.h"
#include "policy/actions.h"
#include "tools/kmsctl/cmd_policy_store.h"
#include "tools/kmsctl/list.h"
#include "tools/kmsctl/policy_ask.h"
#include "tools/kmsctl/policy_files.h"

#include <stdlib.h>

/* --- lint --- */

static kms_err_t lint(cli_t *c, diag_t *why)
{
	policy_document_t *all[POLICY_DOCUMENTS_MAX] = {NULL};
	SCOPED(policy_freep) policy_t *p = NULL;
	size_t good = 0, n = conf_words(c->conf);
	for (size_t i = 0; i < n; i++) {
		diag_t what = {""};
		if (policy_file_read(conf_word(c->conf, i), &all[good], &what) == KMS_OK) {
			(void)fprintf(c->out, "%s: %zu statements, good\n", conf_word(c->conf, i),
				      policy_document_statements(all[good]));
			good++;
		} else {
			(void)fprintf(c->out, "%s\n", what.text);
		}
	}
	kms_err_t e = policy_files_join(all, good, !conf_bool(c->conf, "alone"), &p, why);
	if (good < n)
		return diag_fail(why, KMS_E_CONFLICT, "%zu of %zu documents would not be accepted", n - good,
				 n);
	return e;
}

static const conf_setting_t lint_flags[] = {
	{.key = "alone",
	 .type = CONF_BOOL,
	 .help = "not beside the shipped documents: do not look whether a statement is called like one of "
		 "theirs"},
};

/* --- test --- */

static const char *outcome_name(policy_outcome_t o)
{
	switch (o) {
	case POLICY_DENIED:
		return "denied";
	case POLICY_HELD:
		return "held";
	case POLICY_ALLOWED:
		return "allowed";
	}
	return "denied";
}

static KMS_MUST add_needs(json_t *answer, const policy_decision_t *d)
{
	json_t *list = json_array();
	if (json_object_set_new(answer, "needs", list) != 0)
		return KMS_E_NOMEM;
	for (size_t i = 0; i < d->n_needs; i++) {
		char from[1024];
		json_t *one = NULL;
		const policy_need_t *n = &d->needs[i];
		policy_need_from(n, from, sizeof from);
		KMS_TRY(json_build(&one, "{s:s, s:i, s:s, s:b}", "statement", n->statement, "count",
				   (int)n->count, "from", from, "break_glass", n->break_glass));
		if (json_array_append_new(list, one) != 0)
			return KMS_E_NOMEM;
	}
	return KMS_OK;
}

static void explain_one(void *ctx, const char *document, const char *statement, bool deny, bool matched,
			const char *why)
{
	json_t *one = NULL, *list = ctx;
	if (json_build(&one, "{s:s, s:s, s:s, s:b, s:s}", "document", document, "statement", statement,
		       "effect", deny ? "deny" : "allow", "matched", matched, "why", why) == KMS_OK)
		(void)json_array_append_new(list, one);
}

static void print_needs(const policy_decision_t *d, FILE *out)
{
	for (size_t i = 0; i < d->n_needs; i++) {
		char from[1024];
		const policy_need_t *n = &d->needs[i];
		const char *kind = n->break_glass ? "break-glass grant" : "grant";
		policy_need_from(n, from, sizeof from);
		if (n->count > 0)
			(void)fprintf(out,
				      "  it waits for a %s that %u of these approve: %s (statement \"%s\")\n",
				      kind, n->count, from, n->statement);
		else
			(void)fprintf(out, "  it waits for a %s (statement \"%s\")\n", kind, n->statement);
	}
}

static void print_answer(const policy_decision_t *d, const json_t *all, FILE *out)
{
	(void)fprintf(out, "%s by statement \"%s\"\n", outcome_name(d->outcome), d->statement);
	print_needs(d, out);
	for (size_t i = 0; i < json_array_size(all); i++) {
		const json_t *s = json_array_get(all, i);
		(void)fprintf(out, "  %c %-5s %s/%s: %s\n",
			      json_is_true(json_object_get(s, "matched")) ? '*' : ' ',
			      value_text(s, "effect"), value_text(s, "document"), value_text(s, "statement"),
			      value_text(s, "why"));
	}
}

static KMS_MUST say(cli_t *c, const policy_t *p, const policy_request_t *r, const policy_decision_t *d,
		    diag_t *why)
{
	SCOPED(json_freep) json_t *answer = NULL;
	bool explain = conf_bool(c->conf, "explain");
	json_t *all = json_array();
	if (explain)
		policy_explain(p, r, explain_one, all);
	KMS_TRY(json_build(&answer, "{s:s, s:s, s:o}", "outcome", outcome_name(d->outcome), "statement",
			   d->statement, "statements", all));
	KMS_TRY(add_needs(answer, d));
	if (!explain)
		(void)json_object_del(answer, "statements");
	if (c->json)
		return cli_print_json(c, answer, why);
	print_answer(d, json_object_get(answer, "statements"), c->out);
	return KMS_OK;
}

static kms_err_t test(cli_t *c, diag_t *why)
{
	SCOPED(policy_freep) policy_t *p = NULL;
	SCOPED(policy_ask_free) policy_ask_t ask = {0};
	policy_decision_t d;
	KMS_TRY(policy_ask_read(c, &ask, why));
	KMS_TRY(policy_files_policy(c, conf_bool(c->conf, "shipped"), &p, why));
	policy_decide(p, &ask.request, &d);
	KMS_TRY(say(c, p, &ask.request, &d, why));
	if (d.outcome == POLICY_ALLOWED)
		return KMS_OK;
	return diag_fail(why, KMS_E_DENIED,
			 d.outcome == POLICY_HELD ? "the request would be held"
						  : "the request would be denied");
}

/* --- actions, shipped --- */

static kms_err_t actions(cli_t *c, diag_t *why)
{
	static const column_t columns[] = {{.title = "ACTION", .path = "action"},
					   {.title = "RESOURCE", .path = "type"},
					   {.title = "SECOND PERSON", .path = "second_person"},
					   {.title = "WHAT", .path = "what"}};
	SCOPED(json_freep) json_t *list = json_array();
	table_t t;
	size_t n;
	const policy_action_t *all = policy_actions(&n);
	for (size_t i = 0; i < n; i++) {
		json_t *one = NULL;
		KMS_TRY(json_build(&one, "{s:s, s:s, s:b, s:b, s:s}", "action", all[i].name, "type",
				   all[i].type, "second_person", all[i].acts_on_keys, "binds_body",
				   all[i].binds_body, "what", all[i].what));
		if (json_array_append_new(list, one) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
	}
	if (c->json)
		return cli_print_json(c, list, why);
	table_init(&t, columns, COUNT(columns), c->out);
	KMS_TRY(table_rows(&t, list));
	table_end(&t);
	return KMS_OK;
}

static kms_err_t shipped(cli_t *c, diag_t *why)
{
	char names[128] = "";
	size_t n, used = 0;
	const policy_shipped_t *all = policy_shipped(&n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(all[i].name, conf_word(c->conf, 0)) == 0) {
			(void)fwrite(all[i].text.p, 1, all[i].text.n, c->out);
			return KMS_OK;
		}
		int k = snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", all[i].name);
		used += k > 0 && used + (size_t)k < sizeof names ? (size_t)k : 0;
	}
	return diag_fail(why, KMS_E_NOTFOUND, "no shipped document is called \"%.60s\": there is %s",
			 conf_word(c->conf, 0), names);
}

static const command_t commands[] = {
	{"lint", "FILE…", "check documents before they are put: names the line and what to do", 1,
	 POLICY_DOCUMENTS_MAX, lint_flags, COUNT(lint_flags), lint},
	{"test", "[FILE…]", "what documents say of a request; asks no server", 0, POLICY_DOCUMENTS_MAX,
	 policy_ask_flags, POLICY_ASK_FLAGS, test},
	{"actions", "", "every action that a policy can name", 0, 0, NULL, 0, actions},
	{"shipped", "NAME", "print a shipped document, to start one's own from", 1, 1, NULL, 0, shipped},
	{"list", "", "the documents in force", 0, 0, list_flags, 1, policy_list},
	{"get", "NAME", "print a document as it is in force", 1, 1, NULL, 0, policy_get},
	{"put", "NAME FILE", "put a document in force, as its next version", 2, 2, NULL, 0, policy_put},
	{"delete", "NAME", "take a document out; a shipped one goes back to its own text", 1, 1, NULL, 0,
	 policy_delete},
};
const noun_t noun_policy = {"policy", "who may do what", commands, COUNT(commands)};
