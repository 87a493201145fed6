#include "kms-server/core/log.h"

#include "common/base/encode.h"
#include "common/base/reader.h"
#include "common/base/scope.h"
#include "common/crypto/digest.h"

#include <stdio.h>

/* value: u64 sequence of the customer's newest event, u64 its index. The deployment's own chain has the key
 * "-", which is no name. */
static kms_err_t chain_next(store_txn_t *t, event_t *e, uint64_t index)
{
	span_t key = span_str(e->customer != NULL && e->customer[0] != '\0' ? e->customer : "-");
	span_t v = {0};
	kms_err_t found = store_get(t, STORE_CHAINS, key, &v);
	if (found == KMS_OK) {
		reader_t r = reader_of(v);
		e->sequence = reader_u64(&r) + 1;
		e->previous = reader_u64(&r);
		e->has_previous = true;
		KMS_TRY(reader_done(&r));
	} else if (found == KMS_E_NOTFOUND) {
		e->sequence = 1;
		e->has_previous = false;
	} else {
		return found;
	}
	SCOPED(buf_free) buf_t b = BUF_INIT;
	buf_u64(&b, e->sequence);
	buf_u64(&b, index);
	KMS_TRY(b.err);
	return store_put(t, STORE_CHAINS, key, buf_span(&b));
}

/* The customer and service of a resource's path. */
static void service_of(const event_t *e, char out[2 * NAME_CAP])
{
	const char *uid = e->resource_uid != NULL ? e->resource_uid : "";
	const char *slash = strchr(uid, '/');
	const char *end = slash != NULL ? strchr(slash + 1, '/') : NULL;
	size_t n = slash == NULL ? 0 : end != NULL ? (size_t)(end - uid) : strlen(uid);
	(void)snprintf(out, 2 * NAME_CAP, "%.*s", n < 2 * (size_t)NAME_CAP ? (int)n : 0, uid);
}

static bool is_type(const event_t *e, const char *type)
{
	return e->resource_type != NULL && strcmp(e->resource_type, type) == 0;
}

static const char *text(const char *s)
{
	return s != NULL ? s : "";
}

/* What the event can be found by; audit.c looks for the same. */
static size_t terms_of(const event_t *e, const char *service, audit_term_t out[AUDIT_TERMS_MAX])
{
	const char *actor = text(e->actor_name), *uid = text(e->resource_uid);
	bool by_node = strchr(actor, '/') != NULL; /* only nodes' names are paths */
	bool maintenance = strncmp(text(e->correlation_uid), "m-", 2) == 0;
	size_t n = 0;
	out[n++] = (audit_term_t){AUDIT_CUSTOMER, text(e->customer)};
	out[n++] = (audit_term_t){AUDIT_OPERATION, e->operation};
	out[n++] = (audit_term_t){by_node ? AUDIT_NODE : AUDIT_ACTOR, actor};
	if (service[0] != '\0' && (is_type(e, "volume") || is_type(e, "node") || is_type(e, "service")))
		out[n++] = (audit_term_t){AUDIT_SERVICE, service};
	if (is_type(e, "volume"))
		out[n++] = (audit_term_t){AUDIT_VOLUME, uid};
	if (is_type(e, "node") && !(by_node && strcmp(uid, actor) == 0))
		out[n++] = (audit_term_t){AUDIT_NODE, uid};
	if (!e->success)
		out[n++] = (audit_term_t){AUDIT_FAILURE, ""};
	if (maintenance)
		out[n++] = (audit_term_t){AUDIT_MAINTENANCE, e->correlation_uid};
	out[n++] = (audit_term_t){AUDIT_GRANT, text(e->grant)};
	return n;
}

