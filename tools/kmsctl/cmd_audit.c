#include "tools/kmsctl/cmd_audit.h"

#include "common/base/scope.h"
#include "common/io/file.h"
#include "common/tlog/proof.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/audit_filter.h"
#include "tools/kmsctl/eventout.h"
#include "tools/kmsctl/loghead.h"

#include <stdlib.h>

#define DEFAULT_ROWS 100U

static const conf_setting_t query_flags[] = {
	AUDIT_FILTER_ROWS,
	{.key = "from",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "TIME",
	 .help = "not before: 2026-11-23T16:40:02Z, 2h, 7d"},
	{.key = "to", .type = CONF_TEXT, .max = 40, .arg = "TIME", .help = "not after, likewise"},
	{.key = "order",
	 .type = CONF_TEXT,
	 .max = 8,
	 .arg = "ORDER",
	 .dflt = "newest",
	 .help = "newest or oldest first"},
	{.key = "limit",
	 .type = CONF_NUMBER,
	 .min = 1,
	 .max = 1000000000,
	 .arg = "N",
	 .help = "at most N events (100)"},
	{.key = "all", .type = CONF_BOOL, .help = "all that match, however many"},
	{.key = "cursor",
	 .type = CONF_TEXT,
	 .max = CURSOR_CAP - 1,
	 .arg = "TEXT",
	 .help = "go on where next_cursor said"},
};

static kms_err_t add_time(cli_t *c, const char *key, buf_t *q, diag_t *why)
{
	int64_t ms = 0;
	char flag[8];
	if (!conf_is_set(c->conf, key))
		return KMS_OK;
	(void)snprintf(flag, sizeof flag, "--%s", key);
	KMS_TRY(arg_time(flag, conf_text(c->conf, key), clock_now(&c->clock), &ms, why));
	query_add_number(q, key, ms);
	return KMS_OK;
}

static kms_err_t add_order(const cli_t *c, buf_t *q, diag_t *why)
{
	static const char *const words[][2] = {
		{"newest", "desc"}, {"desc", "desc"}, {"oldest", "asc"}, {"asc", "asc"}};
	const char *order = conf_text(c->conf, "order");
	for (size_t i = 0; i < COUNT(words); i++)
		if (strcmp(order, words[i][0]) == 0) {
			query_add(q, "order", words[i][1]);
			return KMS_OK;
		}
	return diag_fail(why, KMS_E_INVALID, "--order is newest or oldest, not \"%.8s\"", order);
}

static kms_err_t build_query(cli_t *c, buf_t *q, const char **out, diag_t *why)
{
	if (conf_bool(c->conf, "all") && conf_is_set(c->conf, "limit"))
		return diag_fail(why, KMS_E_INVALID, "--all and --limit exclude one another");
	KMS_TRY(audit_filter_add(c, q, why));
	KMS_TRY(add_time(c, "from", q, why));
	KMS_TRY(add_time(c, "to", q, why));
	KMS_TRY(add_order(c, q, why));
	kms_err_t e = buf_cstr(q, out);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the request");
}

static uint64_t wanted(const cli_t *c)
{
	if (conf_bool(c->conf, "all"))
		return LIST_NO_LIMIT;
	return conf_is_set(c->conf, "limit") ? (uint64_t)conf_number(c->conf, "limit") : DEFAULT_ROWS;
}

static kms_err_t query(cli_t *c, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	eventout_t out;
	page_walk_t w = {.cli = c, .path = "/v1/audit/events", .key = "events", .left = wanted(c)};
	const char *cursor = conf_text(c->conf, "cursor");
	KMS_TRY(build_query(c, &q, &w.query, why));
	(void)snprintf(w.cursor, sizeof w.cursor, "%s", cursor != NULL ? cursor : "");
	KMS_TRY(eventout_begin(&out, c, false, why));
	KMS_TRY(page_walk(&w, eventout_rows, &out, why));
	return eventout_end(&out, w.cursor, why);
}

/* --- one event --- */

