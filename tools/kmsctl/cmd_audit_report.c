/* kmsctl audit report: who had access to one customer's keys in a period, proved by the log. */
#include "common/base/scope.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/cmd_audit.h"
#include "tools/kmsctl/expdir.h"
#include "tools/kmsctl/report.h"

#include <stdlib.h>

#define DAY_MS (INT64_C(24) * 3600 * 1000)

const conf_setting_t audit_report_flags[AUDIT_REPORT_N_FLAGS] = {
	{.key = "customer", .type = CONF_TEXT, .max = 63, .arg = "C", .help = "whose keys (wanted)"},
	{.key = "from",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "TIME",
	 .help = "not before: 2026-07-01 (wanted)"},
	{.key = "to",
	 .type = CONF_TEXT,
	 .max = 40,
	 .arg = "TIME",
	 .help = "to the end of this day, or to this moment (now)"},
	{.key = "format",
	 .type = CONF_TEXT,
	 .max = 8,
	 .arg = "F",
	 .dflt = "text",
	 .help = "text, html, json (with proofs), or all: a folder with the three"},
	{.key = "out",
	 .type = CONF_TEXT,
	 .arg = "FILE|DIR",
	 .help = "where it goes, a new file or, with --format all, folder (standard output)"},
	{.key = "rotation-days",
	 .type = CONF_NUMBER,
	 .min = 1,
	 .max = 36500,
	 .arg = "N",
	 .dflt = "90",
	 .help = "a secret that is older is overdue"},
	{.key = "key",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the log's verifier key (what the server says)"},
};

typedef kms_err_t (*writer_fn)(const json_t *doc, FILE *out, diag_t *why);

static kms_err_t write_json(const json_t *doc, FILE *out, diag_t *why)
{
	if (json_dumpf(doc, out, JSON_INDENT(2) | (cli_is_terminal(out) ? JSON_ENSURE_ASCII : 0)) != 0 ||
	    fputc('\n', out) == EOF)
		return diag_fail(why, KMS_E_IO, "cannot write the report: %m");
	return KMS_OK;
}

static const struct {
	const char *name, *file;
	writer_fn write;
} formats[] = {
	{"text", "report.txt", report_write_text},
	{"html", "report.html", report_write_html},
	{"json", "report.json", write_json},
};

#define ALL "all"

/* NULL: all of them. */
static kms_err_t read_format(const cli_t *c, writer_fn *out, diag_t *why)
{
	const char *name = conf_text(c->conf, "format");
	if (c->json && !conf_is_set(c->conf, "format"))
		name = "json";
	*out = NULL;
	if (strcmp(name, ALL) == 0)
		return conf_is_set(c->conf, "out")
			       ? KMS_OK
			       : diag_fail(why, KMS_E_INVALID, "--format all wants --out DIR");
	for (size_t i = 0; i < COUNT(formats); i++)
		if (strcmp(name, formats[i].name) == 0)
			*out = formats[i].write;
	if (*out == NULL)
		return diag_fail(why, KMS_E_INVALID, "--format is text, html, json or all, not \"%.8s\"",
				 name);
	return KMS_OK;
}

/* A day is meant to its end. */
static kms_err_t read_to(report_t *r, diag_t *why)
{
	const char *text = conf_text(r->cli->conf, "to");
	r->to_ms = r->now_ms;
	if (text == NULL)
		return KMS_OK;
	KMS_TRY(arg_time("--to", text, r->now_ms, &r->to_ms, why));
	bool day = strlen(text) == 10 && text[4] == '-' && text[7] == '-';
	r->to_ms += day ? DAY_MS - 1 : 0;
	return KMS_OK;
}

static kms_err_t read_flags(report_t *r, diag_t *why)
{
	const conf_t *conf = r->cli->conf;
	if (!conf_is_set(conf, "customer") || !conf_is_set(conf, "from"))
		return diag_fail(why, KMS_E_INVALID,
				 "--customer C and --from TIME are needed: whose accesses, since when");
	KMS_TRY(name_parse("customer", span_str(conf_text(conf, "customer")), r->customer, why));
	KMS_TRY(arg_time("--from", conf_text(conf, "from"), r->now_ms, &r->from_ms, why));
	KMS_TRY(read_to(r, why));
	if (r->from_ms > r->to_ms)
		return diag_fail(why, KMS_E_INVALID, "--from is after --to");
	r->rotation_ms = conf_number(conf, "rotation-days") * DAY_MS;
	if (conf_is_set(conf, "key"))
		KMS_TRY(loghead_vkey(conf_text(conf, "key"), &r->head.key, why));
	return KMS_OK;
}

static kms_err_t server_key(report_t *r, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	diag_t inner = {""};
	if (conf_is_set(r->cli->conf, "key"))
		return KMS_OK;
	KMS_TRY(logsrc_read(r->src, "vkey", &b, why));
	if (note_vkey_parse(buf_span(&b), &r->head.key, &inner) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY, "the server's verifier key is none: %.300s",
				 inner.text);
	return KMS_OK;
}

/* The rows that are true at `flag`. */
static json_t *overdue(const json_t *rows, const char *flag)
{
	SCOPED(json_freep) json_t *list = json_array();
	if (!json_is_array(rows))
		return json_null();
	for (size_t i = 0; i < json_array_size(rows); i++)
		if (json_is_true(json_object_get(json_array_get(rows, i), flag)) &&
		    json_array_append(list, json_array_get(rows, i)) != 0)
			return NULL;
	return TAKE(list);
}

static kms_err_t add_overdue(report_t *r, diag_t *why)
{
	json_t *all = json_pack(
		"{s:o, s:o, s:o}", "reviews", overdue(json_object_get(r->doc, "reviews"), "overdue"),
		"rotations", overdue(json_object_get(r->doc, "volumes"), "rotation_overdue"),
		"recertifications", overdue(json_object_get(r->doc, "people"), "recertification_overdue"));
	return json_object_set_new(r->doc, "overdue", all) == 0
		       ? KMS_OK
		       : diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
}

static kms_err_t read_all(report_t *r, diag_t *why)
{
	r->doc = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I}", "report", "access", "version", 1, "customer",
			   r->customer, "from_ms", (json_int_t)r->from_ms, "to_ms", (json_int_t)r->to_ms,
			   "made_ms", (json_int_t)r->now_ms);
	if (r->doc == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
	KMS_TRY(logsrc_server(r->cli, &r->src, why));
	KMS_TRY(server_key(r, why));
	KMS_TRY(loghead_read(r->src, NULL, &r->head, why));
	KMS_TRY(report_log_read(r, why));
	KMS_TRY(report_state_read(r, why));
	return add_overdue(r, why);
}

