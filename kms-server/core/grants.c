/* Grants: asked for, approved, denied, revoked, ended. */
#include "kms-server/core/internal.h"

kms_err_t op_grant_request(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_grant_list(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_grant_get(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_grant_approve(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_grant_deny(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_grant_revoke(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}
