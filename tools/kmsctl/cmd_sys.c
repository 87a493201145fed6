#include "common/base/scope.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/prompt.h"

#define MAX_SHARES 255U

static const column_t health_fields[] = {
	{.title = "STATUS", .path = "status"},
	{.title = "INITIALISED", .path = "initialised"},
	{.title = "SEALED", .path = "sealed"},
	{.title = "LOG WRITABLE", .path = "log_writable"},
	{.title = "LOG SIZE", .path = "log_size"},
	{.title = "VERSION", .path = "version"},
	{.title = "SERVER TIME", .path = "time_ms", .kind = VALUE_TIME},
	{.title = "DURABLE COPIES REQUIRED", .path = "durable_copies_required"},
};

static const column_t seal_fields[] = {
	{.title = "SEALED", .path = "sealed"},       {.title = "TYPE", .path = "type"},
	{.title = "THRESHOLD", .path = "threshold"}, {.title = "SHARES", .path = "shares"},
	{.title = "PROGRESS", .path = "progress"},
};

static kms_err_t health(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *j = NULL;
	int status = 0;
	KMS_TRY(cli_request_raw(c, "GET", "/v1/sys/health", &status, &j, why));
	if (*value_text(j, "status") == '\0')
		return diag_fail(why, KMS_E_IO, "what answers there is not a KMS (HTTP %d without a status)",
				 status);
	KMS_TRY(cli_print_record(c, health_fields, COUNT(health_fields), j, why));
	if (status == 200)
		return KMS_OK;
	SCOPED(buf_free) buf_t words = BUF_INIT;
	const char *text = NULL;
	value_format(value_at(j, "status"), VALUE_PLAIN, &words);
	KMS_TRY(buf_cstr(&words, &text));
	return diag_fail(why, KMS_E_UNAVAILABLE, "the KMS serves nothing now: %s", text);
}

static kms_err_t seal_status(cli_t *c, diag_t *why)
{
	return cli_show(c, "GET", "/v1/sys/seal-status", NULL, seal_fields, COUNT(seal_fields), why);
}

static kms_err_t seal(cli_t *c, diag_t *why)
{
	return cli_show(c, "POST", "/v1/sys/seal", NULL, seal_fields, COUNT(seal_fields), why);
}

/* share NULL: a seal that opens itself. Replaces *status by the answer. */
static kms_err_t send_share(cli_t *c, const secret_t *share, json_t **status, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	json_t *answer = NULL;
	if (share != NULL) {
		span_t s = secret_span(share);
		if (json_build(&body, "{s:s%}", "share", (const char *)s.p, s.n) != KMS_OK)
			return diag_fail(why, KMS_E_INVALID, "the share is not text");
	}
	KMS_TRY(cli_request(c, "POST", "/v1/sys/unseal", body, &answer, why));
	json_freep(status);
	*status = answer;
	return KMS_OK;
}

static bool sealed(const json_t *status)
{
	return json_is_true(value_at(status, "sealed"));
}

static kms_err_t next_share(const json_t *status, secret_t **out, diag_t *why)
{
	char question[80];
	if (!cli_is_terminal(stdin))
		return stdin_line(out, why);
	(void)snprintf(question, sizeof question,
		       "Share %lld of %lld (not shown): ", (long long)value_number(status, "progress") + 1,
		       (long long)value_number(status, "threshold"));
	return prompt_line(question, false, out, why);
}

/* Shares come from standard input, one a line, or are asked for; never from the arguments, which anyone on
 * the machine can read. */
static kms_err_t send_shares(cli_t *c, json_t **status, diag_t *why)
{
	for (unsigned i = 0; i < MAX_SHARES && sealed(*status); i++) {
		SCOPED(secret_freep) secret_t *share = NULL;
		kms_err_t e = next_share(*status, &share, why);
		if (e == KMS_E_NOTFOUND && i > 0)
			return KMS_OK; /* other people hold the rest */
		if (e == KMS_E_NOTFOUND)
			return diag_fail(why, KMS_E_INVALID, "no share was given on standard input");
		KMS_TRY(e);
		KMS_TRY(send_share(c, share, status, why));
	}
	return KMS_OK;
}

static kms_err_t unseal(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *status = NULL;
	KMS_TRY(cli_request(c, "GET", "/v1/sys/seal-status", NULL, &status, why));
	if (sealed(status)) {
		if (strcmp(value_text(status, "type"), "shamir") == 0)
			KMS_TRY(send_shares(c, &status, why));
		else
			KMS_TRY(send_share(c, NULL, &status, why));
	}
	return cli_print_record(c, seal_fields, COUNT(seal_fields), status, why);
}

static const command_t commands[] = {
	{"health", "", "what state the server is in (needs no certificate)", 0, 0, NULL, 0, health},
	{"seal-status", "", "whether it is sealed, and how far unsealing is", 0, 0, NULL, 0, seal_status},
	{"unseal", "", "give shares, one a line on standard input, or asked for", 0, 0, NULL, 0, unseal},
	{"seal", "", "wipe the root key from the server's memory", 0, 0, NULL, 0, seal},
};
const noun_t noun_sys = {"sys", "the server itself", commands, COUNT(commands)};
