/* kmsctl audit review: what is to be looked at after an access, with all that is known of it, and the
 * finding. */
#include "common/base/scope.h"
#include "tools/kmsctl/cmd_audit.h"
#include "tools/kmsctl/eventout.h"
#include "tools/kmsctl/grant.h"

#include <inttypes.h>

#define SHOWN_MAX 200U /* events of one review */

const conf_setting_t audit_review_flags[AUDIT_REVIEW_N_FLAGS] = {
	{.key = "state",
	 .type = CONF_TEXT,
	 .max = 16,
	 .arg = "S",
	 .help = "list: open (default), overdue, closed or all"},
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "list: of this customer"},
	{.key = "limit",
	 .type = CONF_NUMBER,
	 .min = 1,
	 .max = 1000000000,
	 .arg = "N",
	 .help = "list: at most N rows (all)"},
	{.key = "finding",
	 .type = CONF_TEXT,
	 .max = 16,
	 .arg = "F",
	 .help = "close: valid or invalid (wanted)"},
	{.key = "note",
	 .type = CONF_TEXT,
	 .max = 512,
	 .arg = "TEXT",
	 .help = "close: what was found (wanted)"},
	{.key = "suspend", .type = CONF_BOOL, .help = "close as invalid: suspend whoever acted"},
	{.key = "revoke", .type = CONF_BOOL, .help = "close as invalid: revoke whoever acted, for good"},
	{.key = "rotate",
	 .type = CONF_BOOL,
	 .help = "close as invalid: rotate the secrets of the volumes concerned at once"},
};

/* --- cells --- */

/* "3d 4h", "5h 12m", "7m": two units are enough to see what is urgent. */
static void span_text(int64_t ms, buf_t *out)
{
	int64_t m = ms / 60000;
	if (m >= INT64_C(24) * 60)
		buf_printf(out, "%" PRId64 "d %" PRId64 "h", m / (INT64_C(24) * 60), m / 60 % 24);
	else if (m >= 60)
		buf_printf(out, "%" PRId64 "h %" PRId64 "m", m / 60, m % 60);
	else
		buf_printf(out, "%" PRId64 "m", m);
}

static void left_text(const json_t *row, int64_t now_ms, buf_t *out)
{
	int64_t left = value_number(row, "deadline_ms") - now_ms;
	if (strcmp(value_text(row, "state"), "open") != 0) {
		buf_str(out, value_text(row, "finding"));
		return;
	}
	if (left <= 0)
		buf_str(out, "OVERDUE by ");
	span_text(left <= 0 ? -left : left, out);
}

