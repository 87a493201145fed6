#include "tools/kmsctl/policy_files.h"

#include "common/base/scope.h"
#include "common/io/file.h"

static KMS_MUST document_name(const char *path, char out[NAME_CAP], diag_t *why)
{
	const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
	size_t n = strlen(base);
	if (n > 5 && strcmp(base + n - 5, ".json") == 0)
		n -= 5;
	if (!name_valid(span_of(base, n)))
		return diag_fail(
			why, KMS_E_INVALID,
			"%.200s: a document is called like its file, so that must be a name: a-z, 0-9 and -, "
			"as in second-person.json",
			path);
	memcpy(out, base, n);
	out[n] = '\0';
	return KMS_OK;
}

static KMS_MUST not_fixed(const char *path, const char *name, diag_t *why)
{
	size_t n;
	const policy_shipped_t *all = policy_shipped(&n);
	for (size_t i = 0; i < n; i++)
		if (all[i].fixed && strcmp(all[i].name, name) == 0)
			return diag_fail(why, KMS_E_INVALID,
					 "%.200s: \"%s\" cannot be replaced: give the document another name",
					 path, name);
	return KMS_OK;
}

kms_err_t policy_file_read(const char *path, policy_document_t **out, diag_t *why)
{
	SCOPED(buf_free) buf_t text = BUF_INIT;
	char name[NAME_CAP];
	policy_error_t error = {0};
	KMS_TRY(document_name(path, name, why));
	KMS_TRY(not_fixed(path, name, why));
	KMS_TRY(file_read(path, POLICY_DOCUMENT_MAX, &text, why));
	kms_err_t e = policy_parse(name, buf_span(&text), out, &error);
	if (e == KMS_OK)
		return KMS_OK;
	if (error.line == 0)
		return diag_fail(why, e, "%.150s: %.300s", path, error.why.text);
	return diag_fail(why, e, "%.150s:%u:%u: %.300s", path, error.line, error.column, error.why.text);
}

static bool is_replaced(const char *name, policy_document_t *const *documents, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(policy_document_name(documents[i]), name) == 0)
			return true;
	return false;
}

static KMS_MUST add_shipped(policy_document_t *const *own, size_t n_own, policy_document_t **all, size_t *n)
{
	size_t k;
	const policy_shipped_t *table = policy_shipped(&k);
	for (size_t i = 0; i < k && *n < POLICY_DOCUMENTS_MAX; i++)
		if (!is_replaced(table[i].name, own, n_own)) {
			KMS_TRY(policy_parse(table[i].name, table[i].text, &all[*n], NULL));
			++*n;
		}
	return KMS_OK;
}

kms_err_t policy_files_join(policy_document_t **documents, size_t n, bool shipped, policy_t **out,
			    diag_t *why)
{
	policy_document_t *all[2 * POLICY_DOCUMENTS_MAX] = {NULL};
	size_t k = 0;
	kms_err_t e = shipped ? add_shipped(documents, n, all, &k) : KMS_OK;
	for (size_t i = 0; i < n; i++)
		all[k++] = TAKE(documents[i]);
	if (e == KMS_OK)
		return policy_new(all, k, out, why);
	for (size_t i = 0; i < k; i++)
		policy_document_free(all[i]);
	return diag_fail(why, e, "no memory for the policy");
}

kms_err_t policy_files_policy(const cli_t *c, bool shipped, policy_t **out, diag_t *why)
{
	policy_document_t *all[POLICY_DOCUMENTS_MAX] = {NULL};
	kms_err_t e = KMS_OK;
	size_t n = conf_words(c->conf);
	for (size_t i = 0; i < n && e == KMS_OK; i++)
		e = policy_file_read(conf_word(c->conf, i), &all[i], why);
	if (e == KMS_OK)
		return policy_files_join(all, n, shipped || n == 0, out, why);
	for (size_t i = 0; i < n; i++)
		policy_document_free(all[i]);
	return e;
}
