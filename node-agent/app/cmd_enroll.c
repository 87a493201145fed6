#include "node-agent/app/command.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/client/client.h"
#include "common/client/token_file.h"
#include "common/proto/json.h"
#include "node-agent/app/agent.h"
#include "node-agent/app/kms_decode.h"

static kms_err_t request_body(const token_t *t, const secret_t *key, buf_t *out)
{
	SCOPED(buf_free) buf_t csr = BUF_INIT;
	SCOPED(buf_free) buf_t secret = BUF_INIT;
	SCOPED(json_freep) json_t *body = NULL;
	char node[PATH3_CAP];
	KMS_TRY(x509_csr_new(key, &csr));
	base64_encode(secret_span(t->secret), &secret);
	KMS_TRY(secret.err);
	path3_format(&t->node, node);
	KMS_TRY(json_build(&body, "{s:s%, s:s, s:s%}", "secret", (const char *)secret.p, secret.n, "node",
			   node, "csr", (const char *)csr.p, csr.n));
	return json_write(body, out);
}

static kms_err_t call(const conf_t *c, const token_t *t, span_t body, client_reply_t *reply, diag_t *why)
{
	SCOPED(client_freep) client_t *http = NULL;
	const client_options_t o = {
		.urls = conf_text(c, "server"),
		.ca_pem = buf_span(&t->ca_pem),
		.proxy = conf_text(c, "proxy"),
		.user_agent = "node-agent/" CLAVIGER_VERSION,
	};
	KMS_TRY(client_new(&o, &http, why));
	KMS_TRY(client_call(http, "POST", "/v1/enroll", body, NULL, (unsigned)conf_number(c, "timeout"),
			    reply, why));
	return client_status(reply, why);
}

/* The key is on disk before anything is sent: a certificate for a key that a crash has lost would be a dead
 * node that the KMS believes alive. */
static kms_err_t enroll(const conf_t *c, const state_t *s, const token_t *t, diag_t *why)
{
	SCOPED(secret_freep) secret_t *key = NULL;
	SCOPED(buf_free) buf_t body = BUF_INIT;
	SCOPED(client_reply_free) client_reply_t reply = {0};
	SCOPED(buf_free) buf_t cert = BUF_INIT;
	SCOPED(buf_free) buf_t ca = BUF_INIT;
	KMS_TRY(x509_key_new(&key));
	KMS_TRY(state_stage_key(s, key, why));
	KMS_TRY(request_body(t, key, &body));
	KMS_TRY(call(c, t, buf_span(&body), &reply, why));
	KMS_TRY(kms_decode_certificate(buf_span(&reply.body), &cert, &ca, why));
	return state_enroll(s, &t->node, buf_span(&cert), buf_span(&ca), conf_text(c, "server"), why);
}

static kms_err_t run_checked(const conf_t *c, state_t *s, token_t *t, diag_t *why)
{
	if (conf_text(c, "server") == NULL)
		return diag_fail(why, KMS_E_INVALID, "enroll needs --server URL[,URL…]");
	if (conf_text(c, "token") == NULL)
		return diag_fail(why, KMS_E_INVALID, "enroll needs --token FILE (\"-\": standard input)");
	KMS_TRY(token_file_read(conf_text(c, "token"), t, why));
	if (t->operator_name[0] != '\0')
		return diag_fail(
			why, KMS_E_INVALID,
			"this token invites the operator %s, not a node: kmsctl operator enroll takes it",
			t->operator_name);
	KMS_TRY(state_paths(conf_text(c, "dir"), s, why));
	if (state_enrolled(s) && !conf_bool(c, "force"))
		return diag_fail(why, KMS_E_CONFLICT,
				 "this node has an identity already (%s); --force replaces it", s->cert);
	KMS_TRY(state_ensure(s, why));
	kms_err_t e = enroll(c, s, t, why);
	if (e != KMS_OK)
		state_unstage(s);
	return e;
}

static int run(const conf_t *c)
{
	SCOPED(state_clear) state_t s = {.dir = NULL};
	SCOPED(token_free) token_t t = {.secret = NULL};
	diag_t why = {""};
	kms_err_t e = run_checked(c, &s, &t, &why);
	if (e != KMS_OK)
		return agent_fail(e, &why);
	(void)printf("enrolled as %s/%s/%s; identity in %s\n", t.node.customer, t.node.service, t.node.name,
		     s.dir);
	return 0;
}

static const conf_setting_t flags[] = {
	{"server", "CLAVIGER_AGENT_SERVER", CONF_TEXT, 0, 4000, NULL, "URL[,URL…]",
	 "ways to the KMS, tried in order"},
	{"token", NULL, CONF_TEXT, 0, 0, NULL, "FILE", "the invitation's token; \"-\" is standard input"},
	{"force", NULL, CONF_BOOL, 0, 0, NULL, NULL, "replace the identity that this node has"},
};

const command_t command_enroll = {
	.name = "enroll",
	.synopsis = "--server URL[,URL…] --token FILE [--force]",
	.help = "make a key and get this node's certificate for an invitation's token",
	.flags = flags,
	.n_flags = COMMAND_COUNT(flags),
	.run = run,
};