static kms_err_t put_span(json_t *row, const char *key, buf_t *b)
{
	const char *text = NULL;
	KMS_TRY(buf_cstr(b, &text));
	return json_object_set_new(row, key, json_string(text)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

/* What the table shows besides: texts that depend on the time. */
static kms_err_t add_times(json_t *row, int64_t now_ms)
{
	SCOPED(buf_free) buf_t age = BUF_INIT;
	SCOPED(buf_free) buf_t left = BUF_INIT;
	int64_t old = now_ms - value_number(row, "opened_ms");
	span_text(old > 0 ? old : 0, &age);
	left_text(row, now_ms, &left);
	KMS_TRY(put_span(row, "age", &age));
	return put_span(row, "left", &left);
}

static const column_t columns[] = {
	{.title = "REVIEW", .path = "id"},         {.title = "KIND", .path = "kind"},
	{.title = "LEFT", .path = "left"},         {.title = "AGE", .path = "age"},
	{.title = "WHO", .path = "actor"},         {.title = "DID", .path = "action"},
	{.title = "ON", .path = "resource"},       {.title = "TIMES", .path = "count"},
	{.title = "CUSTOMER", .path = "customer"},
};

static const column_t details[] = {
	{.title = "REVIEW", .path = "id"},
	{.title = "KIND", .path = "kind"},
	{.title = "STATE", .path = "state"},
	{.title = "LEFT", .path = "left"},
	{.title = "WHO", .path = "actor"},
	{.title = "DID", .path = "action"},
	{.title = "ON", .path = "resource"},
	{.title = "TIMES", .path = "count"},
	{.title = "CUSTOMER", .path = "customer"},
	{.title = "GRANT", .path = "grant"},
	{.title = "APPROVED BY", .path = "approvers", .kind = VALUE_NAMES},
	{.title = "OPENED", .path = "opened_ms", .kind = VALUE_TIME},
	{.title = "DEADLINE", .path = "deadline_ms", .kind = VALUE_TIME},
	{.title = "EVENTS FROM", .path = "event"},
	{.title = "TO", .path = "last_event"},
	{.title = "CLOSED", .path = "closed_ms", .kind = VALUE_TIME},
	{.title = "REVIEWER", .path = "reviewer"},
	{.title = "FINDING", .path = "finding"},
	{.title = "NOTE", .path = "note"},
	{.title = "ROTATION", .path = "maintenance"},
};

static kms_err_t print_review(cli_t *c, const json_t *review, diag_t *why)
{
	SCOPED(json_freep) json_t *copy = json_deep_copy(review);
	if (c->json)
		return cli_print_json(c, review, why);
	if (copy == NULL || add_times(copy, clock_now(&c->clock)) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return cli_print_record(c, details, COUNT(details), copy, why);
}

/* --- list --- */

static kms_err_t list_page(void *ctx, const json_t *rows, diag_t *why)
{
	list_out_t *l = ctx;
	SCOPED(json_freep) json_t *copy = json_deep_copy(rows);
	int64_t now_ms = clock_now(&l->cli->clock);
	if (l->cli->json)
		return list_rows(l, rows, why);
	for (size_t i = 0; i < json_array_size(copy); i++)
		if (add_times(json_array_get(copy, i), now_ms) != KMS_OK)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return copy != NULL ? list_rows(l, copy, why)
			    : diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
}

static kms_err_t list_query(const cli_t *c, buf_t *q, const char **out, diag_t *why)
{
	static const char *const states[] = {"open", "overdue", "closed", "all"};
	const char *state = conf_is_set(c->conf, "state") ? conf_text(c->conf, "state") : states[0];
	const char *customer = conf_text(c->conf, "customer");
	char name[NAME_CAP];
	bool known = false;
	for (size_t i = 0; i < COUNT(states); i++)
		known |= strcmp(state, states[i]) == 0;
	if (!known)
		return diag_fail(why, KMS_E_INVALID, "--state is open, overdue, closed or all, not \"%.16s\"",
				 state);
	if (customer != NULL)
		KMS_TRY(name_parse("customer", span_str(customer), name, why));
	query_add(q, "state", state);
	query_add(q, "customer", customer);
	return buf_cstr(q, out) == KMS_OK ? KMS_OK
					  : diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	list_out_t l;
	page_walk_t w = {.cli = c, .path = "/v1/audit/reviews", .key = "items", .left = list_limit(c)};
	KMS_TRY(list_query(c, &q, &w.query, why));
	KMS_TRY(list_begin(&l, c, "items", columns, COUNT(columns), why));
	KMS_TRY(page_walk(&w, list_page, &l, why));
	return list_end(&l, w.cursor, why);
}

/* --- show --- */

static kms_err_t review_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	char id[NAME_CAP];
	KMS_TRY(name_parse("review", span_str(conf_word(c->conf, 1)), id, why));
	return cli_path(out, why, "/v1/audit/reviews/%s%s", id, act);
}

typedef struct concerned {
	const json_t *review;
	json_t *events;
	bool over; /* the list has come behind the last of them */
} concerned_t;

static bool is_any(const char *text)
{
	return strcmp(text, "*") == 0;
}

static kms_err_t take_events(void *ctx, const json_t *rows, diag_t *why)
{
	concerned_t *x = ctx;
	const char *resource = value_text(x->review, "resource");
	for (size_t i = 0; i < json_array_size(rows) && !x->over; i++) {
		json_t *row = json_array_get(rows, i);
		x->over = value_number(row, "index") > value_number(x->review, "last_event") ||
			  json_array_size(x->events) == SHOWN_MAX;
		bool same =
			is_any(resource) || strcmp(value_text(row, "event.resources.0.uid"), resource) == 0;
		if (!x->over && same && json_array_append(x->events, row) != 0)
			return diag_fail(why, KMS_E_NOMEM, "not enough memory for the events");
	}
	return KMS_OK;
}

/* Those of this actor, action and resource from the one that opened the review to its last. */
static kms_err_t find_events(cli_t *c, concerned_t *x, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	page_walk_t w = {.cli = c,
			 .path = "/v1/audit/events",
			 .key = "events",
			 .left = LIST_NO_LIMIT,
			 .stop = &x->over};
	const char *action = value_text(x->review, "action");
	bool denied = strcmp(value_text(x->review, "kind"), "denied") == 0;
	query_add(&q, "actor", value_text(x->review, "actor"));
	query_add(&q, "operation", is_any(action) ? NULL : action);
	query_add(&q, "status", denied ? "failure" : NULL);
	query_add(&q, "order", "asc");
	if (buf_cstr(&q, &w.query) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	(void)snprintf(w.cursor, sizeof w.cursor, "%lld", (long long)value_number(x->review, "event"));
	return page_walk(&w, take_events, x, why);
}

/* NULL where there is none, or none that this caller may see. */
static kms_err_t find_grant(cli_t *c, const json_t *review, json_t **out, diag_t *why)
{
	char path[CLI_PATH_CAP], id[NAME_CAP];
	diag_t unused;
	const char *grant = value_text(review, "grant");
	*out = NULL;
	if (name_parse("grant", span_str(grant), id, &unused) != KMS_OK)
		return KMS_OK;
	KMS_TRY(cli_path(path, why, "/v1/grants/%s", id));
	kms_err_t e = cli_request(c, "GET", path, NULL, out, why);
	return e == KMS_E_DENIED || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

static kms_err_t print_all(cli_t *c, const json_t *review, const json_t *events, const json_t *grant,
			   diag_t *why)
{
	SCOPED(json_freep) json_t *all = NULL;
	eventout_t out;
	if (c->json) {
		all = json_pack("{s:O, s:O, s:O?}", "review", review, "events", events, "grant", grant);
		return all != NULL ? cli_print_json(c, all, why)
				   : diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	}
	KMS_TRY(print_review(c, review, why));
	(void)fputs("\nevents\n\n", c->out);
	KMS_TRY(eventout_begin(&out, c, false, why));
	KMS_TRY(eventout_rows(&out, events, why));
	KMS_TRY(eventout_end(&out, "", why));
	if (json_array_size(events) == SHOWN_MAX)
		(void)fprintf(c->out, "(only the first %u are shown: kmsctl audit query --actor has all)\n",
			      SHOWN_MAX);
	if (grant == NULL)
		return KMS_OK;
	(void)fputs("\nunder this grant\n\n", c->out);
	return grant_print(c, grant, why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *review = NULL;
	SCOPED(json_freep) json_t *grant = NULL;
	SCOPED(json_freep) json_t *events = json_array();
	char path[CLI_PATH_CAP];
	KMS_TRY(review_path(c, "", path, why));
	KMS_TRY(cli_request(c, "GET", path, NULL, &review, why));
	concerned_t x = {.review = review, .events = events};
	KMS_TRY(find_events(c, &x, why));
	KMS_TRY(find_grant(c, review, &grant, why));
	return print_all(c, review, events, grant, why);
}

/* --- close --- */

static bool blank(const char *s)
{
	return s == NULL || s[strspn(s, " \t\r\n")] == '\0';
}

static kms_err_t check_close(const cli_t *c, diag_t *why)
{
	const char *finding = conf_text(c->conf, "finding");
	bool suspend = conf_bool(c->conf, "suspend"), revoke = conf_bool(c->conf, "revoke");
	if (finding == NULL)
		return diag_fail(why, KMS_E_INVALID, "--finding is missing: valid or invalid");
	bool valid = strcmp(finding, "valid") == 0;
	if (!valid && strcmp(finding, "invalid") != 0)
		return diag_fail(why, KMS_E_INVALID, "--finding is valid or invalid, not \"%.16s\"", finding);
	if (blank(conf_text(c->conf, "note")))
		return diag_fail(why, KMS_E_INVALID, "--note is missing: what was found, for the log");
	if (valid && (suspend || revoke || conf_bool(c->conf, "rotate")))
		return diag_fail(why, KMS_E_INVALID,
				 "--suspend, --revoke and --rotate go with --finding invalid");
	if (suspend && revoke)
		return diag_fail(why, KMS_E_INVALID, "--suspend and --revoke exclude one another");
	return KMS_OK;
}

static kms_err_t close_body(const cli_t *c, json_t **out, diag_t *why)
{
	static const char *const acts[] = {"suspend", "revoke", "rotate"};
	SCOPED(json_freep) json_t *body = NULL;
	if (json_build(&body, "{s:s, s:s}", "finding", conf_text(c->conf, "finding"), "note",
		       conf_text(c->conf, "note")) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "--note is not text");
	for (size_t i = 0; i < COUNT(acts); i++)
		if (conf_bool(c->conf, acts[i]) && json_object_set_new(body, acts[i], json_true()) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
	*out = TAKE(body);
	return KMS_OK;
}

static kms_err_t close_review(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	KMS_TRY(review_path(c, ":close", path, why));
	KMS_TRY(check_close(c, why));
	KMS_TRY(close_body(c, &body, why));
	KMS_TRY(cli_request(c, "POST", path, body, &answer, why));
	return print_review(c, answer, why);
}

/* --- which of them --- */

typedef struct verb {
	const char *name;
	size_t words;
	const char *flags; /* " state customer ": those that go with it */
	kms_err_t (*run)(cli_t *c, diag_t *why);
} verb_t;

static const verb_t verbs[] = {
	{"list", 1, " state customer limit ", list},
	{"show", 2, "", show},
	{"close", 2, " finding note suspend revoke rotate ", close_review},
};

static kms_err_t check_verb(const cli_t *c, const verb_t *v, diag_t *why)
{
	char key[24];
	if (conf_words(c->conf) != v->words)
		return diag_fail(why, KMS_E_INVALID, "kmsctl audit review %s%s", v->name,
				 v->words == 2 ? " ID: which review? kmsctl audit review list shows them"
					       : " takes no ID");
	for (size_t i = 0; i < AUDIT_REVIEW_N_FLAGS; i++) {
		(void)snprintf(key, sizeof key, " %s ", audit_review_flags[i].key);
		if (conf_is_set(c->conf, audit_review_flags[i].key) && strstr(v->flags, key) == NULL)
			return diag_fail(why, KMS_E_INVALID, "--%s does not go with audit review %s",
					 audit_review_flags[i].key, v->name);
	}
	return KMS_OK;
}

kms_err_t audit_review(cli_t *c, diag_t *why)
{
	const char *word = conf_word(c->conf, 0);
	KMS_TRY(cli_no_events(c, why));
	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strcmp(word, verbs[i].name) == 0) {
			KMS_TRY(check_verb(c, &verbs[i], why));
			return verbs[i].run(c, why);
		}
	return diag_fail(why, KMS_E_INVALID,
			 "audit review is followed by list, show ID or close ID, not \"%.40s\"", word);
}