static const conf_setting_t show_flags[] = {
	{.key = "proof", .type = CONF_TEXT, .arg = "FILE", .help = "keep its proof (C2SP tlog-proof) there"},
	{.key = "key",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the log's verifier key, to check the proof by"},
};

static kms_err_t check_proof(cli_t *c, const json_t *row, span_t text, diag_t *why)
{
	SCOPED(buf_free) buf_t entry = BUF_INIT;
	diag_t inner = {{0}};
	tlog_proof_t p;
	note_vkey_t key;
	if (proof_parse(text, &p, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the server's proof is none: %.300s", inner.text);
	if ((json_int_t)p.index != value_number(row, "index"))
		return diag_fail(why, KMS_E_INTEGRITY, "the server's proof is of another event");
	if (!conf_is_set(c->conf, "key"))
		return KMS_OK;
	KMS_TRY(loghead_vkey(conf_text(c->conf, "key"), &key, why));
	if (json_write(json_object_get(row, "event"), &entry) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the event cannot be written canonically");
	kms_err_t e = proof_verify(&p, buf_span(&entry), &key, NULL, &inner);
	return e == KMS_OK ? e : diag_fail(why, e, "the proof does not hold: %.300s", inner.text);
}

static kms_err_t save_proof(cli_t *c, const char *path, const json_t *row, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	char url[CLI_PATH_CAP];
	KMS_TRY(cli_path(url, why, "%s/proof", path));
	KMS_TRY(cli_get(c, url, CLI_TIMEOUT_S, &r, why));
	KMS_TRY(client_status(&r, why));
	KMS_TRY(check_proof(c, row, buf_span(&r.body), why));
	KMS_TRY(file_write(conf_text(c->conf, "proof"), buf_span(&r.body), 0644, FILE_REPLACE, why));
	(void)fprintf(c->err, "the proof is in %s%s\n", conf_text(c->conf, "proof"),
		      conf_is_set(c->conf, "key") ? ", and holds" : " (not checked: no --key)");
	return KMS_OK;
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *row = NULL;
	const char *index = conf_word(c->conf, 0);
	char path[CLI_PATH_CAP];
	if (*index == '\0' || strspn(index, "0123456789") != strlen(index) || strlen(index) > 18)
		return diag_fail(why, KMS_E_INVALID, "an event's INDEX is a number, not \"%.40s\"", index);
	if (conf_is_set(c->conf, "key") && !conf_is_set(c->conf, "proof"))
		return diag_fail(why, KMS_E_INVALID,
				 "--key FILE is what the proof of --proof FILE is checked by");
	KMS_TRY(cli_path(path, why, "/v1/audit/events/%s", index));
	KMS_TRY(cli_request(c, "GET", path, NULL, &row, why));
	if (conf_is_set(c->conf, "proof"))
		KMS_TRY(save_proof(c, path, row, why));
	return eventout_one(c, row, why);
}

static const command_t commands[] = {
	{"query", "", "who did what and when, newest first", 0, 0, query_flags, COUNT(query_flags), query},
	{"show", "INDEX", "one event, and its proof", 1, 1, show_flags, COUNT(show_flags), show},
	{"follow", "", "events as they come, until Ctrl-C", 0, 0, audit_follow_flags, AUDIT_FOLLOW_N_FLAGS,
	 audit_follow},
	{"verify", "", "proves that nothing in a log was changed, dropped or slipped in", 0, 0,
	 audit_verify_flags, AUDIT_VERIFY_N_FLAGS, audit_verify},
	{"export", "DIR", "a folder for an auditor, which verifies without a network", 1, 1,
	 audit_export_flags, AUDIT_EXPORT_N_FLAGS, audit_export},
	{"report", "", "who had access to a customer's keys, why, and who looked at it, with proofs", 0, 0,
	 audit_report_flags, AUDIT_REPORT_N_FLAGS, audit_report},
	{"review", "list | show ID | close ID", "accesses that somebody looks at afterwards, and the finding",
	 1, 2, audit_review_flags, AUDIT_REVIEW_N_FLAGS, audit_review},
};
const noun_t noun_audit = {"audit", "the log of every access", commands, COUNT(commands)};
