#include "tools/kmsctl/cmd_audit.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/list.h"

#define DEFAULT_ROWS 100U

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

static const column_t columns[] = {
	{.title = "INDEX", .path = "index"},
	{.title = "TIME", .path = "event.time", .kind = VALUE_TIME},
	{.title = "ACTOR", .format = actor_format},
	{.title = "OPERATION", .path = "event.api.operation"},
	{.title = "RESOURCE", .path = "event.resources.0.uid"},
	{.title = "STATUS", .format = status_format},
	{.title = "FROM", .path = "event.src_endpoint.ip"},
	{.title = "DETAIL", .format = detail_format},
};

static const column_t details[] = {
	{.title = "INDEX", .path = "index"},
	{.title = "TIME", .path = "event.time", .kind = VALUE_TIME},
	{.title = "OPERATION", .path = "event.api.operation"},
	{.title = "STATUS", .format = status_format},
	{.title = "CODE", .path = "event.status_code"},
	{.title = "DETAIL", .path = "event.status_detail"},
	{.title = "ACTOR", .format = actor_format},
	{.title = "ACTOR TYPE", .path = "event.actor.user.type"},
	{.title = "DECISION", .path = "event.actor.authorizations.0.decision"},
	{.title = "BY STATEMENT", .path = "event.actor.authorizations.0.policy"},
	{.title = "RESOURCE", .path = "event.resources.0.uid"},
	{.title = "RESOURCE TYPE", .path = "event.resources.0.type"},
	{.title = "CUSTOMER", .path = "event.resources.0.namespace"},
	{.title = "FROM", .path = "event.src_endpoint.ip"},
	{.title = "PORT", .path = "event.src_endpoint.port"},
	{.title = "REQUEST", .path = "event.api.request.uid"},
	{.title = "TICKET", .path = "event.unmapped.claviger.ticket"},
	{.title = "CLASS", .path = "event.class_uid"},
	{.title = "UID", .path = "event.metadata.uid"},
	{.title = "SEQUENCE", .path = "event.metadata.sequence"},
};

static const conf_setting_t query_flags[] = {
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "of this customer"},
	{.key = "service", .type = CONF_TEXT, .max = 127, .arg = "[C/]S", .help = "of this service"},
	{.key = "volume", .type = CONF_TEXT, .max = 191, .arg = "[C/S/]V", .help = "on this volume"},
	{.key = "node", .type = CONF_TEXT, .max = 191, .arg = "[C/S/]N", .help = "on or by this node"},
	{.key = "actor", .type = CONF_TEXT, .max = 255, .arg = "NAME", .help = "by this operator or node"},
	{.key = "operation", .type = CONF_TEXT, .max = 63, .arg = "OP", .help = "such as key.release"},
	{.key = "status", .type = CONF_TEXT, .max = 16, .arg = "STATUS", .help = "success or failure"},
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
	 .dflt = "desc",
	 .help = "desc (newest first) or asc"},
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

static kms_err_t one_of(const cli_t *c, const char *key, const char *a, const char *b, diag_t *why)
{
	const char *v = conf_text(c->conf, key);
	if (v == NULL || strcmp(v, a) == 0 || strcmp(v, b) == 0)
		return KMS_OK;
	return diag_fail(why, KMS_E_INVALID, "--%s is %s or %s, not \"%.20s\"", key, a, b, v);
}

/* Customer and service as the server knows them: two names. `--service C/S` says both. */
typedef struct where {
	char customer[NAME_CAP];
	char service[NAME_CAP];
} where_t;

static kms_err_t read_where(const cli_t *c, where_t *out, diag_t *why)
{
	const char *customer = conf_text(c->conf, "customer");
	const char *service = conf_text(c->conf, "service");
	path3_t p = {0};
	if (customer != NULL)
		KMS_TRY(name_parse("customer", span_str(customer), out->customer, why));
	if (service == NULL)
		return KMS_OK;
	if (strchr(service, '/') == NULL)
		return name_parse("service", span_str(service), out->service, why);
	KMS_TRY(arg_path2(service, &p, why));
	if (customer != NULL && strcmp(customer, p.customer) != 0)
		return diag_fail(why, KMS_E_INVALID, "--service %s is not of --customer %s", service,
				 customer);
	memcpy(out->customer, p.customer, sizeof out->customer);
	memcpy(out->service, p.service, sizeof out->service);
	return KMS_OK;
}

