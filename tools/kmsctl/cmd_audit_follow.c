#include "tools/kmsctl/cmd_audit.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/eventout.h"
#include "tools/kmsctl/interrupt.h"

#include <time.h>

#define WAIT_S      30U /* a long poll; the server's most is 60 */
#define FIRST_PAUSE 500U
#define MOST_PAUSE  30000U
#define SHORT_MS    1000 /* no long poll ends sooner without an event */

const conf_setting_t audit_follow_flags[AUDIT_FOLLOW_N_FLAGS] = {
	AUDIT_FILTER_ROWS,
	{.key = "from",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "TIME|INDEX",
	 .help = "begin there, not with what comes next"},
};

typedef struct tail {
	cli_t *cli;
	const char *filters; /* "&customer=…" */
	char cursor[CURSOR_CAP];
	int64_t from_ms; /* of the first request, while there is no cursor; -1: none */
	bool silent;     /* the server does not answer, and that has been said */
	uint64_t pause_ms;
	int64_t asked_ms; /* when the running poll began */
	eventout_t out;
} tail_t;

static bool stopped(const tail_t *t)
{
	return atomic_load(t->cli->stop);
}

/* Ends early when a signal comes. */
static void pause_for(const tail_t *t, uint64_t ms)
{
	struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
	while (!stopped(t) && nanosleep(&left, &left) != 0) {
	}
}

/* --- where to begin --- */

/* The size of the log is the index of what comes next. */
static kms_err_t begin_now(tail_t *t, diag_t *why)
{
	SCOPED(json_freep) json_t *health = NULL;
	int status = 0;
	KMS_TRY(cli_request_raw(t->cli, "GET", "/v1/sys/health", &status, &health, why));
	const json_t *size = value_at(health, "log_size");
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return diag_fail(why, KMS_E_UNAVAILABLE,
				 "the server does not tell how long its log is (status %d): "
				 "give --from TIME",
				 status);
	(void)snprintf(t->cursor, sizeof t->cursor, "%lld", (long long)json_integer_value(size));
	return KMS_OK;
}

static kms_err_t begin(tail_t *t, diag_t *why)
{
	const char *from = conf_text(t->cli->conf, "from");
	t->from_ms = -1;
	if (from == NULL)
		return begin_now(t, why);
	if (strspn(from, "0123456789") != strlen(from))
		return arg_time("--from", from, clock_now(&t->cli->clock), &t->from_ms, why);
	if (strlen(from) > 18)
		return diag_fail(why, KMS_E_INVALID, "--from: there is no index %.40s", from);
	(void)snprintf(t->cursor, sizeof t->cursor, "%s", from);
	return KMS_OK;
}

/* --- one poll --- */

static kms_err_t poll_url(const tail_t *t, buf_t *url, const char **out, diag_t *why)
{
	buf_printf(url, "/v1/audit/events?order=asc&limit=%u&wait=%u%s", LIST_PAGE, WAIT_S, t->filters);
	if (t->cursor[0] != '\0')
		query_add(url, "cursor", t->cursor);
	else if (t->from_ms >= 0)
		query_add_number(url, "from", t->from_ms);
	kms_err_t e = buf_cstr(url, out);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the request");
}

static kms_err_t take_page(tail_t *t, const client_reply_t *r, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	diag_t inner = {{0}};
	if (json_parse(buf_span(&r->body), CLI_ANSWER_MAX, &j, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "the server's answer is not JSON: %.300s", inner.text);
	const json_t *rows = json_object_get(j, "events");
	const char *cursor = value_text(j, "next_cursor");
	if (!json_is_array(rows) || *cursor == '\0' || strlen(cursor) >= sizeof t->cursor)
		return diag_fail(why, KMS_E_IO,
				 "the server's answer is no page of events to follow (is it older than "
				 "kmsctl?)");
	KMS_TRY(eventout_rows(&t->out, rows, why));
	/* one that says "here" again with events, or at once without, would keep us busy for ever */
	bool here = strcmp(cursor, t->cursor) == 0;
	if (here && json_array_size(rows) > 0)
		return diag_fail(why, KMS_E_IO, "the server sends the same events again");
	if (here && clock_now(&t->cli->clock) - t->asked_ms < SHORT_MS)
		pause_for(t, SHORT_MS);
	(void)snprintf(t->cursor, sizeof t->cursor, "%s", cursor);
	return KMS_OK;
}

/* What passes by itself: nobody there, sealed, too many requests. Said once. */
static void wait_for_server(tail_t *t, uint32_t retry_after, const diag_t *reason)
{
	SCOPED(buf_free) buf_t line = BUF_INIT;
	if (!t->silent) {
		text_format(reason->text, &line);
		(void)fprintf(t->cli->err, "(waiting: %.*s)\n", (int)line.n,
			      line.n > 0 ? (const char *)line.p : "");
	}
	t->silent = true;
	pause_for(t, retry_after > 0 ? (uint64_t)retry_after * 1000 : t->pause_ms);
	t->pause_ms = t->pause_ms * 2 < MOST_PAUSE ? t->pause_ms * 2 : MOST_PAUSE;
}

static void server_answers(tail_t *t)
{
	if (t->silent)
		(void)fprintf(t->cli->err, "(the KMS answers again)\n");
	t->silent = false;
	t->pause_ms = FIRST_PAUSE;
}

static kms_err_t poll_once(tail_t *t, diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	SCOPED(buf_free) buf_t url = BUF_INIT;
	const char *text = "";
	KMS_TRY(poll_url(t, &url, &text, why));
	t->asked_ms = clock_now(&t->cli->clock);
	kms_err_t e = cli_get(t->cli, text, WAIT_S + CLI_TIMEOUT_S, &r, why);
	if (e == KMS_OK)
		e = client_status(&r, why);
	if (stopped(t))
		return KMS_OK;
	if (e == KMS_E_UNAVAILABLE || e == KMS_E_FULL) {
		wait_for_server(t, r.retry_after, why);
		return KMS_OK;
	}
	KMS_TRY(e);
	server_answers(t);
	return take_page(t, &r, why);
}

static kms_err_t follow(tail_t *t, diag_t *why)
{
	KMS_TRY(begin(t, why));
	KMS_TRY(eventout_begin(&t->out, t->cli, true, why));
	while (!stopped(t))
		KMS_TRY(poll_once(t, why));
	return KMS_OK;
}

kms_err_t audit_follow(cli_t *c, diag_t *why)
{
	SCOPED(interrupt_flag_close) interrupt_flag_t signals = {.came = NULL};
	SCOPED(buf_free) buf_t q = BUF_INIT;
	tail_t t = {.cli = c, .pause_ms = FIRST_PAUSE};
	KMS_TRY(audit_filter_add(c, &q, why));
	if (buf_cstr(&q, &t.filters) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	KMS_TRY(interrupt_flag_open(&signals, why));
	c->stop = signals.came;
	kms_err_t e = follow(&t, why);
	/* Ctrl-C is how this ends, also while the first answer is waited for */
	return atomic_load(signals.came) ? KMS_OK : e;
}
