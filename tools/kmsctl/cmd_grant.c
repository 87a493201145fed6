#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/grant.h"
#include "tools/kmsctl/interrupt.h"
#include "tools/kmsctl/list.h"
#include "tools/kmsctl/prompt.h"

#include <unistd.h>

#define MOST_S  28800 /* what the server allows at most, too */
#define WAIT_S  30
#define PAUSE_S 5

static kms_err_t grant_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	char id[NAME_CAP];
	KMS_TRY(name_parse("grant", span_str(conf_word(c->conf, 0)), id, why));
	return cli_path(out, why, "/v1/grants/%s%s", id, act);
}

/* --- request --- */

static const conf_setting_t request_flags[] = {
	{.key = "action",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "ACTION",
	 .help = "what is to be done: node.invite (kmsctl policy actions lists all)"},
	{.key = "resource",
	 .type = CONF_TEXT,
	 .max = 255,
	 .arg = "PATH",
	 .help = "on what: acme/db/n1, or a service with --nodes"},
	{.key = "nodes",
	 .type = CONF_TEXT,
	 .max = 4095,
	 .arg = "N,…",
	 .help = "the nodes of that service that it is for, or whose volumes"},
	{.key = "reason",
	 .type = CONF_TEXT,
	 .max = 63,
	 .arg = "CODE",
	 .help = "why, as a code: replacement, incident, onboarding"},
	{.key = "ticket", .type = CONF_TEXT, .max = 127, .arg = "T", .help = "where it is written up"},
	{.key = "justification", .type = CONF_TEXT, .max = 512, .arg = "TEXT", .help = "why, in words"},
	{.key = "for",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "DUR",
	 .help = "how long it can be used once it is approved (1h; 8h at most)"},
	{.key = "uses", .type = CONF_NUMBER, .min = 1, .max = 100, .arg = "N", .help = "how often (1)"},
	{.key = "maintenance",
	 .type = CONF_TEXT,
	 .max = 39,
	 .arg = "ID",
	 .help = "only while this maintenance event is open"},
	{.key = "body",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the JSON that the act will send: approved with it (or use --request-grant)"},
	{.key = "break-glass",
	 .type = CONF_BOOL,
	 .help = "for an emergency in which no approver can be reached: loud, short, reviewed"},
};

static kms_err_t put_text(const cli_t *c, const char *flag, json_t *body, diag_t *why)
{
	const char *text = conf_text(c->conf, flag);
	if (text != NULL && json_object_set_new(body, flag, json_string(text)) != 0)
		return diag_fail(why, KMS_E_INVALID, "--%s is not text", flag);
	return KMS_OK;
}

static kms_err_t put_nodes(const cli_t *c, json_t *body, diag_t *why)
{
	const char *at = conf_text(c->conf, "nodes");
	json_t *list = at != NULL ? json_array() : NULL;
	if (at == NULL)
		return KMS_OK;
	if (json_object_set_new(body, "nodes", list) != 0)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	for (;; at++) {
		char name[NAME_CAP];
		size_t n = strcspn(at, ",");
		KMS_TRY(name_parse("--nodes", span_of(at, n), name, why));
		if (json_array_append_new(list, json_string(name)) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

static kms_err_t put_numbers(const cli_t *c, json_t *body, diag_t *why)
{
	int64_t s = 0;
	const char *text = conf_text(c->conf, "for");
	int rc = 0;
	if (text != NULL) {
		KMS_TRY(arg_duration("--for", text, 60, MOST_S, &s, why));
		rc |= json_object_set_new(body, "for_s", json_integer((json_int_t)s));
	}
	if (conf_is_set(c->conf, "uses"))
		rc |= json_object_set_new(body, "uses",
					  json_integer((json_int_t)conf_number(c->conf, "uses")));
	if (conf_bool(c->conf, "break-glass"))
		rc |= json_object_set_new(body, "break_glass", json_true());
	return rc == 0 ? KMS_OK : diag_fail(why, KMS_E_NOMEM, "no memory");
}

static kms_err_t put_body(const cli_t *c, json_t *body, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	SCOPED(json_freep) json_t *j = NULL;
	const char *file = conf_text(c->conf, "body");
	diag_t inner = {""};
	if (file == NULL)
		return KMS_OK;
	if (file_read(file, JSON_BODY_LIMIT, &text, why) != KMS_OK)
		return KMS_E_INVALID;
	if (json_parse(buf_span(&text), JSON_BODY_LIMIT, &j, &inner) != KMS_OK || !json_is_object(j))
		return diag_fail(why, KMS_E_INVALID, "--body: %s is no JSON object%s%.300s", file,
				 inner.text[0] != '\0' ? ": " : "", inner.text);
	if (json_object_set(body, "body", j) != 0)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	return KMS_OK;
}

static kms_err_t request(cli_t *c, diag_t *why)
{
	static const char *const texts[] = {"action", "resource",      "reason",
					    "ticket", "justification", "maintenance"};
	SCOPED(json_freep) json_t *body = json_object();
	for (size_t i = 0; i < 3; i++)
		if (conf_text(c->conf, texts[i]) == NULL)
			return diag_fail(
				why, KMS_E_INVALID,
				"--%s is missing: a grant says what is to be done (--action), on what "
				"(--resource) and why (--reason)",
				texts[i]);
	for (size_t i = 0; i < COUNT(texts); i++)
		KMS_TRY(put_text(c, texts[i], body, why));
	KMS_TRY(put_nodes(c, body, why));
	KMS_TRY(put_numbers(c, body, why));
	KMS_TRY(put_body(c, body, why));
	if (conf_bool(c->conf, "output-policy"))
		return cli_request(c, "POST", "/v1/grants", body, NULL, why);
	return grant_ask(c, body, why);
}

/* --- looking --- */

static const conf_setting_t find_flags[] = {
	LIST_LIMIT_FLAG,
	{.key = "state",
	 .type = CONF_TEXT,
	 .max = 20,
	 .arg = "S",
	 .help = "pending, approved, denied, revoked, expired or used"},
	{.key = "requester", .type = CONF_TEXT, .max = 200, .arg = "NAME", .help = "asked for by this one"},
};

static kms_err_t list(cli_t *c, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	const char *query = "";
	list_out_t l;
	query_add(&q, "state", conf_text(c->conf, "state"));
	query_add(&q, "requester", conf_text(c->conf, "requester"));
	if (buf_cstr(&q, &query) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	page_walk_t w = {
		.cli = c, .path = "/v1/grants", .query = query, .key = "items", .left = list_limit(c)};
	KMS_TRY(list_begin(&l, c, "items", grant_columns, grant_n_columns, why));
	KMS_TRY(page_walk(&w, list_rows, &l, why));
	return list_end(&l, w.cursor, why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *grant = NULL;
	char path[CLI_PATH_CAP];
	KMS_TRY(grant_path(c, "", path, why));
	KMS_TRY(cli_request(c, "GET", path, NULL, &grant, why));
	return grant_print(c, grant, why);
}

/* --- deciding --- */

static const conf_setting_t approve_flags[] = {
	{.key = "digest",
	 .type = CONF_TEXT,
	 .max = 64,
	 .arg = "HEX",
	 .help = "of what you have seen elsewhere; without it the grant is shown first"},
	{.key = "yes", .type = CONF_BOOL, .help = "do not ask again at the terminal"},
};
static const conf_setting_t note_flags[] = {
	{.key = "note", .type = CONF_TEXT, .max = 255, .arg = "TEXT", .help = "why, for the log"},
};

/* What is approved is shown, and its digest goes back: if anything of it were another thing by then, the
 * server would refuse. */
static kms_err_t confirm(cli_t *c, const json_t *grant, diag_t *why)
{
	SCOPED(secret_freep) secret_t *line = NULL;
	bool person = isatty(STDIN_FILENO) == 1 && cli_is_terminal(c->err);
	if (!c->json)
		KMS_TRY(grant_print(c, grant, why));
	if (!person || conf_bool(c->conf, "yes"))
		return KMS_OK;
	KMS_TRY(prompt_line("Approve exactly this? Type yes: ", true, &line, why));
	if (!span_eq(secret_span(line), span_str("yes")))
		return diag_fail(why, KMS_E_CONFLICT, "not approved");
	return KMS_OK;
}

static kms_err_t approve(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *grant = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	SCOPED(json_freep) json_t *body = NULL;
	char path[CLI_PATH_CAP];
	const char *digest = conf_text(c->conf, "digest");
	if (digest == NULL && !conf_bool(c->conf, "output-policy")) {
		KMS_TRY(grant_path(c, "", path, why));
		KMS_TRY(cli_request(c, "GET", path, NULL, &grant, why));
		KMS_TRY(confirm(c, grant, why));
		digest = value_text(grant, "digest");
	}
	if (json_build(&body, "{s:s}", "digest", digest != NULL ? digest : "") != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "--digest is not text");
	KMS_TRY(grant_path(c, ":approve", path, why));
	KMS_TRY(cli_request(c, "POST", path, body, &answer, why));
	if (c->json || digest == conf_text(c->conf, "digest"))
		return grant_print(c, answer, why);
	(void)fprintf(c->out, "grant %s is now %s\n", value_text(answer, "id"), value_text(answer, "state"));
	return KMS_OK;
}

static kms_err_t end(cli_t *c, const char *act, diag_t *why)
{
	SCOPED(json_freep) json_t *answer = NULL;
	SCOPED(json_freep) json_t *body = json_object();
	char path[CLI_PATH_CAP];
	KMS_TRY(put_text(c, "note", body, why));
	KMS_TRY(grant_path(c, act, path, why));
	KMS_TRY(cli_request(c, "POST", path, body, &answer, why));
	return grant_print(c, answer, why);
}

static kms_err_t deny(cli_t *c, diag_t *why)
{
	return end(c, ":deny", why);
}

static kms_err_t revoke_grant(cli_t *c, diag_t *why)
{
	return end(c, ":revoke", why);
}

/* --- follow --- */

typedef struct feed {
	cli_t *cli;
	table_t table;
	int64_t change; /* what has been shown */
	const atomic_bool *stop;
} feed_t;

static bool is_new(const feed_t *f, const json_t *grant)
{
	return f->change < 0 || value_number(grant, "change") > f->change;
}

static kms_err_t show_changes(feed_t *f, const json_t *answer, diag_t *why)
{
	SCOPED(json_freep) json_t *fresh = json_array();
	const json_t *items = value_at(answer, "items");
	for (size_t i = 0; i < json_array_size(items); i++) {
		json_t *grant = json_array_get(items, i);
		if (!is_new(f, grant))
			continue;
		if (json_array_append(fresh, grant) != 0)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
		if (f->cli->json)
			KMS_TRY(cli_print_json(f->cli, grant, why));
	}
	f->change = value_number(answer, "change");
	if (!f->cli->json && json_array_size(fresh) > 0 && table_rows(&f->table, fresh) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	(void)fflush(f->cli->out);
	return KMS_OK;
}

static kms_err_t feed_once(feed_t *f, bool *again, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	diag_t inner = {""};
	if (f->change < 0)
		KMS_TRY(cli_path(path, why, "/v1/grants?state=open&limit=%u", LIST_PAGE));
	else
		KMS_TRY(cli_path(path, why, "/v1/grants?limit=%u&wait=%d&since=%lld", LIST_PAGE, WAIT_S,
				 (long long)f->change));
	kms_err_t e = cli_get(f->cli, path, WAIT_S + CLI_TIMEOUT_S, &r, why);
	if (e == KMS_OK)
		e = client_status(&r, why);
	*again = e == KMS_E_UNAVAILABLE || e == KMS_E_FULL;
	KMS_TRY(e);
	if (json_parse(buf_span(&r.body), CLI_ANSWER_MAX, &answer, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "the server's answer is not JSON: %.300s", inner.text);
	return show_changes(f, answer, why);
}

static kms_err_t feed(feed_t *f, diag_t *why)
{
	bool said = false;
	while (!atomic_load(f->stop)) {
		bool again = false;
		kms_err_t e = feed_once(f, &again, why);
		if (e == KMS_OK) {
			said = false;
			continue;
		}
		if (!again || atomic_load(f->stop))
			return e;
		if (!said)
			(void)fprintf(f->cli->err, "(waiting for the KMS: %.200s)\n", why->text);
		said = true;
		(void)sleep(PAUSE_S); /* Ctrl-C ends it */
	}
	return KMS_OK;
}

static kms_err_t follow(cli_t *c, diag_t *why)
{
	SCOPED(interrupt_flag_close) interrupt_flag_t signals = {.came = NULL};
	feed_t f = {.cli = c, .change = -1};
	table_init(&f.table, grant_columns, grant_n_columns, c->out);
	KMS_TRY(interrupt_flag_open(&signals, why));
	c->stop = f.stop = signals.came;
	kms_err_t e = feed(&f, why);
	return atomic_load(signals.came) ? KMS_OK : e;
}

static const command_t commands[] = {
	{"request", "", "ask for leave to do one thing", 0, 0, request_flags, COUNT(request_flags), request},
	{"list", "", "grants, open and ended", 0, 0, find_flags, COUNT(find_flags), list},
	{"show", "ID", "one grant, and what exactly it allows", 1, 1, NULL, 0, show},
	{"approve", "ID", "say that it may be done", 1, 1, approve_flags, COUNT(approve_flags), approve},
	{"deny", "ID", "say that it may not: one is enough", 1, 1, note_flags, COUNT(note_flags), deny},
	{"revoke", "ID", "end a grant before its time", 1, 1, note_flags, COUNT(note_flags), revoke_grant},
	{"follow", "", "what is asked for and decided, as it happens", 0, 0, NULL, 0, follow},
};
const noun_t noun_grant = {"grant", "approved leave to act on keys", commands, COUNT(commands)};