/* --- where it goes --- */

static kms_err_t as_bytes(const json_t *doc, writer_fn write, buf_t *out, diag_t *why)
{
	SCOPED(freep) char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	if (f == NULL)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
	kms_err_t e = write(doc, f, why);
	if (fclose(f) != 0 && e == KMS_OK)
		e = diag_fail(why, KMS_E_NOMEM, "not enough memory for the report");
	if (e == KMS_OK)
		buf_bytes(out, span_of(text, n));
	return e == KMS_OK ? out->err : e;
}

static kms_err_t write_file(const report_t *r, writer_fn write, diag_t *why)
{
	SCOPED(buf_free) buf_t b = BUF_INIT;
	const char *path = conf_text(r->cli->conf, "out");
	if (path == NULL)
		return write(r->doc, r->cli->out, why);
	KMS_TRY(as_bytes(r->doc, write, &b, why));
	return file_write(path, buf_span(&b), 0644, FILE_CREATE_ONLY, why);
}

static kms_err_t put_key(const report_t *r, expdir_t *d, diag_t *why)
{
	char key[NOTE_VKEY_CAP + 1];
	note_vkey_format(&r->head.key, key);
	memcpy(key + strlen(key), "\n", 2);
	KMS_TRY(expdir_put(d, "checkpoint", buf_span(&r->head.note), why));
	return expdir_put(d, "log.vkey", span_str(key), why);
}

static kms_err_t write_folder(const report_t *r, diag_t *why)
{
	SCOPED(expdir_free) expdir_t d = {.fd = -1};
	KMS_TRY(expdir_begin(conf_text(r->cli->conf, "out"), &d, why));
	for (size_t i = 0; i < COUNT(formats); i++) {
		SCOPED(buf_free) buf_t b = BUF_INIT;
		KMS_TRY(as_bytes(r->doc, formats[i].write, &b, why));
		KMS_TRY(expdir_put(&d, formats[i].file, buf_span(&b), why));
	}
	KMS_TRY(put_key(r, &d, why));
	KMS_TRY(expdir_close(&d, why));
	return expdir_finish(&d, why);
}

kms_err_t audit_report(cli_t *c, diag_t *why)
{
	SCOPED(report_free) report_t r = {.cli = c, .now_ms = clock_now(&c->clock)};
	writer_fn write = NULL;
	KMS_TRY(cli_no_events(c, why));
	KMS_TRY(read_format(c, &write, why));
	KMS_TRY(read_flags(&r, why));
	r.proofs = write == NULL || write == write_json;
	KMS_TRY(read_all(&r, why));
	KMS_TRY(write != NULL ? write_file(&r, write, why) : write_folder(&r, why));
	if (report_has_gaps(&r)) /* it is written all the same: it is what there is to look at */
		return diag_fail(why, KMS_E_INTEGRITY, "the report is not complete: %.400s",
				 json_string_value(json_array_get(value_at(r.doc, "log.gaps"), 0)));
	return KMS_OK;
}
