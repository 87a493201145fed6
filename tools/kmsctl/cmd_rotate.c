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
	{.key = "reencrypt",
	 .type = CONF_BOOL,
	 .help = "new volume keys too: all data are written anew, in place"},
};

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
	KMS_TRY(event_body(c->conf, &body, why));
	if (conf_bool(c->conf, "reencrypt") &&
	    json_object_set_new(body, "action", json_string("reencrypt")) != 0)
		return diag_fail(why, KMS_E_NOMEM, "out of memory");
	KMS_TRY(cli_request(c, "POST", "/v1/maintenance", body, &event, why));
	/* the identifier goes into a path: it is held to the rule though the server sent it */
	KMS_TRY(name_parse("maintenance event", span_str(value_text(event, "id")), id, why));
	if (wait) {
		(void)fprintf(c->err, "maintenance event %s is open\n", id);
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
