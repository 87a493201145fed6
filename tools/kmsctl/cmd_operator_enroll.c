/* The token says which CA to trust and who it is for; the key is made here and never leaves. It is on disk
 * before anything is sent, so that a crash leaves no certificate without its key. */
#include "tools/kmsctl/cmd_operator_enroll.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/client/token_file.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"

#include <stdlib.h>
#include <unistd.h>

#define CSR_LIMIT (32U * 1024U)

const conf_setting_t operator_enroll_flags[OPERATOR_ENROLL_FLAGS] = {
	{.key = "token",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the invitation's token; \"-\" is standard input (wanted)"},
	{.key = "out",
	 .type = CONF_TEXT,
	 .max = 4000,
	 .arg = "DIR",
	 .help = "where NAME.key, NAME.crt and ca.crt go (wanted)"},
	{.key = "csr",
	 .type = CONF_TEXT,
	 .arg = "FILE",
	 .help = "the request of a key that you have already, on a token for example: none is made"},
};

typedef struct place {
	char *key, *cert, *ca;
} place_t;

static void place_free(place_t *p)
{
	freep(&p->key);
	freep(&p->cert);
	freep(&p->ca);
}

static kms_err_t is_free(const char *file, diag_t *why)
{
	if (access(file, F_OK) == 0)
		return diag_fail(why, KMS_E_INVALID, "%s exists already: name another folder", file);
	return KMS_OK;
}

static kms_err_t find_place(const char *dir, const char *name, place_t *p, diag_t *why)
{
	char key[NAME_CAP + 8], cert[NAME_CAP + 8];
	(void)snprintf(key, sizeof key, "%s.key", name);
	(void)snprintf(cert, sizeof cert, "%s.crt", name);
	KMS_TRY(dir_ensure(dir, why));
	SCOPED(freep) char *whole = realpath(dir, NULL); /* the settings to make hold from anywhere */
	if (whole == NULL || path_join(whole, key, &p->key) != KMS_OK ||
	    path_join(whole, cert, &p->cert) != KMS_OK || path_join(whole, "ca.crt", &p->ca) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	KMS_TRY(is_free(p->key, why));
	KMS_TRY(is_free(p->cert, why));
	return is_free(p->ca, why);
}

/* The request for a key that is there already, or for a new one, which is written down. */
static kms_err_t get_csr(const char *file, const place_t *p, secret_t **key, buf_t *csr, diag_t *why)
{
	uint8_t spki[SPKI_HASH_LEN];
	if (file != NULL) {
		if (file_read(file, CSR_LIMIT, csr, why) != KMS_OK ||
		    x509_csr_check(buf_span(csr), spki, why) != KMS_OK)
			return KMS_E_INVALID;
		return KMS_OK;
	}
	if (x509_key_new(key) != KMS_OK || x509_csr_new(*key, csr) != KMS_OK)
		return diag_fail(why, KMS_E_IO, "cannot make a key");
	return file_write(p->key, secret_span(*key), 0600, FILE_CREATE_ONLY, why);
}

static kms_err_t ask(cli_t *c, const token_t *t, buf_t *csr, json_t **answer, diag_t *why)
{
	SCOPED(buf_free) buf_t secret = BUF_INIT;
	SCOPED(json_freep) json_t *body = NULL;
	base64_encode(secret_span(t->secret), &secret);
	if (secret.err != KMS_OK ||
	    json_build(&body, "{s:s%, s:s, s:s%}", "secret", (const char *)secret.p, secret.n, "operator",
		       t->operator_name, "csr", (const char *)csr->p, csr->n) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "no memory");
	c->ca_pem = buf_span(&t->ca_pem);
	return cli_request_now(c, "POST", "/v1/enroll/operator", body, answer, why);
}

/* The certificate is the one that was asked for: of that person, and of this key. */
static kms_err_t check_certificate(span_t pem, const token_t *t, const secret_t *key, diag_t *why)
{
	x509_identity_t id;
	if (pem.n == 0)
		return diag_fail(why, KMS_E_IO, "the server's answer has no certificate");
	KMS_TRY(x509_read_identity(pem, &id, why));
	if (id.kind != X509_OPERATOR || strcmp(id.operator_name, t->operator_name) != 0)
		return diag_fail(why, KMS_E_INTEGRITY, "the server's certificate is not for %s",
				 t->operator_name);
	if (key != NULL && x509_key_matches(key, pem) != KMS_OK)
		return diag_fail(why, KMS_E_INTEGRITY,
				 "the server's certificate is not for the key that was made");
	return KMS_OK;
}

static kms_err_t tell(cli_t *c, const place_t *p, const char *name, const json_t *answer, diag_t *why)
{
	bool own = conf_text(c->conf, "csr") == NULL;
	if (c->json)
		return cli_print_json(c, answer, why);
	(void)fprintf(c->out, "enrolled as %s (%s); from now on:\n\n", name, value_text(answer, "role"));
	(void)fprintf(c->out,
		      "export KMS_ADDR=%s\nexport KMS_CACERT=%s\nexport KMS_CLIENT_CERT=%s\nexport "
		      "KMS_CLIENT_KEY=%s\n",
		      conf_setting_text(c->conf, "addr"), p->ca, p->cert, own ? p->key : "…");
	return KMS_OK;
}

static kms_err_t enroll(cli_t *c, const token_t *t, const place_t *p, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(json_freep) json_t *answer = NULL;
	KMS_TRY(get_csr(conf_text(c->conf, "csr"), p, &key, &csr, why));
	kms_err_t e = ask(c, t, &csr, &answer, why);
	if (e != KMS_OK &&
	    key != NULL) /* no certificate came for it, and it would stand in the next one's way */
		(void)unlink(p->key);
	KMS_TRY(e);
	span_t pem = span_str(value_text(answer, "certificate"));
	KMS_TRY(check_certificate(pem, t, key, why));
	KMS_TRY(file_write(p->ca, buf_span(&t->ca_pem), 0644, FILE_CREATE_ONLY, why));
	KMS_TRY(file_write(p->cert, pem, 0644, FILE_CREATE_ONLY, why));
	return tell(c, p, t->operator_name, answer, why);
}

kms_err_t operator_enroll(cli_t *c, diag_t *why)
{
	SCOPED(token_free) token_t t = {.secret = NULL};
	SCOPED(place_free) place_t p = {NULL, NULL, NULL};
	const char *file = conf_text(c->conf, "token"), *dir = conf_text(c->conf, "out");
	if (file == NULL || dir == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "enroll needs --token FILE (\"-\": standard input) and --out DIR");
	if (conf_setting_text(c->conf, "addr") == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "enroll needs the KMS's address: --addr URL, or KMS_ADDR");
	kms_err_t e = token_file_read(file, &t, why);
	if (e != KMS_OK)
		return e == KMS_E_NOTFOUND ? KMS_E_INVALID : e;
	if (t.operator_name[0] == '\0')
		return diag_fail(
			why, KMS_E_INVALID,
			"this token invites the node %s/%s/%s, not a person: node-agent enroll takes it",
			t.node.customer, t.node.service, t.node.name);
	KMS_TRY(find_place(dir, t.operator_name, &p, why));
	return enroll(c, &t, &p, why);
}
