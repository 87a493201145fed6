#include "tools/kmsctl/act.h"

#include "common/base/scope.h"
#include "common/crypto/x509.h"
#include "common/io/file.h"
#include "tools/kmsctl/command.h"

#define CERT_LIMIT 65536U
#define SVC        "/v1/customers/{}/services/{}"
#define NODE       SVC "/nodes/{}"
#define VOL        SVC "/volumes/{}"
#define LOG        "/v1/audit/log/"

/* The first that matches. */
static const act_row_t rows[] = {
	{"GET", "/v1/sys/seal-status", "sys.seal-status", "sys", 0},
	{"POST", "/v1/sys/unseal", "sys.unseal", "sys", 0},
	{"POST", "/v1/sys/seal", "sys.seal", "sys", 0},
	{"POST", "/v1/enroll", "node.enroll", "node", 3},
	{"POST", "/v1/renew", "identity.renew", "identity", 0},
	{"GET", "/v1/operators", "operator.list", "operator", 1},
	{"GET", "/v1/operators/{}", "operator.read", "operator", 1},
	{"PUT", "/v1/operators/{}", "operator.create", "operator", 1},
	{"POST", "/v1/operators/{}:revoke", "operator.revoke", "operator", 1},
	{"POST", "/v1/operators/{}:suspend", "operator.suspend", "operator", 1},
	{"POST", "/v1/operators/{}:resume", "operator.resume", "operator", 1},
	{"POST", "/v1/operators/{}:invite", "operator.invite", "operator", 1},
	{"POST", "/v1/operators/{}:update", "operator.update", "operator", 1},
	{"POST", "/v1/operators/{}:recertify", "operator.recertify", "operator", 1},
	{"POST", "/v1/enroll/operator", "operator.enroll", "operator", 1},
	{"GET", "/v1/customers", "customer.list", "customer", 1},
	{"GET", "/v1/customers/{}", "customer.read", "customer", 1},
	{"PUT", "/v1/customers/{}", "customer.create", "customer", 1},
	{"GET", "/v1/customers/{}/services", "service.list", "service", 2},
	{"GET", SVC, "service.read", "service", 2},
	{"PUT", SVC, "service.create", "service", 2},
	{"GET", SVC "/nodes", "node.list", "node", 3},
	{"GET", NODE, "node.read", "node", 3},
	{"POST", NODE ":invite", "node.invite", "node", 3},
	{"POST", NODE ":revoke", "node.revoke", "node", 3},
	{"POST", NODE ":suspend", "node.suspend", "node", 3},
	{"POST", NODE ":resume", "node.resume", "node", 3},
	{"GET", SVC "/volumes", "volume.list", "volume", 3},
	{"GET", VOL, "volume.read", "volume", 3},
	{"PUT", VOL, "volume.create", "volume", 3},
	{"DELETE", VOL, "volume.delete", "volume", 3},
	{"POST", VOL ":commit", "volume.commit", "volume", 3},
	{"POST", VOL ":refused", "volume.refused", "volume", 3},
	{"POST", VOL ":prove", "volume.prove", "volume", 3},
	{"PUT", VOL "/header", "header.store", "volume", 3},
	{"GET", VOL "/header", "header.read", "volume", 3},
	{"POST", VOL ":reformat", "volume.reformat", "volume", 3},
	{"POST", VOL ":release", "key.release", "volume", 3},
	{"POST", VOL ":suspend", "volume.suspend", "volume", 3},
	{"POST", VOL ":resume", "volume.resume", "volume", 3},
	{"POST", VOL ":assign", "volume.assign", "volume", 3},
	{"POST", VOL ":restore", "volume.restore", "volume", 3},
	{"POST", VOL "/rotation", "rotation.stage", "volume", 3},
	{"POST", VOL "/rotation:promote", "rotation.promote", "volume", 3},
	{"POST", VOL "/rotation:retire", "rotation.retire", "volume", 3},
	{"POST", VOL "/rotation:abort", "rotation.abort", "volume", 3},
	{"POST", VOL "/reencryption", "reencryption.start", "volume", 3},
	{"POST", VOL "/reencryption:progress", "reencryption.progress", "volume", 3},
	{"POST", VOL "/reencryption:promote", "reencryption.promote", "volume", 3},
	{"POST", VOL "/reencryption:abort", "reencryption.abort", "volume", 3},
	{"POST", "/v1/node/release", "key.release", "node", 3},
	{"GET", "/v1/node/tasks", "node.tasks", "node", 3},
	{"POST", "/v1/node/tasks:report", "node.report", "node", 3},
	{"GET", "/v1/maintenance", "maintenance.list", "maintenance", 1},
	{"POST", "/v1/maintenance", "maintenance.create", "maintenance", 1},
	{"GET", "/v1/maintenance/{}", "maintenance.read", "maintenance", 1},
	{"POST", "/v1/maintenance/{}:open", "maintenance.open", "maintenance", 1},
	{"POST", "/v1/maintenance/{}:close", "maintenance.close", "maintenance", 1},
	{"POST", "/v1/maintenance/{}:halt", "maintenance.halt", "maintenance", 1},
	{"POST", "/v1/maintenance/{}:pause", "maintenance.pause", "maintenance", 1},
	{"POST", "/v1/maintenance/{}:abort", "maintenance.abort", "maintenance", 1},
	{"POST", "/v1/maintenance:plan", "maintenance.plan", "maintenance", 1},
	{"GET", "/v1/audit/events", "audit.query", "log", 0},
	{"GET", "/v1/audit/events/{}", "audit.read", "log", 0},
	{"GET", "/v1/audit/events/{}/proof", "audit.proof", "log", 0},
	{"GET", LOG "checkpoint", "log.checkpoint", "log", 0},
	{"GET", LOG "vkey", "log.vkey", "log", 0},
	{"GET", LOG "tile/entries/{*}", "log.entries", "log", 0},
	{"GET", LOG "tile/{}/{*}", "log.tile", "log", 0},
	{"GET", "/v1/audit/reviews", "review.list", "review", 1},
	{"GET", "/v1/audit/reviews/{}", "review.read", "review", 1},
	{"POST", "/v1/audit/reviews/{}:close", "review.close", "review", 1},
	{"GET", "/v1/policies", "policy.list", "policy", 1},
	{"GET", "/v1/policies/{}", "policy.read", "policy", 1},
	{"PUT", "/v1/policies/{}", "policy.put", "policy", 1},
	{"DELETE", "/v1/policies/{}", "policy.delete", "policy", 1},
	{"GET", "/v1/grants", "grant.list", "grant", 1},
	{"POST", "/v1/grants", "grant.request", "grant", 1},
	{"GET", "/v1/grants/{}", "grant.read", "grant", 1},
	{"POST", "/v1/grants/{}:approve", "grant.approve", "grant", 1},
	{"POST", "/v1/grants/{}:deny", "grant.deny", "grant", 1},
	{"POST", "/v1/grants/{}:revoke", "grant.revoke", "grant", 1},
};

