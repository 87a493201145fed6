#include "kms-server/core/internal.h"

#include "common/base/scope.h"

static const char *tenant_state(tenant_state_t s)
{
	return s == TENANT_ACTIVE ? "active" : "destroyed";
}

static json_t *tenant_json(const char *kind, const char *key, const tenant_rec_t *rec)
{
	return json_pack("{s:s, s:s, s:I}", kind, key, "state", tenant_state(rec->state), "created_ms",
			 (json_int_t)rec->created_ms);
}

kms_err_t op_customer_put(op_t *op)
{
	tenant_rec_t rec;
	const char *c = op->rq->customer;
	KMS_TRY(op_read(op, NULL, 0, NULL));
	kms_err_t e = record_get_customer(op->txn, op->mac, c, &rec);
	if (e == KMS_OK)
		return op_answer(op, 200, tenant_json("customer", c, &rec));
	if (e != KMS_E_NOTFOUND)
		return e;
	rec = (tenant_rec_t){.state = TENANT_ACTIVE, .created_ms = op->now_ms};
	KMS_TRY(keyring_new_customer(op->core->keys, c, &rec.key));
	op->wrote = true;
	KMS_TRY(record_put_customer(op->txn, op->mac, c, &rec));
	return op_answer(op, 201, tenant_json("customer", c, &rec));
}

kms_err_t op_customer_get(op_t *op)
{
	tenant_rec_t rec;
	KMS_TRY(record_get_customer(op->txn, op->mac, op->rq->customer, &rec));
	return op_answer(op, 200, tenant_json("customer", op->rq->customer, &rec));
}

static kms_err_t customer_item(op_t *op, json_t *items, span_t key, span_t value)
{
	tenant_rec_t rec;
	char name[NAME_CAP];
	KMS_TRY(name_parse("customer", key, name, NULL) == KMS_OK ? KMS_OK : KMS_E_INTEGRITY);
	if (!op_may_see(op, "customer", name))
		return KMS_OK;
	KMS_TRY(record_decode_customer(op->mac, key, value, &rec));
	return json_array_append_new(items, tenant_json("customer", name, &rec)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_customer_list(op_t *op)
{
	return op_page(op, STORE_CUSTOMERS, "", customer_item);
}

kms_err_t op_service_put(op_t *op)
{
	tenant_rec_t rec;
	char key[2 * NAME_CAP];
	op_service_path(op, key);
	KMS_TRY(op_read(op, NULL, 0, NULL));
	kms_err_t e = record_get_service(op->txn, op->mac, key, &rec);
	if (e == KMS_OK)
		return op_answer(op, 200, tenant_json("service", key, &rec));
	if (e != KMS_E_NOTFOUND)
		return e;
	rec = (tenant_rec_t){.state = TENANT_ACTIVE, .created_ms = op->now_ms};
	KMS_TRY(keyring_new_service(op->core->keys, op->txn, op->rq->customer, op->rq->service, &rec.key));
	op->wrote = true;
	KMS_TRY(record_put_service(op->txn, op->mac, key, &rec));
	return op_answer(op, 201, tenant_json("service", key, &rec));
}

kms_err_t op_service_get(op_t *op)
{
	tenant_rec_t rec;
	char key[2 * NAME_CAP];
	op_service_path(op, key);
	KMS_TRY(record_get_service(op->txn, op->mac, key, &rec));
	return op_answer(op, 200, tenant_json("service", key, &rec));
}

static kms_err_t service_item(op_t *op, json_t *items, span_t key, span_t value)
{
	tenant_rec_t rec;
	char path[2 * NAME_CAP];
	KMS_TRY(record_decode_service(op->mac, key, value, &rec));
	(void)snprintf(path, sizeof path, "%.*s", (int)key.n, (const char *)key.p);
	return json_array_append_new(items, tenant_json("service", path, &rec)) == 0 ? KMS_OK : KMS_E_NOMEM;
}

kms_err_t op_service_list(op_t *op)
{
	tenant_rec_t rec;
	char prefix[NAME_CAP + 1];
	KMS_TRY(record_get_customer(op->txn, op->mac, op->rq->customer, &rec));
	(void)snprintf(prefix, sizeof prefix, "%s/", op->rq->customer);
	return op_page(op, STORE_SERVICES, prefix, service_item);
}
