#include "tools/kmsctl/audit_filter.h"

#include "common/base/scope.h"
#include "tools/kmsctl/args.h"

#include <inttypes.h>

/* Customer and service as the server knows them: two names. `--service C/S` says both. */
typedef struct where {
	char customer[NAME_CAP];
	char service[NAME_CAP];
} where_t;

static kms_err_t read_where(const cli_t *c, where_t *out, diag_t *why)
{
	const char *customer = conf_text(c->conf, "customer");
	const char *service = conf_text(c->conf, "service");
	path3_t p = {0};
	if (customer != NULL)
		KMS_TRY(name_parse("customer", span_str(customer), out->customer, why));
	if (service == NULL)
		return KMS_OK;
	if (strchr(service, '/') == NULL)
		return name_parse("service", span_str(service), out->service, why);
	KMS_TRY(arg_path2(service, &p, why));
	if (customer != NULL && strcmp(customer, p.customer) != 0)
		return diag_fail(why, KMS_E_INVALID, "--service %s is not of --customer %s", service,
				 customer);
	memcpy(out->customer, p.customer, sizeof out->customer);
	memcpy(out->service, p.service, sizeof out->service);
	return KMS_OK;
}

/* A volume or node by its path, or by its last name where customer and service are given too: a name alone
 * could be another customer's. */
static kms_err_t add_leaf(const cli_t *c, const char *key, const where_t *at, buf_t *q, diag_t *why)
{
	const char *text = conf_text(c->conf, key);
	path3_t p = {0};
	char path[PATH3_CAP];
	if (text == NULL)
		return KMS_OK;
	if (strchr(text, '/') != NULL) {
		KMS_TRY(path3_parse(key, span_str(text), &p, why));
	} else if (at->customer[0] != '\0' && at->service[0] != '\0') {
		KMS_TRY(name_parse(key, span_str(text), p.name, why));
		memcpy(p.customer, at->customer, sizeof p.customer);
		memcpy(p.service, at->service, sizeof p.service);
	} else {
		return diag_fail(
			why, KMS_E_INVALID,
			"--%s is written CUSTOMER/SERVICE/NAME, or give --customer and --service too", key);
	}
	path3_format(&p, path);
	query_add(q, key, path);
	return KMS_OK;
}

static kms_err_t add_id(const cli_t *c, const char *key, const char *what, buf_t *q, diag_t *why)
{
	const char *text = conf_text(c->conf, key);
	char id[NAME_CAP];
	if (text == NULL)
		return KMS_OK;
	KMS_TRY(name_parse(what, span_str(text), id, why));
	query_add(q, key, id);
	return KMS_OK;
}

static kms_err_t check_status(const cli_t *c, diag_t *why)
{
	const char *v = conf_text(c->conf, "status");
	if (v == NULL || strcmp(v, "success") == 0 || strcmp(v, "failure") == 0)
		return KMS_OK;
	return diag_fail(why, KMS_E_INVALID, "--status is success or failure, not \"%.20s\"", v);
}

kms_err_t audit_filter_add(const cli_t *c, buf_t *q, diag_t *why)
{
	where_t at = {0};
	KMS_TRY(read_where(c, &at, why));
	KMS_TRY(check_status(c, why));
	query_add(q, "customer", at.customer[0] != '\0' ? at.customer : NULL);
	query_add(q, "service", at.service[0] != '\0' ? at.service : NULL);
	KMS_TRY(add_leaf(c, "volume", &at, q, why));
	KMS_TRY(add_leaf(c, "node", &at, q, why));
	query_add(q, "actor", conf_text(c->conf, "actor"));
	query_add(q, "operation", conf_text(c->conf, "operation"));
	query_add(q, "status", conf_text(c->conf, "status"));
	KMS_TRY(add_id(c, "grant", "grant", q, why));
	return add_id(c, "maintenance", "maintenance event", q, why);
}

kms_err_t audit_walk_customer(cli_t *c, const char *customer, uint64_t from, const bool *stop, page_fn_t each,
			      void *ctx, diag_t *why)
{
	SCOPED(buf_free) buf_t q = BUF_INIT;
	page_walk_t w = {
		.cli = c, .path = "/v1/audit/events", .key = "events", .left = LIST_NO_LIMIT, .stop = stop};
	query_add(&q, "customer", customer);
	query_add(&q, "order", "asc");
	if (buf_cstr(&q, &w.query) != KMS_OK)
		return diag_fail(why, KMS_E_NOMEM, "not enough memory for the request");
	if (from > 0)
		(void)snprintf(w.cursor, sizeof w.cursor, "%" PRIu64, from);
	return page_walk(&w, each, ctx, why);
}

kms_err_t audit_row(const json_t *row, uint64_t *index, const json_t **event, diag_t *why)
{
	const json_t *number = json_object_get(row, "index");
	const json_t *inner = json_object_get(row, "event");
	if (!json_is_integer(number) || json_integer_value(number) < 0 || !json_is_object(inner))
		return diag_fail(why, KMS_E_IO, "the server's list has something that is no event");
	*index = (uint64_t)json_integer_value(number);
	*event = inner;
	return KMS_OK;
}
