/* Operators: invited, enrolled, changed, certified anew. */
#include "kms-server/core/internal.h"

kms_err_t op_operator_invite(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_operator_enroll(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_operator_update(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_operator_recertify(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}
