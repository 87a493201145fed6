#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "tools/kmsctl/args.h"
#include "tools/kmsctl/cmd_operator_enroll.h"
#include "tools/kmsctl/invitation.h"
#include "tools/kmsctl/list.h"
#include "tools/kmsctl/person.h"

#include <unistd.h>

#define CSR_LIMIT (32U * 1024U)

/* By when somebody else has to say that the access is still needed. */
static void recertify_format(const json_t *row, buf_t *out)
{
	value_format(value_at(row, "recertify_by_ms"), VALUE_TIME, out);
	if (json_is_true(value_at(row, "recertification_due")))
		buf_str(out, " DUE");
}

static const column_t columns[] = {
	{.title = "OPERATOR", .path = "operator"},
	{.title = "ROLE", .path = "role"},
	{.title = "GROUPS", .path = "groups", .kind = VALUE_NAMES},
	{.title = "STATE", .path = "state"},
	{.title = "CUSTOMERS", .path = "customers", .kind = VALUE_NAMES},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
	{.title = "CERTIFICATE UNTIL", .path = "not_after_ms", .kind = VALUE_TIME},
	{.title = "RECERTIFY BY", .format = recertify_format},
	{.title = "LAST SEEN", .path = "last_seen_ms", .kind = VALUE_TIME},
};

static const conf_setting_t create_flags[] = {
	{.key = "csr",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "certificate request of the operator's own key"},
	{.key = "new-key", .type = CONF_TEXT, .arg = "FILE", .help = "or make the key there (mode 0600)"},
	PERSON_FLAGS("operator"),
	{.key = "out", .type = CONF_TEXT, .arg = "FILE", .help = "where the certificate goes"},
};

static kms_err_t operator_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	char name[NAME_CAP];
	KMS_TRY(name_parse("operator", span_str(conf_word(c->conf, 0)), name, why));
	return cli_path(out, why, "/v1/operators/%s%s", name, act);
}

static kms_err_t check_flags(const cli_t *c, diag_t *why)
{
	const char *csr = conf_text(c->conf, "csr");
	const char *key = conf_text(c->conf, "new-key");
	const char *out = conf_text(c->conf, "out");
	SCOPED(json_freep) json_t *body = json_object();
	KMS_TRY(person_body(c, false, body, why)); /* before a key is made for nothing */
	if ((csr == NULL) == (key == NULL))
		return diag_fail(why, KMS_E_INVALID, "give one of --csr FILE and --new-key FILE");
	if (out == NULL)
		return diag_fail(why, KMS_E_INVALID, "--out FILE is missing: where the certificate goes");
	if (access(out, F_OK) == 0)
		return diag_fail(why, KMS_E_INVALID, "--out: %s exists already", out);
	if (key != NULL && strcmp(key, out) == 0)
		return diag_fail(why, KMS_E_INVALID, "--new-key and --out name the same file");
	return KMS_OK;
}

static kms_err_t make_key(const char *file, buf_t *csr, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	if (x509_key_new(&key) != KMS_OK || x509_csr_new(key, csr) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "cannot make a key");
	kms_err_t e = file_write(file, secret_span(key), 0600, FILE_CREATE_ONLY, why);
	/* a file that is there already is the caller's slip, and stays as it is */
	return e == KMS_E_CONFLICT ? KMS_E_INVALID : e;
}

static kms_err_t issue(cli_t *c, const char *path, buf_t *csr, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	const char *text = NULL;
	KMS_TRY(buf_cstr(csr, &text));
	if (json_build(&body, "{s:s}", "csr", text) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "the certificate request is not text");
	KMS_TRY(person_body(c, false, body, why));
	KMS_TRY(cli_request(c, "PUT", path, body, &answer, why));
	span_t pem = span_str(value_text(answer, "certificate"));
	if (pem.n == 0)
		return diag_fail(why, KMS_E_IO, "the server's answer has no certificate");
	KMS_TRY(file_write(conf_text(c->conf, "out"), pem, 0644, FILE_CREATE_ONLY, why));
	return cli_print_record(c, columns, COUNT(columns), answer, why);
}

static kms_err_t create(cli_t *c, diag_t *why)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	char path[CLI_PATH_CAP];
	uint8_t spki[SPKI_HASH_LEN];
	const char *new_key = conf_text(c->conf, "new-key");
	KMS_TRY(operator_path(c, "", path, why));
	KMS_TRY(check_flags(c, why));
	if (new_key == NULL) {
		kms_err_t e = file_read(conf_text(c->conf, "csr"), CSR_LIMIT, &csr, why);
		if (e == KMS_OK)
			e = x509_csr_check(buf_span(&csr), spki, why);
		return e == KMS_OK ? issue(c, path, &csr, why) : KMS_E_INVALID;
	}
	KMS_TRY(make_key(new_key, &csr, why));
	kms_err_t e = issue(c, path, &csr, why);
	/* a key that no certificate came for is of no use to anyone, and would stand in the way of the next
	 * attempt */
	if (e != KMS_OK && !c->ended && access(conf_text(c->conf, "out"), F_OK) != 0)
		(void)unlink(new_key);
	return e;
}