kms_err_t log_append(audit_t *a, store_txn_t *t, event_t *e, uint64_t *index)
{
	uint8_t uid[(EVENT_UID_CAP - 1) / 2];
	char service[2 * NAME_CAP];
	audit_term_t terms[AUDIT_TERMS_MAX];
	KMS_TRY(crypto_random(uid, sizeof uid));
	hex_encode(span_of(uid, sizeof uid), e->uid);
	KMS_TRY(chain_next(t, e, audit_next(a)));
	SCOPED(buf_free) buf_t bytes = BUF_INIT;
	KMS_TRY(event_encode(e, &bytes));
	service_of(e, service);
	size_t n = terms_of(e, service, terms);
	return audit_append(a, t, buf_span(&bytes), terms, n, e->time_ms, index);
}

kms_err_t log_system(audit_t *a, store_txn_t *t, const char *operation, int activity, const char *code,
		     const char *detail, int64_t now_ms)
{
	uint64_t index;
	event_t e = {.time_ms = now_ms,
		     .operation = operation,
		     .class_uid = 6002,
		     .activity_id = activity,
		     .success = true,
		     .status_code = code,
		     .status_detail = detail,
		     .actor_name = "kms-server",
		     .actor_type = "system",
		     .decision = "allow",
		     .statement = "system",
		     .resource_type = "sys",
		     .resource_uid = "kms-server"};
	return log_append(a, t, &e, &index);
}

kms_err_t log_open_put(store_txn_t *t, uint64_t index, const open_release_t *o)
{
	uint8_t key[8];
	SCOPED(buf_free) buf_t b = BUF_INIT;
	be64_encode(index, key);
	buf_lp_str(&b, o->customer);
	buf_lp_str(&b, o->service);
	buf_lp_str(&b, o->volume);
	buf_lp_str(&b, o->actor);
	buf_lp_str(&b, o->request_id);
	buf_lp_str(&b, o->uid);
	buf_lp_str(&b, o->operation);
	buf_lp_str(&b, o->grant);
	KMS_TRY(b.err);
	return store_put(t, STORE_OPEN, span_of(key, sizeof key), buf_span(&b));
}

kms_err_t log_open_take(store_txn_t *t, uint64_t index, open_release_t *out)
{
	uint8_t key[8];
	span_t v = {0};
	open_release_t o;
	be64_encode(index, key);
	KMS_TRY(store_get(t, STORE_OPEN, span_of(key, sizeof key), &v));
	reader_t r = reader_of(v);
	reader_lp_str(&r, o.customer, sizeof o.customer);
	reader_lp_str(&r, o.service, sizeof o.service);
	reader_lp_str(&r, o.volume, sizeof o.volume);
	reader_lp_str(&r, o.actor, sizeof o.actor);
	reader_lp_str(&r, o.request_id, sizeof o.request_id);
	reader_lp_str(&r, o.uid, sizeof o.uid);
	reader_lp_str(&r, o.operation, sizeof o.operation);
	reader_lp_str(&r, o.grant, sizeof o.grant);
	KMS_TRY(reader_done(&r));
	KMS_TRY(store_del(t, STORE_OPEN, span_of(key, sizeof key)));
	*out = o;
	return KMS_OK;
}

event_t log_outcome(const open_release_t *o, const core_op_info_t *info, char uid[PATH3_CAP], int64_t now_ms)
{
	(void)snprintf(uid, PATH3_CAP, "%s/%s/%s", o->customer, o->service, o->volume);
	return (event_t){.time_ms = now_ms,
			 .operation = info->action,
			 .class_uid = info->class_uid,
			 .activity_id = info->activity_id,
			 .actor_name = o->actor,
			 .actor_type = strchr(o->actor, '/') != NULL ? "node" : "operator",
			 .decision = "allow",
			 .statement = "outcome",
			 .request_id = o->request_id,
			 .customer = o->customer,
			 .resource_uid = uid,
			 .resource_type = "volume",
			 .correlation_uid = o->uid,
			 .grant = o->grant};
}

kms_err_t log_open_first(store_txn_t *t, uint64_t *index)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	KMS_TRY(store_seek(t, STORE_OPEN, span_of(NULL, 0), STORE_UP, &c));
	KMS_TRY(store_next(c, &key, &value));
	reader_t r = reader_of(key);
	uint64_t at = reader_u64(&r);
	KMS_TRY(reader_done(&r));
	*index = at;
	return KMS_OK;
}
