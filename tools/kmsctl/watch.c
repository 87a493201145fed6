#include "tools/kmsctl/watch.h"

#include "common/base/scope.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/interrupt.h"
#include "tools/kmsctl/progress.h"

#define FIRST_WAIT_MS 500
#define MOST_WAIT_MS  5000

static progress_counts_t counts_of(const json_t *event)
{
	return (progress_counts_t){.todo = value_number(event, "counts.todo"),
				   .running = value_number(event, "counts.running"),
				   .done = value_number(event, "counts.done"),
				   .failed = value_number(event, "counts.failed"),
				   .skipped = value_number(event, "counts.skipped"),
				   .away = value_number(event, "counts.away"),
				   .wave = value_number(event, "current_wave"),
				   .waves = value_number(event, "waves")};
}

static void result_format(const json_t *row, buf_t *out)
{
	const char *state = value_text(row, "state");
	if (strcmp(state, "done") == 0)
		buf_str(out, "rotated");
	else if (strcmp(state, "todo") == 0)
		buf_str(out, "not rotated");
	else if (strcmp(state, "running") == 0)
		buf_str(out, "not finished");
	else
		text_format(state, out);
}

static void reason_format(const json_t *row, buf_t *out)
{
	const char *detail = value_text(row, "detail");
	const char *state = value_text(row, "state");
	bool away = json_is_true(value_at(row, "away"));
	if (*detail != '\0')
		text_format(detail, out);
	else if (away)
		buf_str(out, "its node is away: it has its turn when it comes back in time");
	else if (strcmp(state, "todo") == 0)
		buf_str(out, "its node has not begun (is the agent running there?)");
	else if (strcmp(state, "running") == 0)
		buf_str(out, "its node has not finished");
	else
		buf_u8(out, '-');
}

static const column_t results[] = {
	{.title = "VOLUME", .path = "volume"},
	{.title = "NODE", .path = "node"},
	{.title = "RESULT", .format = result_format},
	{.title = "REASON", .format = reason_format},
};

static void hours_format(const json_t *event, buf_t *out)
{
	if (!json_is_object(value_at(event, "hours"))) {
		buf_u8(out, '-');
		return;
	}
	text_format(value_text(event, "hours.from"), out);
	buf_u8(out, '-');
	text_format(value_text(event, "hours.to"), out);
	buf_u8(out, ' ');
	text_format(value_text(event, "hours.zone"), out);
	buf_u8(out, ' ');
	value_format(value_at(event, "hours.days"), VALUE_NAMES, out);
}

static void event_wave_format(const json_t *event, buf_t *out)
{
	char text[64];
	(void)snprintf(text, sizeof text, "%lld of %lld", (long long)value_number(event, "current_wave"),
		       (long long)value_number(event, "waves"));
	buf_str(out, text);
}

static const column_t event_fields[] = {
	{.title = "EVENT", .path = "id"},
	{.title = "CUSTOMER", .path = "customer"},
	{.title = "SERVICE", .path = "service"},
	{.title = "ACTION", .path = "action"},
	{.title = "COMPROMISED", .path = "compromised"},
	{.title = "NODES", .path = "nodes", .kind = VALUE_NAMES},
	{.title = "STATE", .path = "state"},
	{.title = "STARTS", .path = "start_ms", .kind = VALUE_TIME},
	{.title = "OPENED", .path = "opened_ms", .kind = VALUE_TIME},
	{.title = "UNTIL", .path = "until_ms", .kind = VALUE_TIME},
	{.title = "HOURS", .format = hours_format},
	{.title = "WAVE", .format = event_wave_format},
	{.title = "TICKET", .path = "ticket"},
	{.title = "TODO", .path = "counts.todo"},
	{.title = "RUNNING", .path = "counts.running"},
	{.title = "DONE", .path = "counts.done"},
	{.title = "FAILED", .path = "counts.failed"},
	{.title = "SKIPPED", .path = "counts.skipped"},
	{.title = "AWAY", .path = "counts.away"},
};

static kms_err_t print_results(cli_t *c, const json_t *event, diag_t *why)
{
	const json_t *volumes = value_at(event, "volumes");
	table_t t;
	if (!json_is_array(volumes) || json_array_size(volumes) == 0)
		return KMS_OK;
	table_init(&t, results, COUNT(results), c->out);
	kms_err_t e = table_rows(&t, volumes);
	return e == KMS_OK ? e : diag_fail(why, e, "not enough memory for the answer");
}

