/* Nobody may take away the last way to change people and policies. */
#include "common/base/scope.h"
#include "kms-server/core/internal.h"

/* Whether an active admin other than `but` exists. */
static kms_err_t other_admin(op_t *op, const char *but, bool *out)
{
	SCOPED(store_cursor_freep) store_cursor_t *c = NULL;
	span_t key = {0}, value = {0};
	kms_err_t e = KMS_OK;
	*out = false;
	KMS_TRY(store_seek(op->txn, STORE_OPERATORS, span_of(NULL, 0), STORE_UP, &c));
	while (!*out && (e = store_next(c, &key, &value)) == KMS_OK) {
		operator_rec_t o;
		KMS_TRY(record_decode_operator(op->mac, key, value, &o));
		*out = o.state == IDENTITY_ACTIVE && o.role == ROLE_ADMIN && !span_eq(key, span_str(but));
	}
	return *out || e == KMS_E_NOTFOUND ? KMS_OK : e;
}

kms_err_t lockout_check_person(op_t *op, const char *name, const operator_rec_t *changed)
{
	bool admin = changed->state == IDENTITY_ACTIVE && changed->role == ROLE_ADMIN, other = false;
	operator_rec_t now;
	KMS_TRY(record_get_operator(op->txn, op->mac, name, &now));
	if (admin || now.state != IDENTITY_ACTIVE || now.role != ROLE_ADMIN)
		return KMS_OK;
	KMS_TRY(other_admin(op, name, &other));
	return other ? KMS_OK : op_conflict(op, "%s is the last active admin: make another one first.", name);
}
