#include "kms-server/core/event.h"

#include "common/base/encode.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"
#include "common/proto/json.h"

#define OCSF_VERSION "1.3.0"
#define SALT_LEN     16U

static const char *text(const char *s)
{
	return s != NULL ? s : "";
}

static kms_err_t add(json_t *to, const char *name, json_t *value)
{
	/* steals value, also when it fails or value is NULL */
	return json_object_set_new(to, name, value) == 0 ? KMS_OK : KMS_E_NOMEM;
}

static kms_err_t add_metadata(json_t *root, const event_t *e)
{
	return add(root, "metadata",
		   json_pack("{s:s, s:s, s:I, s:{s:s, s:s, s:s}, s:s, s:s}", "version", OCSF_VERSION, "uid",
			     e->uid, "sequence", (json_int_t)e->sequence, "product", "name", "kms-server",
			     "vendor_name", "Claviger", "version", CLAVIGER_VERSION, "tenant_uid",
			     text(e->customer), "correlation_uid", text(e->correlation_uid)));
}

/* A detail may quote what a caller sent: only printable ASCII goes into the log. */
static json_t *detail_text(const char *s)
{
	char clean[sizeof((diag_t *)0)->text];
	size_t n = 0;
	for (; s[n] != '\0' && n < sizeof clean; n++)
		clean[n] = s[n] >= 0x20 && s[n] < 0x7f ? s[n] : '?';
	return json_stringn(clean, n);
}

static kms_err_t add_status(json_t *root, const event_t *e)
{
	int severity = e->severity_id != 0 ? e->severity_id : e->success ? 1 : 3;
	KMS_TRY(add(root, "severity_id", json_integer(severity)));
	KMS_TRY(add(root, "status_id", json_integer(e->success ? 1 : 2)));
	KMS_TRY(add(root, "status_code", json_string(text(e->status_code))));
	return add(root, "status_detail", detail_text(text(e->status_detail)));
}

static kms_err_t add_class(json_t *root, const event_t *e)
{
	KMS_TRY(add(root, "time", json_integer((json_int_t)e->time_ms)));
	KMS_TRY(add(root, "category_uid", json_integer(e->class_uid / 1000)));
	KMS_TRY(add(root, "class_uid", json_integer(e->class_uid)));
	KMS_TRY(add(root, "activity_id", json_integer(e->activity_id)));
	return add(root, "type_uid", json_integer(e->class_uid * 100 + e->activity_id));
}

static kms_err_t add_source(json_t *root, const event_t *e)
{
	SCOPED(json_freep)
	json_t *source = json_pack("{s:s, s:i}", "ip", text(e->ip), "port", (int)e->port);
	if (source == NULL)
		return KMS_E_NOMEM;
	if (text(e->via)[0] != '\0')
		KMS_TRY(add(source, "intermediate_ips", json_pack("[s]", e->via)));
	return add(root, "src_endpoint", TAKE(source));
}

static kms_err_t add_parties(json_t *root, const event_t *e)
{
	KMS_TRY(add(root, "actor",
		    json_pack("{s:{s:s, s:s}, s:[{s:s, s:s}]}", "user", "name", text(e->actor_name), "type",
			      text(e->actor_type), "authorizations", "decision", text(e->decision), "policy",
			      text(e->statement))));
	KMS_TRY(add_source(root, e));
	KMS_TRY(add(root, "api",
		    json_pack("{s:s, s:{s:s}}", "operation", text(e->operation), "request", "uid",
			      text(e->request_id))));
	return add(root, "resources",
		   json_pack("[{s:s, s:s, s:s}]", "uid", text(e->resource_uid), "type",
			     text(e->resource_type), "namespace", text(e->customer)));
}

/* NULL when memory is short. */
static json_t *names_json(const char *const *names, size_t n)
{
	SCOPED(json_freep) json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(list, json_string(names[i])) != 0)
			return NULL;
	return TAKE(list);
}

/* The salt keeps a leaf's hash from telling what a guessable event says. */
static kms_err_t add_ours(json_t *root, const event_t *e)
{
	uint8_t salt[SALT_LEN];
	char hex[2 * SALT_LEN + 1];
	KMS_TRY(crypto_random(salt, sizeof salt));
	hex_encode(span_of(salt, sizeof salt), hex);
	json_t *ours = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "reason", text(e->reason), "justification",
				 text(e->justification), "ticket", text(e->ticket), "grant", text(e->grant),
				 "approvals", names_json(e->approvals, e->n_approvals), "salt", hex);
	SCOPED(json_freep) json_t *unmapped = json_pack("{s:o}", "claviger", ours);
	if (unmapped == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(add(ours, "previous", e->has_previous ? json_integer((json_int_t)e->previous) : json_null()));
	if (e->count > 0)
		KMS_TRY(add(ours, "count", json_integer((json_int_t)e->count)));
	return add(root, "unmapped", TAKE(unmapped));
}

kms_err_t event_encode(const event_t *e, buf_t *out)
{
	SCOPED(json_freep) json_t *root = json_object();
	if (root == NULL)
		return KMS_E_NOMEM;
	KMS_TRY(add_metadata(root, e));
	KMS_TRY(add_class(root, e));
	KMS_TRY(add_status(root, e));
	KMS_TRY(add_parties(root, e));
	KMS_TRY(add_ours(root, e));
	size_t before = out->n;
	KMS_TRY(json_write(root, out));
	return out->n - before > EVENT_MAX ? KMS_E_INVALID : KMS_OK;
}
