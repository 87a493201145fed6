#include "tools/kmsctl/grant.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"

/* --- cells --- */

static void what_format(const json_t *row, buf_t *out)
{
	const json_t *nodes = value_at(row, "nodes");
	text_format(value_text(row, "action"), out);
	buf_u8(out, ' ');
	text_format(value_text(row, "resource"), out);
	if (json_array_size(nodes) > 0) {
		buf_str(out, " nodes ");
		value_format(nodes, VALUE_NAMES, out);
	}
}

static void who_of(const json_t *list, buf_t *out)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		buf_str(out, i > 0 ? ", " : "");
		text_format(value_text(json_array_get(list, i), "name"), out);
	}
	if (json_array_size(list) == 0)
		buf_u8(out, '-');
}

static void approvals_format(const json_t *row, buf_t *out)
{
	who_of(value_at(row, "approvals"), out);
}

/* What is still missing, for whoever wonders whom to call. */
static void needs_format(const json_t *row, buf_t *out)
{
	const json_t *needs = value_at(row, "needs");
	for (size_t i = 0; i < json_array_size(needs); i++) {
		const json_t *need = json_array_get(needs, i);
		buf_printf(out, "%s%lld of ", i > 0 ? "; " : "", (long long)value_number(need, "count"));
		value_format(value_at(need, "eligible"), VALUE_NAMES, out);
		buf_str(out, " (");
		text_format(value_text(need, "from"), out);
		buf_str(out, ", asked by ");
		text_format(value_text(need, "statement"), out);
		buf_u8(out, ')');
	}
	if (json_array_size(needs) == 0)
		buf_u8(out, '-');
}

static void uses_format(const json_t *row, buf_t *out)
{
	buf_printf(out, "%lld of %lld left", (long long)value_number(row, "uses_left"),
		   (long long)value_number(row, "uses"));
}

/* The moment that matters next: until when it can be decided on, or used, or when it ended. */
static void until_format(const json_t *row, buf_t *out)
{
	const char *state = value_text(row, "state");
	const char *path = strcmp(state, "pending") == 0    ? "decide_by_ms"
			   : strcmp(state, "approved") == 0 ? "until_ms"
							    : "ended_ms";
	value_format(value_at(row, path), VALUE_TIME, out);
}

static void kind_format(const json_t *row, buf_t *out)
{
	bool loud = json_is_true(value_at(row, "break_glass"));
	bool node = json_is_true(value_at(row, "by_node"));
	buf_str(out, loud ? "BREAK-GLASS" : node ? "a node that waits" : "ordinary");
}

const column_t grant_columns[] = {
	{.title = "GRANT", .path = "id"},
	{.title = "STATE", .path = "state"},
	{.title = "KIND", .format = kind_format, .drop = 4},
	{.title = "BY", .path = "requester"},
	{.title = "WHAT", .format = what_format},
	{.title = "REASON", .path = "reason"},
	{.title = "TICKET", .path = "ticket", .drop = 1},
	{.title = "APPROVED BY", .format = approvals_format, .drop = 2},
	{.title = "USES", .format = uses_format, .drop = 3},
	{.title = "UNTIL", .format = until_format},
};
const size_t grant_n_columns = COUNT(grant_columns);

static const column_t record[] = {
	{.title = "GRANT", .path = "id"},
	{.title = "STATE", .path = "state"},
	{.title = "KIND", .format = kind_format},
	{.title = "REQUESTED BY", .path = "requester"},
	{.title = "FROM", .path = "requester_ip"},
	{.title = "WHAT", .format = what_format},
	{.title = "REASON", .path = "reason"},
	{.title = "TICKET", .path = "ticket"},
	{.title = "JUSTIFICATION", .path = "justification"},
	{.title = "MAINTENANCE", .path = "maintenance"},
	{.title = "SECONDS", .path = "for_s"},
	{.title = "USES", .format = uses_format},
	{.title = "NEEDS", .format = needs_format},
	{.title = "APPROVED BY", .format = approvals_format},
	{.title = "REQUESTED", .path = "created_ms", .kind = VALUE_TIME},
	{.title = "UNTIL", .format = until_format},
	{.title = "ENDED BY", .path = "ended_by"},
	{.title = "NOTE", .path = "note"},
	{.title = "DIGEST", .path = "digest"},
};

/* --- as a whole --- */

/* What the act will send, in full: it is what is approved. */
static kms_err_t print_body(cli_t *c, const json_t *body, diag_t *why)
{
	if (!json_is_object(body))
		return KMS_OK;
	(void)fputs("it will send:\n", c->out);
	return cli_print_json(c, body, why);
}

kms_err_t grant_print(cli_t *c, const json_t *grant, diag_t *why)
{
	if (c->json)
		return cli_print_json(c, grant, why);
	KMS_TRY(cli_print_record(c, record, COUNT(record), grant, why));
	return print_body(c, value_at(grant, "body"), why);
}

kms_err_t grant_ask(cli_t *c, const json_t *body, diag_t *why)
{
	SCOPED(json_freep) json_t *answer = NULL;
	char id[NAME_CAP];
	KMS_TRY(cli_request_now(c, "POST", "/v1/grants", body, &answer, why));
	KMS_TRY(grant_print(c, answer, why));
	KMS_TRY(name_parse("grant", span_str(value_text(answer, "id")), id, why));
	if (cli_is_terminal(c->err))
		(void)fprintf(c->err,
			      "Somebody else approves it with: kmsctl grant approve %s\n"
			      "Then do the act with: --grant %s\n",
			      id, id);
	return KMS_OK;
}
