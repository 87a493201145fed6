#include "policy/shipped.h"

const policy_shipped_t *policy_shipped(size_t *n)
{
	*n = shipped_table_n;
	return shipped_table;
}

kms_err_t policy_default(policy_t **out)
{
	policy_document_t *all[POLICY_DOCUMENTS_MAX] = {NULL};
	kms_err_t e = KMS_OK;
	for (size_t i = 0; i < shipped_table_n && e == KMS_OK; i++)
		e = policy_parse(shipped_table[i].name, shipped_table[i].text, &all[i], NULL);
	if (e == KMS_OK)
		return policy_new(all, shipped_table_n, out, NULL);
	for (size_t i = 0; i < shipped_table_n; i++)
		policy_document_free(all[i]);
	return e;
}
