#include "tools/kmsctl/cmd_node_replace.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/grant.h"
#include "tools/kmsctl/interrupt.h"
#include "tools/kmsctl/invitation.h"
#include "tools/kmsctl/replace.h"

#include <unistd.h>

#define EVENT_WINDOW_S (7 * 24 * 3600) /* a new machine may take some days */
#define EVENT_NODES    64U
#define GRANT_USES     100U
#define GRANT_FOR_S    (8 * 3600)
#define LOOK_EVERY_MS  1000
#define TIMEOUT_MAX_S  (30 * 86400)

const conf_setting_t node_replace_flags[NODE_REPLACE_FLAGS] = {
	INVITATION_FLAGS,
	{.key = "recreate",
	 .type = CONF_TEXT,
	 .max = 8000,
	 .arg = "V[,V...]",
	 .help = "these volumes begin anew on the new node: their data are given up"},
	{.key = "detached",
	 .type = CONF_BOOL,
	 .help = "the old node has its volumes locked, or is off: move them though it was seen just now"},
	{.key = "ticket", .type = CONF_TEXT, .max = 127, .arg = "TEXT", .help = "of the maintenance event"},
	{.key = "dry-run", .type = CONF_BOOL, .help = "show what is done and what is to do, and do nothing"},
	{.key = "wait", .type = CONF_BOOL, .help = "stay until the others have done their part, too"},
	{.key = "timeout",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "DUR",
	 .help = "with --wait: no longer than this"},
};

static const column_t columns[] = {
	{.title = "STEP", .path = "step"}, {.title = "ACT", .path = "act"},
	{.title = "WHAT", .path = "what"}, {.title = "STATE", .path = "state"},
	{.title = "NOTE", .path = "note"},
};

typedef struct run {
	replace_t r;
	json_t *shown_token;  /* for JSON */
	char event[NAME_CAP]; /* that this run has made */
	bool waits;
} run_t;

static void run_free(run_t *x)
{
	replace_free(&x->r);
	json_freep(&x->shown_token);
}

static bool is(const json_t *j, const char *path, const char *text)
{
	return strcmp(value_text(j, path), text) == 0;
}

/* --- wrong input, before anything is asked --- */

static kms_err_t read_words(run_t *x, cli_t *c, diag_t *why)
{
	replace_t *r = &x->r;
	KMS_TRY(path3_parse("the old node", span_str(conf_word(c->conf, 0)), &r->old, why));
	KMS_TRY(path3_parse("the new node", span_str(conf_word(c->conf, 1)), &r->new, why));
	path3_format(&r->old, r->old_path);
	path3_format(&r->new, r->new_path);
	if (strcmp(r->old.customer, r->new.customer) != 0 || strcmp(r->old.service, r->new.service) != 0)
		return diag_fail(why, KMS_E_INVALID,
				 "%s and %s are of different %s: volumes do not leave their service",
				 r->old_path, r->new_path,
				 strcmp(r->old.customer, r->new.customer) != 0 ? "customers" : "services");
	if (strcmp(r->old.name, r->new.name) == 0)
		return diag_fail(
			why, KMS_E_INVALID,
			"%s is the same node twice: a machine that takes the name over is enrolled by "
			"kmsctl node invite %s --replace",
			r->old_path, r->old_path);
	return KMS_OK;
}

static kms_err_t read_flags(run_t *x, cli_t *c, int64_t *ttl, int64_t *timeout, diag_t *why)
{
	x->r.cli = c;
	x->r.recreate = conf_text(c->conf, "recreate");
	x->r.token_file = conf_text(c->conf, "out");
	x->r.detached = conf_bool(c->conf, "detached");
	if (conf_bool(c->conf, "output-policy"))
		return diag_fail(why, KMS_E_INVALID,
				 "--output-policy is for one act: this is node.invite, volume.assign, "
				 "node.revoke and maintenance.create");
	if (conf_is_set(c->conf, "timeout") && !conf_bool(c->conf, "wait"))
		return diag_fail(why, KMS_E_INVALID, "--timeout needs --wait");
	if (conf_is_set(c->conf, "timeout"))
		KMS_TRY(arg_duration("--timeout", conf_text(c->conf, "timeout"), 1, TIMEOUT_MAX_S, timeout,
				     why));
	return arg_duration("--ttl", conf_text(c->conf, "ttl"), 60, 7 * 86400, ttl, why);
}

/* --- acting --- */