const act_row_t *act_rows(size_t *n)
{
	*n = COUNT(rows);
	return rows;
}

/* --- the table --- */

/* Whether the path is of the pattern; what stands for its {} goes to out, with slashes between. */
static bool matches(const char *pattern, const char *path, size_t n, buf_t *out)
{
	size_t at = 0;
	buf_clear(out);
	for (const char *p = pattern; *p != '\0'; p++) {
		if (strncmp(p, "{*}", 3) == 0)
			return at < n;
		if (strncmp(p, "{}", 2) != 0) {
			if (at == n || path[at] != *p)
				return false;
			at++;
			continue;
		}
		size_t len = 0;
		while (at + len < n && path[at + len] != '/' && path[at + len] != ':')
			len++;
		if (len == 0)
			return false;
		buf_printf(out, "%s%.*s", out->n > 0 ? "/" : "", (int)len, path + at);
		at += len;
		p++;
	}
	return at == n;
}

static kms_err_t name_resource(const act_row_t *row, buf_t *found, act_t *out)
{
	const char *text = "";
	unsigned have = found->n > 0 ? 1 : 0;
	if (row->segments == 0)
		buf_clear(found);
	for (size_t i = 0; i < found->n; i++)
		have += found->p[i] == '/' ? 1U : 0U;
	for (; have < row->segments; have++)
		buf_str(found, found->n > 0 ? "/*" : "*");
	KMS_TRY(buf_cstr(found, &text));
	if (strlen(text) >= sizeof out->resource)
		return KMS_E_INVALID;
	*out = (act_t){.action = row->action, .type = row->type};
	memcpy(out->resource, text, strlen(text));
	return KMS_OK;
}

