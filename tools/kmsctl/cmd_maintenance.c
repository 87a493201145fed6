#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/event.h"
#include "tools/kmsctl/list.h"
#include "tools/kmsctl/watch.h"

static const column_t columns[] = {
	{.title = "EVENT", .path = "id"},
	{.title = "CUSTOMER", .path = "customer"},
	{.title = "SERVICE", .path = "service"},
	{.title = "ACTION", .path = "action"},
	{.title = "STATE", .path = "state"},
	{.title = "OPENED", .path = "opened_ms", .kind = VALUE_TIME},
	{.title = "UNTIL", .path = "until_ms", .kind = VALUE_TIME},
	{.title = "TODO", .path = "counts.todo"},
	{.title = "RUNNING", .path = "counts.running"},
	{.title = "DONE", .path = "counts.done"},
	{.title = "FAILED", .path = "counts.failed"},
	{.title = "SKIPPED", .path = "counts.skipped", .drop = 1},
};

static const conf_setting_t watch_flags[] = {
	{.key = "timeout",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "DUR",
	 .help = "look no longer than this (no end)"},
};

static kms_err_t event_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	char id[NAME_CAP];
	KMS_TRY(name_parse("maintenance event", span_str(conf_word(c->conf, 0)), id, why));
	return cli_path(out, why, "/v1/maintenance/%s%s", id, act);
}

static kms_err_t create(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	KMS_TRY(cli_no_events(c, why));
	KMS_TRY(event_body(c->conf, clock_now(&c->clock), &body, why));
	KMS_TRY(cli_request(c, "POST", "/v1/maintenance", body, &answer, why));
	return event_print(c, answer, why);
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	KMS_TRY(cli_no_events(c, why));
	return list_print(c, "/v1/maintenance", columns, COUNT(columns), why);
}

static kms_err_t act(cli_t *c, const char *method, const char *verb, diag_t *why)
{
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP];
	KMS_TRY(cli_no_events(c, why));
	KMS_TRY(event_path(c, verb, path, why));
	KMS_TRY(cli_request(c, method, path, NULL, &answer, why));
	return event_print(c, answer, why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	return act(c, "GET", "", why);
}

static kms_err_t open_event(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":open", why);
}

static kms_err_t close_event(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":close", why);
}

static kms_err_t halt(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":halt", why);
}

static kms_err_t pause_event(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":pause", why);
}

static kms_err_t abort_event(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":abort", why);
}

static kms_err_t watch(cli_t *c, diag_t *why)
{
	char id[NAME_CAP];
	int64_t timeout = 0;
	KMS_TRY(name_parse("maintenance event", span_str(conf_word(c->conf, 0)), id, why));
	KMS_TRY(event_timeout(c->conf, &timeout, why));
	return watch_event(c, id, timeout, why);
}

static const command_t commands[] = {
	{"create", "", "open an event that rotates secrets", 0, 0, event_flags, EVENT_N_FLAGS, create},
	{"list", "", "all events", 0, 0, list_flags, 1, list},
	{"show", "ID", "one event and its volumes", 1, 1, NULL, 0, show},
	{"open", "ID", "begin it now, or go on after a pause, a halt or a gate", 1, 1, NULL, 0, open_event},
	{"pause", "ID", "begin nothing more for now", 1, 1, NULL, 0, pause_event},
	{"close", "ID", "end an event; what was not begun stays undone", 1, 1, NULL, 0, close_event},
	{"abort", "ID", "give it up: the same, and it is shown as aborted", 1, 1, NULL, 0, abort_event},
	{"halt", "ID", "begin nothing more until it is opened again", 1, 1, NULL, 0, halt},
	{"watch", "ID", "follow an event to its end", 1, 1, watch_flags, COUNT(watch_flags), watch},
};
const noun_t noun_maintenance = {"maintenance", "events that rotate secrets over a fleet", commands,
				 COUNT(commands)};