kms_err_t event_print(cli_t *c, const json_t *event, diag_t *why)
{
	if (c->json)
		return cli_print_json(c, event, why);
	KMS_TRY(cli_print_record(c, event_fields, COUNT(event_fields), event, why));
	if (json_array_size(value_at(event, "volumes")) > 0)
		(void)fputc('\n', c->out);
	return print_results(c, event, why);
}

/* The first volumes that were not rotated, for the one line of the error. */
static void name_some(const json_t *event, buf_t *out)
{
	const json_t *volumes = value_at(event, "volumes");
	unsigned named = 0;
	for (size_t i = 0; i < json_array_size(volumes); i++) {
		const json_t *v = json_array_get(volumes, i);
		if (strcmp(value_text(v, "state"), "done") == 0)
			continue;
		if (named == 3) {
			buf_str(out, ", …");
			return;
		}
		buf_str(out, named++ > 0 ? ", " : ": ");
		text_format(value_text(v, "volume"), out);
	}
}

/* The verdict: `ended` says why the looking ended, for volumes that are neither rotated nor failed. */
static kms_err_t verdict(const json_t *event, const char *ended, diag_t *why)
{
	SCOPED(buf_free) buf_t names = BUF_INIT;
	const char *text = "";
	progress_counts_t n = counts_of(event);
	int64_t total = n.todo + n.running + n.done + n.failed + n.skipped;
	if (n.done == total)
		return KMS_OK;
	name_some(event, &names);
	KMS_TRY(buf_cstr(&names, &text));
	return diag_fail(why, KMS_E_CONFLICT, "%lld of %lld volumes were not rotated (%lld failed)%s%s%s",
			 (long long)(total - n.done), (long long)total, (long long)n.failed, ended, text,
			 strcmp(value_text(event, "state"), "open") == 0 && n.todo + n.running > 0
				 ? " (the event is still open and goes on)"
				 : "");
}

static kms_err_t detach(progress_t *p, const char *id, diag_t *why)
{
	progress_end(p);
	return diag_fail(why, KMS_E_CONFLICT,
			 "no longer watching: the event goes on. See it with: kmsctl maintenance watch %s",
			 id);
}

/* One look. A server that cannot be reached just now is waited for: the event does not depend on us. */
static kms_err_t look(cli_t *c, const char *id, json_t **event, const char **note, diag_t *why)
{
	char path[CLI_PATH_CAP];
	json_t *now = NULL;
	KMS_TRY(cli_path(path, why, "/v1/maintenance/%s", id));
	kms_err_t e = cli_request(c, "GET", path, NULL, &now, why);
	*note = NULL;
	if (*event != NULL && (e == KMS_E_UNAVAILABLE || e == KMS_E_FULL)) {
		*note = "the KMS does not answer, trying again";
		return KMS_OK;
	}
	KMS_TRY(e);
	json_freep(event);
	*event = now;
	return KMS_OK;
}

static bool finished(const json_t *event, const char **ended)
{
	progress_counts_t n = counts_of(event);
	const char *state = value_text(event, "state");
	*ended = "";
	if (strcmp(state, "halted") == 0)
		*ended = " because the event was halted";
	else if (strcmp(state, "closed") == 0)
		*ended = " before the event was closed";
	else if (strcmp(state, "aborted") == 0)
		*ended = " because the event was aborted";
	else
		return n.todo + n.running == 0;
	return true;
}

/* --- one JSON object a line, for programs --- */

/* What was told last. */
typedef struct told {
	json_t *states; /* by volume */
	json_t *event;
} told_t;

static void told_clear(told_t *t)
{
	json_decref(t->states);
	json_decref(t->event);
}

