/* The report for people: the same parts as text and as HTML. */
#include "tools/kmsctl/report.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"

#include <inttypes.h>

/* --- cells --- */

static void times_format(const json_t *row, buf_t *out)
{
	int64_t n = value_number(row, "times");
	value_format(value_at(row, "time_ms"), VALUE_TIME, out);
	if (n > 1)
		buf_printf(out, " (%" PRId64 " times, to event %" PRId64 ")", n,
			   value_number(row, "last_index"));
}

static void who_format(const json_t *row, buf_t *out)
{
	const char *name = value_text(row, "actor"), *ip = value_text(row, "ip");
	text_format(name[0] != '\0' ? name : "(nobody)", out);
	if (ip[0] == '\0')
		return;
	buf_str(out, " from ");
	text_format(ip, out);
}

static void result_format(const json_t *row, buf_t *out)
{
	const char *detail = value_text(row, "detail"), *outcome = value_text(row, "outcome.code");
	text_format(outcome[0] != '\0' ? outcome : value_text(row, "code"), out);
	if (detail[0] == '\0')
		return;
	buf_str(out, ": ");
	text_format(detail, out);
}

/* "incident, OPS-7: in words" */
static void why_format(const json_t *row, buf_t *out)
{
	const char *reason = value_text(row, "reason"), *ticket = value_text(row, "ticket");
	const char *text = value_text(row, "justification");
	bool code = reason[0] != '\0' || ticket[0] != '\0';
	text_format(reason, out);
	buf_str(out, reason[0] != '\0' && ticket[0] != '\0' ? ", " : "");
	text_format(ticket, out);
	buf_str(out, code && text[0] != '\0' ? ": " : "");
	text_format(text[0] != '\0' || code ? text : "-", out);
}

static void review_format(const json_t *row, buf_t *out)
{
	const char *id = value_text(row, "review"), *by = value_text(row, "reviewed_by");
	if (id[0] == '\0') {
		buf_u8(out, '-');
		return;
	}
	if (by[0] == '\0') {
		buf_str(out, "open: ");
		text_format(id, out);
		return;
	}
	text_format(value_text(row, "finding"), out);
	buf_str(out, " by ");
	text_format(by, out);
}

static void use_format(const json_t *row, buf_t *out)
{
	int64_t uses = value_number(row, "uses");
	const char *ended = value_text(row, "ended");
	buf_printf(out, "%" PRId64 "%s%s", uses, uses == 0 ? " (UNUSED)" : "", ended[0] != '\0' ? ", " : "");
	text_format(ended, out);
}

static void state_format(const json_t *row, buf_t *out)
{
	bool overdue = json_is_true(json_object_get(row, "overdue"));
	text_format(overdue ? "OVERDUE" : value_text(row, "state"), out);
}

static void secrets_format(const json_t *row, buf_t *out)
{
	const char *state;
	json_t *n;
	bool first = true;
	json_t *secrets = json_object_get(row, "secrets");
	json_object_foreach(secrets, state, n)
	{
		buf_printf(out, "%s%" JSON_INTEGER_FORMAT " ", first ? "" : ", ", json_integer_value(n));
		text_format(state, out);
		first = false;
	}
	buf_str(out, first ? "-" : "");
}

static void rotated_format(const json_t *row, buf_t *out)
{
	value_format(value_at(row, "rotated_ms"), VALUE_TIME, out);
	if (json_is_true(json_object_get(row, "rotation_overdue")))
		buf_str(out, " OVERDUE");
}

static void certified_format(const json_t *row, buf_t *out)
{
	value_format(value_at(row, "recertified_ms"), VALUE_TIME, out);
	if (json_is_true(json_object_get(row, "recertification_overdue")))
		buf_str(out, " OVERDUE");
}

/* --- parts --- */