static kms_err_t list(cli_t *c, diag_t *why)
{
	return list_print_query(c, "/v1/operators", conf_bool(c->conf, "due") ? "&due=true" : NULL, columns,
				COUNT(columns), why);
}

static const column_t invited[] = {
	{.title = "OPERATOR", .path = "operator"},
	{.title = "ROLE", .path = "role"},
	{.title = "GROUPS", .path = "groups", .kind = VALUE_NAMES},
	{.title = "CUSTOMERS", .path = "customers", .kind = VALUE_NAMES},
	{.title = "EXPIRES", .path = "expires_ms", .kind = VALUE_TIME},
};

static kms_err_t invite(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	SCOPED(json_freep) json_t *answer = NULL;
	char path[CLI_PATH_CAP], until[TIME_TEXT_CAP];
	int64_t ttl = 0;
	KMS_TRY(operator_path(c, ":invite", path, why));
	KMS_TRY(invitation_flags(c, &ttl, why));
	KMS_TRY(json_build(&body, "{s:I}", "ttl_s", (json_int_t)ttl));
	KMS_TRY(person_body(c, false, body, why));
	KMS_TRY(cli_request(c, "POST", path, body, &answer, why));
	KMS_TRY(invitation_give(c, answer, invited, COUNT(invited), why));
	time_text(value_number(answer, "expires_ms"), until);
	if (cli_is_terminal(c->err))
		(void)fprintf(c->err,
			      "They, on their own machine, before %s: kmsctl operator enroll --addr %s "
			      "--token FILE --out DIR\n",
			      until, conf_text(c->conf, "addr"));
	return KMS_OK;
}

static kms_err_t update(cli_t *c, diag_t *why)
{
	SCOPED(json_freep) json_t *body = json_object();
	char path[CLI_PATH_CAP];
	KMS_TRY(operator_path(c, ":update", path, why));
	KMS_TRY(person_body(c, true, body, why));
	if (json_object_size(body) == 0)
		return diag_fail(
			why, KMS_E_INVALID,
			"say what changes: --role, --group, --no-groups, --customer or --all-customers");
	return cli_show(c, "POST", path, body, columns, COUNT(columns), why);
}

static kms_err_t act(cli_t *c, const char *method, const char *verb, diag_t *why)
{
	char path[CLI_PATH_CAP];
	KMS_TRY(operator_path(c, verb, path, why));
	return cli_show(c, method, path, NULL, columns, COUNT(columns), why);
}

static kms_err_t show(cli_t *c, diag_t *why)
{
	return act(c, "GET", "", why);
}

static kms_err_t revoke_operator(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":revoke", why);
}

static kms_err_t suspend(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":suspend", why);
}

static kms_err_t resume(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":resume", why);
}

static kms_err_t recertify(cli_t *c, diag_t *why)
{
	return act(c, "POST", ":recertify", why);
}

static const conf_setting_t invite_flags[] = {PERSON_FLAGS("operator"), INVITATION_FLAGS};

static const conf_setting_t update_flags[] = {
	PERSON_FLAGS(NULL),
	{.key = "no-groups", .type = CONF_BOOL, .help = "of no group any more"},
	{.key = "all-customers", .type = CONF_BOOL, .help = "an auditor of all customers"},
};

static const conf_setting_t find_flags[] = {
	LIST_LIMIT_FLAG,
	{.key = "due", .type = CONF_BOOL, .help = "only those whose access somebody has to confirm now"},
};

static const command_t commands[] = {
	{"invite", "NAME", "a token with which a person gets a certificate for a key of their own", 1, 1,
	 invite_flags, COUNT(invite_flags), invite},
	{"enroll", "", "make a key and get your certificate for a token", 0, 0, operator_enroll_flags,
	 OPERATOR_ENROLL_FLAGS, operator_enroll},
	{"create", "NAME", "certify a person's key", 1, 1, create_flags, COUNT(create_flags), create},
	{"list", "", "all operators", 0, 0, find_flags, COUNT(find_flags), list},
	{"update", "NAME", "another role, other groups or customers, from the next request on", 1, 1,
	 update_flags, COUNT(update_flags), update},
	{"recertify", "NAME", "say that somebody else's access is still needed", 1, 1, NULL, 0, recertify},
	{"show", "NAME", "one operator", 1, 1, NULL, 0, show},
	{"revoke", "NAME", "end an operator's certificate for good", 1, 1, NULL, 0, revoke_operator},
	{"suspend", "NAME", "refuse an operator until resumed", 1, 1, NULL, 0, suspend},
	{"resume", "NAME", "let a suspended operator act again", 1, 1, NULL, 0, resume},
};
const noun_t noun_operator = {"operator", "people who may act", commands, COUNT(commands)};
