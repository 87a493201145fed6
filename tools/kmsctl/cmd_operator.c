#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "tools/kmsctl/command.h"
#include "tools/kmsctl/list.h"

#include <unistd.h>

#define CSR_LIMIT (32U * 1024U)

static const column_t columns[] = {
	{.title = "OPERATOR", .path = "operator"},
	{.title = "ROLE", .path = "role"},
	{.title = "STATE", .path = "state"},
	{.title = "CUSTOMERS", .path = "customers", .kind = VALUE_NAMES},
	{.title = "CREATED", .path = "created_ms", .kind = VALUE_TIME},
	{.title = "CERTIFICATE UNTIL", .path = "not_after_ms", .kind = VALUE_TIME},
	{.title = "LAST SEEN", .path = "last_seen_ms", .kind = VALUE_TIME},
};

static const conf_setting_t create_flags[] = {
	{.key = "csr",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "certificate request of the operator's own key"},
	{.key = "new-key", .type = CONF_TEXT, .arg = "FILE", .help = "or make the key there (mode 0600)"},
	{.key = "role",
	 .type = CONF_TEXT,
	 .max = 20,
	 .arg = "ROLE",
	 .dflt = "operator",
	 .help = "admin, operator, approver, reviewer or auditor"},
	{.key = "customer",
	 .type = CONF_TEXT,
	 .arg = "C[,C...]",
	 .help = "an auditor of these customers only (at most 16)"},
	{.key = "out", .type = CONF_TEXT, .arg = "FILE", .help = "where the certificate goes"},
};

static kms_err_t operator_path(const cli_t *c, const char *act, char out[CLI_PATH_CAP], diag_t *why)
{
	char name[NAME_CAP];
	KMS_TRY(name_parse("operator", span_str(conf_word(c->conf, 0)), name, why));
	return cli_path(out, why, "/v1/operators/%s%s", name, act);
}

static kms_err_t check_role(const char *role, diag_t *why)
{
	static const char *const roles[] = {"admin", "operator", "approver", "reviewer", "auditor"};
	for (size_t i = 0; i < COUNT(roles); i++)
		if (strcmp(role, roles[i]) == 0)
			return KMS_OK;
	return diag_fail(why, KMS_E_INVALID,
			 "--role is admin, operator, approver, reviewer or auditor, not \"%.20s\"", role);
}

/* The names of --customer as the body's "customers". */
static kms_err_t customers_of(const char *text, json_t *list, diag_t *why)
{
	for (const char *at = text;; at++) {
		char name[NAME_CAP];
		size_t n = strcspn(at, ",");
		if (name_parse("--customer", span_of(at, n), name, why) != KMS_OK)
			return KMS_E_INVALID;
		if (json_array_append_new(list, json_string(name)) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
		at += n;
		if (*at == '\0')
			return KMS_OK;
	}
}

/* Before a key is made for nothing. */
static kms_err_t check_customers(const char *text, diag_t *why)
{
	SCOPED(json_freep) json_t *list = json_array();
	return customers_of(text, list, why);
}

static kms_err_t check_flags(const cli_t *c, diag_t *why)
{
	const char *csr = conf_text(c->conf, "csr");
	const char *key = conf_text(c->conf, "new-key");
	const char *out = conf_text(c->conf, "out");
	const char *customers = conf_text(c->conf, "customer");
	KMS_TRY(check_role(conf_text(c->conf, "role"), why));
	if (customers != NULL && strcmp(conf_text(c->conf, "role"), "auditor") != 0)
		return diag_fail(why, KMS_E_INVALID, "--customer goes with --role auditor only");
	if (customers != NULL)
		KMS_TRY(check_customers(customers, why));
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

static kms_err_t make_body(const cli_t *c, const char *csr, json_t **out, diag_t *why)
{
	SCOPED(json_freep) json_t *body = NULL;
	const char *customers = conf_text(c->conf, "customer");
	if (json_build(&body, "{s:s, s:s}", "csr", csr, "role", conf_text(c->conf, "role")) != KMS_OK)
		return diag_fail(why, KMS_E_INVALID, "the certificate request is not text");
	if (customers != NULL) {
		json_t *list = json_array();
		if (json_object_set_new(body, "customers", list) != 0)
			return diag_fail(why, KMS_E_NOMEM, "no memory");
		KMS_TRY(customers_of(customers, list, why));
	}
	*out = TAKE(body);
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
	KMS_TRY(make_body(c, text, &body, why));
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
	return list_print(c, "/v1/operators", columns, COUNT(columns), why);
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

static const command_t commands[] = {
	{"create", "NAME", "certify a person's key", 1, 1, create_flags, COUNT(create_flags), create},
	{"list", "", "all operators", 0, 0, list_flags, 1, list},
	{"show", "NAME", "one operator", 1, 1, NULL, 0, show},
	{"revoke", "NAME", "end an operator's certificate for good", 1, 1, NULL, 0, revoke_operator},
	{"suspend", "NAME", "refuse an operator until resumed", 1, 1, NULL, 0, suspend},
	{"resume", "NAME", "let a suspended operator act again", 1, 1, NULL, 0, resume},
};
const noun_t noun_operator = {"operator", "people who may act", commands, COUNT(commands)};
