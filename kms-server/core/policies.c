/* Policy documents in the store, and the policy that is in force. */
#include "kms-server/core/internal.h"

kms_err_t op_policy_list(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_policy_get(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_policy_put(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_policy_delete(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}