static const column_t access_columns[] = {
	{.title = "EVENT", .path = "index"},
	{.title = "WHEN", .format = times_format},
	{.title = "WHO", .format = who_format},
	{.title = "DID", .path = "operation"},
	{.title = "ON", .path = "resource"},
	{.title = "RESULT", .format = result_format},
	{.title = "WHY", .format = why_format},
	{.title = "APPROVED BY", .path = "approvals", .kind = VALUE_NAMES},
	{.title = "REVIEWED", .format = review_format},
};
static const column_t grant_report_columns[] = {
	{.title = "GRANT", .path = "grant"},
	{.title = "ASKED BY", .path = "requester"},
	{.title = "AT", .path = "requested_ms", .kind = VALUE_TIME},
	{.title = "APPROVED BY", .path = "approved_by", .kind = VALUE_NAMES},
	{.title = "USES", .format = use_format},
	{.title = "WHY", .format = why_format},
};
static const column_t review_columns[] = {
	{.title = "REVIEW", .path = "id"},
	{.title = "KIND", .path = "kind"},
	{.title = "STATE", .format = state_format},
	{.title = "WHO", .path = "actor"},
	{.title = "DID", .path = "action"},
	{.title = "ON", .path = "resource"},
	{.title = "TIMES", .path = "count"},
	{.title = "DEADLINE", .path = "deadline_ms", .kind = VALUE_TIME},
	{.title = "REVIEWER", .path = "reviewer"},
	{.title = "FINDING", .path = "finding"},
	{.title = "NOTE", .path = "note"},
};
static const column_t volume_columns[] = {
	{.title = "VOLUME", .path = "volume"},
	{.title = "NODE", .path = "node"},
	{.title = "STATE", .path = "state"},
	{.title = "SECRETS", .format = secrets_format},
	{.title = "ROTATED", .format = rotated_format},
	{.title = "LAST RELEASED", .path = "last_released_ms", .kind = VALUE_TIME},
};
static const column_t people_columns[] = {
	{.title = "OPERATOR", .path = "operator"},
	{.title = "ROLE", .path = "role"},
	{.title = "STATE", .path = "state"},
	{.title = "RECERTIFIED", .format = certified_format},
};
static const column_t count_columns[] = {
	{.title = "OPERATION", .path = "operation"},
	{.title = "STATUS", .path = "status"},
	{.title = "BY", .path = "by"},
	{.title = "TIMES", .path = "times"},
};

typedef struct part {
	const char *title, *says, *key;
	const column_t *columns;
	size_t n;
} part_t;

static const part_t parts[] = {
	{"Overdue", "Reviews past their deadline.", "overdue.reviews", review_columns, COUNT(review_columns)},
	{"Rotations overdue", "Volumes whose secret is older than the limit.", "overdue.rotations",
	 volume_columns, COUNT(volume_columns)},
	{"Recertifications overdue", "People whose access nobody has confirmed in time.",
	 "overdue.recertifications", people_columns, COUNT(people_columns)},
	{"Accesses",
	 "What people did, what was refused, and what happened under grants, to reviews and to keys.",
	 "accesses", access_columns, COUNT(access_columns)},
	{"Grants", "Approved leave to act, by its events in the period.", "grants", grant_report_columns,
	 COUNT(grant_report_columns)},
	{"Reviews", "Of the period, and older ones that are open.", "reviews", review_columns,
	 COUNT(review_columns)},
	{"Keys", "The customer's volumes as they are now, with their secrets by state.", "volumes",
	 volume_columns, COUNT(volume_columns)},
	{"People", "Operators who acted for this customer in the period.", "people", people_columns,
	 COUNT(people_columns)},
	{"Counts", "Everything in the period, by operation and status.", "counts", count_columns,
	 COUNT(count_columns)},
};

static const char hidden_says[] = "Not shown: whoever made this report may not see it.";

/* --- the head --- */

typedef struct head {
	char from[TIME_TEXT_CAP], to[TIME_TEXT_CAP], made[TIME_TEXT_CAP];
	buf_t chain, range;
	const char *chain_text, *range_text;
} head_t;

static void head_free(head_t *h)
{
	buf_free(&h->chain);
	buf_free(&h->range);
}

static void chain_says(const json_t *doc, buf_t *out)
{
	if (!json_is_true(value_at(doc, "log.complete")))
		buf_str(out, "NOT COMPLETE: the customer's events do not follow one another without gaps.");
	else if (value_number(doc, "log.events") == 0)
		buf_str(out, "The customer has no events in this period.");
	else
		buf_str(out, "Each event is the log's, and none is missing between the first and the last.");
	if (!json_is_true(value_at(doc, "log.end_proved")))
		buf_str(out, " No later event proves yet that the last one is the last.");
	if (!json_is_true(value_at(doc, "log.key_given")))
		buf_str(out, " The verifier key is what the server said: compare it with the one that you "
			     "were given (--key).");
	if (value_number(doc, "log.unnamed") > 0)
		buf_printf(out, " %lld more events are in the counts only: take a shorter period.",
			   (long long)value_number(doc, "log.unnamed"));
}