/* A write under the caller's grant for it, if there is one. */
static kms_err_t act_once(run_t *x, const char *action, const char *what, const char *path,
			  const json_t *body, json_t **out, diag_t *why)
{
	cli_t *c = x->r.cli;
	const char *grant = replace_grant(&x->r, action, what, "approved");
	c->grant = *grant != '\0' ? grant : NULL;
	kms_err_t e = cli_request_now(c, "POST", path, body, out, why);
	c->grant = NULL;
	if (e != KMS_E_DENIED)
		return e;
	diag_t said = *why;
	return diag_fail(why, e,
			 "%s %s: %.500s. Ask for what this replacement needs with the same command and "
			 "--request-grant REASON[:TICKET]; once it is approved, the same command goes on",
			 action, what, said.text);
}

static kms_err_t give_token(run_t *x, const json_t *answer, diag_t *why)
{
	SCOPED(buf_free) buf_t line = BUF_INIT;
	cli_t *c = x->r.cli;
	const char *token = value_text(answer, "token");
	buf_printf(&line, "%s\n", token);
	if (line.err != KMS_OK || *token == '\0')
		return diag_fail(why, KMS_E_IO, "the server's answer has no token");
	if (x->r.token_file != NULL)
		return file_write(x->r.token_file, buf_span(&line), 0600, FILE_CREATE_ONLY, why);
	if (c->json)
		x->shown_token = json_string(token);
	else
		(void)fprintf(c->out, "%s\n", token);
	return fflush(c->out) == 0 ? KMS_OK : diag_fail(why, KMS_E_IO, "cannot write the token: %m");
}

static kms_err_t invite(run_t *x, int64_t ttl, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	const path3_t *n = &x->r.new;
	cli_t *c = x->r.cli;
	if (c->json && x->r.token_file == NULL && conf_bool(c->conf, "wait"))
		return diag_fail(
			why, KMS_E_INVALID,
			"-o json with --wait would show the token too late: say where to with --out FILE");
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/nodes/%s:invite", n->customer, n->service,
			 n->name));
	if (value_number(x->r.new_node, "generation") > 0)
		KMS_TRY(json_build(&body, "{s:I, s:b}", "ttl_s", (json_int_t)ttl, "replace", 1));
	else
		KMS_TRY(json_build(&body, "{s:I}", "ttl_s", (json_int_t)ttl));
	KMS_TRY(act_once(x, "node.invite", x->r.new_path, path, body, &answer, why));
	KMS_TRY(give_token(x, answer, why));
	(void)fprintf(c->err, "invited: %s\n", x->r.new_path);
	return KMS_OK;
}

static kms_err_t move(run_t *x, const json_t *step, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	const char *volume = value_text(step, "what");
	char path[CLI_PATH_CAP];
	path3_t v;
	KMS_TRY(json_build(&body, "{s:s}", "node", x->r.new.name));
	KMS_TRY(path3_parse("volume", span_str(volume), &v, why));
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/volumes/%s:assign", v.customer, v.service,
			 v.name));
	KMS_TRY(act_once(x, "volume.assign", volume, path, body, NULL, why));
	(void)fprintf(x->r.cli->err, "bound to %s: %s\n", x->r.new.name, volume);
	return KMS_OK;
}

static kms_err_t revoke_old(run_t *x, diag_t *why)
{
	char path[CLI_PATH_CAP];
	const path3_t *n = &x->r.old;
	KMS_TRY(cli_path(path, why, "/v1/customers/%s/services/%s/nodes/%s:revoke", n->customer, n->service,
			 n->name));
	KMS_TRY(act_once(x, "node.revoke", x->r.old_path, path, NULL, NULL, why));
	(void)fprintf(x->r.cli->err, "revoked: %s\n", x->r.old_path);
	return KMS_OK;
}

/* Those that have the volumes; more than an event names: all. */
static json_t *holders(const run_t *x)
{
	json_t *list = json_array();
	for (size_t i = 0; i < json_array_size(x->r.volumes); i++) {
		const char *node = value_text(json_array_get(x->r.volumes, i), "node");
		bool there = strcmp(node, x->r.old.name) == 0;
		for (size_t k = 0; k < json_array_size(list) && !there; k++)
			there = strcmp(json_string_value(json_array_get(list, k)), node) == 0;
		if (!there)
			(void)json_array_append_new(list, json_string(node));
	}
	if (json_array_size(list) <= EVENT_NODES && json_array_size(list) > 0)
		return list;
	json_decref(list);
	return NULL;
}

