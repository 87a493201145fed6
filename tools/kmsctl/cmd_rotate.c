#include "common/base/scope.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/event.h"
#include "tools/kmsctl/watch.h"

static const conf_setting_t flags[] = {
	EVENT_FLAG_ROWS,
	{.key = "wait", .type = CONF_BOOL, .help = "follow it to its end; exit 0 only if all were rotated"},
	{.key = "timeout",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "DUR",
	 .help = "with --wait: no longer than this"},
	{.key = "dry-run", .type = CONF_BOOL, .help = "only show what would be done, and what cannot be"},
};

static void will_format(const json_t *row, buf_t *out)
{
	const char *will = value_text(row, "will");
	text_format(strcmp(will, "skip") == 0 ? "nothing" : will, out);
}

static void wave_format(const json_t *row, buf_t *out)
{
	if (value_number(row, "wave") > 0)
		value_format(value_at(row, "wave"), VALUE_PLAIN, out);
	else
		buf_u8(out, '-');
}

static const column_t plan_columns[] = {
	{.title = "VOLUME", .path = "volume"},    {.title = "NODE", .path = "node"},
	{.title = "WAVE", .format = wave_format}, {.title = "WOULD", .format = will_format},
	{.title = "REASON", .path = "reason"},
};

static kms_err_t print_plan(cli_t *c, const json_t *plan, diag_t *why)
{
	const json_t *volumes = value_at(plan, "volumes");
	table_t t;
	size_t n = json_array_size(volumes), doable = 0;
	for (size_t i = 0; i < n; i++)
		doable += strcmp(value_text(json_array_get(volumes, i), "will"), "skip") != 0 ? 1U : 0U;
	table_init(&t, plan_columns, COUNT(plan_columns), c->out);
	if (n > 0 && table_rows(&t, volumes) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	table_end(&t);
	(void)fprintf(c->err, "%zu of %zu volumes in %lld waves; nothing was done\n", doable, n,
		      (long long)value_number(plan, "waves"));
	return KMS_OK;
}

static kms_err_t dry_run(cli_t *c, const json_t *body, diag_t *why)
{
	SCOPED(json_freep) json_t *plan = NULL;
	KMS_TRY(cli_request(c, "POST", "/v1/maintenance:plan", body, &plan, why));
	return c->json ? cli_print_json(c, plan, why) : print_plan(c, plan, why);
}

/* Whoever had a secret and a copy of the header has the volume key: a new secret does not take it away. */
static void hint(const cli_t *c)
{
	if (conf_bool(c->conf, "compromised") && !conf_bool(c->conf, "reencrypt"))
		(void)fprintf(
			c->err,
			"the volume keys stay the same: who had a secret and a copy of the header can still "
			"read the data; add --reencrypt\n");
}

static kms_err_t rotate(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *event = NULL;
	char id[NAME_CAP];
	int64_t timeout = 0;
	bool wait = conf_bool(c->conf, "wait");
	if (!wait && conf_is_set(c->conf, "timeout"))
		return diag_fail(why, KMS_E_INVALID, "--timeout needs --wait");
	KMS_TRY(event_timeout(c->conf, &timeout, why));
	KMS_TRY(event_body(c->conf, clock_now(&c->clock), &body, why));
	if (wait && conf_bool(c->conf, "dry-run"))
		return diag_fail(why, KMS_E_INVALID, "--dry-run and --wait exclude each other");
	KMS_TRY(wait ? watch_format(c, why) : cli_no_events(c, why));
	hint(c);
	if (conf_bool(c->conf, "dry-run"))
		return dry_run(c, body, why);
	KMS_TRY(cli_request(c, "POST", "/v1/maintenance", body, &event, why));
	/* the identifier goes into a path: it is held to the rule though the server sent it */
	KMS_TRY(name_parse("maintenance event", span_str(value_text(event, "id")), id, why));
	if (wait) {
		(void)fprintf(c->err, "maintenance event %s is %s\n", id, value_text(event, "state"));
		return watch_event(c, id, timeout, why);
	}
	KMS_TRY(event_print(c, event, why));
	if (cli_is_terminal(c->err))
		(void)fprintf(c->err, "Follow it with: kmsctl maintenance watch %s\n", id);
	return KMS_OK;
}

static const command_t commands[] = {
	{NULL, "--customer C", "rotate the secrets of a customer's volumes, by its nodes' agents", 0, 0,
	 flags, COUNT(flags), rotate},
};
const noun_t noun_rotate = {"rotate", "new secrets for a customer's or a service's volumes", commands,
			    COUNT(commands)};