static kms_err_t head_of(const json_t *doc, head_t *h)
{
	time_text(value_number(doc, "from_ms"), h->from);
	time_text(value_number(doc, "to_ms"), h->to);
	time_text(value_number(doc, "made_ms"), h->made);
	chain_says(doc, &h->chain);
	if (value_number(doc, "log.events") > 0)
		buf_printf(&h->range, "%lld events, index %lld to %lld, of a log of %lld",
			   (long long)value_number(doc, "log.events"),
			   (long long)value_number(doc, "log.first_index"),
			   (long long)value_number(doc, "log.last_index"),
			   (long long)value_number(doc, "log.size"));
	else
		buf_printf(&h->range, "no events, in a log of %lld",
			   (long long)value_number(doc, "log.size"));
	KMS_TRY(buf_cstr(&h->chain, &h->chain_text));
	return buf_cstr(&h->range, &h->range_text);
}

static kms_err_t done(kms_err_t e, FILE *out, diag_t *why)
{
	if (e == KMS_E_NOMEM)
		return diag_fail(why, e, "not enough memory for the report");
	return e == KMS_OK && ferror(out) == 0 ? KMS_OK
					       : diag_fail(why, KMS_E_IO, "cannot write the report: %m");
}

/* --- as text --- */

static void text_line(FILE *out, const char *name, const char *value)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *text = "";
	text_format(value, &b);
	if (buf_cstr(&b, &text) == KMS_OK)
		(void)fprintf(out, "%-10s %s\n", name, text);
}

static kms_err_t text_head(const json_t *doc, FILE *out)
{
	SCOPED(head_free) head_t h = {.chain = BUF_INIT, .range = BUF_INIT};
	const json_t *gaps = value_at(doc, "log.gaps");
	KMS_TRY(head_of(doc, &h));
	(void)fprintf(out, "ACCESS REPORT\n\n");
	text_line(out, "customer", value_text(doc, "customer"));
	(void)fprintf(out, "period     %s to %s\nmade       %s\n", h.from, h.to, h.made);
	text_line(out, "log", value_text(doc, "log.origin"));
	text_line(out, "key", value_text(doc, "log.vkey"));
	(void)fprintf(out, "events     %s\n\n%s\n", h.range_text, h.chain_text);
	for (size_t i = 0; i < json_array_size(gaps); i++)
		text_line(out, "GAP", json_string_value(json_array_get(gaps, i)));
	return KMS_OK;
}

static kms_err_t text_part(const json_t *doc, const part_t *p, FILE *out)
{
	const json_t *rows = value_at(doc, p->key);
	table_t t;
	(void)fprintf(out, "\n%s (%zu)\n%s\n\n", p->title, json_array_size(rows), p->says);
	if (!json_is_array(rows)) {
		(void)fprintf(out, "%s\n", hidden_says);
		return KMS_OK;
	}
	if (json_array_size(rows) == 0) {
		(void)fprintf(out, "None.\n");
		return KMS_OK;
	}
	table_init(&t, p->columns, p->n, out);
	KMS_TRY(table_rows(&t, rows));
	table_end(&t);
	return KMS_OK;
}

kms_err_t report_write_text(const json_t *doc, FILE *out, diag_t *why)
{
	kms_err_t e = text_head(doc, out);
	for (size_t i = 0; i < COUNT(parts) && e == KMS_OK; i++)
		e = text_part(doc, &parts[i], out);
	return done(e, out, why);
}

/* --- as HTML --- */

static const char html_begin[] =
	"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
	"'unsafe-inline'\">\n"
	"<title>Access report</title>\n<style>\n"
	"body{font:15px/1.5 "
	"sans-serif;margin:2em;color:#222}h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}\n"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3em "
	".6em;"
	"border-bottom:1px solid #ccc;overflow-wrap:anywhere}th{font-size:.8em}\n"
	".bad{color:#a00;font-weight:bold}.says{color:#555}\n</style>\n</head>\n<body>\n<h1>Access "
	"report</h1>\n";

