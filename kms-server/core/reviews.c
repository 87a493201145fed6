/* Reviews of accesses. */
#include "kms-server/core/internal.h"

kms_err_t op_review_list(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_review_get(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}

kms_err_t op_review_close(op_t *op)
{
	return op_refuse(op, KMS_E_UNAVAILABLE, 501, "not-built", "This is not built yet.");
}