/* Takes the line. */
static kms_err_t tell(cli_t *c, json_t *line, diag_t *why)
{
	SCOPED(json_freep) json_t *l = line;
	if (l == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	if (json_dumpf(l, c->out, JSON_COMPACT | cli_json_flags(c)) != 0 || fputc('\n', c->out) == EOF ||
	    fflush(c->out) != 0)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

static json_t *event_line(const char *type, const json_t *event)
{
	const json_t *counts = value_at(event, "counts");
	json_t *copy = counts != NULL ? json_deep_copy(counts) : json_object();
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "type", type, "id", value_text(event, "id"),
			 "state", value_text(event, "state"), "current_wave",
			 (json_int_t)value_number(event, "current_wave"), "waves",
			 (json_int_t)value_number(event, "waves"), "counts", copy);
}

static kms_err_t tell_volume(cli_t *c, told_t *t, const json_t *v, diag_t *why)
{
	const char *volume = value_text(v, "volume"), *state = value_text(v, "state");
	const char *before = json_string_value(json_object_get(t->states, volume));
	if (strcmp(before != NULL ? before : "todo", state) == 0)
		return KMS_OK;
	if (json_object_set_new(t->states, volume, json_string(state)) != 0)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return tell(c,
		    json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "type", "volume", "volume", volume, "node",
			      value_text(v, "node"), "wave", (json_int_t)value_number(v, "wave"), "state",
			      state, "detail", value_text(v, "detail")),
		    why);
}

static kms_err_t tell_changes(cli_t *c, told_t *t, const json_t *event, diag_t *why)
{
	const json_t *volumes = value_at(event, "volumes");
	if (c->format != CLI_NDJSON)
		return KMS_OK;
	for (size_t i = 0; i < json_array_size(volumes); i++)
		KMS_TRY(tell_volume(c, t, json_array_get(volumes, i), why));
	json_t *now = event_line("event", event);
	if (now != NULL && t->event != NULL && json_equal(now, t->event) == 1) {
		json_decref(now);
		return KMS_OK;
	}
	json_decref(t->event);
	t->event = now;
	return tell(c, json_incref(now), why);
}

/* --- looking --- */

/* What of the event's state a person should know who only sees numbers. */
static const char *state_note(const json_t *event)
{
	const char *state = value_text(event, "state");
	return strcmp(state, "paused") == 0      ? "paused"
	       : strcmp(state, "scheduled") == 0 ? "scheduled: it has not begun"
						 : NULL;
}

static kms_err_t follow(cli_t *c, const interrupt_t *stop, const char *id, int64_t timeout_s, json_t **event,
			const char **ended, diag_t *why)
{
	int64_t begun = clock_now(&c->clock);
	int64_t wait = FIRST_WAIT_MS;
	progress_t p;
	SCOPED(told_clear) told_t told = {.states = json_object()};
	progress_init(&p, c->err, cli_is_terminal(c->err), begun);
	for (;;) {
		const char *note = NULL;
		kms_err_t e = look(c, id, event, &note, why);
		if (e != KMS_OK) {
			progress_end(&p);
			return e;
		}
		progress_counts_t n = counts_of(*event);
		int64_t now = clock_now(&c->clock);
		progress_show(&p, &n, now, note != NULL ? note : state_note(*event));
		e = tell_changes(c, &told, *event, why);
		if (e != KMS_OK)
			return e;
		if (finished(*event, ended))
			break;
		*ended = " in time";
		int64_t left = timeout_s > 0 ? begun + timeout_s * 1000 - now : MOST_WAIT_MS;
		if (left <= 0)
			break;
		if (interrupt_wait(stop, wait < left ? wait : left))
			return detach(&p, id, why);
		wait = wait * 3 / 2 < MOST_WAIT_MS ? wait * 3 / 2 : MOST_WAIT_MS;
	}
	progress_end(&p);
	return KMS_OK;
}

kms_err_t watch_format(const cli_t *c, diag_t *why)
{
	return c->format == CLI_CSV
		       ? diag_fail(why, KMS_E_INVALID,
				   "-o csv is for the log's events alone: here it is table, json or ndjson")
		       : KMS_OK;
}

kms_err_t watch_event(cli_t *c, const char *id, int64_t timeout_s, diag_t *why)
{
	SCOPED(interrupt_close) interrupt_t stop = {.fd = -1};
	SCOPED(json_freep) json_t *event = NULL;
	const char *ended = "";
	KMS_TRY(watch_format(c, why));
	KMS_TRY(interrupt_open(&stop, why));
	KMS_TRY(follow(c, &stop, id, timeout_s, &event, &ended, why));
	if (json_array_size(value_at(event, "volumes")) == 0)
		(void)fprintf(c->err, "no active volume is in the event's scope: nothing to rotate\n");
	if (c->format == CLI_NDJSON)
		KMS_TRY(tell(c, event_line("end", event), why));
	else if (c->json)
		KMS_TRY(cli_print_json(c, event, why));
	else
		KMS_TRY(print_results(c, event, why));
	return verdict(event, ended, why);
}
