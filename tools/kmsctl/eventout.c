#include "tools/kmsctl/eventout.h"

#include "common/base/scope.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/csv.h"

#include <sys/ioctl.h>
#include <time.h>

/* --- cells --- */

static void status_format(const json_t *row, buf_t *out)
{
	switch (value_number(row, "event.status_id")) {
	case 1:
		buf_str(out, "success");
		return;
	case 2:
		buf_str(out, "failure");
		return;
	default: /* a number that this version does not know */
		buf_str(out, "unknown");
		return;
	}
}

static void actor_format(const json_t *row, buf_t *out)
{
	const char *name = value_text(row, "event.actor.user.name");
	if (*name != '\0')
		text_format(name, out);
	else
		buf_str(out, "(nobody)");
}

/* The sentence, or the code that tells an intent from its outcome. */
static void detail_format(const json_t *row, buf_t *out)
{
	const char *detail = value_text(row, "event.status_detail");
	const char *code = value_text(row, "event.status_code");
	if (*detail != '\0')
		text_format(detail, out);
	else if (*code != '\0' && strcmp(code, "done") != 0)
		text_format(code, out);
	else
		buf_u8(out, '-');
}

/* To the millisecond, as spreadsheets and databases read it. */
static void moment_format(const json_t *row, buf_t *out)
{
	int64_t ms = value_number(row, "event.time");
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	char text[40];
	if (ms <= 0 || gmtime_r(&s, &tm) == NULL ||
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return;
	buf_printf(out, "%s.%03dZ", text, (int)(ms % 1000));
}

static void approvals_format(const json_t *row, buf_t *out)
{
	const json_t *all = value_at(row, "event.unmapped.claviger.approvals");
	for (size_t i = 0; i < json_array_size(all); i++) {
		const char *name = json_string_value(json_array_get(all, i));
		buf_str(out, i > 0 ? ", " : "");
		text_format(name != NULL ? name : "?", out);
	}
	if (json_array_size(all) == 0)
		buf_u8(out, '-');
}

/* What a narrow terminal goes without first has the highest rank. */
static const column_t columns[] = {
	{.title = "INDEX", .path = "index"},
	{.title = "TIME", .path = "event.time", .kind = VALUE_TIME},
	{.title = "ACTOR", .format = actor_format},
	{.title = "OPERATION", .path = "event.api.operation"},
	{.title = "RESOURCE", .path = "event.resources.0.uid"},
	{.title = "STATUS", .format = status_format, .drop = 1},
	{.title = "FROM", .path = "event.src_endpoint.ip", .drop = 3},
	{.title = "DETAIL", .format = detail_format, .drop = 2},
};

#define EVENT_FIELDS                                                                                         \
	{.title = "OPERATION", .path = "event.api.operation"}, {.title = "STATUS", .format = status_format}, \
		{.title = "CODE", .path = "event.status_code"},                                              \
		{.title = "DETAIL", .path = "event.status_detail"},                                          \
		{.title = "ACTOR", .path = "event.actor.user.name"},                                         \
		{.title = "ACTOR TYPE", .path = "event.actor.user.type"},                                    \
		{.title = "DECISION", .path = "event.actor.authorizations.0.decision"},                      \
		{.title = "BY STATEMENT", .path = "event.actor.authorizations.0.policy"},                    \
		{.title = "RESOURCE", .path = "event.resources.0.uid"},                                      \
		{.title = "RESOURCE TYPE", .path = "event.resources.0.type"},                                \
		{.title = "CUSTOMER", .path = "event.metadata.tenant_uid"},                                  \
		{.title = "FROM", .path = "event.src_endpoint.ip"},                                          \
		{.title = "VIA", .path = "event.src_endpoint.intermediate_ips.0"},                           \
		{.title = "PORT", .path = "event.src_endpoint.port"},                                        \
		{.title = "REQUEST", .path = "event.api.request.uid"},                                       \
		{.title = "REASON", .path = "event.unmapped.claviger.reason"},                               \
		{.title = "TICKET", .path = "event.unmapped.claviger.ticket"},                               \
		{.title = "JUSTIFICATION", .path = "event.unmapped.claviger.justification"},                 \
		{.title = "GRANT", .path = "event.unmapped.claviger.grant"},                                 \
		{.title = "APPROVED BY", .format = approvals_format},                                        \
		{.title = "CLASS", .path = "event.class_uid"},                                               \
		{.title = "UID", .path = "event.metadata.uid"},                                              \
		{.title = "PART OF", .path = "event.metadata.correlation_uid"},                              \
		{.title = "SEQUENCE", .path = "event.metadata.sequence"},                                    \
	{                                                                                                    \
		.title = "PREVIOUS", .path = "event.unmapped.claviger.previous"                              \
	}

static const column_t details[] = {
	{.title = "INDEX", .path = "index"},
	{.title = "TIME", .path = "event.time", .kind = VALUE_TIME},
	EVENT_FIELDS,
};

static const column_t fields[] = {
	{.title = "INDEX", .path = "index"},
	{.title = "TIME", .format = moment_format},
	EVENT_FIELDS,
};

/* --- rows --- */

static size_t width_of(FILE *out)
{
	struct winsize w = {.ws_col = 0};
	if (!cli_is_terminal(out) || ioctl(fileno(out), TIOCGWINSZ, &w) != 0)
		return 0;
	return w.ws_col;
}

/* A tail does not know what is to come: its columns have room from the start. */
static void widen(table_t *t)
{
	static const size_t least[COUNT(columns)] = {6, 20, 14, 18, 22, 7, 15, 6};
	for (size_t i = 0; i < t->n; i++)
		t->widths[i] = t->widths[i] > least[i] ? t->widths[i] : least[i];
}

static bool documents(const eventout_t *o)
{
	return o->cli->format == CLI_TABLE || (o->cli->format == CLI_JSON && !o->tail);
}

static kms_err_t written(const cli_t *c, kms_err_t e, diag_t *why)
{
	if (e == KMS_E_NOMEM)
		return diag_fail(why, e, "not enough memory for the answer");
	return e == KMS_OK && ferror(c->out) == 0 ? KMS_OK
						  : diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
}

kms_err_t eventout_begin(eventout_t *o, cli_t *cli, bool tail, diag_t *why)
{
	*o = (eventout_t){.cli = cli, .tail = tail};
	if (cli->format == CLI_CSV)
		return written(cli, csv_heading(fields, COUNT(fields), cli->out), why);
	if (!documents(o))
		return KMS_OK;
	KMS_TRY(list_begin(&o->list, cli, "events", columns, COUNT(columns), why));
	o->list.table.width = width_of(cli->out);
	if (tail)
		widen(&o->list.table);
	return KMS_OK;
}

/* In the server's own order of names. */
static kms_err_t ndjson_row(cli_t *c, const json_t *row, diag_t *why)
{
	if (json_dumpf(row, c->out, JSON_COMPACT | cli_json_flags(c)) != 0 || fputc('\n', c->out) == EOF)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

static kms_err_t line(cli_t *c, const json_t *row, diag_t *why)
{
	if (c->format == CLI_CSV)
		return written(c, csv_row(fields, COUNT(fields), row, c->out), why);
	return ndjson_row(c, row, why);
}

kms_err_t eventout_rows(void *out, const json_t *rows, diag_t *why)
{
	eventout_t *o = out;
	if (documents(o))
		KMS_TRY(list_rows(&o->list, rows, why));
	else
		for (size_t i = 0; i < json_array_size(rows); i++)
			KMS_TRY(line(o->cli, json_array_get(rows, i), why));
	if (o->tail && fflush(o->cli->out) != 0)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

kms_err_t eventout_end(eventout_t *o, const char *cursor, diag_t *why)
{
	if (documents(o))
		return list_end(&o->list, cursor, why);
	if (*cursor != '\0' && !o->tail)
		(void)fprintf(o->cli->err,
			      "(there are more events than were asked for: --cursor %s goes on)\n", cursor);
	return KMS_OK;
}

kms_err_t eventout_one(cli_t *c, const json_t *row, diag_t *why)
{
	switch (c->format) {
	case CLI_TABLE:
	case CLI_JSON:
		return cli_print_record(c, details, COUNT(details), row, why);
	case CLI_CSV:
		KMS_TRY(written(c, csv_heading(fields, COUNT(fields), c->out), why));
		return line(c, row, why);
	case CLI_NDJSON:
		return line(c, row, why);
	}
	return KMS_E_INVALID;
}