/* The five characters that mean something in HTML. */
static void html_text(const char *s, FILE *out)
{
	for (; *s != '\0'; s++) {
		switch (*s) {
		case '&':
			(void)fputs("&amp;", out);
			break;
		case '<':
			(void)fputs("&lt;", out);
			break;
		case '>':
			(void)fputs("&gt;", out);
			break;
		case '"':
			(void)fputs("&quot;", out);
			break;
		case '\'':
			(void)fputs("&#39;", out);
			break;
		default:
			(void)fputc(*s, out);
			break;
		}
	}
}

static void html_row(FILE *out, const char *name, const char *value)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *text = "";
	text_format(value, &b);
	if (buf_cstr(&b, &text) != KMS_OK)
		text = "";
	(void)fprintf(out, "<tr><th>%s</th><td>", name);
	html_text(text, out);
	(void)fputs("</td></tr>\n", out);
}

static kms_err_t html_head(const json_t *doc, FILE *out)
{
	SCOPED(head_free) head_t h = {.chain = BUF_INIT, .range = BUF_INIT};
	const json_t *gaps = value_at(doc, "log.gaps");
	char period[2 * TIME_TEXT_CAP + 8];
	KMS_TRY(head_of(doc, &h));
	(void)snprintf(period, sizeof period, "%s to %s", h.from, h.to);
	(void)fputs(html_begin, out);
	(void)fputs("<table>\n", out);
	html_row(out, "Customer", value_text(doc, "customer"));
	html_row(out, "Period", period);
	html_row(out, "Made", h.made);
	html_row(out, "Log", value_text(doc, "log.origin"));
	html_row(out, "Key", value_text(doc, "log.vkey"));
	html_row(out, "Events", h.range_text);
	(void)fprintf(out, "</table>\n<p%s>", json_array_size(gaps) > 0 ? " class=\"bad\"" : "");
	html_text(h.chain_text, out);
	(void)fputs("</p>\n", out);
	for (size_t i = 0; i < json_array_size(gaps); i++) {
		(void)fputs("<p class=\"bad\">GAP ", out);
		html_text(json_string_value(json_array_get(gaps, i)), out);
		(void)fputs("</p>\n", out);
	}
	return KMS_OK;
}

static kms_err_t html_cells(const part_t *p, const json_t *row, FILE *out)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	(void)fputs("<tr>", out);
	for (size_t i = 0; i < p->n; i++) {
		const char *text = NULL;
		KMS_TRY(column_text(&p->columns[i], row, &b, &text));
		(void)fputs("<td>", out);
		html_text(text, out);
		(void)fputs("</td>", out);
	}
	(void)fputs("</tr>\n", out);
	return KMS_OK;
}

static kms_err_t html_part(const json_t *doc, const part_t *p, FILE *out)
{
	const json_t *rows = value_at(doc, p->key);
	(void)fprintf(out, "<h2>%s (%zu)</h2>\n<p class=\"says\">%s</p>\n", p->title, json_array_size(rows),
		      p->says);
	if (json_array_size(rows) == 0) {
		(void)fprintf(out, "<p>%s</p>\n", json_is_array(rows) ? "None." : hidden_says);
		return KMS_OK;
	}
	(void)fputs("<table>\n<tr>", out);
	for (size_t i = 0; i < p->n; i++)
		(void)fprintf(out, "<th>%s</th>", p->columns[i].title);
	(void)fputs("</tr>\n", out);
	for (size_t i = 0; i < json_array_size(rows); i++)
		KMS_TRY(html_cells(p, json_array_get(rows, i), out));
	(void)fputs("</table>\n", out);
	return KMS_OK;
}

kms_err_t report_write_html(const json_t *doc, FILE *out, diag_t *why)
{
	kms_err_t e = html_head(doc, out);
	for (size_t i = 0; i < COUNT(parts) && e == KMS_OK; i++)
		e = html_part(doc, &parts[i], out);
	(void)fputs("</body>\n</html>\n", out);
	return done(e, out, why);
}