static kms_err_t rotate(run_t *x, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *nodes = holders(x);
	SCOPED(json_freep) json_t *answer = NULL;
	const char *ticket = conf_text(x->r.cli->conf, "ticket");
	if (x->event[0] != '\0')
		return KMS_OK; /* once a run: what fails in it is for people */
	KMS_TRY(json_build(&body, "{s:s, s:s, s:s, s:b, s:i, s:s}", "customer", x->r.old.customer, "service",
			   x->r.old.service, "seen_by", x->r.old.name, "compromised", 1, "window_s",
			   EVENT_WINDOW_S, "ticket", ticket != NULL ? ticket : ""));
	if (nodes != NULL && json_object_set(body, "nodes", nodes) != 0)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	KMS_TRY(act_once(x, "maintenance.create", "*", "/v1/maintenance", body, &answer, why));
	KMS_TRY(name_parse("maintenance event", span_str(value_text(answer, "id")), x->event, why));
	(void)fprintf(x->r.cli->err, "maintenance event %s: the secrets that %s may know are rotated\n",
		      x->event, x->r.old_path);
	x->waits = true;
	return KMS_OK;
}

/* --- all of it --- */

static kms_err_t do_step(run_t *x, const json_t *step, int64_t ttl, diag_t *why)
{
	const char *act = value_text(step, "act");
	if (strcmp(act, "enrol") == 0) {
		x->waits = true;
		return invite(x, ttl, why);
	}
	if (strcmp(act, "move") == 0 || strcmp(act, "recreate") == 0)
		return move(x, step, why);
	if (strcmp(act, "revoke") == 0)
		return revoke_old(x, why);
	return strcmp(act, "rotate") == 0 ? rotate(x, why) : KMS_OK;
}

static kms_err_t first_refusal(const json_t *steps, diag_t *why)
{
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *s = json_array_get(steps, i);
		if (is(s, "state", "refused"))
			return diag_fail(why, KMS_E_CONFLICT, "%s: %s", value_text(s, "what"),
					 value_text(s, "note"));
	}
	return KMS_OK;
}

static bool moves(const json_t *step)
{
	return is(step, "act", "move") || is(step, "act", "recreate");
}

/* Does what can be done now. A volume that has only just been moved is seen as such by the next pass. */
static kms_err_t pass(run_t *x, int64_t ttl, bool *again, diag_t *why)
{
	SCOPED(json_freep) json_t *steps = NULL;
	bool moved = false;
	*again = false;
	x->waits = false;
	KMS_TRY(replace_look(&x->r, why));
	KMS_TRY(replace_steps(&x->r, &steps, why));
	KMS_TRY(first_refusal(steps, why));
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *s = json_array_get(steps, i);
		x->waits = x->waits || is(s, "state", "waits");
		if (moved && is(s, "act", "rotate")) {
			*again = true;
			return KMS_OK;
		}
		if (is(s, "state", "todo"))
			KMS_TRY(do_step(x, s, ttl, why));
		if (is(s, "act", "enrol") && !is(s, "state", "done"))
			return KMS_OK;
		moved = moved || (moves(s) && is(s, "state", "todo"));
	}
	return KMS_OK;
}

static kms_err_t pass_on(run_t *x, int64_t ttl, int64_t timeout_s, diag_t *why)
{
	SCOPED(interrupt_close) interrupt_t i = {.fd = -1};
	cli_t *c = x->r.cli;
	bool again = true, wait = conf_bool(c->conf, "wait");
	int64_t begun = clock_now(&c->clock);
	if (wait)
		KMS_TRY(interrupt_open(&i, why));
	for (;;) {
		KMS_TRY(pass(x, ttl, &again, why));
		if (again)
			continue;
		if (!wait || !x->waits)
			return KMS_OK;
		if (interrupt_wait(&i, LOOK_EVERY_MS))
			return diag_fail(
				why, KMS_E_CONFLICT,
				"no longer waiting: what is under way goes on, and the same command with it");
		if (timeout_s > 0 && clock_now(&c->clock) - begun >= timeout_s * 1000)
			return KMS_OK;
	}
}

static kms_err_t print(run_t *x, const json_t *steps, diag_t *why)
{
	SCOPED(json_freep) json_t *all = NULL;
	cli_t *c = x->r.cli;
	table_t t;
	if (!c->json) {
		table_init(&t, columns, COUNT(columns), c->out);
		return table_rows(&t, steps) == KMS_OK
			       ? KMS_OK
			       : diag_fail(why, KMS_E_NOMEM, "not enough memory for the steps");
	}
	const char *event = x->event[0] != '\0' ? x->event : value_text(x->r.event, "id");
	KMS_TRY(json_build(&all, "{s:s, s:s, s:s, s:O}", "old", x->r.old_path, "new", x->r.new_path,
			   "maintenance", event, "steps", steps));
	if (x->shown_token != NULL && json_object_set(all, "token", x->shown_token) != 0)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return cli_print_json(c, all, why);
}

