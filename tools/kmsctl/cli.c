#include "tools/kmsctl/cli.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "tools/kmsctl/act.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/grant.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define IDEMPOTENCY_BYTES 16U

const conf_setting_t cli_settings[] = {
	{.key = "addr",
	 .env = "KMS_ADDR",
	 .type = CONF_TEXT,
	 .arg = "URL",
	 .help = "the KMS, https://HOST:PORT[,…]"},
	{.key = "cacert",
	 .env = "KMS_CACERT",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the deployment's CA"},
	{.key = "cert",
	 .env = "KMS_CLIENT_CERT",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "your certificate"},
	{.key = "key",
	 .env = "KMS_CLIENT_KEY",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "its key, mode 0600, or pkcs11:… on a token"},
	{.key = "proxy", .env = "KMS_PROXY", .type = CONF_TEXT, .arg = "URL", .help = "HTTP CONNECT proxy"},
	{.key = "grant",
	 .env = "KMS_GRANT",
	 .type = CONF_TEXT,
	 .max = 39,
	 .arg = "ID",
	 .help = "act under this grant (kmsctl grant --help)"},
	{.key = "request-grant",
	 .type = CONF_TEXT,
	 .max = 320,
	 .arg = "REASON[:TICKET]",
	 .help = "ask for a grant for exactly this act, and do not act"},
	{.key = "output-policy",
	 .type = CONF_BOOL,
	 .help = "print the policy statement that would allow this, and do not act"},
	{.key = "output",
	 .type = CONF_TEXT,
	 .arg = "FORMAT",
	 .dflt = "table",
	 .help = "-o: table or json; events ndjson or csv too"},
};
const size_t cli_n_settings = COUNT(cli_settings);

static kms_err_t read_format(const char *text, cli_format_t *out, diag_t *why)
{
	static const char *const names[] = {
		[CLI_TABLE] = "table", [CLI_JSON] = "json", [CLI_NDJSON] = "ndjson", [CLI_CSV] = "csv"};
	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (cli_format_t)i;
			return KMS_OK;
		}
	return diag_fail(why, KMS_E_INVALID, "-o is table or json (events: ndjson or csv too), not \"%.40s\"",
			 text);
}

kms_err_t cli_init(cli_t *c, conf_t *conf, FILE *out, FILE *err, diag_t *why)
{
	uint8_t random[IDEMPOTENCY_BYTES];
	*c = (cli_t){.conf = conf, .out = out, .err = err, .clock = clock_system()};
	KMS_TRY(read_format(conf_text(conf, "output"), &c->format, why));
	c->json = c->format == CLI_JSON;
	if (crypto_random(random, sizeof random) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "no random numbers");
	hex_encode(span_of(random, sizeof random), c->idempotency);
	return KMS_OK;
}

void cli_free(cli_t *c)
{
	client_freep(&c->client);
	conf_freep(&c->conf);
}

static kms_err_t want(const cli_t *c, const char *key, const char *env, const char *what, diag_t *why)
{
	if (conf_setting_text(c->conf, key) != NULL)
		return KMS_OK;
	return diag_fail(why, KMS_E_INVALID,
			 "%s is not set: give --%s, %s, or `%s = …` in /etc/claviger/kmsctl.conf", what, key,
			 env, key);
}

static kms_err_t connect_once(cli_t *c, bool certificate, diag_t *why)
{
	if (c->client != NULL)
		return KMS_OK;
	if (c->addr == NULL)
		KMS_TRY(want(c, "addr", "KMS_ADDR", "the KMS's address", why));
	bool enrols = c->ca_pem.n > 0;
	if (!enrols)
		KMS_TRY(want(c, "cacert", "KMS_CACERT", "the deployment's CA", why));
	if (!enrols && (certificate || conf_setting_text(c->conf, "cert") != NULL ||
			conf_setting_text(c->conf, "key") != NULL)) {
		KMS_TRY(want(c, "cert", "KMS_CLIENT_CERT", "your certificate", why));
		KMS_TRY(want(c, "key", "KMS_CLIENT_KEY", "your certificate's key", why));
	}
	client_options_t o = {.urls = c->addr != NULL ? c->addr : conf_setting_text(c->conf, "addr"),
			      .ca_file = enrols ? NULL : conf_setting_text(c->conf, "cacert"),
			      .ca_pem = c->ca_pem,
			      .cert_file = enrols ? NULL : conf_setting_text(c->conf, "cert"),
			      .key_file = enrols ? NULL : conf_setting_text(c->conf, "key"),
			      .proxy = conf_setting_text(c->conf, "proxy"),
			      .user_agent = "kmsctl/" CLAVIGER_VERSION,
			      .stop = c->stop};
	kms_err_t e = client_new(&o, &c->client, why);
	/* "not found" and "denied" are the server's answers; files of ours that cannot be used are wrong
	 * usage */
	return e == KMS_E_NOTFOUND || e == KMS_E_DENIED ? KMS_E_INVALID : e;
}

static kms_err_t parse_answer(const client_reply_t *r, json_t **out, diag_t *why)
{
	diag_t inner = {{0}};
	if (out == NULL)
		return KMS_OK;
	kms_err_t e = json_parse(buf_span(&r->body), CLI_ANSWER_MAX, out, &inner);
	return e == KMS_OK ? e
			   : diag_fail(why, KMS_E_IO, "the server's answer is not JSON: %.300s", inner.text);
}