kms_err_t act_of(const char *method, const char *path, act_t *out)
{
	SCOPED(buf_free) buf_t found = BUF_INIT;
	size_t n = strcspn(path, "?");
	for (size_t i = 0; i < COUNT(rows); i++)
		if (strcmp(rows[i].method, method) == 0 && matches(rows[i].pattern, path, n, &found))
			return name_resource(&rows[i], &found, out);
	return KMS_E_NOTFOUND;
}

/* --- as a statement --- */

kms_err_t act_who_calls(const cli_t *c, x509_identity_t *id, diag_t *why)
{
	SCOPED(buf_free) buf_t pem = BUF_INIT;
	const char *file = conf_setting_text(c->conf, "cert");
	if (file == NULL)
		return diag_fail(why, KMS_E_INVALID,
				 "who you are is not known: your certificate is not set (--cert)");
	kms_err_t e = file_read(file, CERT_LIMIT, &pem, why);
	if (e == KMS_OK)
		e = x509_read_identity(buf_span(&pem), id, why);
	return e == KMS_OK ? e : KMS_E_INVALID;
}

static void statement_name(const char *who, const char *action, char out[NAME_CAP])
{
	int n = snprintf(out, NAME_CAP, "allow-%.30s-%s", who, action);
	for (int i = 0; i < n && i < (int)NAME_MAX_LEN; i++)
		if (out[i] == '.')
			out[i] = '-';
}

kms_err_t act_print_statement(cli_t *c, const act_t *act, diag_t *why)
{
	SCOPED(json_freep) json_t *statement = NULL;
	x509_identity_t id = {.kind = X509_OPERATOR};
	char name[NAME_CAP], principal[PATH3_CAP + 16], resource[CLI_PATH_CAP + 32], node[PATH3_CAP];
	KMS_TRY(act_who_calls(c, &id, why));
	if (id.kind == X509_NODE)
		path3_format(&id.node, node);
	(void)snprintf(principal, sizeof principal, "%s:%s", id.kind == X509_NODE ? "node" : "operator",
		       id.kind == X509_NODE ? node : id.operator_name);
	statement_name(id.kind == X509_NODE ? id.node.name : id.operator_name, act->action, name);
	(void)snprintf(resource, sizeof resource, "%s%s%s", act->type, act->resource[0] != '\0' ? ":" : "",
		       act->resource);
	if (json_build(&statement, "{s:s, s:s, s:[s], s:[s], s:[s]}", "name", name, "effect", "allow",
		       "principals", principal, "actions", act->action, "resources", resource) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the statement");
	return cli_print_json(c, statement, why);
}

/* --- as a request for a grant --- */

kms_err_t act_grant_body(const act_t *act, const char *reason_ticket, const json_t *body, json_t **out,
			 diag_t *why)
{
	SCOPED(json_freep) json_t *rq = NULL;
	const char *colon = strchr(reason_ticket, ':');
	size_t n = colon != NULL ? (size_t)(colon - reason_ticket) : strlen(reason_ticket);
	char reason[NAME_CAP];
	KMS_TRY(name_parse("--request-grant", span_of(reason_ticket, n), reason, why));
	if (json_build(&rq, "{s:s, s:s, s:s}", "action", act->action, "resource", act->resource, "reason",
		       reason) != KMS_OK ||
	    (colon != NULL && json_object_set_new(rq, "ticket", json_string(colon + 1)) != 0))
		return diag_fail(why, KMS_E_INVALID, "--request-grant: the ticket is not text");
	if (json_object_size(body) > 0 && json_object_set_new(rq, "body", json_deep_copy(body)) != 0)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	*out = TAKE(rq);
	return KMS_OK;
}