/* The closing table, from what the server says now. */
static kms_err_t close_up(run_t *x, diag_t *why)
{
	SCOPED(json_freep) json_t *steps = NULL;
	KMS_TRY(replace_look(&x->r, why));
	KMS_TRY(replace_steps(&x->r, &steps, why));
	KMS_TRY(print(x, steps, why));
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *s = json_array_get(steps, i);
		if (!is(s, "state", "done") && !is(s, "state", "by-hand"))
			return diag_fail(
				why, KMS_E_CONFLICT,
				"not finished: step %lld, %s %s: %s. The same command goes on from here",
				(long long)value_number(s, "step"), value_text(s, "act"),
				value_text(s, "what"), value_text(s, "note"));
	}
	return KMS_OK;
}

/* --- the second person --- */

static kms_err_t ask_for(run_t *x, const char *action, const char *resource, json_t *body, diag_t *why)
{
	cli_t *c = x->r.cli;
	const char *have = replace_grant(&x->r, action, resource, "approved");
	if (*have == '\0')
		have = replace_grant(&x->r, action, resource, "pending");
	c->ended = true;
	if (*have != '\0') {
		(void)fprintf(c->err, "%s: grant %s is there already\n", action, have);
		return KMS_E_PENDING;
	}
	kms_err_t e = grant_ask(c, body, why);
	return e == KMS_OK ? KMS_E_PENDING : e;
}

static kms_err_t grant_body(run_t *x, const char *action, const char *resource, json_t **out, diag_t *why)
{
	const char *text = conf_text(x->r.cli->conf, "request-grant");
	size_t n = strcspn(text, ":");
	char reason[NAME_CAP];
	KMS_TRY(name_parse("--request-grant", span_of(text, n), reason, why));
	KMS_TRY(json_build(out, "{s:s, s:s, s:s, s:i}", "action", action, "resource", resource, "reason",
			   reason, "for_s", GRANT_FOR_S));
	return text[n] == '\0' || json_object_set_new(*out, "ticket", json_string(text + n + 1)) == 0
		       ? KMS_OK
		       : diag_fail(why, KMS_E_INVALID, "--request-grant: the ticket is not text");
}

/* Grants are about what is there: one that moves volumes to a node can be asked for when that is enrolled. */
static kms_err_t request_grants(run_t *x, const json_t *steps, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	char service[2 * NAME_CAP];
	json_int_t uses = 0;
	const char *first = "";
	if (is(json_array_get(steps, 0), "state", "todo")) {
		KMS_TRY(grant_body(x, "node.invite", x->r.new_path, &body, why));
		return ask_for(x, "node.invite", x->r.new_path, body, why);
	}
	for (size_t i = 0; i < json_array_size(steps); i++) {
		const json_t *s = json_array_get(steps, i);
		if (!moves(s) || !is(s, "state", "todo"))
			continue;
		first = uses++ == 0 ? value_text(s, "what") : first;
	}
	if (uses == 0 || !is(json_array_get(steps, 0), "state", "done"))
		return diag_fail(why, KMS_E_CONFLICT, "nothing is to be asked for now: see --dry-run");
	(void)snprintf(service, sizeof service, "%s/%s", x->r.old.customer, x->r.old.service);
	KMS_TRY(grant_body(x, "volume.assign", service, &body, why));
	if (json_object_set_new(body, "uses",
				json_integer(uses < (json_int_t)GRANT_USES ? uses : GRANT_USES)) != 0 ||
	    json_object_set_new(body, "nodes", json_pack("[s,s]", x->r.old.name, x->r.new.name)) != 0)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	return ask_for(x, "volume.assign", first, body, why);
}

static kms_err_t show_or_ask(run_t *x, bool dry, diag_t *why)
{
	SCOPED(json_freep) json_t *steps = NULL;
	KMS_TRY(replace_look(&x->r, why));
	KMS_TRY(replace_steps(&x->r, &steps, why));
	return dry ? print(x, steps, why) : request_grants(x, steps, why);
}

kms_err_t node_replace(cli_t *c, diag_t *why)
{
	SCOPED(run_free) run_t x = {.waits = false};
	int64_t ttl = 0, timeout = 0;
	diag_t after = {""};
	KMS_TRY(read_words(&x, c, why));
	KMS_TRY(read_flags(&x, c, &ttl, &timeout, why));
	bool dry = conf_bool(c->conf, "dry-run");
	if (dry || conf_is_set(c->conf, "request-grant"))
		return show_or_ask(&x, dry, why);
	kms_err_t e = pass_on(&x, ttl, timeout, why);
	if (e == KMS_E_INVALID || e == KMS_E_NOTFOUND || e == KMS_E_UNAVAILABLE)
		return e; /* there is no table to show */
	kms_err_t shown = close_up(&x, e == KMS_OK ? why : &after);
	return e == KMS_OK ? shown : e;
}