static kms_err_t call(cli_t *c, const char *method, const char *path, const json_t *body, client_reply_t *out,
		      diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	char grant[64] = "";
	bool write = strcmp(method, "GET") != 0;
	const char *id = c->grant != NULL ? c->grant : conf_setting_text(c->conf, "grant");
	if (write && id != NULL)
		(void)snprintf(grant, sizeof grant, "Claviger-Grant: %.39s", id);
	if (write && body == NULL)
		buf_str(&text, "{}");
	else if (write && json_write(body, &text) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	if (text.err != KMS_OK)
		return diag_fail(why, text.err, "not enough memory for the request");
	const client_request_t rq = {.method = method,
				     .path = path,
				     .body = buf_span(&text),
				     .idempotency_key = write ? c->idempotency : NULL,
				     .header = grant[0] != '\0' ? grant : NULL,
				     .timeout_s = CLI_TIMEOUT_S};
	return client_send(c->client, &rq, out, why);
}

/* What --request-grant and --output-policy do instead of the request. Reads that come before a write need no
 * grant. */
static kms_err_t instead(cli_t *c, const char *method, const char *path, const json_t *body, diag_t *why)
{
	SCOPED(json_freep) json_t *ask = NULL;
	act_t act;
	const char *reason = conf_setting_text(c->conf, "request-grant");
	bool tell = conf_bool(c->conf, "output-policy");
	bool read = strcmp(method, "GET") == 0;
	if (!tell && (reason == NULL || read))
		return KMS_OK;
	if (act_of(method, path, &act) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "%s %s: no policy decides on this", method, path);
	if (tell) {
		KMS_TRY(act_print_statement(c, &act, why));
	} else {
		KMS_TRY(act_grant_body(&act, reason, body, &ask, why));
		KMS_TRY(grant_ask(c, ask, why));
	}
	c->ended = true;
	return KMS_E_PENDING;
}

kms_err_t cli_request(cli_t *c, const char *method, const char *path, const json_t *body, json_t **out,
		      diag_t *why)
{
	KMS_TRY(instead(c, method, path, body, why));
	return cli_request_now(c, method, path, body, out, why);
}

kms_err_t cli_request_now(cli_t *c, const char *method, const char *path, const json_t *body, json_t **out,
			  diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	KMS_TRY(connect_once(c, true, why));
	KMS_TRY(call(c, method, path, body, &r, why));
	KMS_TRY(client_status(&r, why));
	return parse_answer(&r, out, why);
}

kms_err_t cli_request_raw(cli_t *c, const char *method, const char *path, int *status, json_t **out,
			  diag_t *why)
{
	SCOPED(client_reply_free) client_reply_t r = {0};
	KMS_TRY(connect_once(c, false, why));
	KMS_TRY(call(c, method, path, NULL, &r, why));
	KMS_TRY(parse_answer(&r, out, why));
	*status = r.status;
	return KMS_OK;
}

kms_err_t cli_get(cli_t *c, const char *path, unsigned timeout_s, client_reply_t *out, diag_t *why)
{
	KMS_TRY(instead(c, "GET", path, NULL, why));
	KMS_TRY(connect_once(c, true, why));
	const client_request_t rq = {.method = "GET", .path = path, .timeout_s = timeout_s};
	return client_send(c->client, &rq, out, why);
}

kms_err_t cli_no_events(const cli_t *c, diag_t *why)
{
	if (c->format == CLI_TABLE || c->format == CLI_JSON)
		return KMS_OK;
	return diag_fail(why, KMS_E_INVALID, "-o %s is for events alone: here it is table or json",
			 conf_text(c->conf, "output"));
}

/* JSON may hold the C1 controls as they are, and terminals obey them: for a terminal all but ASCII is
 * escaped. The order of names stays the server's. */
size_t cli_json_flags(const cli_t *c)
{
	return cli_is_terminal(c->out) ? JSON_ENSURE_ASCII : 0;
}

kms_err_t cli_print_json(cli_t *c, const json_t *j, diag_t *why)
{
	if (json_dumpf(j, c->out, JSON_INDENT(2) | cli_json_flags(c)) != 0 || fputc('\n', c->out) == EOF)
		return diag_fail(why, KMS_E_IO, "cannot write the answer: %m");
	return KMS_OK;
}

kms_err_t cli_print_record(cli_t *c, const column_t *columns, size_t n, const json_t *j, diag_t *why)
{
	if (c->json)
		return cli_print_json(c, j, why);
	if (record_print(columns, n, j, c->out) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the answer");
	return KMS_OK;
}

kms_err_t cli_show(cli_t *c, const char *method, const char *path, const json_t *body,
		   const column_t *columns, size_t n, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	KMS_TRY(cli_request(c, method, path, body, &j, why));
	return cli_print_record(c, columns, n, j, why);
}

kms_err_t cli_path(char out[CLI_PATH_CAP], diag_t *why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(out, CLI_PATH_CAP, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= CLI_PATH_CAP)
		return diag_fail(why, KMS_E_INVALID, "the name is too long");
	return KMS_OK;
}

bool cli_is_terminal(FILE *f)
{
	int fd = fileno(f);
	return fd >= 0 && isatty(fd) == 1;
}