/* A volume or node by its path, or by its last name where customer and service are given too: a name alone
 * could be another customer's. */
static kms_err_t add_leaf(const cli_t *c, const char *key, const where_t *at, buf_t *q, diag_t *why)
{
	const char *text = conf_text(c->conf, key);
	path3_t p = {0};
	char path[PATH3_CAP];
	if (text == NULL)
		return KMS_OK;
	if (strchr(text, '/') != NULL) {
		KMS_TRY(path3_parse(key, span_str(text), &p, why));
	} else if (at->customer[0] != '\0' && at->service[0] != '\0') {
		KMS_TRY(name_parse(key, span_str(text), p.name, why));
		memcpy(p.customer, at->customer, sizeof p.customer);
		memcpy(p.service, at->service, sizeof p.service);
	} else {
		return diag_fail(
			why, KMS_E_INVALID,
			"--%s is written CUSTOMER/SERVICE/NAME, or give --customer and --service too", key);
	}
	path3_format(&p, path);
	query_add(q, key, path);
	return KMS_OK;
}

static kms_err_t check_flags(const cli_t *c, diag_t *why)
{
	KMS_TRY(one_of(c, "status", "success", "failure", why));
	KMS_TRY(one_of(c, "order", "asc", "desc", why));
	if (conf_bool(c->conf, "all") && conf_is_set(c->conf, "limit"))
		return diag_fail(why, KMS_E_INVALID, "--all and --limit exclude one another");
	return KMS_OK;
}

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

static kms_err_t build_query(cli_t *c, buf_t *q, const char **out, diag_t *why)
{
	static const char *const keys[] = {"actor", "operation", "status"};
	where_t at = {0};
	KMS_TRY(read_where(c, &at, why));
	KMS_TRY(check_flags(c, why));
	query_add(q, "customer", at.customer[0] != '\0' ? at.customer : NULL);
	query_add(q, "service", at.service[0] != '\0' ? at.service : NULL);
	KMS_TRY(add_leaf(c, "volume", &at, q, why));
	KMS_TRY(add_leaf(c, "node", &at, q, why));
	for (size_t i = 0; i < COUNT(keys); i++)
		query_add(q, keys[i], conf_text(c->conf, keys[i]));
	KMS_TRY(add_time(c, "from", q, why));
	KMS_TRY(add_time(c, "to", q, why));
	query_add(q, "order", conf_text(c->conf, "order"));
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
	list_out_t l;
	page_walk_t w = {.cli = c, .path = "/v1/audit/events", .key = "events", .left = wanted(c)};
	const char *cursor = conf_text(c->conf, "cursor");
	KMS_TRY(build_query(c, &q, &w.query, why));
	(void)snprintf(w.cursor, sizeof w.cursor, "%s", cursor != NULL ? cursor : "");
	KMS_TRY(list_begin(&l, c, "events", columns, COUNT(columns), why));
	KMS_TRY(page_walk(&w, list_rows, &l, why));
	return list_end(&l, w.cursor, why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	const char *index = conf_word(c->conf, 0);
	char path[CLI_PATH_CAP];
	if (*index == '\0' || strspn(index, "0123456789") != strlen(index) || strlen(index) > 18)
		return diag_fail(why, KMS_E_INVALID, "an event's INDEX is a number, not \"%.40s\"", index);
	KMS_TRY(cli_path(path, why, "/v1/audit/events/%s", index));
	return cli_show(c, "GET", path, NULL, details, COUNT(details), why);
}

static const command_t commands[] = {
	{"query", "", "who did what and when, newest first", 0, 0, query_flags, COUNT(query_flags), query},
	{"show", "INDEX", "one event", 1, 1, NULL, 0, show},
	{"verify", "", "proves that nothing in a log was changed, dropped or slipped in", 0, 0,
	 audit_verify_flags, AUDIT_VERIFY_N_FLAGS, audit_verify},
};
const noun_t noun_audit = {"audit", "the log of every access", commands, COUNT(commands)};
