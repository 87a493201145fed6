#include "common/proto/token.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/proto/json.h"

#define PREFIX          "clvt1."
#define PEM_BEGIN       "-----BEGIN CERTIFICATE-----\n"
#define SECRET_TEXT_LEN 44U

static bool starts_with(span_t s, const char *prefix)
{
	size_t n = strlen(prefix);
	return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static bool ca_plausible(span_t pem)
{
	return pem.n <= TOKEN_CA_MAX && starts_with(pem, PEM_BEGIN) && memchr(pem.p, 0, pem.n) == NULL;
}

static bool node_valid(const path3_t *p)
{
	return name_valid(span_str(p->customer)) && name_valid(span_str(p->service)) &&
	       name_valid(span_str(p->name));
}

/* kind: "node" or "operator". */
static kms_err_t build_json(span_t ca_pem, const char *kind, const char *who, const secret_t *secret,
			    buf_t *out)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	SCOPED(json_freep) json_t *j = NULL;
	span_t b64;
	base64_encode(secret_span(secret), &text);
	KMS_TRY(buf_done(&text, &b64));
	KMS_TRY(json_build(&j, "{s:s%,s:s,s:s%}", "ca", (const char *)ca_pem.p, ca_pem.n, kind, who, "secret",
			   (const char *)b64.p, b64.n));
	return json_write(j, out);
}

static kms_err_t encode(span_t ca_pem, const char *kind, const char *who, const secret_t *secret, buf_t *out)
{
	if (!ca_plausible(ca_pem) || secret_len(secret) != TOKEN_SECRET_LEN)
		return KMS_E_INVALID;
	SCOPED(buf_free) buf_t json = BUF_INIT;
	KMS_TRY(build_json(ca_pem, kind, who, secret, &json));
	buf_str(out, PREFIX);
	base64_encode(buf_span(&json), out);
	return out->err;
}

kms_err_t token_encode(span_t ca_pem, const path3_t *node, const secret_t *secret, buf_t *out)
{
	char path[PATH3_CAP];
	if (!node_valid(node))
		return KMS_E_INVALID;
	path3_format(node, path);
	return encode(ca_pem, "node", path, secret, out);
}

kms_err_t token_encode_operator(span_t ca_pem, const char *name, const secret_t *secret, buf_t *out)
{
	return name_valid(span_str(name)) ? encode(ca_pem, "operator", name, secret, out) : KMS_E_INVALID;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static span_t trim(span_t s)
{
	while (s.n > 0 && is_space(s.p[s.n - 1]))
		s.n--;
	while (s.n > 0 && is_space(s.p[0]))
		s = span_of(s.p + 1, s.n - 1);
	return s;
}

static kms_err_t not_a_token(diag_t *why, const char *reason)
{
	return diag_fail(why, KMS_E_INVALID, "not an enrolment token: %s", reason);
}

static kms_err_t decode_json(span_t line, buf_t *out, diag_t *why)
{
	if (!starts_with(line, PREFIX))
		return not_a_token(why, "it does not start with \"" PREFIX "\"");
	span_t b64 = span_of(line.p + strlen(PREFIX), line.n - strlen(PREFIX));
	uint8_t *at = buf_reserve(out, b64.n / 4 * 3);
	if (at == NULL)
		return out->err;
	size_t n = 0;
	if (base64_decode(b64, at, b64.n / 4 * 3, &n) != KMS_OK)
		return not_a_token(why, "it is cut off or was changed");
	out->n = n;
	return KMS_OK;
}

typedef struct fields {
	json_t *ca;
	path3_t node;
	char operator_name[NAME_CAP];
	char secret[SECRET_TEXT_LEN + 1];
} fields_t;

static const json_field_t token_fields[] = {
	{.name = "ca", .type = JF_RAW, .offset = offsetof(fields_t, ca)},
	{.name = "node", .type = JF_PATH3, .offset = offsetof(fields_t, node), .optional = true},
	{.name = "operator", .type = JF_NAME, .offset = offsetof(fields_t, operator_name), .optional = true},
	{.name = "secret",
	 .type = JF_STRING,
	 .offset = offsetof(fields_t, secret),
	 .cap = SECRET_TEXT_LEN + 1},
};

static kms_err_t take_ca(const json_t *ca, token_t *t, diag_t *why)
{
	span_t pem = span_of(json_string_value(ca), json_string_length(ca));
	if (!json_is_string(ca) || !ca_plausible(pem))
		return not_a_token(why, "\"ca\" must be a PEM certificate");
	buf_bytes(&t->ca_pem, pem);
	return t->ca_pem.err;
}

static kms_err_t take_secret(const char *text, token_t *t, diag_t *why)
{
	SCOPED(secret_freep) secret_t *s = NULL;
	KMS_TRY(secret_new(TOKEN_SECRET_LEN, &s));
	size_t n = 0;
	if (base64_decode(span_str(text), secret_data(s), TOKEN_SECRET_LEN, &n) != KMS_OK ||
	    n != TOKEN_SECRET_LEN)
		return not_a_token(why, "\"secret\" must be the base64 of 32 bytes");
	t->secret = TAKE(s);
	return KMS_OK;
}

static kms_err_t take_fields(const json_t *j, fields_t *f, token_t *t, diag_t *why)
{
	diag_t inner = {""};
	kms_err_t e = json_read(j, token_fields, sizeof token_fields / sizeof *token_fields, true, f, &inner);
	if (e != KMS_OK)
		return diag_fail(why, e, "not an enrolment token: %s", inner.text);
	if ((f->node.name[0] == '\0') == (f->operator_name[0] == '\0'))
		return not_a_token(why, "it must name one node or one operator");
	t->node = f->node;
	memcpy(t->operator_name, f->operator_name, sizeof t->operator_name);
	KMS_TRY(take_ca(f->ca, t, why));
	return take_secret(f->secret, t, why);
}

kms_err_t token_decode(span_t text, token_t *out, diag_t *why)
{
	if (text.n > TOKEN_TEXT_MAX)
		return not_a_token(why, "it is too long");
	SCOPED(buf_free) buf_t json = BUF_INIT;
	SCOPED(json_freep) json_t *j = NULL;
	SCOPED(token_free) token_t t = {.secret = NULL};
	KMS_TRY(decode_json(trim(text), &json, why));
	diag_t inner = {""};
	kms_err_t e = json_parse(buf_span(&json), TOKEN_TEXT_MAX, &j, &inner);
	if (e != KMS_OK)
		return diag_fail(why, e, "not an enrolment token: %s", inner.text);
	fields_t f = {.ca = NULL};
	e = take_fields(j, &f, &t, why);
	wipe(f.secret, sizeof f.secret);
	KMS_TRY(e);
	*out = t;
	t = (token_t){.secret = NULL}; /* ownership leaves; cleanup sees an empty token */
	return KMS_OK;
}

void token_free(token_t *t)
{
	buf_free(&t->ca_pem);
	secret_freep(&t->secret);
	t->node = (path3_t){.name = ""};
	t->operator_name[0] = '\0';
}
